//! The ways to each peer: how they are proven, chosen and lost.

use std::time::{Duration, Instant};

use indexmap::IndexSet;

use crate::budget::Budget;
use crate::event::{Event, PathKind};
use crate::identity::PeerId;
use crate::net::{Path, SocketId, SocketRequest, Transmit};
use crate::probe::{Probe, ProbeAnswer, ProbeEcho, Purpose};
use crate::quic::{Packet, Quic};
use crate::relay::{SessionId, frame, unframe};
use crate::wire::Kind as DatagramKind;

use super::Node;
use super::contact::Contact;
use super::entrance::Entrance;

/// Proven paths kept beside the one in use.
const MAX_ALTERNATES: usize = 4;
/// Silence after a packet of ours that makes a direct path suspect, at least.
const MIN_PATIENCE: Duration = Duration::from_secs(1);
/// A suspect path is probed this often, at this pace, before it counts as failed.
const CHECKS: u32 = 4;
const CHECK_GAP: Duration = Duration::from_millis(200);
/// Where there is no other path, the checks go on after a rest.
const CHECK_REST: Duration = Duration::from_secs(2);
/// A node that has proven a path and then says nothing is forgotten.
const UNLINKED: Duration = Duration::from_secs(30);
/// A direct path silent for this long gives way to one that was proven just now.
const STALE: Duration = Duration::from_secs(2);

/// A way through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RelayPath {
    pub relay: PeerId,
    pub session: SessionId,
}

/// What we hold of a node that we have a path to, or seek one.
#[derive(Default)]
pub(super) struct Peer {
    /// The direct path that we send on.
    pub direct: Option<Path>,
    /// Other proven direct paths, on which the peer may send.
    pub alternates: Vec<Path>,
    pub relay: Option<RelayPath>,
    /// The way that packets go now.
    pub carrying: Option<PathKind>,
    /// The way that the last packet came.
    pub received: Option<PathKind>,
    /// When something last came directly.
    pub heard: Option<Instant>,
    /// When the first packet that asks for an answer was sent directly, if nothing has come back since.
    pub unanswered: Option<Instant>,
    pub check: Option<Check>,
    /// Bounds what this node may have us do.
    pub budget: Option<Budget>,
    /// Makes the transactions of our probes fresh.
    pub attempt: u64,
    pub contact: Option<Contact>,
}

/// The probing of a suspect path.
pub(super) struct Check {
    pub sent: u32,
    next: Instant,
}

impl Peer {
    fn hear(&mut self, now: Instant) {
        self.heard = Some(now);
        self.unanswered = None;
        self.check = None;
    }
}

/// What a peer's deadline hangs on besides the peer itself.
#[derive(Clone, Copy)]
pub(super) struct Links<'a> {
    pub quic: &'a Quic,
    pub entrances: &'a [Entrance],
}

impl Links<'_> {
    /// When something has to be done about a peer.
    pub fn timeout(self, id: &PeerId, peer: &Peer) -> Option<Instant> {
        let contact = peer.contact.as_ref().and_then(Contact::timeout);
        contact.into_iter().chain(self.path_timeout(id, peer)).min()
    }

    fn path_timeout(self, id: &PeerId, peer: &Peer) -> Option<Instant> {
        if self.is_unlinked(id, peer) {
            return peer.heard.map(|heard| heard + UNLINKED);
        }
        match (peer.carrying, &peer.check, peer.unanswered) {
            (Some(PathKind::Direct), Some(check), _) => Some(check.next),
            (Some(PathKind::Direct), None, Some(since)) => Some(since + self.patience(id)),
            _ => None,
        }
    }

    fn patience(self, id: &PeerId) -> Duration {
        // A probe timeout is about two round trips.
        MIN_PATIENCE.max(6 * self.quic.rtt(id).unwrap_or_default())
    }

    /// Whether nothing but a proven path is held of a node.
    fn is_unlinked(self, id: &PeerId, peer: &Peer) -> bool {
        let is_entrance = || self.entrances.iter().any(|entrance| entrance.bootstrap.id == *id);
        peer.contact.is_none() && !self.quic.has_connection(id) && !is_entrance()
    }
}

