//! The backend that runs a scenario on virtual machines.
//!
//! [`Rig`] holds what all labs of a run share: image, templates, disk. [`Lab`] is one scenario's machines, joined by a
//! switch; [`Live`] keeps one up. [`gateway`] loads rulesets and proves them, [`node`] drives the node under test, and [`Rig`] puts them in
//! order as a [`natrig_lab::Backend`].

#![forbid(unsafe_code)]

mod cell;
pub mod cloud;
mod experimenter;
mod export;
mod faults;
mod foreign;
pub mod gateway;
pub mod inquiry;
mod intervention;
mod kind;
mod lab;
pub mod life;
mod live;
mod memory;
pub mod model;
mod netem;
pub mod node;
mod nodes;
mod parcels;
pub mod port_mapping;
pub mod proof;
mod reuse;
mod rig;
mod share;
pub mod station;
mod tables;
mod talkers;

pub use experimenter::Experimenter;
pub use export::{command_line, export};
pub use lab::{Lab, Member};
pub use live::{Live, State};
pub use natrig_lab::{Trouble, Who};
pub use nodes::{Events, Nodes, Public, start_public};
pub use reuse::{Spare, passes};
pub use rig::{Programs, Rig, RigError, build_image};
