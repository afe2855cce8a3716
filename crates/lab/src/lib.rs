//! What a run of a scenario is, and its verdict from the wire.
//!
//! Everything here is a pure function of what a backend hands in: [`Topology`] says which machines and links a scenario
//! needs, [`proof`] measures gateways between [`station`]s and holds them against what their profiles declare, [`verdict`]
//! and [`assertions`] read the captures, and [`judge`] holds them against the scenario and the nodes' claims. [`cell`] puts
//! all that into a record, and [`story`] tells it for people; [`experiment`] is a cell without nodes. No sockets, no QEMU, no clock.

#![forbid(unsafe_code)]

mod app;
pub mod assertions;
mod backend;
pub mod cell;
pub mod chaos;
pub mod compare;
pub mod experiment;
pub mod fill;
pub mod foreign;
pub mod judge;
pub mod life;
pub mod node;
pub mod paths;
pub mod proof;
pub mod station;
pub mod story;
pub mod talk;
mod topology;
mod trouble;
pub mod verdict;
mod wires;

pub use app::App;
pub use backend::{Backend, Halt};
pub use topology::{Host, NODE_PORT, Nic, PROOF_PORT, Place, Stand, Topology};
pub use trouble::{Trouble, Who};
pub use wires::{Pair, SiteLinks};