/// How a path was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The peer answered a probe of ours.
    Answer(Purpose),
    /// The peer's probe came, and its echo.
    Echo,
}

impl Node {
    pub(super) fn peer(&mut self, id: PeerId) -> &mut Peer {
        self.peers.get_or_new(id)
    }

    /// Makes the transactions of the coming probes different from all earlier ones.
    pub(super) fn renew_attempt(&mut self, peer: PeerId) {
        self.attempts += 1;
        let attempt = self.attempts;
        self.peer(peer).attempt = attempt;
    }

    pub(super) fn send_probe(&mut self, peer: PeerId, path: Path, purpose: Purpose) {
        let attempt = self.peers.get(&peer).map_or(0, |peer| peer.attempt);
        let probe =
            Probe { transaction: self.tokens.transaction(purpose, attempt, &peer, &path), padding: [0; 24] };
        self.send_sealed(DatagramKind::Probe, &peer, path, &probe);
    }

    pub(super) fn handle_probe(&mut self, peer: PeerId, path: Path, probe: Probe) {
        let answer = ProbeAnswer {
            transaction: probe.transaction,
            observed: path.remote,
            nonce: self.tokens.nonce(&probe.transaction, &peer, &path),
        };
        self.send_sealed(DatagramKind::ProbeAnswer, &peer, path, &answer);
    }

    pub(super) fn handle_answer(&mut self, now: Instant, peer: PeerId, path: Path, answer: ProbeAnswer) {
        let Some(state) = self.peers.get(&peer) else {
            return;
        };
        let attempt = state.attempt;
        let made = |purpose: &Purpose| {
            self.tokens.transaction(*purpose, attempt, &peer, &path) == answer.transaction
        };
        let Some(purpose) = Purpose::ALL.into_iter().find(made) else {
            // Authentic, but from elsewhere than where the probe went: ask again, there.
            if state.contact.as_ref().is_some_and(|contact| contact.is_towards(path.remote.ip())) {
                self.send_probe(peer, path, Purpose::Punch);
            }
            return;
        };
        self.observed_by(now, peer, path, answer.observed);
        let Some(state) = self.peers.get(&peer) else {
            return;
        };
        // Of several ways that work, the first is taken: an echo says to the peer that this one is.
        let is_wanted = match state.direct {
            None => true,
            Some(direct) => direct == path || self.is_stale(now, &peer),
        };
        if is_wanted {
            let echo = ProbeEcho { transaction: answer.transaction, nonce: answer.nonce };
            self.send_sealed(DatagramKind::ProbeEcho, &peer, path, &echo);
            self.path_proven(now, peer, path, Proof::Answer(purpose));
        }
    }

    pub(super) fn handle_echo(&mut self, now: Instant, peer: PeerId, path: Path, echo: ProbeEcho) {
        if self.tokens.nonce(&echo.transaction, &peer, &path) == echo.nonce {
            self.path_proven(now, peer, path, Proof::Echo);
        }
    }

    fn is_stale(&self, now: Instant, peer: &PeerId) -> bool {
        let heard = self.peers.get(peer).and_then(|peer| peer.heard);
        heard.is_none_or(|heard| now.saturating_duration_since(heard) > STALE)
    }

    fn path_proven(&mut self, now: Instant, id: PeerId, path: Path, proof: Proof) {
        let stale = self.is_stale(now, &id);
        self.routes.insert(path, id);
        let peer = self.peer(id);
        match peer.direct {
            Some(direct) if direct == path => peer.hear(now),
            Some(_) if !stale => {
                if !peer.alternates.contains(&path) {
                    peer.alternates.push(path);
                }
            }
            old => {
                peer.direct = Some(path);
                peer.hear(now);
                peer.alternates.retain(|alternate| *alternate != path);
                peer.alternates.extend(old);
                let moved = old.is_some() && peer.carrying == Some(PathKind::Direct);
                if moved {
                    self.quic.path_changed(now, &id);
                }
            }
        }
        self.bound_alternates(&id);
        self.choose_path(now, &id, "a direct path was proven");
        self.entrance_reached(now, &id);
        self.contact_reached(now, id, proof);
    }

