//! What we know of our NAT: measured with STUN servers, and held against what peers see.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use natrig_stun::{Class, Message};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::detect::{Confidence, Detection, Detector};
use crate::event::Event;
use crate::identity::PeerId;
use crate::nat::{Mapping, NatClass, is_private};
use crate::net::{Path, SocketId, SocketRequest};

use super::Node;

/// The socket of the filtering test, which asks one address only.
const DETECTION_SOCKET: SocketId = SocketId(1);

impl Node {
    /// Detects the NAT again: the network is another one, and what is known holds no more.
    pub fn detect_again(&mut self, now: Instant) {
        self.observations.clear();
        self.flow_room = None;
        self.begin_detection(now);
        self.drive(now);
    }

    /// Detects the NAT, again if need be.
    pub(super) fn begin_detection(&mut self, now: Instant) {
        if self.config.stun.is_empty() && self.config.service.coordinates() {
            return self.announce(now);
        }
        if self.detector.is_some() {
            self.sockets.push_back(SocketRequest::Close(DETECTION_SOCKET));
        }
        self.sockets.push_back(SocketRequest::Open(DETECTION_SOCKET));
        self.detector = Some(Detector::new(
            now,
            StdRng::from_seed(self.rng.random()),
            &self.config.stun,
            DETECTION_SOCKET,
            self.config.host_addresses.clone(),
            self.config.port,
        ));
    }

    pub(super) fn end_detection(&mut self, now: Instant, measured: Detection) {
        self.detector = None;
        self.measured = Some(measured);
        let outside = measured.observed.is_some_and(|observed| is_private(observed.ip()));
        self.observations.set_outside_is_private(outside);
        self.sockets.push_back(SocketRequest::Close(DETECTION_SOCKET));
        if measured.observed.is_none() {
            self.events.push_back(Event::Warning {
                message: match self.config.stun.as_slice() {
                    [] => "no STUN server is configured: peers will have to tell where they see us".to_owned(),
                    [server, ..] => format!(
                        "no STUN server answers (asked {server}{}): the NAT stays unknown, connections go by this \
                         host's own addresses and over relays",
                        if self.config.stun.len() > 1 { " and others" } else { "" }
                    ),
                },
            });
        }
        let detection = self.considered(measured);
        self.detected(now, detection);
    }

    pub(super) fn handle_stun(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let Ok(message) = Message::decode(datagram) else {
            return;
        };
        if message.class == Class::Request {
            self.answer_stun(path, message);
        } else if self.sounded.contains_key(&path.socket) {
            self.handle_sounded(now, path, &message);
        } else if let Some(detector) = &mut self.detector {
            detector.handle_message(now, path.socket, path.remote, &message);
        }
    }

    /// A peer that has proven to be at `path` says where it sees us.
    pub(super) fn observed_by(&mut self, now: Instant, peer: PeerId, path: Path, seen: SocketAddr) {
        let is_news = path.socket == SocketId::MAIN && self.observations.note(peer, path.remote, seen);
        let Some(measured) = self.measured.filter(|_| is_news && self.detector.is_none()) else {
            return;
        };
        // Nobody is believed for it: servers are asked again.
        let has_moved = measured.observed.is_some_and(|observed| match measured.mapping {
            Mapping::EndpointIndependent => observed != seen,
            _ => observed.ip() != seen.ip(),
        });
        if has_moved && self.again.take(now) {
            return self.begin_detection(now);
        }
        let detection = self.considered(measured);
        if self.detection != Some(detection) {
            self.detected(now, detection);
        }
    }

    fn detected(&mut self, now: Instant, detection: Detection) {
        self.detection = Some(detection);
        self.events.push_back(Event::NatDetected(detection));
        self.note_second_nat();
        self.review_relays(now);
        self.announce(now);
    }

    /// Says so if our gateway has another address than the one that we are seen at: a second NAT is in front of it, and
    /// its mappings lead no stranger to us.
    pub(super) fn note_second_nat(&mut self) {
        let Some(seen) = self.outside_address() else {
            return;
        };
        let differs = |own: &IpAddr| own.is_ipv4() == seen.is_ipv4() && *own != seen;
        let Some(own) = self.mapped.iter().map(SocketAddr::ip).find(differs) else {
            self.second_nat = None;
            return;
        };
        if self.second_nat.replace((own, seen)) != Some((own, seen)) {
            self.events.push_back(Event::Warning {
                message: format!(
                    "our gateway has the address {own} and others see us at {seen}: there is a second NAT in front of it, \
                     so ports that the gateway maps cannot be reached from outside"
                ),
            });
        }
    }

    /// The address that the outside sees us at.
    pub(super) fn outside_address(&self) -> Option<IpAddr> {
        let seen = self.observations.verdict().map(|verdict| verdict.endpoint);
        let observed = self.detection.and_then(|detection| detection.observed).or(seen);
        observed.map(|endpoint| endpoint.ip())
    }

    /// What was measured, in the light of what peers say.
    fn considered(&self, measured: Detection) -> Detection {
        let Some(verdict) = self.observations.verdict() else {
            return measured;
        };
        if measured.mapping == Mapping::Unknown {
            // Nobody has told what gets in, so this is half of the truth at best.
            let mapping = verdict.mapping;
            return Detection {
                mapping,
                name: NatClass::of(mapping, measured.filtering, true),
                observed: measured.observed.or(Some(verdict.endpoint)),
                confidence: Confidence::Low,
                ..measured
            };
        }
        let sure = verdict.confidence == Confidence::High;
        let agrees = verdict.mapping == measured.mapping
            || verdict.mapping.is_dependent() && measured.mapping.is_dependent();
        let elsewhere = verdict.mapping == Mapping::EndpointIndependent
            && measured.observed.is_some_and(|observed| observed != verdict.endpoint);
        if sure && (!agrees || elsewhere) {
            return Detection { confidence: measured.confidence.min(Confidence::Low), ..measured };
        }
        measured
    }
}
