//! What a run of a scenario is, and its verdict from the wire.
//!
//! Everything here is a pure function of what a backend hands in: [`Topology`] says which machines and links a scenario
//! needs, [`proof`] holds what was measured against what a profile declares, [`verdict`] and [`assertions`]
//! read the captures, and [`judge`] holds them against the scenario and the nodes' claims. No sockets, no QEMU, no clock.

#![forbid(unsafe_code)]

pub mod assertions;
mod backend;
pub mod judge;
pub mod proof;
mod topology;
pub mod verdict;
mod wires;

pub use backend::{Backend, Halt};
pub use topology::{Host, NODE_PORT, Nic, PROOF_PORT, Place, Stand, Topology};
pub use wires::{Pair, SiteLinks};
