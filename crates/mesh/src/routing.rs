//! Messages over several members, where two share no relay: who leads to whom, and what was passed on already.
//!
//! An announcement that a neighbour passes on shows a way to its node: by that neighbour, over as many nodes as it has come
//! through. A message goes the shortest way that is known, or to all neighbours where none is; each node passes it on once,
//! so it cannot go in circles, and no farther than its hops allow.
//!
//! Bounds: [`WAYS`] for each node, [`REMEMBERED`] messages, [`MAX_LENGTH`] bytes, [`MAX_HOPS`] nodes.

use indexmap::{IndexMap, IndexSet};
use minicbor::{Decode, Encode};

use foldhash::fast::FixedState;

use crate::identity::PeerId;
use crate::replay::{ReplayWindow, Start};

/// Nodes that a message goes over at most.
pub(crate) const MAX_HOPS: u8 = 32;
/// Longest message.
pub(crate) const MAX_LENGTH: usize = 16 << 10;
/// Neighbours that it is given to if nobody knows the way.
pub(crate) const TRIED: usize = 8;
const WAYS: usize = 3;
const REMEMBERED: usize = 4096;
const SENDERS: usize = 1024;

/// A message that others pass on.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Routed {
    #[n(0)]
    pub origin: PeerId,
    /// Drawn at random: names the message.
    #[n(1)]
    pub number: u64,
    /// Nodes that may still pass it on.
    #[n(2)]
    pub hops: u8,
    /// Nodes that have passed it on.
    #[n(3)]
    pub passed: u8,
    #[n(4)]
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) enum Body {
    /// For one, and sealed for it.
    #[n(0)]
    Sealed {
        #[n(0)]
        target: PeerId,
        #[cbor(n(1), with = "minicbor::bytes")]
        sealed: Vec<u8>,
    },
    /// For all, and signed.
    #[n(1)]
    Open {
        #[cbor(n(0), with = "minicbor::bytes")]
        signed: Vec<u8>,
        #[cbor(n(1), with = "minicbor::bytes")]
        signature: [u8; 64],
    },
}

/// What the signature of a message for all is over.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Broadcast {
    #[n(0)]
    pub number: u64,
    /// The sender's start, and how many it has sent since: guards against repeats.
    #[n(1)]
    pub epoch: u64,
    #[n(2)]
    pub counter: u64,
    #[cbor(n(3), with = "minicbor::bytes")]
    pub data: Vec<u8>,
}

impl Body {
    pub fn length(&self) -> usize {
        match self {
            Self::Sealed { sealed, .. } => sealed.len(),
            Self::Open { signed, .. } => signed.len(),
        }
    }
}

/// The ways that are known, and the messages that were passed on.
pub(crate) struct Routing {
    capacity: usize,
    /// For each node neighbours that lead there, the shortest way first.
    ways: IndexMap<PeerId, Vec<(u8, PeerId)>, FixedState>,
    seen: IndexSet<(PeerId, u64), FixedState>,
    broadcasts: IndexMap<PeerId, ReplayWindow, FixedState>,
}

impl Routing {
    pub fn new(capacity: usize, hashes: FixedState) -> Self {
        Self {
            capacity,
            ways: IndexMap::with_hasher(hashes),
            seen: IndexSet::with_hasher(hashes),
            broadcasts: IndexMap::with_hasher(hashes),
        }
    }

    /// A neighbour leads to `id` over so many nodes.
    pub fn learn(&mut self, id: PeerId, hops: u8, neighbour: PeerId) {
        if self.ways.len() >= self.capacity && !self.ways.contains_key(&id) {
            self.ways.swap_remove_index(0);
        }
        let ways = self.ways.entry(id).or_default();
        ways.retain(|(_, next)| *next != neighbour);
        let place = ways.partition_point(|(other, _)| *other <= hops);
        ways.insert(place, (hops, neighbour));
        ways.truncate(WAYS);
    }

