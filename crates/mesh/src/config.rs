//! What a node is told at its start.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::announce::TTL;
use crate::identity::{InvalidPeerId, PeerId};
use crate::lie::Lie;
use crate::network::NetworkKey;

/// A node's settings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Public nodes to begin with.
    pub bootstrap: Vec<Bootstrap>,
    /// STUN servers to detect the NAT with.
    pub stun: Vec<SocketAddr>,
    /// The port of the main socket.
    pub port: u16,
    /// Addresses of this host, by which an untranslated socket is recognised.
    pub host_addresses: Vec<IpAddr>,
    /// Whether, and how, this node serves others.
    pub service: Service,
    /// Whether to take part in birthday searches.
    pub birthday: bool,
    /// Whether to tell and believe which port a NAT will give next, where that follows a rule.
    pub prediction: bool,
    /// Endpoints told to a peer, beside the one that is seen, at most: addresses in the LAN, mapped ports. At most 8 count.
    pub candidates: usize,
    /// Endpoints that our gateway forwards to our main socket from the start; see [`crate::Node::set_mapped_endpoints`].
    pub mapped: Vec<SocketAddr>,
    /// Source of everything random: fresh for each start, or fixed to repeat a run.
    pub seed: [u8; 32],
    /// Larger at each start of the same identity (say, microseconds since 1970): guards against replays.
    pub epoch: u64,
    /// Longest message taken from a peer, in bytes; and all together that are not whole yet or wait for an earlier one.
    pub max_message: usize,
    /// Nodes known from an earlier run, tried beside the bootstrap nodes.
    pub known: Vec<Bootstrap>,
    /// Relays held behind a NAT; at least one is.
    pub relays: usize,
    /// How long what we announce of ourselves holds, in whole seconds; it is said again after a twelfth of that.
    pub announcement_ttl: Duration,
    /// Announcements of others that are kept; nodes beyond them are found by lookup.
    pub view: usize,
    /// Whether to gossip with ordinary peers, too, and not with public nodes that serve others alone.
    pub peer_contact: bool,
    /// For tests of a lab: lie.
    pub lie: Option<Lie>,
    /// Streams that a peer may have open to our owner at once; 0 refuses them.
    pub streams: usize,
    /// Bytes of datagrams to our owner that may wait on a connection; 0 refuses datagrams.
    pub datagrams: usize,
    /// The key without which a node is not of our network.
    pub network: Option<NetworkKey>,
}

impl Config {
    /// Announcements that are kept unless said.
    pub const VIEW: usize = 1000;
    /// The longest that an announcement holds, and how long it does unless said.
    pub const ANNOUNCEMENT_TTL: Duration = TTL;
    /// Shorter ones would be said again more often than neighbours pass them on.
    pub const LEAST_ANNOUNCEMENT_TTL: Duration = Duration::from_secs(12);
    /// Relays held unless said.
    pub const RELAYS: usize = 3;
    /// Relays held at most.
    pub const MOST_RELAYS: usize = 16;
    /// With fewer, lookups have nowhere to begin.
    pub const LEAST_VIEW: usize = 16;
    /// Each takes up to 2 kB.
    pub const MOST_VIEW: usize = 1_000_000;

    /// The defaults, with this seed.
    pub fn new(seed: [u8; 32], epoch: u64) -> Self {
        Self {
            bootstrap: Vec::new(),
            stun: Vec::new(),
            port: 0,
            host_addresses: Vec::new(),
            service: Service::None,
            birthday: true,
            prediction: true,
            candidates: 8,
            mapped: Vec::new(),
            seed,
            epoch,
            max_message: 256 << 20,
            known: Vec::new(),
            relays: Self::RELAYS,
            announcement_ttl: Self::ANNOUNCEMENT_TTL,
            view: Self::VIEW,
            peer_contact: true,
            lie: None,
            streams: 16,
            datagrams: 64 << 10,
            network: None,
        }
    }
}

/// A public node that others start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Who it is.
    pub id: PeerId,
    /// Where it is.
    pub address: SocketAddr,
}

impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.address)
    }
}

/// A text that names no node to start from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBootstrap {
    /// Not an ID and an address.
    #[error("a bootstrap node is given as ID@IP:PORT")]
    Form,
    /// The ID.
    #[error(transparent)]
    Id(#[from] InvalidPeerId),
    /// The address.
    #[error("{0:?} is no IP:PORT (names are not looked up)")]
    Address(String),
}

impl FromStr for Bootstrap {
    type Err = InvalidBootstrap;

    fn from_str(text: &str) -> Result<Self, InvalidBootstrap> {
        let (id, address) = text.split_once('@').ok_or(InvalidBootstrap::Form)?;
        Ok(Self {
            id: id.parse()?,
            address: address.parse().map_err(|_| InvalidBootstrap::Address(address.to_owned()))?,
        })
    }
}

/// What a node does for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Service {
    /// Nothing: an ordinary node.
    None,
    /// Bootstrap and coordination.
    Coordinator,
    /// The same, and relay sessions.
    Relay {
        /// How many sessions at once.
        sessions: usize,
    },
}

impl Service {
    /// Sessions of a relay unless told otherwise.
    pub const DEFAULT_SESSIONS: usize = 50;

    /// Whether this node answers lookups and coordinates.
    pub fn coordinates(self) -> bool {
        self != Self::None
    }

    /// How many relay sessions are served.
    pub fn sessions(self) -> usize {
        match self {
            Self::Relay { sessions } => sessions,
            Self::None | Self::Coordinator => 0,
        }
    }
}
