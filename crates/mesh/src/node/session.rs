//! Relay sessions seen from a member: joined, chosen, kept as standby, lost.

use std::time::{Duration, Instant};

use crate::control::{Notice, Reply, Request};
use crate::event::{Event, PathKind};
use crate::identity::PeerId;
use crate::net::Transmit;
use crate::punch::Role;
use crate::relay::{SessionId, frame};
use crate::search::Candidate;

use super::{Membership, Node, Pending};

/// Sessions held with one peer: one in use, one to fall back on.
const SESSIONS: usize = 2;
/// A session without packets is kept from ending by an empty frame this often.
const STANDBY_GAP: Duration = Duration::from_secs(100);
/// When the session in use is silent for this long, and the peer takes another, so do we.
const FOLLOW: Duration = Duration::from_millis(50);
/// A side that waits for an answer for this long takes the way that the peer takes.
const WAITING: Duration = Duration::from_millis(300);
/// A session that failed is not followed to for this long.
const DISTRUST: Duration = Duration::from_secs(10);
/// Between searches when there is no way at all, and when there is just none to fall back on.
const URGENT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(8)];
const SPARE: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(300)];

/// A way through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionPath {
    pub relay: PeerId,
    pub session: SessionId,
    /// When something last came by it.
    heard: Option<Instant>,
    /// When it last failed.
    failed: Option<Instant>,
}

impl SessionPath {
    /// When something last came by it.
    pub fn heard(&self) -> Option<Instant> {
        self.heard
    }
}

impl Node {
    /// Enters a session that `relay` has opened between us and `id`.
    pub(super) fn join_session(&mut self, now: Instant, relay: PeerId, id: PeerId, session: SessionId) {
        self.memberships.insert(session, Membership { relay, peer: id });
        let peer = self.peer(id);
        let path = SessionPath { relay, session, heard: None, failed: None };
        // A relay has one session for a pair: another ID means that it has forgotten the one before.
        match peer.sessions.iter_mut().find(|held| held.relay == relay) {
            Some(held) if held.session == session => {}
            Some(held) => {
                let old = std::mem::replace(held, path).session;
                self.memberships.shift_remove(&old);
            }
            None => peer.sessions.push(path),
        }
        let peer = self.peer(id);
        if peer.sessions.len() > 1 && peer.standby_at.is_none() {
            peer.standby_at = Some(now + STANDBY_GAP);
        }
        self.choose_path(now, &id, "a relay session was opened");
        self.fall_back(now, id);
    }

    /// A relay is gone: so are the sessions on it.
    pub(super) fn leave_relay(&mut self, now: Instant, relay: &PeerId, reason: &str) {
        let of_relay =
            |(id, held): (&SessionId, &Membership)| (held.relay == *relay).then_some((*id, held.peer));
        let lost: Vec<(SessionId, PeerId)> = self.memberships.iter().filter_map(of_relay).collect();
        for (session, peer) in lost {
            self.lose_session(now, &peer, session, reason);
        }
    }

