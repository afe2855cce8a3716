//! The omerta-mesh node as a sans-IO state machine.
//!
//! [`Node`] has no sockets, no clock, no threads and no randomness of its own: its driver hands it datagrams, commands
//! and the time, and seeds it. After each call the driver drains, in this order,
//!
//! 1. [`Node::poll_socket`]: sockets to open and to close,
//! 2. [`Node::poll_transmit`]: datagrams to send, each from a named socket,
//! 3. [`Node::poll_event`]: what happened,
//! 4. [`Node::poll_stream`]: which of the owner's streams have changed, if it uses any,
//!
//! and calls [`Node::handle_timeout`] at the time that [`Node::poll_timeout`] says, unless something else comes first.
//!
//! A closed socket's remaining datagrams are dropped. Nothing that comes from outside makes the node panic.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::iter_over_hash_type)
)]

mod announce;
mod budget;
mod choice;
mod config;
mod control;
mod coordination;
mod counters;
mod crypto;
mod deadlines;
mod detect;
mod directory;
mod event;
mod freshness;
mod gossip;
mod identity;
mod letters;
mod lie;
mod limits;
mod line;
mod liveness;
mod lookup;
mod nat;
mod nearness;
mod net;
mod network;
mod node;
mod observe;
#[cfg(feature = "options")]
pub mod options;
mod probe;
mod punch;
mod quic;
mod relay;
mod replay;
mod routing;
mod search;
mod sounding;
mod strategy;
mod table;
mod wire;

pub use config::{Bootstrap, Config, InvalidBootstrap, Service};
pub use counters::{Count, Counters, Traffic};
#[cfg(feature = "stand-in")]
pub use crypto::stand_in::{RememberedSignatures, StandInCrypto};
pub use crypto::{CryptoSetupError, QuicCrypto, RustlsCrypto};
pub use detect::{Confidence, Detection};
pub use event::{Event, Kind, MessageId, PathKind};
pub use identity::{Identity, InvalidPeerId, PeerId};
pub use lie::Lie;
pub use line::Line;
pub use nat::{Allocation, Filtering, Mapping, NatClass};
pub use net::{Path, SocketId, SocketRequest, Transmit};
pub use network::{InvalidNetworkKey, NetworkKey, NetworkTag};
pub use node::{Node, PeerView, Snapshot};
pub use quic::{DatagramFault, OwnedChange, OwnedStream, ReadStream, StreamFault};
pub use strategy::Strategy;
pub use wire::{Kind as DatagramKind, Protocol};
