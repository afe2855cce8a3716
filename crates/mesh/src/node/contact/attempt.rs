//! The attempt at a direct path, once dialling was in vain: a coordinator is asked, both sides punch.

use std::net::SocketAddr;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{ASK_GAP, ASK_LIMIT, Contact, LINK_LIMIT, MAX_SEARCHES, Stage};
use crate::coordination::{Coordination, Side};
use crate::event::Event;
use crate::identity::PeerId;
use crate::nat::NatClass;
use crate::node::{Node, path};
use crate::probe::Token;
use crate::punch::{Punch, Role};
use crate::strategy::Strategy;
use crate::wire::Kind as DatagramKind;

impl Node {
    pub(super) fn ask_coordinator(&mut self, now: Instant, id: PeerId) {
        let transaction: Token = self.rng.random();
        let Some(contact) = self.contact(&id) else {
            return;
        };
        let Some(coordinator) = contact.coordinator else {
            return self.end_attempt(now, id, false);
        };
        contact.stage = Stage::Ask { transaction, next: now + ASK_GAP, until: now + ASK_LIMIT };
        self.send_ask(id, Some(coordinator), transaction);
    }

    pub(super) fn send_ask(&mut self, target: PeerId, coordinator: Option<PeerId>, transaction: Token) {
        let side = self.side();
        let ask = Coordination::Ask { transaction, target, side };
        let way = coordinator.and_then(|id| Some((id, self.peers.get(&id)?.direct?)));
        if let Some((id, path)) = way {
            self.send_sealed(DatagramKind::Coordinate, &id, path, &ask);
        }
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
        let asked = matches!(
            self.contact(&id),
            Some(Contact { stage: Stage::Ask { transaction, .. }, coordinator, .. })
                if *transaction == answered && *coordinator == Some(from)
        );
        if asked {
            let strategy = self.strategy(Role::Initiator, side);
            self.begin_punch(now, id, strategy, endpoint, side.class, from);
        }
    }

    pub(in crate::node) fn handle_coordination_refused(&mut self, now: Instant, refused: Token, id: PeerId) {
        let asked = matches!(
            self.contact(&id),
            Some(Contact { stage: Stage::Ask { transaction, .. }, .. }) if *transaction == refused
        );
        if asked {
            self.end_attempt(now, id, false);
        }
    }

    /// A coordinator says that `asker` wants to be connected with us.
    pub(in crate::node) fn handle_call(
        &mut self,
        now: Instant,
        coordinator: PeerId,
        asker: PeerId,
        endpoint: SocketAddr,
        side: Side,
    ) {
        let contact = self.peers.get(&asker).and_then(|peer| peer.contact.as_ref());
        let busy = contact.is_some_and(|contact| match &contact.stage {
            Stage::Punch(_) => true,
            // Over for good, or because the initiator has said so; a fresh responder begins with `Over`, too.
            Stage::Over => contact.punching || contact.settled || contact.kind.is_some(),
            Stage::Lookup { .. } | Stage::Dial { .. } | Stage::Ask { .. } => false,
        });
        let reached = self.peers.get(&asker).is_some_and(|peer| peer.direct.is_some());
        if busy || reached || asker == self.id() {
            return;
        }
        let role = self.join_contact(now, asker);
        let strategy = match role {
            // Both have asked: we go by our own view of it.
            Role::Initiator => self.strategy(Role::Initiator, side),
            Role::Responder => self.strategy(Role::Responder, side),
        };
        self.renew_attempt(asker);
        self.begin_punch(now, asker, strategy, endpoint, side.class, coordinator);
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

    fn strategy(&self, role: Role, other: Side) -> Strategy {
        let birthday = self.config.birthday && other.birthday;
        match role {
            Role::Initiator => Strategy::between(self.class(), other.class, birthday),
            Role::Responder => Strategy::between(other.class, self.class(), birthday),
        }
    }

    fn begin_punch(
        &mut self,
        now: Instant,
        id: PeerId,
        strategy: Strategy,
        target: SocketAddr,
        peer_class: NatClass,
        coordinator: PeerId,
    ) {
        let class = self.class();
        let round_trip = self.round_trip(&coordinator);
        // Searches are costly to us and to the network, and others can ask for them.
        let strategy = match strategy {
            Strategy::Birthday if self.searches() >= MAX_SEARCHES => Strategy::Impossible,
            other => other,
        };
        let mut rng = StdRng::from_seed(self.rng.random());
        let open = || self.open_socket();
        let punch = Punch::new(now, strategy, class, target, round_trip, &mut rng, open);
        if let Some(contact) = self.contact(&id) {
            contact.stage = Stage::Punch(punch);
            contact.punching = true;
            contact.peer_class = peer_class;
            contact.coordinator = Some(coordinator);
        }
        self.events.push_back(Event::PunchStarted { peer: id, strategy });
        self.drive_contact(now, id);
    }

    /// Birthday searches going on.
    fn searches(&self) -> usize {
        let searches = |(_, peer): &(&PeerId, &path::Peer)| {
            let stage = peer.contact.as_ref().map(|contact| &contact.stage);
            matches!(stage, Some(Stage::Punch(punch)) if punch.strategy == Strategy::Birthday)
        };
        self.peers.iter().filter(searches).count()
    }
}