    /// A session is no more.
    pub(super) fn lose_session(&mut self, now: Instant, id: &PeerId, session: SessionId, reason: &str) {
        self.memberships.shift_remove(&session);
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let in_use = peer.sessions.first().is_some_and(|path| path.session == session);
        peer.sessions.retain(|path| path.session != session);
        if in_use && peer.carrying == Some(PathKind::Relay) {
            self.path_failed(*id, PathKind::Relay, reason);
            if let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.sessions.is_empty()) {
                peer.liveness.answer();
                self.take_session(now, *id, 0, reason);
            }
        }
        self.choose_path(now, id, reason);
        self.search_sessions(now, *id);
    }

    /// What comes by a session shows that it works, and which one the peer takes.
    pub(super) fn handle_session_frame(
        &mut self,
        now: Instant,
        id: PeerId,
        session: SessionId,
        packet: &[u8],
    ) {
        let follows = self.quic.is_begun_by_peer(&id);
        let peer = self.peer(id);
        let Some(at) = peer.sessions.iter().position(|path| path.session == session) else {
            return;
        };
        peer.sessions[at].heard = Some(now);
        if packet.is_empty() {
            return;
        }
        peer.received = Some(PathKind::Relay);
        match peer.carrying {
            // A peer that takes the relay now may have lost the direct path; we send on it, perhaps in vain.
            Some(PathKind::Direct) if peer.is_silent(now) => peer.liveness.suspect(now),
            Some(PathKind::Relay) if at > 0 => {
                let passed = |since: Instant| now.saturating_duration_since(since);
                let is_silent = peer.sessions[0].heard.is_none_or(|heard| passed(heard) > FOLLOW);
                let is_trusted = peer.sessions[at].failed.is_none_or(|failed| passed(failed) > DISTRUST);
                let waits = peer.liveness.asked().is_some_and(|since| passed(since) > WAITING);
                if is_silent && is_trusted && (follows || waits) {
                    self.take_session(now, id, at, "the peer takes another relay");
                }
            }
            _ => {}
        }
        self.take_packet(now, id, PathKind::Relay, packet);
    }

    /// The session in use does not answer: takes another, if there is one.
    pub(super) fn fall_back(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.carrying != Some(PathKind::Relay) || !peer.liveness.has_failed() {
            return;
        }
        if let Some(path) = peer.sessions.first_mut() {
            path.failed = Some(now);
            let relay = path.relay;
            let other = self.next_session(&id);
            // Perhaps the relay is gone, and perhaps it only drops what it should pass on.
            self.doubt_relay(now, &relay);
            if let Some(at) = other {
                self.path_failed(id, PathKind::Relay, "packets stay unanswered");
                self.take_session(now, id, at, "the relay does not answer");
            }
        }
        self.search_sessions(now, id);
    }

    /// What goes by this relay is not answered by the relay itself: those who have another way take it before they miss
    /// anything.
    pub(super) fn leave_silent(&mut self, now: Instant, relay: &PeerId) {
        let uses = |(id, peer): (&PeerId, &super::path::Peer)| {
            let in_use = peer.carrying == Some(PathKind::Relay);
            let path = peer.sessions.first().filter(|path| in_use && path.relay == *relay);
            path.map(|_| *id)
        };
        let users: Vec<PeerId> = self.peers.iter().filter_map(uses).collect();
        for id in users {
            let other = self.next_session(&id);
            let is_better = |at: &usize| {
                let path = self.peers.get(&id).and_then(|peer| peer.sessions.get(*at));
                path.is_some_and(|path| !self.is_silent_relay(&path.relay))
            };
            if let Some(at) = other.filter(is_better) {
                self.path_failed(id, PathKind::Relay, "the relay does not answer");
                self.take_session(now, id, at, "the relay does not answer");
            }
            self.search_sessions(now, id);
        }
    }

    /// The session to fall back on: one whose relay is there, and that did not fail just now.
    fn next_session(&self, id: &PeerId) -> Option<usize> {
        let others = self.peers.get(id)?.sessions.iter().enumerate().skip(1);
        others.min_by_key(|(_, path)| (self.is_silent_relay(&path.relay), path.failed)).map(|(at, _)| at)
    }

    fn take_session(&mut self, now: Instant, id: PeerId, at: usize, reason: &str) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.sessions.swap(0, at);
        peer.liveness.answer();
        if peer.contact.as_ref().is_some_and(|contact| contact.connected) {
            let (from, to) = (PathKind::Relay, PathKind::Relay);
            self.events.push_back(Event::PathChanged { peer: id, from, to, reason: reason.to_owned() });
        }
        self.quic.path_changed(now, &id);
    }

    /// Keeps the sessions that carry nothing.
    pub(super) fn keep_standby(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.standby_at.is_some_and(|at| at <= now))
        else {
            return;
        };
        peer.standby_at = (peer.sessions.len() > 1).then_some(now + STANDBY_GAP);
        let standby: Vec<SessionPath> = peer.sessions.iter().skip(1).copied().collect();
        for SessionPath { relay, session, .. } in standby {
            if let Some(path) = self.peers.get(&relay).and_then(|relay| relay.direct) {
                self.transmits.push_back(Transmit { path, payload: frame(session, &[]) });
            }
        }
    }

    /// Looks for sessions where there are too few.
    pub(super) fn search_sessions(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let held: Vec<PeerId> = peer.sessions.iter().map(|path| path.relay).collect();
        let needs = match (peer.carrying, &peer.direct) {
            (Some(PathKind::Direct), Some(_)) if peer.liveness.is_suspect() => 1,
            (Some(PathKind::Direct), _) => 0,
            _ => SESSIONS,
        };
        let Some(contact) = &peer.contact else {
            return;
        };
        // While a direct path is looked for, one session is enough.
        let needs = if contact.is_over() { needs } else { needs.min(1) };
        let has_failed = peer.liveness.has_failed();
        let sound = peer.sessions.iter().filter(|path| path.failed.is_none()).count();
        let lacks = sound < needs || has_failed && held.len() <= SESSIONS;
        if contact.role != Role::Initiator || !contact.search.is_over() || !lacks {
            return;
        }
        let mut candidates = self.session_candidates(now, &id, &contact.via);
        candidates.retain(|candidate| !held.contains(&candidate.relay));
        let is_urgent = held.is_empty() || has_failed;
        let Some(contact) = self.contact(&id) else {
            return;
        };
        contact.search.begin(now, candidates);
        if contact.search.is_over() {
            let [first, longest] = if is_urgent { URGENT } else { SPARE };
            contact.search.rest(now, first, longest);
        }
        self.drive_search(now, id);
    }

    /// Asks who is next to be asked for a session.
    pub(super) fn drive_search(&mut self, now: Instant, id: PeerId) {
        let Some(contact) = self.contact(&id) else {
            return;
        };
        if contact.search.is_due(now) {
            contact.search.begin(now, []);
            return self.search_sessions(now, id);
        }
        let was_over = contact.search.is_over();
        while let Some(Candidate { relay, address }) =
            self.contact(&id).and_then(|contact| contact.search.poll(now))
        {
            if self.quic.is_connected(&relay) {
                self.ask_session(now, relay, id);
            } else if let Some(address) = address {
                self.visit(now, relay, address);
            }
        }
        if !was_over && self.contact(&id).is_some_and(|contact| contact.search.is_over()) {
            self.search_ended(now, id);
        }
    }

    fn search_ended(&mut self, now: Instant, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            let has_way = peer.carrying.is_some() && !peer.liveness.has_failed();
            let [first, longest] = if has_way { SPARE } else { URGENT };
            let is_settled = peer.contact.as_ref().is_some_and(|contact| contact.is_settled());
            if let Some(contact) = peer.contact.as_mut().filter(|_| is_settled) {
                contact.search.rest(now, first, longest);
            }
        }
        self.review(now, id);
    }

    fn ask_session(&mut self, now: Instant, relay: PeerId, id: PeerId) {
        self.ask(now, relay, &Request::OpenSession { peer: id }, Pending::Session { peer: id });
    }

    /// A relay that was visited for the sake of sessions can be asked for them now.
    pub(super) fn ask_visited(&mut self, now: Instant, relay: PeerId) {
        let waits = |(id, peer): (&PeerId, &super::path::Peer)| {
            let contact = peer.contact.as_ref()?;
            contact.search.is_asked(&relay).then_some(*id)
        };
        let waiting: Vec<PeerId> = self.peers.iter().filter_map(waits).collect();
        for id in waiting {
            self.ask_session(now, relay, id);
        }
    }

    /// A relay answers our request for a session with `id`.
    pub(super) fn handle_session(&mut self, now: Instant, relay: PeerId, id: PeerId, reply: Reply) {
        let Some(contact) = self.contact(&id) else {
            if let Reply::Session { session, .. } = reply {
                self.notify(now, &relay, &Notice::CloseSession { session });
            }
            return;
        };
        match reply {
            Reply::Session { session, load } => {
                contact.search.found(&relay);
                self.relay_has_load(&relay, load.unwrap_or_default());
                self.join_session(now, relay, id, session);
                self.leave_failed(now, &id);
                self.begin_connection(now, &id);
                self.review(now, id);
                self.search_sessions(now, id);
            }
            reply => {
                contact.search.refused(now, &relay);
                if matches!(reply, Reply::Full { .. }) {
                    self.relay_is_full(now, &relay);
                    self.events.push_back(Event::RelayFull { relay, peer: id });
                }
                self.drive_search(now, id);
                if self.contact(&id).is_some_and(|contact| contact.search.is_over()) {
                    self.search_ended(now, id);
                }
            }
        }
    }

    /// Of more sessions than are needed those that failed are left.
    fn leave_failed(&mut self, now: Instant, id: &PeerId) {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.sessions.len() > SESSIONS) else {
            return;
        };
        let failed = peer.sessions.iter().skip(1).position(|path| path.failed.is_some());
        if let Some(at) = failed {
            let left = peer.sessions.remove(at + 1);
            self.leave_sessions(now, &[left]);
        }
    }

    /// Leaves the sessions with a peer, and tells the relays so.
    pub(super) fn leave_sessions(&mut self, now: Instant, sessions: &[SessionPath]) {
        for SessionPath { relay, session, .. } in sessions {
            self.memberships.shift_remove(session);
            self.notify(now, relay, &Notice::CloseSession { session: *session });
        }
    }
}
