//! What became of messages that one peer sent to another at a pace.

use serde::{Deserialize, Serialize};

/// The messages of one direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Talk {
    /// Who sent.
    pub from: String,
    /// Who was to get them.
    pub to: String,
    /// How many were handed to the sender's node.
    pub sent: u64,
    /// How many of them its node said had arrived.
    pub acknowledged: u64,
    /// How many of them its node gave up.
    pub failed: u64,
    /// How many its node lost when it was ended, and never came.
    pub forgotten: u64,
    /// How many arrived, whole and as they were sent.
    pub arrived: u64,
    /// How many of those came again.
    pub twice: u64,
    /// How many came after one that was sent later.
    pub late: u64,
    /// How many came that were not as they were sent.
    pub altered: u64,
    /// How many were acknowledged and never came.
    pub lost_though_acknowledged: u64,
    /// The longest time in which nothing arrived, in milliseconds.
    pub silence_ms: f64,
    /// From handing over to arrival, in milliseconds: half of the messages took no longer, 99 of 100, and the slowest one.
    pub latency_ms: [f64; 3],
    /// How many came on a direct path, as the receiver said.
    pub direct: u64,
}
