//! Scenario files: YAML to a typed, validated scenario.
//!
//! [`Scenario::load`] reads a file and gives one [`Scenario`] per cell; what a file spans (lists of NATs, rows) is
//! expanded here, so that nothing behind this crate knows of matrices. Mistakes come back as a [`Problem`], each with its
//! place in the text and what was probably meant.

#![forbid(unsafe_code)]

mod app;
mod cast;
mod conditions;
pub mod coverage;
mod faults;
mod fields;
mod id;
mod impairment;
mod lab;
mod matrix;
mod model;
mod nat;
mod network;
mod now;
pub mod population;
mod port_mapping;
mod problem;
mod profile;
mod quantity;
mod read;
mod recipe;
mod seen;
mod site;
mod talk;
mod topology;
mod truth;
mod yaml;

pub use app::{App, AppPackage, AppProof, Brought, Deed, Part, Pattern, Role, Sign, Stop, Template, Unfit};
pub use matrix::Matrix;
pub use model::{
    Action, Base, Disk, Errand, Expected, Fault, Filter, Flow, GatewayFault, Impairment, MachineFault, Make,
    Moment, NodeFault, NodeOptions, Partition, Pause, Priority, Scenario, Shift, Side, Sizes, Stun, Where,
};
pub use nat::{Engine, Gateway, Nat};
pub use network::Network;
pub use port_mapping::{MappingFault, MappingProtocol, PortMapping};
pub use problem::{Mistake, Problem};
pub use profile::{gateways, profile};
pub use read::{bounded, load_all};
pub use recipe::{Recipe, Signature, Signs};
pub use seen::Seen;
pub use talk::Talk;
pub use topology::{Layout, Link, Machine, Segment, Site};
pub use truth::{Truth, Unknown};
