//! The attempt at a direct path, until it is known what both sides shall do: the peer is dialled, those who know it are
//! looked for meanwhile, and if nobody answers the best of them is asked to bring the two together.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;

use super::{Contact, Stage, punching::Question};
use crate::control::{Reply, Request};
use crate::coordination::{Coordination, Predicted, Side};
use crate::event::{Event, PathKind};
use crate::identity::PeerId;
use crate::nat::{Allocation, Mapping, NatClass, is_private};
use crate::net::{Path, SocketId};
use crate::node::{Node, Pending};
use crate::probe::{Purpose, Token};
use crate::punch::Role;
use crate::sounding::{Sounding, Step};
use crate::strategy::Strategy;
use crate::wire::Kind as DatagramKind;

const DIAL_GAP: Duration = Duration::from_millis(100);
const DIAL_PROBES: u32 = 3;
const MIN_DIAL: Duration = Duration::from_millis(300);
const ASK_GAP: Duration = Duration::from_millis(200);
/// Silence after which another coordinator is asked, at least.
const MIN_ASK: Duration = Duration::from_millis(800);
/// How many are asked whether they know the peer.
const MAX_COORDINATORS: usize = 4;
/// From a failed attempt to the next; twice as long after each.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// From the loss of a direct path to the attempt at another. What took it away may last: the next ones follow after 4, 8, 16 s and so on.
const SOON: Duration = Duration::from_secs(2);
const MAX_RETRY: Duration = Duration::from_secs(1800);

/// What the attempts at a direct path go by.
#[derive(Default)]
pub(super) struct Attempt {
    /// Where the peer is dialled.
    pub target: Option<SocketAddr>,
    /// Nodes that are connected to both of us, and the round trip by way of them.
    acquainted: Vec<(Duration, PeerId)>,
    /// Those that were asked in vain.
    tried: Vec<PeerId>,
    /// Where the coordinator sees the peer, and what the peer says of itself.
    pub other: Option<(SocketAddr, Side)>,
    /// A socket whose next port the peer was told.
    pub foretold: Option<(SocketId, Predicted)>,
    /// The call that we follow.
    pub call: Option<Token>,
    /// Whether a birthday search was made: it is not made twice.
    pub has_searched: bool,
    /// Whether a search floods our gateway.
    pub question: Option<Question>,
    failures: u32,
    /// Whether there was, or may be by now, what earlier attempts did not find.
    is_hopeful: bool,
    pub retry_at: Option<Instant>,
}

/// What follows when it is known which port the next mapping gets.
pub(super) enum Then {
    Ask,
    Follow,
}

impl Contact {
    /// There was a direct path, or there may be one now: it is looked for soon, and ever later if in vain.
    pub(in crate::node) fn retry_soon(&mut self, now: Instant) {
        if self.role == Role::Initiator && self.is_over() {
            self.attempt.failures = 0;
            self.attempt.is_hopeful = true;
            self.attempt.has_searched = false;
            self.attempt.retry_at = Some(now + SOON);
        }
    }

    /// The peer says that it is at an endpoint: if it is another one, there may be a direct path now.
    pub(in crate::node) fn is_said_to_be_at(&mut self, now: Instant, endpoint: SocketAddr) {
        if self.attempt.target == Some(endpoint) {
            return;
        }
        if self.is_over() {
            (self.attempt.target, self.attempt.other) = (Some(endpoint), None);
            self.retry_soon(now);
        } else {
            // An attempt that is being made goes on where it began; the next one comes soon.
            (self.attempt.failures, self.attempt.is_hopeful) = (0, true);
        }
    }
}

impl Attempt {
    /// The coordinator to ask next: the one through which the way is shortest.
    fn best(&self) -> Option<PeerId> {
        let untried = self.acquainted.iter().filter(|(_, id)| !self.tried.contains(id));
        untried.min().map(|(_, id)| *id)
    }

    /// Whether a coordinator brought the two together: both sides have said what they can do.
    pub fn has_met(&self) -> bool {
        self.other.is_some()
    }

    /// Sockets that are open for it, beside those of a punch.
    pub fn sockets(&self) -> impl Iterator<Item = SocketId> {
        let question = self.question.as_ref().map(Question::socket);
        self.foretold.map(|(socket, _)| socket).into_iter().chain(question)
    }
}

