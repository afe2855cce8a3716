//! Where in a slab something is, by the hash of its key.
//!
//! A slot has a hash and a place in eight bytes, and a hash's slots lie in a row from the one that its upper bits name.
//! So a look-up touches one cache line here and one in the slab, and neither growing nor removing looks at keys.

use std::hint::black_box;

/// Names an entry of a slab.
pub(super) type Place = u32;

const EMPTY: u64 = u64::MAX;
const LEAST: usize = 16;

#[derive(Debug)]
pub(super) struct Index {
    /// As many as a power of two; a hash above a place.
    slots: Vec<u64>,
    /// How far a hash is shifted to the right to name a slot.
    shift: u32,
    count: usize,
}

impl Default for Index {
    fn default() -> Self {
        Index::with_slots(LEAST)
    }
}

impl Index {
    fn with_slots(count: usize) -> Self {
        Index { slots: vec![EMPTY; count], shift: u32::BITS - count.trailing_zeros(), count: 0 }
    }

    /// The place among those with a hash that fits.
    #[inline]
    pub fn find(&self, hash: u32, fits: impl Fn(Place) -> bool) -> Option<Place> {
        let at = self.slot(hash, fits)?;
        Some(self.slots[at] as Place)
    }

    /// The first place with a hash, which is almost always the right one.
    #[inline]
    pub fn first(&self, hash: u32) -> Option<Place> {
        self.find(hash, |_| true)
    }

    /// Reads where a hash's row begins, so that it is in the processor's cache.
    #[inline]
    pub fn touch(&self, hash: u32) {
        black_box(self.slots[self.home(hash)]);
    }

    /// Adds a place that is not there.
    pub fn insert(&mut self, hash: u32, place: Place) {
        // At most three quarters full: what is not there is not sought for long.
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.put(u64::from(hash) << 32 | u64::from(place));
    }

    /// Removes a place, if it is there.
    pub fn remove(&mut self, hash: u32, place: Place) {
        let Some(mut hole) = self.slot(hash, |other| other == place) else {
            return;
        };
        self.count -= 1;
        // What comes after it in the row moves up, unless it is where it belongs or would come before that.
        let mut at = self.after(hole);
        while self.slots[at] != EMPTY {
            let home = self.home((self.slots[at] >> 32) as u32);
            let mask = self.slots.len() - 1;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.slots[hole] = EMPTY;
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        (hash >> self.shift) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    #[inline]
    fn slot(&self, hash: u32, fits: impl Fn(Place) -> bool) -> Option<usize> {
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            if (slot >> 32) as u32 == hash && fits(slot as Place) {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    fn put(&mut self, slot: u64) {
        let mut at = self.home((slot >> 32) as u32);
        while self.slots[at] != EMPTY {
            at = self.after(at);
        }
        self.slots[at] = slot;
        self.count += 1;
    }

    fn grow(&mut self) {
        let larger = Index::with_slots(self.slots.len() * 2);
        let smaller = std::mem::replace(self, larger);
        smaller.slots.into_iter().filter(|slot| *slot != EMPTY).for_each(|slot| self.put(slot));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, at both ends of the slots, so that rows meet and go around.
        #[test]
        fn it_holds_what_a_map_holds(
            steps in proptest::collection::vec((any::<bool>(), 0u32..40, 0u32..12), 0..400),
        ) {
            let hash = |number: u32| if number.is_multiple_of(2) { u32::MAX - number } else { number << 27 };
            let mut index = Index::default();
            let mut map: HashMap<u32, u32> = HashMap::new();
            for (add, place, number) in steps {
                match map.get(&place).copied() {
                    None if add => {
                        index.insert(hash(number), place);
                        map.insert(place, hash(number));
                    }
                    Some(hash) if !add => {
                        index.remove(hash, place);
                        map.remove(&place);
                    }
                    _ => {}
                }
                for place in 0..40 {
                    for number in 0..12 {
                        let found = index.find(hash(number), |other| other == place);
                        prop_assert_eq!(found, (map.get(&place) == Some(&hash(number))).then_some(place));
                    }
                }
                prop_assert_eq!(index.count, map.len());
            }
        }
    }

    #[test]
    fn it_grows() {
        let mut index = Index::default();
        let hash = |place: u32| place.wrapping_mul(0x9e37_79b9);
        (0..10_000).for_each(|place| index.insert(hash(place), place));
        assert!((0..10_000).all(|place| index.first(hash(place)) == Some(place)));
        (0..10_000).for_each(|place| index.remove(hash(place), place));
        assert!(index.slots.iter().all(|slot| *slot == EMPTY));
        index.remove(hash(1), 1);
    }
}
