//! What connected nodes say to each other on QUIC streams, besides their owners' messages.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use crate::announce::Passed;
use crate::event::Kind;
use crate::freshness::Sighting;
use crate::gossip::{Held, Sums};
use crate::identity::PeerId;
use crate::node::FailedPath;
use crate::relay::SessionId;
use crate::routing::Routed;

/// Asked on a stream of its own.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(crate) enum Request {
    /// Take note of me.
    #[n(0)]
    Announce {
        /// A signed announcement.
        #[cbor(n(0), with = "minicbor::bytes")]
        signed: Vec<u8>,
    },
    /// Who is this, and where?
    #[n(1)]
    Lookup {
        #[n(0)]
        peer: PeerId,
    },
    /// Relay between me and this peer.
    #[n(2)]
    OpenSession {
        #[n(0)]
        peer: PeerId,
    },
    /// A relay says: this peer wants a session with you.
    #[n(3)]
    Offer {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        peer: PeerId,
    },
    /// Do we know the same?
    #[n(10)]
    Compare {
        /// What the asker knows, in sums.
        #[n(0)]
        sums: Sums,
        /// The asker wants to know of nodes that have so many bits in common with it, and of those that can be asked.
        #[n(1)]
        horizon: u8,
        /// How many it has room for.
        #[n(2)]
        room: u64,
    },
    /// Tell me of these.
    #[n(11)]
    Want {
        #[n(0)]
        peers: Vec<PeerId>,
    },
    /// Who has heard of this peer lately?
    #[n(12)]
    WhoHasRecent {
        #[n(0)]
        peer: PeerId,
        /// In seconds.
        #[n(1)]
        max_age: u64,
        /// How many nodes farther the question may go.
        #[n(2)]
        hops: u8,
    },
    /// Are you connected to this peer, too, so that you could bring us together?
    #[n(30)]
    Acquainted {
        #[n(0)]
        peer: PeerId,
    },
    /// Are you there? Asked so that the time to the answer can be taken.
    #[n(40)]
    Ping,
}

/// The answer to a [`Request`].
#[derive(Debug, PartialEq, Encode, Decode)]
pub(crate) enum Reply {
    #[n(0)]
    Announced {
        /// Peers known here.
        #[n(0)]
        peers: u64,
        /// Whether sessions can be had here.
        #[n(1)]
        relays: bool,
        /// Sessions in use, in per cent of those that are served.
        #[n(2)]
        load: Option<u8>,
    },
    #[n(1)]
    Found {
        /// The peer's own signed announcement.
        #[cbor(n(0), with = "minicbor::bytes")]
        signed: Vec<u8>,
        /// Where it was seen, if it is connected here.
        #[n(1)]
        observed: Option<SocketAddr>,
    },
    #[n(2)]
    NotFound,
    #[n(3)]
    Session {
        #[n(0)]
        session: SessionId,
        /// Sessions in use, in per cent of those that are served.
        #[n(1)]
        load: Option<u8>,
    },
    #[n(4)]
    Accepted,
    #[n(5)]
    Refused {
        #[n(0)]
        reason: String,
    },
    /// What is known here where the sums differ.
    #[n(10)]
    Compared {
        #[n(0)]
        held: Vec<Held>,
        /// Which of the asker's sums differ, one bit for each.
        #[n(1)]
        differing: u16,
    },
    #[n(11)]
    Facts {
        #[n(0)]
        facts: Vec<Passed>,
    },
    #[n(12)]
    Recent {
        /// The most recent contact that is known.
        #[n(0)]
        sighting: Option<Sighting>,
    },
    /// There is no room for a session now, or none for this requester; others may have some.
    #[n(20)]
    Full {
        #[n(0)]
        reason: String,
    },
    #[n(30)]
    Acquainted {
        /// Where the peer is seen.
        #[n(0)]
        observed: SocketAddr,
        /// Microseconds to the peer and back.
        #[n(1)]
        round_trip: u64,
    },
    #[n(40)]
    Pong,
}

/// Said without an answer.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(crate) enum Notice {
    /// From the initiator, first of all: this connection is for messages between our owners.
    #[n(0)]
    Contact,
    /// From the initiator: the attempts are over, and this is how the path came to be.
    #[n(1)]
    Settled {
        #[n(0)]
        kind: Kind,
    },
    /// From a relay: a session is no more.
    #[n(2)]
    SessionClosed {
        #[n(0)]
        session: SessionId,
    },
    /// To a relay: a session of mine is not needed any more.
    #[n(20)]
    CloseSession {
        #[n(0)]
        session: SessionId,
    },
    /// To the coordinator that was asked: what came of it.
    #[n(3)]
    Outcome {
        #[n(0)]
        target: PeerId,
        #[n(1)]
        success: bool,
        #[n(2)]
        probes: u64,
    },
    /// News of nodes.
    #[n(10)]
    Facts {
        #[n(0)]
        facts: Vec<Passed>,
    },
    /// This way to a peer does not work any more.
    #[n(12)]
    PathFailed {
        #[n(0)]
        peer: PeerId,
        #[n(1)]
        path: FailedPath,
        /// How many nodes farther this may go.
        #[n(2)]
        hops: u8,
    },
    /// A message that is to be passed on.
    #[n(13)]
    Routed {
        #[n(0)]
        routed: Routed,
    },
    /// I want news of nodes that have so many bits in common with me, and of those that can be asked.
    #[n(11)]
    Horizon {
        #[n(0)]
        bits: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::Coordination;
    use crate::probe::{Probe, ProbeAnswer, ProbeEcho};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            // Reading them must end; whether any of them is well-formed is chance.
            let _ = minicbor::decode::<Request>(&bytes);
            let _ = minicbor::decode::<Reply>(&bytes);
            let _ = minicbor::decode::<Notice>(&bytes);
            let _ = minicbor::decode::<Coordination>(&bytes);
            let _ = minicbor::decode::<crate::lookup::LookupMessage>(&bytes);
            let _ = minicbor::decode::<Probe>(&bytes);
            let _ = minicbor::decode::<ProbeAnswer>(&bytes);
            let _ = minicbor::decode::<ProbeEcho>(&bytes);
        }

        #[test]
        fn damaged_replies_never_panic(at in 0usize..64, flip in 1u8..) {
            let reply = Reply::Found {
                signed: vec![7; 30],
                observed: "1.2.3.4:5".parse().ok(),
            };
            let mut bytes = minicbor::to_vec(&reply).expect("encodes");
            prop_assert_eq!(minicbor::decode::<Reply>(&bytes).expect("reads back"), reply);
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let _ = minicbor::decode::<Reply>(&bytes);
        }
    }
}
