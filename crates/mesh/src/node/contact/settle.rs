//! How a contact ends: connected, settled on its final path, or given up.

use std::time::Instant;

use super::{LINK_LIMIT, NO_WAY, Stage};
use crate::control::Notice;
use crate::event::{Event, Kind, PathKind};
use crate::identity::PeerId;
use crate::nat::NatClass;
use crate::node::{Node, path::Proof};
use crate::probe::Purpose;
use crate::punch::Role;
use crate::quic::Loss;
use crate::strategy::{Means, Strategy};

impl Node {
    /// A direct path to `id` was proven.
    pub(in crate::node) fn contact_reached(&mut self, now: Instant, id: PeerId, proof: Proof) {
        let class = self.class();
        let means = Means { prediction: false, birthday: self.config.birthday };
        let direct = self.peers.get(&id).and_then(|peer| peer.direct);
        let Some(contact) = self.contact(&id) else {
            return;
        };
        if contact.kind.is_none() {
            let strategy = match &contact.stage {
                Stage::Punch(punch) => punch.strategy,
                _ => Strategy::between(class, contact.peer_class, means),
            };
            let claimed = contact.attempt.other.as_ref().map(|(_, side)| &side.candidates);
            let is_claimed =
                direct.is_some_and(|path| claimed.is_some_and(|claimed| claimed.contains(&path.remote)));
            contact.kind = Some(match proof {
                // Where the peer claims to be nobody filters: whoever came first came through.
                Proof::Echo if is_claimed => Kind::Reversal,
                _ => kind_of(proof, strategy, class),
            });
        }
        self.end_attempt(now, id, true);
        self.begin_connection(now, &id);
        self.review(now, id);
    }

    /// No more probes: either there is a direct path, or there will be none.
    pub(super) fn end_attempt(&mut self, now: Instant, id: PeerId, success: bool) {
        let Some(contact) = self.contact(&id) else {
            return;
        };
        let stage = std::mem::replace(&mut contact.stage, Stage::Over);
        let probes = contact.probes;
        let coordinator = contact.coordinator;
        let initiator = contact.role == Role::Initiator;
        if !matches!(stage, Stage::Over) && contact.punching {
            self.events.push_back(Event::PunchResult { peer: id, success, probes });
            let asked = matches!(stage, Stage::Ask { .. } | Stage::Sound { .. } | Stage::Punch(_));
            if let Some(coordinator) = coordinator.filter(|_| initiator && asked) {
                let outcome = Notice::Outcome { target: id, success, probes };
                self.notify(now, &coordinator, &outcome);
            }
        }
        match stage {
            Stage::Punch(punch) => self.close_unused(&id, punch.sockets()),
            Stage::Sound { sounding, .. } => {
                self.sounded.remove(&sounding.path.socket);
                self.close_unused(&id, &[sounding.path.socket]);
            }
            _ => {}
        }
        self.end_question(&id);
        self.close_foretold(&id);
        if !success {
            self.schedule_retry(now, &id);
        }
        self.review(now, id);
    }

    /// The initiator begins the connection as soon as there is any path.
    pub(in crate::node) fn begin_connection(&mut self, now: Instant, id: &PeerId) {
        let has_path = self.peers.get(id).is_some_and(|peer| peer.carrying.is_some());
        let initiator = self.contact(id).is_some_and(|contact| contact.role == Role::Initiator);
        if has_path && initiator && !self.quic.has_connection(id) {
            self.quic.connect(now, *id);
        }
    }

    pub(in crate::node) fn contact_connected(&mut self, now: Instant, id: PeerId) {
        let Some(contact) = self.contact(&id) else {
            return;
        };
        if contact.role == Role::Initiator {
            self.notify(now, &id, &Notice::Contact);
            self.now_connected(now, id);
        }
    }

    /// The peer that began this connection wants to speak with our owner.
    pub(in crate::node) fn handle_contact_notice(&mut self, now: Instant, id: PeerId) {
        self.join_contact(now, id);
        self.now_connected(now, id);
    }

    pub(super) fn now_connected(&mut self, now: Instant, id: PeerId) {
        let path = self.sent_by(&id);
        let Some(contact) = self.contact(&id) else {
            return;
        };
        if !std::mem::replace(&mut contact.connected, true) {
            contact.give_up = None;
            contact.resumption = None;
            let elapsed = now.saturating_duration_since(contact.asked);
            let outbox = std::mem::take(&mut contact.outbox);
            self.events.push_back(Event::Connected { peer: id, kind: path, elapsed });
            for (message, data) in outbox {
                self.send_or_queue(now, id, message, data);
            }
            self.attempt_unmet(now, id);
        }
        self.review(now, id);
    }

