//! Many token buckets of one kind: one for each peer, or each address.

use std::hash::Hash;
use std::time::Instant;

use foldhash::fast::FixedState;
use indexmap::IndexMap;

use crate::budget::Budget;

/// Buckets kept. When they do not suffice the oldest is forgotten.
const CAPACITY: usize = 1024;

pub(crate) struct Limits<K> {
    rate: f64,
    burst: f64,
    buckets: IndexMap<K, Budget, FixedState>,
}

impl<K: Hash + Eq> Limits<K> {
    /// Each may have `burst` at once and `rate` a second.
    pub fn new(rate: f64, burst: f64, hashes: FixedState) -> Self {
        Self { rate, burst, buckets: IndexMap::with_hasher(hashes) }
    }

    /// Takes one of `key`'s, if there is one.
    pub fn take(&mut self, now: Instant, key: K) -> bool {
        if !self.buckets.contains_key(&key) && self.buckets.len() >= CAPACITY {
            self.buckets.swap_remove_index(0);
        }
        let (rate, burst) = (self.rate, self.burst);
        self.buckets.entry(key).or_insert_with(|| Budget::new(now, rate, burst)).take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_and_all_together_are_bounded() {
        let (now, mut limits) = (Instant::now(), Limits::new(1.0, 2.0, FixedState::default()));
        for key in 0..3 {
            let granted = (0..5).filter(|_| limits.take(now, key)).count();
            assert_eq!(granted, 2);
        }
        for key in 0..10 * CAPACITY {
            limits.take(now, key);
        }
        assert_eq!(limits.buckets.len(), CAPACITY);
    }
}
