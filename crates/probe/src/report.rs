//! What was measured.

use std::net::SocketAddr;

use natrig_nat::{Filtering, Mapping};
use serde::{Deserialize, Serialize};

/// The answer to "what NAT is this".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it maps; none where the outside endpoint is the inside one.
    pub mapping: Option<Mapping>,
    /// Whom it lets in.
    pub filtering: Filtering,
    /// Whether a mapping stays the same when its next destination has sent first. None where mappings depend on the
    /// destination, and it cannot be told.
    pub early_packet_harmless: Option<bool>,
    /// The outside endpoints of one inside endpoint as the server's primary, its other address, and its other address
    /// and port saw them.
    pub mapped: [SocketAddr; 3],
    /// Answers that strangers sent, for a witness on the wire.
    pub strangers: Vec<Expected>,
    /// What was seen, a line each.
    pub notes: Vec<String>,
}

/// An answer that was asked to come from where nothing had been sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Where it came from.
    pub from: SocketAddr,
    /// Its STUN transaction.
    pub transaction: [u8; 12],
    /// Whether it got through.
    pub arrived: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Failed {
    /// An answer that no NAT forbids did not come.
    #[error("no answer from {server} after {tries} tries")]
    Silent {
        /// Who was asked.
        server: SocketAddr,
        /// How often.
        tries: u32,
    },
    /// The server refused.
    #[error("{server} answered with error {code}; it must be an RFC 5780 server with two addresses")]
    Refused {
        /// Who was asked.
        server: SocketAddr,
        /// The error's code.
        code: u16,
    },
    /// The outside endpoints follow no rule, tried again and again.
    #[error("no mapping behaviour gives {0:?} for one socket")]
    Inconsistent(Vec<[SocketAddr; 3]>),
}
