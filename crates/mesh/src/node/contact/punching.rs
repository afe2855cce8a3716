//! The punch itself: what both sides do once a coordinator has spoken to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use natrig_stun::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Contact, LINK_LIMIT, Stage, attempt::Then};
use crate::coordination::{Coordination, Predicted, Side};
use crate::event::Event;
use crate::identity::PeerId;
use crate::nat::NatClass;
use crate::net::{Path, SocketId};
use crate::node::{Node, path};
use crate::probe::{Purpose, Token};
use crate::punch::{Brief, MAX_PROBES, Punch, Role};
use crate::sounding::{Sounding, Step};
use crate::strategy::{Means, Strategy};
use crate::wire::Kind as DatagramKind;

/// Searches that go on at once.
const MAX_SEARCHES: usize = 4;
/// Nobody waits longer than this for the other's start.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Whether a new flow still gets through our gateway after so many probes of a search.
pub(super) struct Question {
    sounding: Sounding,
    mark: u64,
}

impl Question {
    pub fn socket(&self) -> SocketId {
        self.sounding.path.socket
    }

    pub fn poll_timeout(&self) -> Instant {
        self.sounding.poll_timeout()
    }
}

/// A coordinator's word that somebody wants to be connected with us.
pub(in crate::node) struct Call {
    pub transaction: Token,
    pub asker: PeerId,
    pub endpoint: SocketAddr,
    pub side: Side,
    pub wait: Duration,
}

impl Node {
    /// A coordinator says that somebody wants to be connected with us.
    pub(in crate::node) fn handle_call(&mut self, now: Instant, coordinator: PeerId, from: Path, call: Call) {
        let Call { transaction, asker, endpoint, side, wait } = call;
        if asker == self.id() {
            return;
        }
        let contact = self.peers.get(&asker).and_then(|peer| peer.contact.as_ref());
        let is_sounding = contact.is_some_and(|contact| matches!(contact.stage, Stage::Sound { .. }));
        let is_punching = contact.is_some_and(|contact| matches!(contact.stage, Stage::Punch(_)));
        let is_repeated = contact.is_some_and(|contact| contact.attempt.call == Some(transaction));
        if !is_repeated && !self.callers.take(now, asker) {
            return self.reject(
                now,
                DatagramKind::Coordinate,
                "this peer has us called too often",
                from.remote,
            );
        }
        if is_sounding {
            // It is answered as soon as there is more to say.
            return;
        }
        let reached = self.peers.get(&asker).is_some_and(|peer| peer.direct.is_some());
        if is_repeated || is_punching || reached && !self.is_stale(now, &asker) {
            return self.send_called(&coordinator, transaction, asker);
        }
        let role = self.join_contact(now, asker);
        self.renew_attempt(asker);
        self.close_foretold(&asker);
        let side = self.believed(side, endpoint);
        let could_foretell = self.is_foreseeable();
        let strategy = self.strategy(role, &side, could_foretell);
        let Some(contact) = self.contact(&asker) else {
            return;
        };
        contact.coordinator = Some(coordinator);
        contact.attempt.call = Some(transaction);
        contact.attempt.other = Some((endpoint, side));
        let foretells = strategy == Strategy::PortPrediction && could_foretell;
        if foretells && self.begin_sounding(now, asker, coordinator, Then::Follow) {
            return;
        }
        self.send_called(&coordinator, transaction, asker);
        let wait = if strategy.is_timed() { wait.min(MAX_WAIT) } else { Duration::ZERO };
        self.begin_punch(now, asker, strategy, wait);
    }

    /// Follows a call now that we know which port we get.
    pub(super) fn follow_call(&mut self, now: Instant, id: PeerId) {
        let Some(contact) = self.contact(&id) else {
            return;
        };
        let (role, foretold) = (contact.role, contact.attempt.foretold.is_some());
        let (Some(transaction), Some(coordinator), Some((_, side))) =
            (contact.attempt.call, contact.coordinator, contact.attempt.other.clone())
        else {
            return;
        };
        self.send_called(&coordinator, transaction, id);
        let strategy = self.strategy(role, &side, foretold);
        self.begin_punch(now, id, strategy, Duration::ZERO);
    }

    fn send_called(&mut self, coordinator: &PeerId, transaction: Token, asker: PeerId) {
        let called = Coordination::Called { transaction, asker, side: self.own_side(&asker) };
        self.send_coordination(coordinator, &called);
    }