impl Node {
    /// Probes the peer where it is said to be, and finds out who could bring us together. Without `target` it is probed
    /// as soon as somebody says where it is.
    pub(super) fn begin_dial(
        &mut self,
        now: Instant,
        id: PeerId,
        target: Option<SocketAddr>,
        class: NatClass,
        knows: Option<PeerId>,
    ) {
        let coordinators = self.coordinators(&id, knows);
        let farthest = coordinators.iter().map(|coordinator| self.round_trip(coordinator)).max();
        let patience = MIN_DIAL.max(2 * farthest.unwrap_or_default());
        let known = knows.map(|coordinator| (self.round_trip(&coordinator), coordinator));
        self.renew_attempt(id);
        let Some(contact) = self.contact(&id) else {
            return;
        };
        contact.peer_class = class;
        contact.punching = true;
        contact.coordinator = None;
        contact.probes = 0;
        contact.attempt.target = target;
        contact.attempt.tried.clear();
        contact.attempt.acquainted.clear();
        contact.attempt.retry_at = None;
        contact.stage = Stage::Dial { sent: 0, next: target.map(|_| now), until: now + patience };
        self.events.push_back(Event::PunchStarted { peer: id, strategy: Strategy::Dial });
        match known {
            // There is no choice.
            Some(known) if coordinators == [known.1] => {
                if let Some(contact) = self.contact(&id) {
                    contact.attempt.acquainted.push(known);
                }
            }
            _ => {
                for coordinator in coordinators {
                    let request = Request::Acquainted { peer: id };
                    self.ask(now, coordinator, &request, Pending::Survey { peer: id });
                }
            }
        }
        self.drive_contact(now, id);
    }

    /// Nodes that we are connected to and that may know the peer, the nearest first.
    fn coordinators(&self, id: &PeerId, knows: Option<PeerId>) -> Vec<PeerId> {
        let contact = self.peers.get(id).and_then(|peer| peer.contact.as_ref());
        let via = contact.map_or(&[][..], |contact| &contact.via).iter().map(|candidate| candidate.relay);
        let mut coordinators = self.open_entrances();
        coordinators.extend(via.filter(|relay| self.quic.is_connected(relay)));
        coordinators.extend(knows);
        coordinators.retain(|coordinator| coordinator != id);
        coordinators.sort_by_key(|coordinator| (self.round_trip(coordinator), *coordinator));
        coordinators.dedup();
        coordinators.truncate(MAX_COORDINATORS);
        coordinators
    }

    /// Somebody says whether it is connected to the peer, too.
    pub(in crate::node) fn handle_acquainted(
        &mut self,
        now: Instant,
        from: PeerId,
        id: PeerId,
        reply: Reply,
    ) {
        let Reply::Acquainted { observed, round_trip } = reply else {
            return;
        };
        let round_trip = self.round_trip(&from).saturating_add(Duration::from_micros(round_trip));
        let Some(contact) = self.contact(&id) else {
            return;
        };
        let attempt = &mut contact.attempt;
        if attempt.acquainted.len() < MAX_COORDINATORS
            && !attempt.acquainted.iter().any(|known| known.1 == from)
        {
            attempt.acquainted.push((round_trip, from));
        }
        if let (Stage::Dial { next, until, .. }, None) = (&mut contact.stage, attempt.target) {
            *next = Some(now);
            *until = (*until).max(now + MIN_DIAL);
            attempt.target = Some(observed);
            self.drive_contact(now, id);
        }
    }

    pub(super) fn drive_dial(&mut self, now: Instant, id: PeerId) {
        let Some(Contact { stage: Stage::Dial { sent, next, until }, attempt, probes, .. }) =
            self.contact(&id)
        else {
            return;
        };
        if *until <= now {
            return self.ask_coordinator(now, id);
        }
        let target = attempt.target;
        if let Some(target) = target.filter(|_| next.is_some_and(|next| next <= now)) {
            *sent += 1;
            *next = (*sent < DIAL_PROBES).then(|| now + DIAL_GAP);
            *probes += 1;
            self.send_probe_within_limits(now, id, Path::main(target), Purpose::Dial);
        }
    }

