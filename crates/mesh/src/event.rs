//! What a node tells its owner.

use std::net::SocketAddr;
use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Serialize, Serializer};

use crate::detect::Detection;
use crate::identity::PeerId;
use crate::strategy::Strategy;

/// Which way datagrams to a peer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathKind {
    /// Straight to the peer.
    Direct,
    /// Through a relay.
    Relay,
}

/// How a path came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Encode, Decode)]
#[cbor(index_only)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The initiator's own packet got through.
    #[n(0)]
    Direct,
    /// The responder called back.
    #[n(1)]
    Reversal,
    /// Both sides had to send.
    #[n(2)]
    Punch,
    /// One side searched for a port that the other had opened.
    #[n(3)]
    Birthday,
    /// Nothing else worked.
    #[n(4)]
    Relay,
}

/// Names a message that was handed over for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct MessageId(pub u64);

/// Something that happened. Serialized, it is the object that the daemon prints (without `ms`).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Event {
    /// The detection of our NAT has ended.
    NatDetected(Detection),
    /// Connected to a bootstrap node and announced there.
    Bootstrapped {
        /// Peers that the bootstrap node knows of.
        peers: u64,
    },
    /// A peer was heard of for the first time.
    PeerDiscovered {
        /// The peer.
        peer: PeerId,
    },
    /// A peer's own word of where it is has come, and it is the first or another one than before.
    Announced {
        /// The peer.
        peer: PeerId,
        /// Where it says that anybody can reach it; empty behind most NATs.
        endpoints: Vec<SocketAddr>,
        /// The relays by which it says that it is reached.
        via: Vec<PeerId>,
    },
    /// What was known of a peer counts no more.
    Forgotten {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// A neighbour said that a way to a peer has failed, and we have looked into it.
    FailureReported {
        /// The peer.
        peer: PeerId,
        /// Who said so.
        by: PeerId,
        /// The relay of that way; none if it is a direct one.
        relay: Option<PeerId>,
        /// Whether it is so, as far as we can see.
        confirmed: bool,
    },
    /// A lookup that our owner asked for has ended.
    LookedUp {
        /// Who was sought.
        peer: PeerId,
        /// Whether it was found; it can be connected to then.
        found: bool,
        /// How many nodes were asked.
        asked: u64,
    },
    /// A message has come over other members.
    RoutedReceived {
        /// Who sent it.
        peer: PeerId,
        /// Its content.
        #[serde(skip)]
        data: Vec<u8>,
        /// How many have passed it on.
        hops: u8,
        /// Whether it went to everybody.
        for_all: bool,
    },
    /// Who has heard of a peer lately: as our owner asked, or because we want to connect and what we knew was old.
    RecentContact {
        /// The peer.
        peer: PeerId,
        /// How long ago; none if nobody who was asked has.
        #[serde(serialize_with = "milliseconds_of_some")]
        age: Option<Duration>,
        /// By whom.
        by: Option<PeerId>,
    },
    /// This relay can carry sessions for us.
    RelaySelected {
        /// The relay.
        relay: PeerId,
    },
    /// This relay is gone.
    RelayLost {
        /// The relay.
        relay: PeerId,
    },
    /// A relay has no room for a session that we asked for; the next one is asked.
    RelayFull {
        /// The relay.
        relay: PeerId,
        /// With whom the session would have been.
        peer: PeerId,
    },
    /// As a relay: two members have a session.
    SessionOpened {
        /// Who asked for it.
        requester: PeerId,
        /// The other one.
        peer: PeerId,
        /// How many are open now.
        sessions: u64,
    },
    /// As a relay: a session is no more.
    SessionEnded {
        /// Who had asked for it.
        requester: PeerId,
        /// The other one.
        peer: PeerId,
        /// Why.
        reason: String,
        /// Frames that went through it.
        frames: u64,
        /// Their bytes.
        bytes: u64,
        /// How many are still open.
        sessions: u64,
    },
    /// As a relay: a session was asked for that could not be had.
    SessionRefused {
        /// Who asked for it.
        requester: PeerId,
        /// The other one.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// As a coordinator: what has come of an attempt that we arranged, as the one who asked for it says.
    PunchReported {
        /// Who asked.
        initiator: PeerId,
        /// Whom it wanted to reach.
        responder: PeerId,
        /// Whether there is a direct path.
        success: bool,
        /// Probes that the initiator sent.
        probes: u64,
    },
    /// An attempt at a direct path begins, or goes on by another strategy.
    PunchStarted {
        /// The peer.
        peer: PeerId,
        /// What is tried.
        strategy: Strategy,
    },
    /// The attempts at a direct path are over.
    PunchResult {
        /// The peer.
        peer: PeerId,
        /// Whether there is a direct path.
        success: bool,
        /// Probes that we sent.
        probes: u64,
    },
    /// There is an end-to-end connection.
    Connected {
        /// The peer.
        peer: PeerId,
        /// The path of its first moment.
        kind: PathKind,
        /// Since it was asked for (for the responder: since the peer was first heard of).
        #[serde(serialize_with = "milliseconds")]
        elapsed: Duration,
    },
    /// A connection goes another way now.
    PathChanged {
        /// The peer.
        peer: PeerId,
        /// The old path.
        from: PathKind,
        /// The new path.
        to: PathKind,
        /// Why.
        reason: String,
    },
    /// Attempts are over: this is the path that stays.
    Settled {
        /// The peer.
        peer: PeerId,
        /// The path.
        path: PathKind,
        /// How it came to be.
        kind: Kind,
        /// Since the connection was asked for.
        #[serde(serialize_with = "milliseconds")]
        elapsed: Duration,
    },
    /// Attempts are over and there is no path.
    ConnectFailed {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// The receiver has acknowledged all of a message.
    Sent {
        /// The peer.
        peer: PeerId,
        /// Which message.
        #[serde(skip)]
        message: MessageId,
        /// Its length.
        bytes: u64,
        /// The path at that moment.
        path: PathKind,
    },
    /// A message could not be sent.
    SendFailed {
        /// The peer.
        peer: PeerId,
        /// Which message.
        #[serde(skip)]
        message: MessageId,
        /// Why.
        reason: String,
    },
    /// A whole message has arrived.
    MessageReceived {
        /// The peer.
        peer: PeerId,
        /// Its content.
        #[serde(skip)]
        data: Vec<u8>,
        /// The path that its last datagram took.
        path: PathKind,
    },
    /// A datagram has arrived.
    DatagramReceived {
        /// The peer.
        peer: PeerId,
        /// Its content.
        #[serde(skip)]
        data: Vec<u8>,
        /// The path that it took.
        path: PathKind,
    },
    /// A peer has answered a ping.
    PingAnswered {
        /// The peer.
        peer: PeerId,
        /// How long it took, in microseconds.
        #[serde(serialize_with = "microseconds")]
        took: Duration,
        /// The path that the answer took.
        path: PathKind,
    },
    /// A path no longer works.
    PathFailed {
        /// The peer.
        peer: PeerId,
        /// Which.
        path: PathKind,
        /// Why.
        reason: String,
    },
    /// A connection has ended.
    Disconnected {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: String,
    },
    /// Something that came in was refused.
    Rejected {
        /// What.
        what: String,
        /// Why.
        why: String,
        /// From where.
        from: SocketAddr,
    },
    /// Something is missing; we go on without it.
    Warning {
        /// What, and what it means.
        message: String,
    },
    /// Something is wrong on our side.
    Error {
        /// What, and what can be done.
        message: String,
    },
}

fn milliseconds_of_some<S: Serializer>(elapsed: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    elapsed.map(|elapsed| elapsed.as_millis() as u64).serialize(serializer)
}

fn milliseconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(elapsed.as_millis() as u64)
}

fn microseconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(took.as_micros() as u64)
}