    /// The coordinator tells us where the peer is and that it has been called.
    pub(in crate::node) fn handle_coordinated(
        &mut self,
        now: Instant,
        from: PeerId,
        answered: Token,
        id: PeerId,
        endpoint: SocketAddr,
        side: Side,
    ) {
        let asked = self.is_asking(&id, answered);
        let side = self.believed(side, endpoint);
        let Some(contact) = self.contact(&id).filter(|contact| asked && contact.coordinator == Some(from))
        else {
            return;
        };
        let foretold = contact.attempt.foretold.is_some();
        contact.attempt.other = Some((endpoint, side.clone()));
        let strategy = self.strategy(Role::Initiator, &side, foretold);
        self.begin_punch(now, id, strategy, Duration::ZERO);
    }

    /// What a side seen at `endpoint` says, as far as it can be true for us.
    fn believed(&self, side: Side, endpoint: SocketAddr) -> Side {
        let ours = self.outside_address().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let mut side = side.claimed_from(endpoint.ip(), ours);
        side.candidates.retain(|candidate| *candidate != endpoint);
        side
    }

    /// The contact with `id`: the one there is, or a new one as its responder.
    pub(super) fn join_contact(&mut self, now: Instant, id: PeerId) -> Role {
        let contact = self.peer(id).contact.get_or_insert_with(|| {
            let mut contact = Contact::new(now, Role::Responder, Stage::Over);
            contact.give_up = Some(now + 2 * LINK_LIMIT);
            contact
        });
        contact.role
    }

    fn strategy(&self, role: Role, other: &Side, foretold: bool) -> Strategy {
        let means = Means {
            prediction: self.config.prediction && other.prediction && (foretold || other.predicted.is_some()),
            birthday: self.config.birthday && other.birthday,
        };
        self.strategy_with(role, other.class, means)
    }

    fn strategy_with(&self, role: Role, other: NatClass, means: Means) -> Strategy {
        // If both have asked, each goes by its own view of it.
        let strategy = match role {
            Role::Initiator => Strategy::between(self.class(), other, means),
            Role::Responder => Strategy::between(other, self.class(), means),
        };
        strategy.coordinated()
    }

    fn begin_punch(&mut self, now: Instant, id: PeerId, strategy: Strategy, wait: Duration) {
        let is_hard = self.class() == NatClass::Symmetric;
        let busy = self.searches() >= MAX_SEARCHES;
        let room = self.flow_room.unwrap_or(MAX_PROBES);
        let mut rng = StdRng::from_seed(self.rng.random());
        let coordinator = self.contact(&id).and_then(|contact| contact.coordinator);
        let round_trip = coordinator.map(|coordinator| self.round_trip(&coordinator)).unwrap_or_default();
        let Some((target, side)) = self.contact(&id).and_then(|contact| contact.attempt.other.clone()) else {
            return;
        };
        let foretold = self.contact(&id).and_then(|contact| contact.attempt.foretold);
        // Searches are costly to us and to the network, and others can ask for them.
        let strategy = match strategy {
            Strategy::Birthday if busy => Strategy::Impossible,
            other => other,
        };
        let brief = Brief {
            strategy,
            is_hard,
            target,
            predicted: side.predicted.map(Predicted::ports).unwrap_or_default(),
            foretold: foretold.map(|(socket, _)| socket),
            claimed: side.candidates,
            wait,
            round_trip,
            room,
        };
        let punch = Punch::new(now, brief, &mut rng, || self.open_socket());
        if let Some(contact) = self.contact(&id) {
            contact.attempt.has_searched |= strategy == Strategy::Birthday;
            contact.stage = Stage::Punch(punch);
            contact.punching = true;
            contact.peer_class = side.class;
        }
        self.events.push_back(Event::PunchStarted { peer: id, strategy });
        self.drive_contact(now, id);
    }

    pub(super) fn drive_punch(&mut self, now: Instant, id: PeerId) {
        self.drive_question(now, id);
        let peer = self.peers.get_mut(&id).and_then(|peer| peer.contact.as_mut());
        let Some(Contact { stage: Stage::Punch(punch), probes, .. }) = peer else {
            return;
        };
        if punch.is_over(now) {
            return self.punch_over(now, id);
        }
        let mut due = Vec::new();
        while let Some(shot) = punch.poll_probe(now, &mut self.search_pace) {
            due.push(shot);
        }
        *probes += due.len() as u64;
        let searches = punch.strategy == Strategy::Birthday;
        let mark = punch.search().and_then(|search| search.poll_question());
        for shot in due {
            let purpose = if shot.is_claimed { Purpose::Claimed } else { Purpose::Punch };
            if !searches || shot.is_claimed {
                self.send_probe_within_limits(now, id, shot.path, purpose);
            } else if self.search_limits.take(now, shot.path.remote.ip()) {
                self.send_probe(id, shot.path, purpose);
            } else {
                self.stop_punch(now, &id);
            }
        }
        if let Some(mark) = mark {
            self.begin_question(now, id, mark);
        }
    }

