//! The coordinator's part, and what its messages set off in those that it brings together.

use std::time::Instant;

use crate::coordination::Coordination;
use crate::identity::PeerId;
use crate::net::Path;
use crate::wire::Kind as DatagramKind;

use super::Node;

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
        match coordination {
            Coordination::Ask { transaction, target, side } => {
                let way = self.observed(&target).filter(|_| self.config.service.coordinates());
                match way {
                    Some(way) => {
                        let call =
                            Coordination::Call { transaction, asker: from, endpoint: path.remote, side };
                        self.send_sealed(DatagramKind::Coordinate, &target, way, &call);
                    }
                    None => {
                        let refused = Coordination::Refused { transaction, target };
                        self.send_sealed(DatagramKind::Coordinate, &from, path, &refused);
                    }
                }
            }
            Coordination::Called { transaction, asker, side } => {
                let way = self.observed(&asker).filter(|_| self.config.service.coordinates());
                if let Some(way) = way {
                    let answer =
                        Coordination::Answer { transaction, target: from, endpoint: path.remote, side };
                    self.send_sealed(DatagramKind::Coordinate, &asker, way, &answer);
                }
            }
            Coordination::Call { transaction, asker, endpoint, side } => {
                if self.entrance_of(&from).is_some() {
                    let called = Coordination::Called { transaction, asker, side: self.side() };
                    self.send_sealed(DatagramKind::Coordinate, &from, path, &called);
                    self.handle_call(now, from, asker, endpoint, side);
                }
            }
            Coordination::Answer { transaction, target, endpoint, side } => {
                self.handle_coordinated(now, from, transaction, target, endpoint, side);
            }
            Coordination::Refused { transaction, target } => {
                self.handle_coordination_refused(now, transaction, target);
            }
        }
    }
}
