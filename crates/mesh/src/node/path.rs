//! The ways to each peer: how they are proven, chosen and lost.

use std::time::{Duration, Instant};

use indexmap::IndexSet;

use crate::budget::Budget;
use crate::event::{Event, PathKind};
use crate::identity::PeerId;
use crate::lie::Lie;
use crate::liveness::{Liveness, Step, patience};
use crate::net::{Path, SocketId, SocketRequest, Transmit};
use crate::probe::{Probe, ProbeAnswer, ProbeEcho, Purpose};
use crate::quic::{Loss, Packet, Quic};
use crate::relay::{frame, unframe};
use crate::wire::Kind as DatagramKind;

use super::contact::Contact;
use super::entrance::Entrance;
use super::session::SessionPath;
use super::{FailedPath, Node};

/// Proven paths kept beside the one in use.
const MAX_ALTERNATES: usize = 4;
/// A node that has proven a path and then says nothing is forgotten.
const UNLINKED: Duration = Duration::from_secs(30);
/// A direct path silent for this long gives way to one that was proven just now.
const STALE: Duration = Duration::from_secs(2);
/// A direct path silent for this long is doubted when the peer takes the relay.
const SILENCE: Duration = Duration::from_secs(1);

/// What we hold of a node that we have a path to, or seek one.
#[derive(Default)]
pub(super) struct Peer {
    /// The direct path that we send on.
    pub direct: Option<Path>,
    /// Other proven direct paths, on which the peer may send.
    pub alternates: Vec<Path>,
    /// Sessions by which it is reached, the one in use first.
    pub sessions: Vec<SessionPath>,
    /// When the others are to be kept from ending.
    pub standby_at: Option<Instant>,
    /// The way that packets go now.
    pub carrying: Option<PathKind>,
    /// The way that the last packet came.
    pub received: Option<PathKind>,
    /// When something last came directly.
    pub heard: Option<Instant>,
    /// Whether what goes the chosen way is answered.
    pub liveness: Liveness,
    /// Whether it counts as silent, being a node that serves us.
    pub was_silent: bool,
    /// Whether it has shown a later start than before, and has answered nothing on our connection since.
    pub has_restarted: bool,
    /// Bounds what this node may have us do.
    pub budget: Option<Budget>,
    /// Makes the transactions of our probes fresh.
    pub attempt: u64,
    pub contact: Option<Contact>,
}

