//! Nearness of IDs: the more leading bits two have in common, the nearer they are (XOR, as in Kademlia).

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::identity::PeerId;

const BITS: usize = 256;

/// How far apart two IDs are.
pub(crate) fn distance(a: &PeerId, b: &PeerId) -> [u8; 32] {
    std::array::from_fn(|at| a.as_bytes()[at] ^ b.as_bytes()[at])
}

/// How many leading bits two IDs have in common.
pub(crate) fn common_bits(a: &PeerId, b: &PeerId) -> u8 {
    let bytes = a.as_bytes().iter().zip(b.as_bytes());
    let equal = bytes.clone().take_while(|(a, b)| a == b).count();
    let rest = bytes.clone().nth(equal).map_or(0, |(a, b)| (a ^ b).leading_zeros() as usize);
    (equal * 8 + rest).min(BITS - 1) as u8
}

/// Things kept by ID, of which the nearest to any ID are found without going through all.
pub(crate) struct Ring<T>(BTreeMap<PeerId, T>);

impl<T> Ring<T> {
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub fn insert(&mut self, id: PeerId, value: T) {
        self.0.insert(id, value);
    }

    pub fn remove(&mut self, id: &PeerId) {
        self.0.remove(id);
    }

    /// The `count` nearest to `target`, the nearest first.
    pub fn nearest(&self, target: &PeerId, count: usize) -> Vec<(PeerId, &T)> {
        let mut found = Vec::with_capacity(count);
        self.gather(target, *target, 0, count, &mut found);
        found.sort_by_key(|(id, _)| distance(id, target));
        found
    }

    /// Adds those of the subtree whose IDs begin with the first `bits` of `prefix`, near ones first, until there are `count`.
    fn gather<'a>(
        &'a self,
        target: &PeerId,
        prefix: PeerId,
        bits: usize,
        count: usize,
        found: &mut Vec<(PeerId, &'a T)>,
    ) {
        let room = count.saturating_sub(found.len());
        let all = || self.0.range(subtree(&prefix, bits));
        let more = all().nth(room).is_some();
        if room == 0 {
        } else if !more || bits == BITS {
            found.extend(all().map(|(id, value)| (*id, value)));
        } else {
            let near = bit(target, bits);
            for side in [near, !near] {
                self.gather(target, with_bit(prefix, bits, side), bits + 1, count, found);
            }
        }
    }
}

fn subtree(prefix: &PeerId, bits: usize) -> (Bound<PeerId>, Bound<PeerId>) {
    let filled = |with: u8| {
        PeerId::from_bytes(std::array::from_fn(|at| {
            let kept = bits.saturating_sub(at * 8).min(8);
            let mask = !(0xff_u16 >> kept) as u8;
            (prefix.as_bytes()[at] & mask) | (with & !mask)
        }))
    };
    (Bound::Included(filled(0)), Bound::Included(filled(0xff)))
}

fn bit(id: &PeerId, at: usize) -> bool {
    id.as_bytes().get(at / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0)
}

fn with_bit(id: PeerId, at: usize, to: bool) -> PeerId {
    let mut bytes = *id.as_bytes();
    if let Some(byte) = bytes.get_mut(at / 8) {
        let mask = 0x80 >> (at % 8);
        *byte = if to { *byte | mask } else { *byte & !mask };
    }
    PeerId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(bytes: [u8; 32]) -> PeerId {
        PeerId::from_bytes(bytes)
    }

    #[test]
    fn bits_in_common_are_counted() {
        assert_eq!(common_bits(&id([0; 32]), &id([0x80; 32])), 0);
        let mut near = [0; 32];
        near[1] = 0x10;
        assert_eq!(common_bits(&id([0; 32]), &id(near)), 11);
        assert_eq!(common_bits(&id([7; 32]), &id([7; 32])), 255);
    }

    proptest! {
        #[test]
        fn the_nearest_are_those_that_a_search_through_all_finds(
            ids in proptest::collection::vec(any::<[u8; 32]>(), 0..60),
            // IDs that begin alike, too.
            alike in proptest::collection::vec(any::<u8>(), 0..20),
            target: [u8; 32],
            count in 0usize..12,
        ) {
            let alike = alike.iter().map(|last| { let mut near = target; near[31] ^= last; near });
            let mut all: Vec<PeerId> = ids.iter().copied().chain(alike).map(id).collect();
            let mut ring = Ring::new();
            all.iter().for_each(|id| ring.insert(*id, ()));
            let target = id(target);
            all.sort_by_key(|id| distance(id, &target));
            all.dedup();
            all.truncate(count);
            let found: Vec<PeerId> = ring.nearest(&target, count).into_iter().map(|(id, _)| id).collect();
            prop_assert_eq!(found, all);
        }
    }
}
