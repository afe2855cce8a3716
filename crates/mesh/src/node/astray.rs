//! How a node leads others astray that was told to lie ([`crate::Lie`]) about where somebody is.

use std::net::SocketAddr;

use rand::Rng;

use crate::announce::is_possible;
use crate::coordination::{Coordination, Side};
use crate::identity::Identity;
use crate::identity::PeerId;
use crate::lie::Lie;
use crate::nat::{Mapping, NatClass};
use crate::net::Path;
use crate::wire::Kind as DatagramKind;

use super::Node;

/// Calls that come of one question.
const CALLS: usize = 50;

impl Node {
    /// Where somebody is said to be that is seen at `endpoint`.
    pub(super) fn told(&self, endpoint: SocketAddr) -> SocketAddr {
        match self.config.lie {
            Some(Lie::FalseObservations) => Lie::VICTIM,
            _ => endpoint,
        }
    }

    /// Where a liar claims to be.
    pub(super) fn false_claims(&self) -> Option<Vec<SocketAddr>> {
        let port = |n| SocketAddr::new(Lie::VICTIM.ip(), Lie::VICTIM.port() + n);
        (self.config.lie == Some(Lie::PunchVictim)).then(|| (0..8).map(port).filter(is_possible).collect())
    }

    /// Has `target` called by nodes that do not exist, each of which it shall search for.
    pub(super) fn call_astray(&mut self, target: &PeerId, way: Path) {
        if self.config.lie != Some(Lie::PunchVictim) {
            return;
        }
        for _ in 0..CALLS {
            let call = Coordination::Call {
                transaction: self.rng.random(),
                asker: Identity::from_seed(&self.rng.random()).id(),
                endpoint: Lie::VICTIM,
                side: Side {
                    class: NatClass::Symmetric,
                    mapping: Mapping::AddressAndPortDependent,
                    birthday: true,
                    prediction: false,
                    predicted: None,
                    candidates: Vec::new(),
                },
                wait: 0,
            };
            self.send_sealed(DatagramKind::Coordinate, target, way, &call);
        }
    }
}
