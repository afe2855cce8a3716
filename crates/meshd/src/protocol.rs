//! What commands say to a running node over its control socket, and what it answers.
//!
//! A request is a line of JSON, and so is an answer; where either has `bytes` in it, so many bytes follow. One after the other
//! may be asked on a connection.

use std::net::SocketAddr;

use omerta_mesh::PeerId;
use omerta_mesh_core::PathKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest line.
pub const MAX_LINE: usize = 1 << 20;
/// Longest message.
pub const MAX_MESSAGE: u64 = 256 << 20;

/// What is wanted of the node. Times are milliseconds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// How it does.
    Status,
    /// Connected peers.
    Peers,
    /// Its NAT.
    Nat,
    /// A link for others.
    Invite {
        /// Where the node is reached.
        address: Option<SocketAddr>,
    },
    /// The way to a peer and back.
    Ping {
        /// Who.
        peer: PeerId,
        /// How long to wait.
        timeout: u64,
    },
    /// A message, which follows.
    Send {
        /// To whom.
        peer: PeerId,
        /// Its length.
        bytes: u64,
        /// How long to wait.
        timeout: u64,
    },
    /// The next message that has come.
    Recv {
        /// From this peer only.
        from: Option<PeerId>,
        /// How long to wait, if not for ever.
        timeout: Option<u64>,
    },
}

/// What the node answers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// As wanted.
    Done(Value),
    /// A message, which follows.
    Message {
        /// From whom.
        peer: PeerId,
        /// Its length.
        bytes: u64,
        /// The path that it took.
        path: Way,
    },
    /// It did not come about.
    Failed(String),
    /// The request is wrong.
    Wrong(String),
}

/// A path's kind, to be read, too.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// Straight.
    Direct,
    /// Through a relay.
    Relay,
}

impl From<PathKind> for Way {
    fn from(kind: PathKind) -> Self {
        match kind {
            PathKind::Direct => Self::Direct,
            PathKind::Relay => Self::Relay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_read_back() {
        let peer = PeerId::from_bytes([3; 32]);
        for request in [
            Request::Status,
            Request::Invite { address: "1.2.3.4:5".parse().ok() },
            Request::Send { peer, bytes: 9, timeout: 1000 },
            Request::Recv { from: None, timeout: None },
        ] {
            let text = serde_json::to_string(&request).expect("JSON");
            assert_eq!(serde_json::from_str::<Request>(&text).expect("reads"), request, "{text}");
        }
        for answer in [
            Answer::Done(serde_json::json!({"a": 1})),
            Answer::Message { peer, bytes: 3, path: Way::Relay },
            Answer::Failed("no".to_owned()),
        ] {
            let text = serde_json::to_string(&answer).expect("JSON");
            assert_eq!(serde_json::from_str::<Answer>(&text).expect("reads"), answer, "{text}");
        }
    }

    #[test]
    fn arbitrary_requests_never_panic() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            // Whether it is one is chance; that reading ends is what counts.
            let _ = serde_json::from_slice::<Request>(bytes);
            let _ = serde_json::from_slice::<Answer>(bytes);
        });
    }
}
