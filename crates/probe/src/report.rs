//! What was measured.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use natrig_nat::{
    Filtering, Mapping,
    profile::{Hairpin, Pooling, Refresh},
};
use serde::{Deserialize, Serialize};

use crate::Steps;

/// The answer to "what NAT is this". What is none was not measured, or cannot be told from behind such a gateway; then the
/// notes say why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which steps were asked for.
    #[serde(default)]
    pub steps: Steps,
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
    /// Whether all that came in bore the address of its true sender.
    #[serde(default)]
    pub true_sources: Option<bool>,
    /// What becomes of two hosts on one port.
    #[serde(default)]
    pub collision: Option<Collision>,
    /// Which ports it gives.
    #[serde(default)]
    pub ports: Option<Ports>,
    /// Whether a host keeps one outside address.
    #[serde(default)]
    pub pooling: Option<Pooling>,
    /// The outside addresses that were seen.
    #[serde(default)]
    pub outside: Vec<IpAddr>,
    /// Whether inside hosts reach each other by their outside endpoints.
    #[serde(default)]
    pub hairpin: Option<Hairpin>,
    /// Whether an ICMP error about a packet that left comes to its sender.
    #[serde(default)]
    pub icmp_errors: Option<bool>,
    /// What a packet that nothing lets in is answered with.
    #[serde(default)]
    pub unsolicited: Option<Answered>,
    /// How long flows live.
    #[serde(default)]
    pub expiry: Option<Expiry>,
    /// Datagrams that strangers sent, for a witness on the wire. The first two are those that told the filtering: from the
    /// server's other address and port, and from its other port.
    pub strangers: Vec<Expected>,
    /// What was seen, a line each.
    pub notes: Vec<String>,
}

impl Report {
    /// What the first two strangers tell of the filtering.
    pub fn filtering_of(strangers: &[Expected]) -> Filtering {
        match strangers {
            [both, ..] if both.arrived => Filtering::EndpointIndependent,
            [_, port, ..] if port.arrived => Filtering::AddressDependent,
            _ => Filtering::AddressAndPortDependent,
        }
    }
}

/// What a packet that nothing lets in is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answered {
    /// Nothing.
    Silence,
    /// An ICMP error.
    Icmp,
}

/// Two inside hosts that use the same port at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    /// Whether each kept its own outside endpoint for all destinations; none where mappings depend on the destination.
    pub stable: Option<bool>,
    /// Whether both had the same outside endpoint towards different destinations; none where that would be chance.
    pub shared: Option<bool>,
    /// Whether what was sent to the endpoint of one came to nobody else.
    pub owner_only: bool,
    /// Whether each was open to those only whom its own packets had opened it to; none where all may send.
    pub own_contacts_only: Option<bool>,
}

/// Which ports a gateway gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Which a new mapping gets.
    #[serde(rename = "use")]
    pub usage: PortUse,
    /// What who comes second to a kept port gets.
    pub second: Option<Second>,
    /// How many were given and not kept.
    pub moved: u16,
    /// From the least to the greatest of those.
    pub range: Option<Span>,
    /// Whether those had the parity of the inside ports; none if too few had to tell it from chance.
    pub parity: Option<bool>,
    /// Each host's, where there were two and ports were not kept.
    pub hosts: Option<[Span; 2]>,
    /// Whether those lie apart, each host's in a block.
    pub blocks: Option<bool>,
}

/// Which port a new mapping gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortUse {
    /// The inside one.
    Kept,
    /// One that nothing foretells.
    Random,
    /// One that lies a fixed distance above the last.
    Sequential {
        /// The distance.
        delta: u16,
    },
}

/// What who comes second to a port gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Second {
    /// Another one.
    Another,
    /// None.
    Nothing,
}

/// Ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The least.
    pub first: u16,
    /// The greatest.
    pub last: u16,
}

/// How long flows live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// One that was never answered.
    pub unreplied: Life,
    /// One that was answered, and is older than the plan's `stream_after`.
    pub stream: Life,
    /// One that was answered, and is younger.
    pub young: Life,
    /// A mapping, however busy.
    pub lifetime: Life,
    /// Whose packets keep a flow alive; none where it cannot be told.
    pub refresh: Option<Refresh>,
}

/// The time a flow has to live, as far as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Life {
    /// It was alive after so long.
    #[serde(with = "humantime_serde")]
    pub at_least: Duration,
    /// It was gone after so long; none if it was never seen gone.
    #[serde(with = "humantime_serde")]
    pub at_most: Option<Duration>,
}

impl Life {
    /// Whether a flow that lives so long fits what was seen.
    pub fn fits(&self, time: Duration) -> bool {
        self.at_least <= time && self.at_most.is_none_or(|most| time <= most)
    }

    /// Whether anything was seen.
    pub fn is_known(&self) -> bool {
        *self != Life::default()
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| time.as_secs_f64();
        match self.at_most {
            Some(most) => write!(f, "between {:.1} s and {:.1} s", seconds(self.at_least), seconds(most)),
            None => write!(f, "at least {:.1} s", seconds(self.at_least)),
        }
    }
}

/// A datagram that was sent to an outside endpoint from where nothing had been sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Where it came from.
    pub from: SocketAddr,
    /// Where it was sent to; none if no answer told where that is.
    #[serde(default)]
    pub to: Option<SocketAddr>,
    /// Its STUN transaction, but for the last byte, which tells how often it had been asked for before.
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
