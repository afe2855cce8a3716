//! The omerta-mesh library: nodes that find each other through NATs and talk, end-to-end encrypted.
//!
//! ```no_run
//! # async fn talk(bootstrap: omerta_mesh::Bootstrap, peer: omerta_mesh::PeerId) -> Result<(), Box<dyn std::error::Error>> {
//! let node = omerta_mesh::Node::builder().key_file("my.key").bootstrap(bootstrap).start().await?;
//! let connection = node.connect(peer).await?;
//! connection.send("hello").await?;
//! println!("{:?} by {:?}", connection.recv().await?, connection.path());
//! # Ok(())
//! # }
//! ```
//!
//! A [`Connection`] carries messages (in order, whole, each once), datagrams, and [`Stream`]s; which [`Path`] they take changes
//! beneath it. [`Node::events`] tells what happens. Below that are [`Driver`] and [`Handle`]: sockets, a clock and
//! randomness around [`core::Node`], with all events in one channel. Everything about protocols is the core's.

#![forbid(unsafe_code)]

mod connection;
mod driver;
mod handle;
mod host;
mod identity_file;
mod invite;
mod node;
mod stream;

pub use connection::{Closed, Connection, Path};
pub use driver::{Driver, StartError, seeded_config};
pub use handle::Handle;
pub use host::local_addresses;
pub use identity_file::{IdentityFileError, load_or_create};
pub use invite::{InvalidInvite, Invite};
pub use node::{BuildError, Builder, ConnectError, Events, Node, SendError};
pub use omerta_mesh_core as core;
pub use omerta_mesh_core::{Bootstrap, Event, NetworkKey, PathKind, PeerId};
pub use stream::Stream;