    /// Nobody answers at the known endpoint: asks the next coordinator for help.
    fn ask_coordinator(&mut self, now: Instant, id: PeerId) {
        let Some(contact) = self.contact(&id) else {
            return;
        };
        let Some(coordinator) = contact.attempt.best() else {
            return self.end_attempt(now, id, false);
        };
        contact.attempt.tried.push(coordinator);
        contact.coordinator = Some(coordinator);
        // What was not found out counts as strict.
        let is_strict = matches!(contact.peer_class, NatClass::PortRestrict | NatClass::Unknown);
        if is_strict && self.is_foreseeable() && self.begin_sounding(now, id, coordinator, Then::Ask) {
            return;
        }
        self.begin_ask(now, id);
    }

    pub(super) fn begin_ask(&mut self, now: Instant, id: PeerId) {
        let transaction: Token = self.rng.random();
        let Some(coordinator) = self.contact(&id).and_then(|contact| contact.coordinator) else {
            return;
        };
        let until = now + MIN_ASK.max(4 * self.round_trip(&coordinator));
        if let Some(contact) = self.contact(&id) {
            contact.stage = Stage::Ask { transaction, next: now, until };
        }
        self.drive_ask(now, id);
    }

    pub(super) fn drive_ask(&mut self, now: Instant, id: PeerId) {
        let Some(Contact { stage: Stage::Ask { transaction, next, until }, coordinator, .. }) =
            self.contact(&id)
        else {
            return;
        };
        if *until <= now {
            return self.ask_coordinator(now, id);
        }
        if *next <= now {
            *next = now + ASK_GAP;
            let (transaction, coordinator) = (*transaction, *coordinator);
            let ask = Coordination::Ask { transaction, target: id, side: self.own_side(&id) };
            if let Some(coordinator) = coordinator {
                self.send_coordination(&coordinator, &ask);
            }
        }
    }

    pub(super) fn send_coordination(&mut self, coordinator: &PeerId, message: &Coordination) {
        if let Some(path) = self.peers.get(coordinator).and_then(|peer| peer.direct) {
            self.send_sealed(DatagramKind::Coordinate, coordinator, path, message);
        }
    }

    pub(in crate::node) fn handle_coordination_refused(&mut self, now: Instant, refused: Token, id: PeerId) {
        if self.is_asking(&id, refused) {
            self.ask_coordinator(now, id);
        }
    }

    pub(super) fn is_asking(&self, id: &PeerId, about: Token) -> bool {
        let contact = self.peers.get(id).and_then(|peer| peer.contact.as_ref());
        contact.is_some_and(
            |contact| matches!(&contact.stage, Stage::Ask { transaction, .. } if *transaction == about),
        )
    }

    /// What the other shall know of our side of an attempt.
    pub(super) fn own_side(&self, id: &PeerId) -> Side {
        let attempt =
            self.peers.get(id).and_then(|peer| peer.contact.as_ref()).map(|contact| &contact.attempt);
        let searched = attempt.is_some_and(|attempt| attempt.has_searched);
        Side {
            class: self.class(),
            mapping: self.detection.map_or(Mapping::Unknown, |detection| detection.mapping),
            birthday: self.config.birthday && !searched,
            prediction: self.config.prediction,
            predicted: attempt.and_then(|attempt| attempt.foretold).map(|(_, predicted)| predicted),
            candidates: self.own_candidates(),
        }
    }

    /// Where we may be reached besides where we are seen.
    fn own_candidates(&self) -> Vec<SocketAddr> {
        if let Some(claims) = self.false_claims() {
            return claims;
        }
        if self.class() == NatClass::Public {
            return Vec::new();
        }
        let lan = self.config.host_addresses.iter().filter(|ip| is_private(**ip));
        let lan = lan.map(|&ip| SocketAddr::new(ip, self.config.port));
        self.mapped.iter().copied().chain(lan).take(self.config.candidates).collect()
    }

    /// Whether we can tell which port our next mapping gets.
    pub(super) fn is_foreseeable(&self) -> bool {
        let sequential = |allocation| matches!(allocation, Allocation::Sequential { .. });
        self.config.prediction
            && self.class() == NatClass::Symmetric
            && self.detection.is_some_and(|detection| sequential(detection.allocation))
    }

    /// Asks from a fresh socket which port it gets: the next one follows from it. False if there is nobody to ask.
    pub(super) fn begin_sounding(&mut self, now: Instant, id: PeerId, server: PeerId, then: Then) -> bool {
        let Some(path) = self.peers.get(&server).and_then(|server| server.direct) else {
            return false;
        };
        self.close_foretold(&id);
        let (socket, transaction) = (self.open_socket(), self.rng.random());
        self.sounded.insert(socket, id);
        let sounding = Sounding::new(now, socket, path.remote, transaction);
        if let Some(contact) = self.contact(&id) {
            contact.stage = Stage::Sound { sounding, then };
        }
        self.drive_sounding(now, id);
        true
    }

