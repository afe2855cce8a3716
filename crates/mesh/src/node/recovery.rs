//! What a node does when it has lost a connection, or its place in the network.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::event::{Event, PathKind};
use crate::identity::PeerId;
use crate::probe::Purpose;
use crate::punch::Role;
use crate::quic::Loss;

use super::Node;
use super::contact::Contact;

/// A connection that broke is begun anew for this long.
const RESUME: Duration = Duration::from_secs(60);
/// Between two tries, at first and at last.
const FIRST_GAP: Duration = Duration::from_millis(500);
const LAST_GAP: Duration = Duration::from_secs(8);
/// The side that was called waits for the caller to come again, at first.
const COURTESY: Duration = Duration::from_secs(3);

/// The wish to have a broken connection back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resumption {
    until: Instant,
    tries: u32,
}

impl Resumption {
    fn new(now: Instant) -> Self {
        Self { until: now + RESUME, tries: 0 }
    }

    /// The next try, if there is time for one.
    pub fn next(self, now: Instant) -> Option<(Self, Instant)> {
        let gap = (FIRST_GAP * 2u32.pow(self.tries.min(8))).min(LAST_GAP);
        let next = Self { tries: self.tries + 1, ..self };
        (now + gap < self.until).then_some((next, now + gap))
    }
}

impl Node {
    /// The host has other addresses, or hangs on another network: finds out anew where we are, and shows everybody.
    pub fn handle_network_change(&mut self, now: Instant, host_addresses: Vec<IpAddr>) {
        self.config.host_addresses = host_addresses;
        self.detector = None;
        self.begin_detection(now);
        let connected: Vec<PeerId> =
            self.peers.iter().filter(|(id, _)| self.quic.is_connected(id)).map(|(id, _)| *id).collect();
        for id in connected {
            // Whoever hears us from elsewhere probes us there; what was measured of the way before says nothing now.
            self.quic.path_changed(now, &id);
            let direct = self.peers.get_mut(&id).and_then(|peer| {
                peer.liveness.suspect(now);
                peer.direct
            });
            if let Some(path) = direct {
                self.renew_attempt(id);
                self.send_probe(id, path, Purpose::Check);
            }
            self.attempt_again(now, &id);
        }
        self.redial_entrances(now);
        self.drive(now);
    }

    /// A peer says that it is at an endpoint: if that is another one, the way to it may have ended, and it is tried there.
    pub(super) fn peer_is_said_to_be_at(&mut self, now: Instant, id: PeerId, endpoint: SocketAddr) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.direct.is_some_and(|path| path.remote != endpoint) {
            peer.liveness.suspect(now);
        }
        if let Some(contact) = self.contact(&id) {
            contact.is_said_to_be_at(now, endpoint);
        }
    }

    /// A datagram shows that `peer` has started anew: on the old connection it will answer nothing.
    pub(super) fn peer_restarted(&mut self, now: Instant, id: &PeerId) {
        if !self.quic.is_connected(id) {
            return;
        }
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        // Unless it does: it may have begun a new connection before this datagram came.
        peer.has_restarted = true;
        if peer.liveness.has_failed() {
            self.quic.give_up(now, id, Loss::BegunAnew);
        } else {
            self.quic.ping(now, id);
        }
    }

    /// Takes what is wanted from a contact whose connection is lost: another, to begin it anew.
    pub(super) fn take_to_resume(&mut self, now: Instant, id: &PeerId, loss: &Loss) -> Option<Contact> {
        let again = self.messages.again(id);
        let contact = self.contact(id)?;
        let wants = contact.role == Role::Initiator || !again.is_empty();
        if !contact.connected {
            return contact.resume(now).map(|resumed| resumed.with_outbox(again));
        }
        if matches!(loss, Loss::Ended(_)) || !wants {
            return None;
        }
        let start = if contact.role == Role::Initiator { now } else { now + COURTESY };
        Some(Contact::resumed(now, start, Resumption::new(now)).with_outbox(again))
    }

    /// A direct path that worked before is looked for again soon.
    pub(super) fn attempt_again(&mut self, now: Instant, id: &PeerId) {
        let on_relay = self.peers.get(id).is_some_and(|peer| peer.carrying == Some(PathKind::Relay));
        if let Some(contact) = self.contact(id).filter(|_| on_relay) {
            contact.retry_soon(now);
        }
    }

    pub(super) fn path_failed(&mut self, peer: PeerId, path: PathKind, reason: &str) {
        self.events.push_back(Event::PathFailed { peer, path, reason: reason.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_begun_anew_ever_later_and_for_a_minute() {
        let start = Instant::now();
        let (mut resumption, mut now, mut gaps) = (Resumption::new(start), start, Vec::new());
        while let Some((next, at)) = resumption.next(now) {
            gaps.push((at - now).as_millis());
            (resumption, now) = (next, at);
        }
        assert_eq!(gaps[..5], [500, 1000, 2000, 4000, 8000]);
        assert!(now - start < RESUME && now - start > RESUME - LAST_GAP);
    }
}
