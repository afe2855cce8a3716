//! What a member counts.

use omerta_mesh_core::{Kind, NatClass};

use super::{Histogram, Tally};

/// What a member knows of its own life.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// How often it has come.
    pub sessions: u64,
    /// What its node took its NAT for, last.
    pub class: Option<NatClass>,
    /// Whether it was ever connected with its partner.
    pub connected: bool,
    /// How the last path to its partner came to be.
    pub kind: Option<Kind>,
    /// How often it asked for its partner, and in vain.
    pub asked: u64,
    pub failed: u64,
    /// Messages handed to the node.
    pub messages: u64,
    /// Messages that would have been sent if there had been a connection.
    pub held_back: u64,
    /// Messages that the node gave up.
    pub failed_messages: u64,
    /// Messages that came, as they had in an earlier life.
    pub again: u64,
    /// Messages that came, by the way that they came.
    pub direct: u64,
    pub by_relay: u64,
    pub to_relay: Histogram,
    pub to_connect: Histogram,
    pub to_settle: Histogram,
    pub latency: Histogram,
    /// What earlier sessions sent.
    pub sent: Tally,
    pub received: Tally,
}
