//! The omerta-mesh daemon and library: sockets, a clock and randomness around [`omerta_mesh_core::Node`].
//!
//! [`Driver`] runs a node on one thread of a tokio runtime; [`Handle`] commands it and its events come through a
//! channel. Everything about protocols is the core's.

#![forbid(unsafe_code)]

mod driver;
mod host;
mod identity_file;

pub use driver::{Driver, Handle, StartError, seeded_config};
pub use host::local_addresses;
pub use identity_file::{IdentityFileError, load_or_create};
pub use omerta_mesh_core as core;