    pub(super) fn drive_sounding(&mut self, now: Instant, id: PeerId) {
        let Some(Contact { stage: Stage::Sound { sounding, .. }, .. }) = self.contact(&id) else {
            return;
        };
        match sounding.step(now) {
            Step::Send(transmit) => self.transmits.push_back(transmit),
            Step::Wait => {}
            Step::Lost => self.end_sounding(now, id, None),
        }
    }

    /// The sounding's socket was seen at `endpoint`: now the next port is known.
    pub(super) fn end_sounding(&mut self, now: Instant, id: PeerId, endpoint: Option<SocketAddr>) {
        let delta = match self.detection.map(|detection| detection.allocation) {
            Some(Allocation::Sequential { delta }) => delta,
            _ => 0,
        };
        let Some(contact) = self.contact(&id) else {
            return;
        };
        let Stage::Sound { sounding, then } = std::mem::replace(&mut contact.stage, Stage::Over) else {
            return;
        };
        let socket = sounding.path.socket;
        let port = endpoint.and_then(|seen| u16::try_from(i32::from(seen.port()) + delta).ok());
        contact.attempt.foretold = port.map(|port| (socket, Predicted { port, delta }));
        let target = match then {
            Then::Ask => contact.attempt.target,
            Then::Follow => contact.attempt.other.as_ref().map(|(endpoint, _)| *endpoint),
        };
        self.sounded.remove(&socket);
        match target.filter(|_| port.is_some()) {
            // At once, before anybody else gets that port.
            Some(remote) => {
                self.send_probe_within_limits(now, id, Path { socket, remote }, Purpose::Punch);
            }
            None => self.close_unused(&id, &[socket]),
        }
        match then {
            Then::Ask => self.begin_ask(now, id),
            Then::Follow => self.follow_call(now, id),
        }
    }

    /// Closes the socket of an earlier prediction.
    pub(super) fn close_foretold(&mut self, id: &PeerId) {
        let foretold = self.contact(id).and_then(|contact| contact.attempt.foretold.take());
        if let Some((socket, _)) = foretold {
            self.close_unused(id, &[socket]);
        }
    }

    /// An attempt has failed: there will be another, later each time.
    pub(super) fn schedule_retry(&mut self, now: Instant, id: &PeerId) {
        let jitter = self.rng.random_range(0.8..1.2);
        if let Some(contact) = self.contact(id).filter(|contact| contact.role == Role::Initiator) {
            let attempt = &mut contact.attempt;
            let first = if attempt.is_hopeful { 2 * SOON } else { FIRST_RETRY };
            let delay = first.saturating_mul(2u32.saturating_pow(attempt.failures)).min(MAX_RETRY);
            attempt.failures = attempt.failures.saturating_add(1);
            attempt.retry_at = Some(now + delay.mul_f64(jitter));
        }
    }

    /// The peer speaks to us over a relay, but was silent when a direct path was looked for: that did not count, and it is
    /// looked for once more.
    pub(super) fn attempt_unmet(&mut self, now: Instant, id: PeerId) {
        let is_unmet = |contact: &&mut Contact| {
            contact.role == Role::Initiator && contact.is_over() && !contact.attempt.has_met()
        };
        if let Some(contact) = self.contact(&id).filter(is_unmet) {
            contact.attempt.failures = 0;
            self.retry(now, id);
        }
    }

    /// Tries again to get from the relay to a direct path, if that is still wanted.
    pub(super) fn retry(&mut self, now: Instant, id: PeerId) {
        let on_relay = self.peers.get(&id).is_some_and(|peer| peer.carrying == Some(PathKind::Relay));
        let Some(contact) = self.contact(&id) else {
            return;
        };
        contact.attempt.retry_at = None;
        let (target, class) = match &contact.attempt.other {
            Some((endpoint, side)) => (Some(*endpoint), side.class),
            None => (contact.attempt.target, contact.peer_class),
        };
        if contact.connected && on_relay {
            self.begin_dial(now, id, target, class, None);
        }
    }
}