impl Peer {
    fn hear(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// Whether nothing has come directly for some time.
    pub fn is_silent(&self, now: Instant) -> bool {
        self.heard.is_none_or(|heard| now >= heard + SILENCE)
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
        let answer = peer.carrying.and_then(|_| peer.liveness.poll_timeout(self.patience(id)));
        [answer, peer.standby_at].into_iter().flatten().min()
    }

    fn patience(self, id: &PeerId) -> Duration {
        patience(self.quic.rtt(id).unwrap_or_default())
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

    pub(super) fn handle_probe(&mut self, now: Instant, peer: PeerId, path: Path, probe: Probe) {
        let answer = ProbeAnswer {
            transaction: probe.transaction,
            observed: self.told(path.remote),
            nonce: self.tokens.nonce(now, &probe.transaction, &peer, &path),
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
        if self.tokens.recognises(now, &echo.nonce, &echo.transaction, &peer, &path) {
            self.path_proven(now, peer, path, Proof::Echo);
        }
    }

    pub(super) fn is_stale(&self, now: Instant, peer: &PeerId) -> bool {
        let is_stale = |peer: &Peer| {
            let is_suspect = peer.carrying == Some(PathKind::Direct) && peer.liveness.is_suspect();
            is_suspect || peer.heard.is_none_or(|heard| now.saturating_duration_since(heard) > STALE)
        };
        self.peers.get(peer).is_none_or(is_stale)
    }

    fn path_proven(&mut self, now: Instant, id: PeerId, path: Path, proof: Proof) {
        // A node that we only serve says by its newest path where it is now.
        let is_served =
            self.quic.is_begun_by_peer(&id) && self.contact(&id).is_none() && proof == Proof::Echo;
        let stale = is_served || self.is_stale(now, &id);
        self.disprove(&id);
        self.routes.insert(path, id);
        let peer = self.peer(id);
        match peer.direct {
            Some(direct) if direct == path => {
                peer.hear(now);
                // A peer that has begun anew answers probes, and nothing on the connection that it has forgotten.
                if peer.carrying == Some(PathKind::Direct)
                    && !peer.has_restarted
                    && peer.liveness.is_suspect()
                {
                    peer.liveness.answer();
                    self.quic.ping(now, &id);
                }
            }
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
                    if !peer.has_restarted {
                        peer.liveness.answer();
                    }
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
        let best = match (peer.direct, peer.sessions.first()) {
            (Some(_), _) => Some(PathKind::Direct),
            (None, Some(_)) => Some(PathKind::Relay),
            (None, None) => None,
        };
        let old = std::mem::replace(&mut peer.carrying, best);
        if old != best {
            peer.liveness.answer();
        }
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
        match peer.direct {
            Some(direct) if follows && direct != path => {
                // Both ways work; the side that began the connection chooses.
                peer.alternates.retain(|alternate| *alternate != path);
                peer.alternates.extend(peer.direct.replace(path));
                peer.hear(now);
                self.quic.path_changed(now, &id);
            }
            // It works again from there to here; from here to there has to be seen.
            None if peer.is_silent(now) => {
                peer.hear(now);
                self.renew_attempt(id);
                self.send_probe(id, path, Purpose::Check);
            }
            _ => {}
        }
        self.take_packet(now, id, PathKind::Direct, packet);
    }

    /// Takes a QUIC packet of `id`, whichever way it came.
    pub(super) fn take_packet(&mut self, now: Instant, id: PeerId, came: PathKind, packet: &[u8]) {
        let is_answer = self.quic.handle_datagram(now, id, packet);
        // While a direct path is suspect, packets go by the relay as well, and what comes there says nothing of it.
        let is_other = |peer: &Peer| {
            came == PathKind::Relay && peer.carrying == Some(PathKind::Direct) && peer.liveness.is_suspect()
        };
        if is_answer && let Some(peer) = self.peers.get_mut(&id).filter(|peer| !is_other(peer)) {
            peer.liveness.answer();
            peer.has_restarted = false;
            if std::mem::take(&mut peer.was_silent) {
                self.is_stirred = true;
                self.link_speaks(now, &id);
            }
        }
    }

    /// Takes a relay's frame: to be passed on, or for us.
    pub(super) fn handle_relay_frame(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let (Some(&sender), Some((session, packet))) = (self.routes.get(&path), unframe(datagram)) else {
            return;
        };
        // Only from where its member is known to be; a member that has moved shows where to by a probe.
        if self.sessions.is_served() && self.config.lie == Some(Lie::DropFrames) {
            return;
        }
        let is_there = self.peers.get(&sender).is_some_and(|peer| peer.direct == Some(path));
        if is_there && let Some(to) = self.sessions.forward(now, session, &sender, packet.len()) {
            if let Some(path) = self.peers.get(&to).and_then(|peer| peer.direct) {
                let payload = datagram.to_vec();
                self.transmits.push_back(Transmit { path, payload });
            }
        } else if let Some(&membership) = self.memberships.get(&session)
            && membership.relay == sender
        {
            self.handle_session_frame(now, membership.peer, session, packet);
        }
    }

    /// Sends a QUIC packet the way that is chosen; without one it is lost, as packets may be.
    pub(super) fn send_packet(&mut self, now: Instant, packet: Packet) {
        let Packet { peer: id, payload: packet, asks } = packet;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if asks {
            peer.liveness.ask(now);
        }
        let carrying = peer.carrying;
        let direct = peer.direct.filter(|_| carrying == Some(PathKind::Direct));
        let relays = carrying == Some(PathKind::Relay) || direct.is_some() && peer.liveness.is_suspect();
        if let Some(SessionPath { relay, session, .. }) = peer.sessions.first().copied().filter(|_| relays) {
            let path = self.peers.get(&relay).and_then(|relay| relay.direct);
            self.transmits.extend(path.map(|path| Transmit { path, payload: frame(session, &packet) }));
        }
        self.transmits.extend(direct.map(|path| Transmit { path, payload: packet }));
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
    pub(super) fn forget_peer(&mut self, now: Instant, id: &PeerId) {
        let Some(peer) = self.peers.remove(id) else {
            return;
        };
        self.leave_sessions(now, &peer.sessions);
        let mut extra: IndexSet<SocketId> = IndexSet::new();
        for path in peer.direct.iter().chain(&peer.alternates) {
            self.routes.remove(path);
            extra.insert(path.socket);
        }
        extra.extend(peer.contact.iter().flat_map(Contact::sockets));
        for socket in &extra {
            self.sounded.remove(socket);
        }
        extra.shift_remove(&SocketId::MAIN);
        self.sockets.extend(extra.into_iter().map(SocketRequest::Close));
    }

    /// Sees after the way to a peer: checks it where packets stay unanswered, and leaves one that fails.
    pub(super) fn drive_path(&mut self, now: Instant, id: PeerId) {
        let links = self.links();
        let patience = links.patience(&id);
        let is_unlinked = self.peers.get(&id).is_some_and(|peer| links.is_unlinked(&id, peer));
        let timeout = self.peers.get(&id).and_then(|peer| links.path_timeout(&id, peer));
        // Touched in any case: what was known before may hold no more, because a round trip takes longer now.
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if timeout.is_none_or(|at| at > now) {
            return;
        }
        if is_unlinked {
            return self.forget_peer(now, &id);
        }
        let step = if peer.carrying.is_some() { peer.liveness.poll(now, patience) } else { Step::Wait };
        match step {
            Step::Wait => {}
            Step::Check => self.check_path(now, id),
            Step::Fail => self.fail_path(now, id),
        }
        self.keep_standby(now, id);
    }

    pub(super) fn links(&self) -> Links<'_> {
        Links { quic: &self.quic, entrances: &self.entrances }
    }

    /// Asks on all direct paths that there are or were. A relay is no receiver of probes: QUIC's own must do.
    fn check_path(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let paths: Vec<Path> = peer.direct.iter().chain(&peer.alternates).copied().collect();
        let relay = peer.sessions.first().filter(|_| peer.carrying == Some(PathKind::Relay));
        if peer.liveness.checks() == Some(1) {
            // It may be the way to the relay that has failed.
            if let Some(relay) = relay.map(|path| path.relay).and_then(|relay| self.peers.get_mut(&relay)) {
                relay.liveness.suspect(now);
            }
            self.renew_attempt(id);
            self.search_sessions(now, id);
        }
        for path in paths {
            self.send_probe(id, path, Purpose::Check);
        }
    }

    /// The way to a peer does not answer: takes another, if there is one.
    fn fail_path(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.has_restarted {
            return self.quic.give_up(now, &id, Loss::BegunAnew);
        }
        match (peer.carrying, peer.direct) {
            (Some(PathKind::Direct), Some(path)) if !peer.sessions.is_empty() => {
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
                self.report_failed(now, id, FailedPath::Direct { endpoint: path.remote });
                self.attempt_again(now, &id);
                self.search_sessions(now, id);
            }
            (Some(PathKind::Direct), _) => {
                self.link_silent(now, &id);
                self.search_sessions(now, id);
            }
            _ => self.fall_back(now, id),
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