    pub(in crate::node) fn handle_settled_notice(&mut self, now: Instant, id: PeerId, kind: Kind) {
        let Some(contact) = self.contact(&id) else {
            return;
        };
        if contact.role == Role::Responder {
            contact.verdict = Some(kind);
            if kind == Kind::Relay {
                self.end_attempt(now, id, false);
            } else {
                self.review(now, id);
            }
        }
    }

    /// Settles the contact, or fails it, once nothing more can change.
    pub(in crate::node) fn review(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let (direct, relay) = (peer.direct.is_some(), !peer.sessions.is_empty());
        let Some(contact) = &mut peer.contact else {
            return;
        };
        if contact.settled || !contact.is_over() {
            return;
        }
        let kind = match contact.role {
            Role::Initiator if direct => contact.kind.or(Some(Kind::Direct)),
            Role::Initiator if relay => Some(Kind::Relay),
            // What was connected and then cut off is begun anew like any connection that breaks.
            Role::Initiator if contact.search.is_over() && contact.connected => {
                return self.quic.give_up(now, &id, Loss::Broken(NO_WAY.to_owned()));
            }
            Role::Initiator if contact.search.is_over() => {
                if !contact.look_again(now) {
                    self.contact_failed(now, &id, NO_WAY);
                }
                return;
            }
            Role::Initiator => None,
            Role::Responder => contact.verdict.filter(|verdict| *verdict == Kind::Relay || direct),
        };
        match kind {
            Some(kind) if contact.connected => {
                contact.settled = true;
                contact.give_up = None;
                let elapsed = now.saturating_duration_since(contact.asked);
                let path = match direct {
                    true => PathKind::Direct,
                    false => PathKind::Relay,
                };
                let says = contact.role == Role::Initiator;
                self.events.push_back(Event::Settled {
                    peer: id,
                    path,
                    kind: if direct { kind } else { Kind::Relay },
                    elapsed,
                });
                if says {
                    self.notify(now, &id, &Notice::Settled { kind });
                }
                self.search_sessions(now, id);
            }
            // A path, or the hope for one, but no connection yet.
            _ => {
                contact.give_up.get_or_insert(now + LINK_LIMIT);
            }
        }
    }

    pub(super) fn give_up(&mut self, now: Instant, id: PeerId) {
        let Some(contact) = self.contact(&id) else {
            return;
        };
        match contact.role {
            Role::Initiator => {
                self.quic.close(now, &id, b"gave up");
                self.contact_failed(now, &id, "the peer does not complete the connection");
            }
            Role::Responder if contact.connected => {
                // The initiator never said that it has settled; what there is stays.
                contact.verdict.get_or_insert(Kind::Relay);
                self.review(now, id);
            }
            Role::Responder => {
                self.end_attempt(now, id, false);
                self.forget_peer(now, &id);
            }
        }
    }

    pub(super) fn contact_failed(&mut self, now: Instant, id: &PeerId, reason: &str) {
        let Some(mut contact) = self.peers.get_mut(id).and_then(|peer| peer.contact.take()) else {
            return;
        };
        self.close_unused(id, &contact.sockets());
        if let Some(again) = contact.resume(now) {
            self.peer(*id).contact = Some(again);
            return;
        }
        for (message, _) in contact.outbox {
            self.fail_message(*id, message, reason);
        }
        self.events.push_back(Event::ConnectFailed { peer: *id, reason: reason.to_owned() });
        if !self.quic.has_connection(id) && self.entrance_of(id).is_none() {
            self.forget_peer(now, id);
        }
    }

    /// The connection is gone.
    pub(in crate::node) fn contact_lost(&mut self, now: Instant, id: &PeerId, reason: String) {
        let Some(contact) = self.contact(id) else {
            return;
        };
        if contact.connected {
            self.tell_disconnected(id, reason);
        } else if contact.role == Role::Initiator {
            self.contact_failed(now, id, &reason);
        }
    }

    pub(in crate::node) fn tell_disconnected(&mut self, id: &PeerId, reason: String) {
        if self.contact(id).is_some_and(|contact| contact.connected) {
            self.events.push_back(Event::Disconnected { peer: *id, reason });
        }
    }
}

/// How a path came to be, from how it was proven to the initiator.
fn kind_of(proof: Proof, strategy: Strategy, class: NatClass) -> Kind {
    match (proof, strategy) {
        (Proof::Answer(Purpose::Dial | Purpose::Claimed), _) => Kind::Direct,
        (_, Strategy::ResponderFirst) => Kind::Reversal,
        (_, Strategy::Birthday) => Kind::Birthday,
        // It could be reached all along; only the first packets were lost.
        (Proof::Answer(_), Strategy::Dial | Strategy::InitiatorFirst) => Kind::Direct,
        (Proof::Echo, Strategy::Dial | Strategy::InitiatorFirst) if class.is_reachable() => Kind::Reversal,
        _ => Kind::Punch,
    }
}
