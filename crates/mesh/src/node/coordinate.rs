//! The coordinator's part, and what its messages set off in those that it brings together.

use std::time::{Duration, Instant};

use crate::announce::is_possible;
use crate::control::Reply;
use crate::coordination::Coordination;
use crate::event::Event;
use crate::identity::PeerId;
use crate::nat::is_private;
use crate::net::Path;
use crate::wire::Kind as DatagramKind;

use super::Node;
use super::contact::Call;

impl Node {
    pub(super) fn handle_coordination(
        &mut self,
        now: Instant,
        from: PeerId,
        path: Path,
        coordination: Coordination,
    ) {
        // Only connected nodes, and only from where they are known to be.
        if self.observed(&from) != Some(path) {
            let why = "not from a connected node";
            return self.reject(now, DatagramKind::Coordinate, why, path.remote);
        }
        if !self.may_ask(now, &from) {
            return self.reject(now, DatagramKind::Coordinate, "too often", path.remote);
        }
        self.take_coordination(now, from, path, coordination);
    }

    /// Does what a connected node asks for.
    pub(super) fn take_coordination(
        &mut self,
        now: Instant,
        from: PeerId,
        path: Path,
        coordination: Coordination,
    ) {
        match coordination {
            Coordination::Ask { transaction, target, side } => match self.way_between(path, &target) {
                Some(way) => {
                    self.call_astray(&target, way);
                    let side = side.claimed_from(path.remote.ip(), way.remote.ip());
                    let wait = (self.round_trip(&from) + self.round_trip(&target)) / 2;
                    let wait = u32::try_from(wait.as_micros()).unwrap_or(u32::MAX);
                    let call = Coordination::Call {
                        transaction,
                        asker: from,
                        endpoint: self.told(path.remote),
                        side,
                        wait,
                    };
                    self.send_sealed(DatagramKind::Coordinate, &target, way, &call);
                }
                None => {
                    let refused = Coordination::Refused { transaction, target };
                    self.send_sealed(DatagramKind::Coordinate, &from, path, &refused);
                }
            },
            Coordination::Called { transaction, asker, side } => {
                if let Some(way) = self.way_between(path, &asker) {
                    let side = side.claimed_from(path.remote.ip(), way.remote.ip());
                    let answer = Coordination::Answer {
                        transaction,
                        target: from,
                        endpoint: self.told(path.remote),
                        side,
                    };
                    self.send_sealed(DatagramKind::Coordinate, &asker, way, &answer);
                }
            }
            Coordination::Call { transaction, asker, endpoint, side, wait } => {
                if self.is_coordinator(&from) && is_possible(&endpoint) {
                    let wait = Duration::from_micros(wait.into());
                    let call = Call { transaction, asker, endpoint, side, wait };
                    self.handle_call(now, from, path, call);
                }
            }
            Coordination::Answer { transaction, target, endpoint, side } => {
                if is_possible(&endpoint) {
                    self.handle_coordinated(now, from, transaction, target, endpoint, side);
                }
            }
            Coordination::Refused { transaction, target } => {
                self.handle_coordination_refused(now, transaction, target);
            }
        }
    }

    /// Who had us arrange an attempt says what has come of it.
    pub(super) fn take_outcome(
        &mut self,
        now: Instant,
        initiator: PeerId,
        responder: PeerId,
        success: bool,
        probes: u64,
    ) {
        let is_ours = self.config.service.coordinates() && self.observed(&initiator).is_some();
        if is_ours && self.may_ask(now, &initiator) {
            self.events.push_back(Event::PunchReported { initiator, responder, success, probes });
        }
    }

    /// Whether we have chosen this node to coordinate for us. Others may have us do nothing.
    fn is_coordinator(&self, id: &PeerId) -> bool {
        self.entrance_of(id).is_some() || self.directory.serves(id) && !self.quic.is_begun_by_peer(id)
    }

    /// Where `other` is, if we may bring it together with one that is at `path`.
    fn way_between(&self, path: Path, other: &PeerId) -> Option<Path> {
        let way = self.observed(other).filter(|_| self.config.service.coordinates())?;
        // What we see of a node in our own site is of no use outside, and nobody's business.
        let is_inside = |path: Path| is_private(path.remote.ip());
        (is_inside(path) == is_inside(way)).then_some(way)
    }

    /// Says whether we are connected to `peer` and could bring it together with `from`.
    pub(super) fn acquainted(&self, from: &PeerId, peer: &PeerId) -> Reply {
        let path = self.observed(from);
        match path.and_then(|path| self.way_between(path, peer)) {
            Some(way) => Reply::Acquainted {
                observed: self.told(way.remote),
                round_trip: u64::try_from(self.round_trip(peer).as_micros()).unwrap_or(u64::MAX),
            },
            None => Reply::NotFound,
        }
    }
}
