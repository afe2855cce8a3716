//! The node under test, as both backends see it: its events, and how its datagrams look.

use natrig_record::{Claim, Path};
use serde_json::Value;

/// First payload bytes of omerta-mesh's datagrams to and from a coordinator.
pub const COORDINATION: &[u8] = &[7];

/// First payload bytes of the node's datagrams that probe a path.
pub const PROBES: &[u8] = &[4, 5, 6];

/// What a node reported: an event as the node wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeEvent(pub Value);

impl NodeEvent {
    /// A field that is a string.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    /// Whether it is an event of this name.
    pub fn is(&self, name: &str) -> bool {
        self.text("event") == Some(name)
    }

    /// Whether it is an event of this name about this peer.
    pub fn about(&self, name: &str, peer: &str) -> bool {
        self.is(name) && self.text("peer") == Some(peer)
    }

    /// Whether it says of the way to a peer that there is one, or that there is none.
    pub fn tells_of_connection(&self, peer: &str) -> bool {
        ["connected", "settled", "connectFailed"].iter().any(|name| self.about(name, peer))
    }

    /// Whether it says that the node will try no further for a way to a peer.
    pub fn is_final(&self, peer: &str) -> bool {
        self.about("settled", peer) || self.about("connectFailed", peer)
    }

    /// What a machine's node says of its path in it.
    pub fn claim(&self, machine: &str) -> Claim {
        let path = match self.text("path") {
            Some("direct") => Path::Direct,
            Some("relay") => Path::Relay,
            _ => Path::None,
        };
        Claim { machine: machine.to_owned(), path, kind: self.text("kind").map(str::to_owned) }
    }
}