    /// A neighbour leads nowhere any more.
    pub fn lose(&mut self, neighbour: &PeerId) {
        self.ways.retain(|_, ways| {
            ways.retain(|(_, next)| next != neighbour);
            !ways.is_empty()
        });
    }

    /// Neighbours that lead to `id`, the shortest way first.
    pub fn ways(&self, id: &PeerId) -> impl Iterator<Item = PeerId> {
        self.ways.get(id).into_iter().flatten().map(|(_, next)| *next)
    }

    /// Whether this message has not come before.
    pub fn is_first(&mut self, origin: PeerId, number: u64) -> bool {
        let is_first = self.seen.insert((origin, number));
        if self.seen.len() > REMEMBERED {
            self.seen.shift_remove_index(0);
        }
        is_first
    }

    /// Whether this genuine message for all has not come before, long ago either.
    pub fn is_new(&mut self, origin: PeerId, broadcast: &Broadcast) -> bool {
        if self.broadcasts.len() >= SENDERS && !self.broadcasts.contains_key(&origin) {
            self.broadcasts.shift_remove_index(0);
        }
        let start = Start { epoch: broadcast.epoch, salt: 0 };
        self.broadcasts.entry(origin).or_default().accept(start, broadcast.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    fn routing() -> Routing {
        Routing::new(8, FixedState::default())
    }

    #[test]
    fn the_shortest_way_comes_first_and_a_lost_neighbour_leaves_the_others() {
        let mut routing = routing();
        for (hops, next) in [(3, 1), (1, 2), (2, 3), (9, 4), (4, 2)] {
            routing.learn(peer(9), hops, peer(next));
        }
        assert_eq!(routing.ways(&peer(9)).collect::<Vec<_>>(), [peer(3), peer(1), peer(2)]);
        routing.lose(&peer(3));
        assert_eq!(routing.ways(&peer(9)).next(), Some(peer(1)));
    }

    #[test]
    fn a_message_is_passed_on_once() {
        let mut routing = routing();
        let first = (0..5).filter(|_| routing.is_first(peer(1), 7)).count();
        assert_eq!(first, 1);
        let said = |counter| Broadcast { number: 0, epoch: 1, counter, data: vec![] };
        assert!(routing.is_new(peer(1), &said(1)) && !routing.is_new(peer(1), &said(1)));
        assert!(routing.is_new(peer(1), &said(2)));
    }

    proptest! {
        #[test]
        fn memory_is_bounded(heard in proptest::collection::vec((0u8..40, any::<u8>(), 0u8..9), 0..300)) {
            let mut routing = routing();
            for (id, hops, next) in heard {
                routing.learn(peer(id), hops, peer(100 + next));
                prop_assert!(routing.ways.len() <= 8);
                prop_assert!(routing.ways.values().all(|ways| ways.len() <= WAYS && ways.is_sorted_by_key(|(hops, _)| *hops)));
            }
            (0..2 * REMEMBERED as u64).for_each(|n| { routing.is_first(peer(1), n); });
            prop_assert!(routing.seen.len() <= REMEMBERED);
        }

        #[test]
        fn arbitrary_messages_never_panic(bytes: Vec<u8>) {
            let _ = minicbor::decode::<Routed>(&bytes);
            let _ = minicbor::decode::<Broadcast>(&bytes);
        }

        /// In any network, with ways that lead anywhere, a message ends: no node passes it on twice.
        #[test]
        fn no_message_goes_in_circles(links in proptest::collection::vec((0usize..12, 0usize..12), 0..40)) {
            let mut nodes: Vec<Routing> = (0..12).map(|_| routing()).collect();
            for (a, b) in &links {
                nodes[*a].learn(peer(99), 1, peer(*b as u8));
            }
            let (mut at, mut passed) = (vec![0usize], 0);
            while let Some(node) = at.pop() {
                if nodes[node].is_first(peer(50), 1) {
                    passed += 1;
                    at.extend(nodes[node].ways(&peer(99)).map(|next| usize::from(next.as_bytes()[0])));
                }
            }
            prop_assert!(passed <= 12);
        }
    }
}
