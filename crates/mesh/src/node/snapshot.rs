//! A node's state at one moment, to be looked at.

use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use crate::config::Service;
use crate::counters::Counters;
use crate::detect::{Detection, Detector};
use crate::event::PathKind;
use crate::identity::PeerId;
use crate::net::Path;
use crate::quic::ConnectionState;

use super::contact::ContactState;
use super::entrance::EntranceState;
use super::path::{Links, Peer};
use super::{Node, Pending};

/// A node's state. Times are microseconds from the moment on, or back from it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    id: PeerId,
    service: Service,
    /// Whether the NAT is being looked at.
    detecting: bool,
    detection: Option<Detection>,
    entrances: Vec<EntranceState>,
    /// Relays held, the best first.
    relays: Vec<PeerId>,
    peers: Vec<PeerState>,
    /// Sessions that it serves.
    sessions: Vec<SessionState>,
    /// Sessions that it is a member of.
    memberships: Vec<MembershipState>,
    /// Requests without an answer yet.
    pending: Vec<PendingState>,
    /// Messages that nobody has acknowledged yet.
    messages: Vec<MessageState>,
    /// Announcements known.
    known_announcements: usize,
    /// Announcements refused, by who passed them on.
    refused_announcements: Vec<(PeerId, u64)>,
    timers: Timers,
    counters: Counters,
}

/// When each part of a node wants to be woken.
#[derive(Clone, Debug, Serialize)]
struct Timers {
    detector: Option<i64>,
    quic: Option<i64>,
    entrances: Option<i64>,
    peers: Option<i64>,
    gossip: Option<i64>,
    sessions: Option<i64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PeerState {
    id: PeerId,
    direct: Option<PathState>,
    alternates: Vec<PathState>,
    /// Its relay sessions, the one in use first.
    relays: Vec<MembershipState>,
    /// The way that packets to it go.
    carrying: Option<PathKind>,
    /// The way that its last packet came.
    received: Option<PathKind>,
    heard: Option<i64>,
    unanswered_since: Option<i64>,
    /// Probes sent to see whether the direct path still works.
    checks: Option<u32>,
    due: Option<i64>,
    contact: Option<ContactState>,
    connection: Option<ConnectionState>,
}

#[derive(Clone, Debug, Serialize)]
struct PathState {
    socket: u32,
    remote: SocketAddr,
}

#[derive(Clone, Debug, Serialize)]
struct SessionState {
    session: String,
    members: [PeerId; 2],
    frames: u64,
    bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
struct MembershipState {
    session: String,
    relay: PeerId,
    peer: PeerId,
}

#[derive(Clone, Debug, Serialize)]
struct PendingState {
    asked: PeerId,
    #[serde(rename = "for")]
    what: &'static str,
    about: Option<PeerId>,
}

#[derive(Clone, Debug, Serialize)]
struct MessageState {
    to: PeerId,
    bytes: u64,
}

/// Microseconds from `now` to `at`; negative if that is past.
pub(in crate::node) fn micros(now: Instant, at: Instant) -> i64 {
    match at.checked_duration_since(now) {
        Some(ahead) => ahead.as_micros() as i64,
        None => -(now.saturating_duration_since(at).as_micros() as i64),
    }
}

impl From<&Path> for PathState {
    fn from(path: &Path) -> Self {
        Self { socket: path.socket.0, remote: path.remote }
    }
}

impl Node {
    /// All of the node's state that decides what it does next, for people who have stopped the time.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let micros = |at| micros(now, at);
        let session = |id: crate::relay::SessionId| format!("{:016x}", id.0);
        let memberships = self.memberships.iter();
        let pending = self.pending.iter().map(|((asked, _), pending)| {
            let (what, about) = match pending {
                Pending::Announce => ("announce", None),
                Pending::Lookup { peer } => ("lookup", Some(*peer)),
                Pending::Recent { target } => ("whoHasRecent", Some(*target)),
                Pending::Check { peer } => ("check", Some(*peer)),
                Pending::Compare => ("compare", None),
                Pending::Want { .. } => ("want", None),
                Pending::Survey { peer } => ("survey", Some(*peer)),
                Pending::Session { peer } => ("session", Some(*peer)),
                Pending::Offer { requester, .. } => ("offer", Some(*requester)),
                Pending::Ping { .. } => ("ping", None),
            };
            PendingState { asked: *asked, what, about }
        });
        Snapshot {
            id: self.id(),
            service: self.config.service,
            detecting: self.detector.is_some(),
            detection: self.detection,
            entrances: self.entrances.iter().map(|entrance| entrance.state(now)).collect(),
            relays: self.relays.held().to_vec(),
            peers: self.peers.iter().map(|(id, peer)| self.peer_state(now, *id, peer)).collect(),
            sessions: self
                .sessions
                .iter()
                .map(|(id, served)| SessionState {
                    session: session(*id),
                    members: served.members,
                    frames: served.frames,
                    bytes: served.bytes,
                })
                .collect(),
            memberships: memberships
                .map(|(id, held)| MembershipState {
                    session: session(*id),
                    relay: held.relay,
                    peer: held.peer,
                })
                .collect(),
            pending: pending.collect(),
            messages: self.messages.iter().map(|(to, bytes)| MessageState { to, bytes }).collect(),
            known_announcements: self.directory.len(),
            refused_announcements: self.gossip.rejected().map(|(peer, count)| (*peer, count)).collect(),
            timers: Timers {
                detector: self.detector.as_ref().and_then(Detector::poll_timeout).map(micros),
                quic: self.quic.poll_timeout().map(micros),
                entrances: self.entrances_timeout().map(micros),
                peers: self.peers.first_deadline().map(micros),
                gossip: self.gossip_timeout().map(micros),
                sessions: self.sessions.poll_timeout().map(micros),
            },
            counters: self.counters.clone(),
        }
    }

    fn peer_state(&self, now: Instant, id: PeerId, peer: &Peer) -> PeerState {
        let micros = |at| micros(now, at);
        let links: Links<'_> = self.links();
        PeerState {
            id,
            direct: peer.direct.as_ref().map(Into::into),
            alternates: peer.alternates.iter().map(Into::into).collect(),
            relays: peer
                .sessions
                .iter()
                .map(|way| MembershipState {
                    session: format!("{:016x}", way.session.0),
                    relay: way.relay,
                    peer: id,
                })
                .collect(),
            carrying: peer.carrying,
            received: peer.received,
            heard: peer.heard.map(micros),
            unanswered_since: peer.liveness.asked().map(micros),
            checks: peer.liveness.checks(),
            due: links.timeout(&id, peer).map(micros),
            contact: peer.contact.as_ref().map(|contact| contact.state(now)),
            connection: self.quic.state(now, &id),
        }
    }
}
