//! The lab in virtual time: hosts, gateways, links and nodes in one process, the same each time.
//!
//! A [`World`] has machines, segments that join them, and one time. Hosts run [`Program`]s, which are given datagrams and the
//! time and have no other way out; gateways are [`natrig_nat`]'s; links do what [`natrig_netmodel`] says. What is under way
//! are IPv4 packets; Ethernet is in captures only, made up from what is known.
//!
//! The same seed gives the same run, bit for bit, on any number of threads: see `docs/determinism.md`.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::iter_over_hash_type)
)]

mod agenda;
pub mod backend;
mod clock;
mod machine;
mod node;
mod packet;
pub mod population;
mod program;
mod segment;
mod shard;
mod snapshot;
mod stun_server;
mod tap;
mod world;

pub use agenda::{MachineId, PortId};
pub use clock::{Clock, START_NS, elapsed, instant};
pub use node::{MeshNode, Pump};
pub use program::{Datagram, Io, Program, Socket};
pub use segment::{Distances, Region, SegmentId};
pub use shard::{Counts, Deed, Seen};
pub use stun_server::StunServer;
pub use world::{Body, Nic, World};
