//! Messages that go over other members, to one or to all.

use std::time::Instant;

use rand::Rng;

use crate::announce::encoded;
use crate::control::Notice;
use crate::event::Event;
use crate::identity::PeerId;
use crate::routing::{Body, Broadcast, MAX_HOPS, MAX_LENGTH, Routed, TRIED};
use crate::wire::Kind as DatagramKind;

use super::Node;

impl Node {
    /// Sends a message to `peer` over other members, of which at most `hops` pass it on; without a number, as many as any
    /// message may. Sealed for the peer; best effort. False if there is nobody to give it to, or if it is too long.
    pub fn send_routed(&mut self, now: Instant, peer: PeerId, data: &[u8], hops: Option<u8>) -> bool {
        let sealed = self.sealer.seal(DatagramKind::Routed, &peer, data);
        let sent =
            sealed.is_some_and(|sealed| self.originate(now, hops, |_| Body::Sealed { target: peer, sealed }));
        self.drive(now);
        sent
    }

    /// Sends a message to all members that are reached over neighbours; each gets it once.
    pub fn broadcast(&mut self, now: Instant, data: &[u8]) -> bool {
        self.broadcasts += 1;
        let (epoch, counter) = (self.config.epoch, self.broadcasts);
        let identity = self.identity.clone();
        let sent = self.originate(now, None, |number| {
            let signed = encoded(&Broadcast { number, epoch, counter, data: data.to_vec() });
            let signature = identity.sign(&signed);
            Body::Open { signed, signature }
        });
        self.drive(now);
        sent
    }

    fn originate(&mut self, now: Instant, hops: Option<u8>, body: impl FnOnce(u64) -> Body) -> bool {
        let (origin, number) = (self.id(), self.rng.random());
        let hops = hops.unwrap_or(MAX_HOPS).min(MAX_HOPS);
        let routed = Routed { origin, number, hops, passed: 0, body: body(number) };
        if routed.body.length() > MAX_LENGTH {
            return false;
        }
        self.routing.is_first(origin, number);
        self.give(now, routed, None)
    }

    /// A neighbour gives us a message: for us, or to be passed on.
    pub(super) fn take_routed(&mut self, now: Instant, from: PeerId, routed: Routed) {
        let address = self.address_of(&from);
        if !self.gossip.has(&from) || !self.routed.take(now, from) || routed.body.length() > MAX_LENGTH {
            return self.reject(
                now,
                "routed message",
                "too often, too long, or not from a neighbour",
                address,
            );
        }
        if routed.origin == self.id() || !self.routing.is_first(routed.origin, routed.number) {
            return;
        }
        match &routed.body {
            Body::Sealed { target, sealed } if *target == self.id() => {
                match self.sealer.open(sealed) {
                    Ok((origin, data))
                        if origin == routed.origin
                            && sealed.first() == Some(&(DatagramKind::Routed as u8)) =>
                    {
                        let hops = routed.passed;
                        self.events.push_back(Event::RoutedReceived {
                            peer: origin,
                            data,
                            hops,
                            for_all: false,
                        });
                    }
                    Ok(_) => self.reject(now, "routed message", "of another sender than it says", address),
                    Err(error) => self.reject(now, "routed message", error, address),
                }
                return;
            }
            Body::Sealed { .. } => {}
            Body::Open { signed, signature } => {
                let genuine = self.quic.crypto().verifies(&routed.origin, signed, signature);
                let broadcast = minicbor::decode::<Broadcast>(signed).ok();
                let Some(broadcast) =
                    broadcast.filter(|broadcast| genuine && broadcast.number == routed.number)
                else {
                    return self.reject(now, "broadcast", "not its sender's", address);
                };
                if !self.routing.is_new(routed.origin, &broadcast) {
                    return;
                }
                let (peer, hops) = (routed.origin, routed.passed);
                self.events.push_back(Event::RoutedReceived {
                    peer,
                    data: broadcast.data,
                    hops,
                    for_all: true,
                });
            }
        }
        if let Some(hops) = routed.hops.min(MAX_HOPS).checked_sub(1) {
            let passed = routed.passed.saturating_add(1);
            self.give(now, Routed { hops, passed, ..routed }, Some(from));
        }
    }

    /// Gives a message to the neighbour that leads to its target, or to all that may.
    fn give(&mut self, now: Instant, routed: Routed, from: Option<PeerId>) -> bool {
        let is_open = |peer: &PeerId| Some(*peer) != from && *peer != routed.origin;
        let neighbours = || self.gossip.neighbours().copied().filter(is_open);
        let to: Vec<PeerId> = match &routed.body {
            Body::Open { .. } => neighbours().collect(),
            Body::Sealed { target, .. } if self.gossip.has(target) => vec![*target],
            Body::Sealed { target, .. } => {
                let mut ways =
                    self.routing.ways(target).filter(|next| is_open(next) && self.gossip.has(next));
                match ways.next() {
                    Some(next) => vec![next],
                    None => neighbours().take(TRIED).collect(),
                }
            }
        };
        let given = !to.is_empty();
        for peer in to {
            self.notify(now, &peer, &Notice::Routed { routed: routed.clone() });
        }
        given
    }
}