    /// What was tried has failed: what remains is tried next.
    fn punch_over(&mut self, now: Instant, id: PeerId) {
        let Some(Contact { stage: Stage::Punch(punch), role, attempt, .. }) = self.contact(&id) else {
            return;
        };
        if punch.strategy == Strategy::PortPrediction {
            let (role, other) = (*role, attempt.other.clone());
            self.close_foretold(&id);
            let next = other.map(|(_, side)| {
                let birthday = self.config.birthday && side.birthday;
                self.strategy_with(role, side.class, Means { prediction: false, birthday })
            });
            if next == Some(Strategy::Birthday) {
                return self.begin_punch(now, id, Strategy::Birthday, Duration::ZERO);
            }
        }
        self.end_attempt(now, id, false);
    }

    fn stop_punch(&mut self, now: Instant, id: &PeerId) {
        if let Some(Contact { stage: Stage::Punch(punch), .. }) = self.contact(id) {
            punch.stop(now);
        }
    }

    /// A probe of an attempt, if its address has not had enough of them.
    pub(super) fn send_probe_within_limits(
        &mut self,
        now: Instant,
        id: PeerId,
        path: Path,
        purpose: Purpose,
    ) {
        if self.probe_limits.take(now, path.remote.ip()) {
            self.send_probe(id, path, purpose);
        }
    }

    /// Birthday searches going on.
    fn searches(&self) -> usize {
        let searches = |(_, peer): &(&PeerId, &path::Peer)| {
            let stage = peer.contact.as_ref().map(|contact| &contact.stage);
            matches!(stage, Some(Stage::Punch(punch)) if punch.strategy == Strategy::Birthday)
        };
        self.peers.iter().filter(searches).count()
    }

    /// Sees whether a new flow still gets through, `mark` probes into a search.
    fn begin_question(&mut self, now: Instant, id: PeerId, mark: u64) {
        let coordinator = self.contact(&id).and_then(|contact| contact.coordinator);
        let path = coordinator.and_then(|coordinator| self.peers.get(&coordinator)?.direct);
        let server = path.map(|path| path.remote).or(self.config.stun.first().copied());
        let Some(server) = server else {
            // Nobody can tell, so it goes no further than this.
            return;
        };
        let (socket, transaction) = (self.open_socket(), self.rng.random());
        self.sounded.insert(socket, id);
        let sounding = Sounding::new(now, socket, server, transaction);
        if let Some(contact) = self.contact(&id) {
            contact.attempt.question = Some(Question { sounding, mark });
        }
        self.drive_question(now, id);
    }

    fn drive_question(&mut self, now: Instant, id: PeerId) {
        let Some(question) = self.contact(&id).and_then(|contact| contact.attempt.question.as_mut()) else {
            return;
        };
        match question.sounding.step(now) {
            Step::Send(transmit) => self.transmits.push_back(transmit),
            Step::Wait => {}
            Step::Lost => {
                self.end_question(&id);
                let Some(Contact { stage: Stage::Punch(punch), .. }) = self.contact(&id) else {
                    return;
                };
                punch.stop(now);
                let Some(confirmed) = punch.search().map(|search| search.confirmed()) else {
                    return;
                };
                self.flow_room = Some(confirmed / 2);
                self.events.push_back(Event::Warning {
                    message: format!(
                        "the NAT's table seems to be full after {confirmed} probes; the search for {id} is ended, and \
                         later ones will be shorter"
                    ),
                });
            }
        }
    }

    pub(super) fn end_question(&mut self, id: &PeerId) -> Option<Question> {
        let question = self.contact(id).and_then(|contact| contact.attempt.question.take())?;
        self.sounded.remove(&question.socket());
        self.close_unused(id, &[question.socket()]);
        Some(question)
    }

    /// A STUN server answers a socket that was opened to see what the NAT makes of it.
    pub(in crate::node) fn handle_sounded(&mut self, now: Instant, path: Path, message: &Message) {
        let Some(&id) = self.sounded.get(&path.socket) else {
            return;
        };
        let Some(contact) = self.contact(&id) else {
            return;
        };
        if let Stage::Sound { sounding, .. } = &contact.stage
            && let Some(endpoint) = sounding.answer(path, message)
        {
            return self.end_sounding(now, id, Some(endpoint));
        }
        let question = contact.attempt.question.as_ref();
        if question.is_some_and(|question| question.sounding.answer(path, message).is_some())
            && let Some(question) = self.end_question(&id)
            && let Some(Contact { stage: Stage::Punch(punch), .. }) = self.contact(&id)
        {
            if let Some(search) = punch.search() {
                search.answered(question.mark);
            }
            punch.resume(now);
            self.drive_punch(now, id);
        }
    }
}
