//! What two gateways come to without a node.

use serde::{Deserialize, Serialize};

use crate::Kind;

/// Hosts behind both gateways sent to each other, alone and together, and this is what arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    /// The kind of path that follows.
    pub kind: Kind,
    /// Whether it made a difference who sent first.
    pub order_matters: bool,
    /// What was tried.
    pub trials: Vec<Trial>,
    /// The birthday search, where nothing else had connected and one was possible.
    pub search: Option<Search>,
}

/// One way to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Who sent, such as `initiator alone`.
    pub senders: String,
    /// Whether a packet arrived, and its answer did.
    pub connected: bool,
}

/// Probes to ports that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// How many were sent.
    pub probes: u32,
    /// Whether one met a socket, and was answered.
    pub connected: bool,
}