    fn bound_alternates(&mut self, id: &PeerId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let surplus = peer.alternates.len().saturating_sub(MAX_ALTERNATES);
        let dropped: Vec<Path> = peer.alternates.drain(..surplus).collect();
        for path in dropped {
            self.routes.remove(&path);
        }
    }

    /// Lets packets go the best way that there is.
    pub(super) fn choose_path(&mut self, now: Instant, id: &PeerId, reason: &str) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let best = match (peer.direct, peer.relay) {
            (Some(_), _) => Some(PathKind::Direct),
            (None, Some(_)) => Some(PathKind::Relay),
            (None, None) => None,
        };
        let old = std::mem::replace(&mut peer.carrying, best);
        let announced = peer.contact.as_ref().is_some_and(|contact| contact.connected);
        if let (Some(from), Some(to)) = (old, best)
            && from != to
        {
            if announced {
                self.events.push_back(Event::PathChanged { peer: *id, from, to, reason: reason.to_owned() });
            }
            self.quic.path_changed(now, id);
        }
    }

    /// Takes a QUIC packet that came directly.
    pub(super) fn handle_packet(&mut self, now: Instant, path: Path, packet: &[u8]) {
        // Before a path is proven nobody's packets are taken from it.
        let Some(&id) = self.routes.get(&path) else {
            return;
        };
        let follows = self.quic.is_begun_by_peer(&id);
        let peer = self.peer(id);
        if peer.direct == Some(path) {
            peer.hear(now);
        }
        peer.received = Some(PathKind::Direct);
        if follows && peer.direct.is_some_and(|direct| direct != path) {
            // Both ways work; the side that began the connection chooses.
            peer.alternates.retain(|alternate| *alternate != path);
            peer.alternates.extend(peer.direct.replace(path));
            self.quic.path_changed(now, &id);
        }
        self.quic.handle_datagram(now, id, packet);
    }

    /// Takes a relay's frame: to be passed on, or for us.
    pub(super) fn handle_relay_frame(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let (Some(&sender), Some((session, packet))) = (self.routes.get(&path), unframe(datagram)) else {
            return;
        };
        if let Some(to) = self.sessions.forward(now, session, &sender, packet.len()) {
            if let Some(path) = self.peers.get(&to).and_then(|peer| peer.direct) {
                let payload = datagram.to_vec();
                self.transmits.push_back(Transmit { path, payload });
            }
        } else if let Some(&membership) = self.memberships.get(&session)
            && membership.relay == sender
        {
            let peer = self.peer(membership.peer);
            peer.received = Some(PathKind::Relay);
            // A peer that takes the relay now may have lost the direct path; we send on it, perhaps in vain.
            let was_silent = peer.heard.is_none_or(|heard| now >= heard + MIN_PATIENCE);
            if peer.carrying == Some(PathKind::Direct) && was_silent && peer.check.is_none() {
                self.check_path(now, membership.peer);
            }
            self.quic.handle_datagram(now, membership.peer, packet);
        }
    }

    /// Sends a QUIC packet the way that is chosen; without one it is lost, as packets may be.
    pub(super) fn send_packet(&mut self, now: Instant, packet: Packet) {
        let Packet { peer: id, payload: packet, asks } = packet;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let transmit = match (peer.carrying, peer.direct, peer.relay) {
            (Some(PathKind::Direct), Some(path), _) => {
                if asks {
                    peer.unanswered.get_or_insert(now);
                }
                Some(Transmit { path, payload: packet })
            }
            (Some(PathKind::Relay), _, Some(relay)) => {
                let path = self.peers.get(&relay.relay).and_then(|relay| relay.direct);
                path.map(|path| Transmit { path, payload: frame(relay.session, &packet) })
            }
            _ => None,
        };
        self.transmits.extend(transmit);
    }

    /// Enters a session that `relay` has opened between us and `id`.
    pub(super) fn join_session(&mut self, now: Instant, relay: PeerId, id: PeerId, session: SessionId) {
        self.memberships.insert(session, super::Membership { relay, peer: id });
        self.peer(id).relay = Some(RelayPath { relay, session });
        self.choose_path(now, &id, "a relay session was opened");
    }

    /// A relay is gone: so are the sessions on it.
    pub(super) fn leave_relay(&mut self, now: Instant, relay: &PeerId) {
        let mut peers = Vec::new();
        self.memberships.retain(|_, membership| {
            let lost = membership.relay == *relay;
            if lost {
                peers.push(membership.peer);
            }
            !lost
        });
        for peer in peers {
            self.lose_relay_path(now, &peer, "the relay is gone");
        }
    }

    pub(super) fn lose_relay_path(&mut self, now: Instant, id: &PeerId, reason: &str) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if peer.relay.take().is_some() && peer.carrying == Some(PathKind::Relay) {
            self.events.push_back(Event::PathFailed {
                peer: *id,
                path: PathKind::Relay,
                reason: reason.to_owned(),
            });
        }
        self.choose_path(now, id, reason);
    }

    /// Closes those of `sockets` that no path of `id` uses.
    pub(super) fn close_unused(&mut self, id: &PeerId, sockets: &[SocketId]) {
        let used: Vec<SocketId> = self.peers.get(id).map_or(Vec::new(), |peer| {
            let paths = peer.direct.iter().chain(&peer.alternates);
            paths.map(|path| path.socket).collect()
        });
        let unused = sockets.iter().filter(|socket| !used.contains(socket));
        self.sockets.extend(unused.copied().map(SocketRequest::Close));
    }

    /// Drops all that is held of a peer.
    pub(super) fn forget_peer(&mut self, id: &PeerId) {
        let Some(peer) = self.peers.remove(id) else {
            return;
        };
        self.memberships.retain(|_, membership| membership.peer != *id);
        let mut extra: IndexSet<SocketId> = IndexSet::new();
        for path in peer.direct.iter().chain(&peer.alternates) {
            self.routes.remove(path);
            extra.insert(path.socket);
        }
        extra.extend(peer.contact.iter().flat_map(Contact::sockets));
        extra.shift_remove(&SocketId::MAIN);
        self.sockets.extend(extra.into_iter().map(SocketRequest::Close));
    }

    /// Probes a direct path on which packets stay unanswered, and gives up one that fails.
    pub(super) fn drive_path(&mut self, now: Instant, id: PeerId) {
        let links = self.links();
        let timeout = self.peers.get(&id).and_then(|peer| links.path_timeout(&id, peer));
        let is_unlinked = self.peers.get(&id).is_some_and(|peer| links.is_unlinked(&id, peer));
        if timeout.is_none_or(|at| at > now) {
            // What was known when it was last touched holds no more: a round trip takes longer now.
            self.peers.get_mut(&id);
        } else if is_unlinked {
            self.forget_peer(&id);
        } else {
            self.check_path(now, id);
        }
    }

    pub(super) fn links(&self) -> Links<'_> {
        Links { quic: &self.quic, entrances: &self.entrances }
    }

    fn check_path(&mut self, now: Instant, id: PeerId) {
        let fresh = self.peers.get(&id).is_some_and(|peer| peer.check.is_none());
        if fresh {
            self.renew_attempt(id);
        }
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(path) = peer.direct else {
            return;
        };
        let check = peer.check.get_or_insert(Check { sent: 0, next: now });
        if check.sent < CHECKS {
            check.sent += 1;
            check.next = now + CHECK_GAP;
            self.send_probe(id, path, Purpose::Check);
        } else if peer.relay.is_some() {
            peer.check = None;
            peer.unanswered = None;
            peer.direct = None;
            // The peer may find it working again before we do.
            peer.alternates.push(path);
            self.events.push_back(Event::PathFailed {
                peer: id,
                path: PathKind::Direct,
                reason: "packets and probes stay unanswered".to_owned(),
            });
            self.bound_alternates(&id);
            self.choose_path(now, &id, "the direct path failed");
        } else {
            *check = Check { sent: 0, next: now + CHECK_REST };
        }
    }

    /// Whether `id` may have us do something for it now.
    pub(super) fn may_ask(&mut self, now: Instant, id: &PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let budget = peer.budget.get_or_insert_with(|| Budget::new(now, 10.0, 40.0));
        budget.take(now)
    }
}
