//! When flows end: the next one is always known.
//!
//! Flows that get the same timer one after the other end one after the other. So there are a few rows of ends in order,
//! and an end goes to the back of the row whose last one it follows most closely; with not many more timers than rows,
//! that is where those with the same timer are. What fits no row goes to a heap.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::index::Place;

const ROWS: usize = 8;

#[derive(Debug)]
pub(super) struct Ends {
    rows: [VecDeque<(u64, Place)>; ROWS],
    heap: BinaryHeap<Reverse<(u64, Place)>>,
    /// The first one's time.
    next: u64,
}

impl Default for Ends {
    fn default() -> Self {
        Ends { rows: Default::default(), heap: BinaryHeap::new(), next: u64::MAX }
    }
}

impl Ends {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.heap.len() + self.rows.iter().map(VecDeque::len).sum::<usize>()
    }

    pub fn push(&mut self, at: u64, place: Place) {
        self.next = self.next.min(at);
        let last = |row: &VecDeque<(u64, Place)>| row.back().map_or(0, |(last, _)| *last);
        let fitting = self.rows.iter_mut().filter(|row| last(row) <= at);
        match fitting.max_by_key(|row| last(row)) {
            Some(row) => row.push_back((at, place)),
            None => self.heap.push(Reverse((at, place))),
        }
    }

    /// Takes one whose time has come; the earliest ones first.
    #[inline]
    pub fn pop(&mut self, now: u64) -> Option<(u64, Place)> {
        if self.next > now { None } else { self.pop_next(now) }
    }

    fn pop_next(&mut self, now: u64) -> Option<(u64, Place)> {
        let row = self.rows.iter_mut().filter(|row| !row.is_empty()).min_by_key(|row| row.front().copied());
        let in_row = row.as_ref().and_then(|row| row.front().copied()).unwrap_or((u64::MAX, Place::MAX));
        let in_heap = self.heap.peek().map_or((u64::MAX, Place::MAX), |Reverse(end)| *end);
        let first = in_row.min(in_heap);
        self.next = first.0;
        if first.0 > now {
            return None;
        }
        if in_heap < in_row {
            self.heap.pop();
        } else {
            row?.pop_front();
        }
        // The next call finds what is next.
        Some(first)
    }

    pub fn retain(&mut self, mut wanted: impl FnMut(u64, Place) -> bool) {
        self.rows.iter_mut().for_each(|row| row.retain(|(at, place)| wanted(*at, *place)));
        self.heap.retain(|Reverse((at, place))| wanted(*at, *place));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_come_out_as_from_a_heap(
            steps in proptest::collection::vec((0u64..20, 0u64..60, any::<bool>()), 0..300),
        ) {
            let mut ends = Ends::default();
            let mut heap = BinaryHeap::new();
            let mut now = 0;
            for (place, (wait, life, keep)) in (0..).zip(steps) {
                now += wait / 4;
                ends.push(now + life, place);
                heap.push(Reverse((now + life, place)));
                if !keep {
                    ends.retain(|_, other| other % 3 != 0);
                    heap.retain(|Reverse((_, other))| other % 3 != 0);
                }
                while let Some((at, _)) = ends.pop(now) {
                    // Those of one time come in any order.
                    prop_assert_eq!(heap.pop().map(|Reverse((at, _))| at), Some(at));
                }
                prop_assert!(heap.peek().is_none_or(|Reverse((at, _))| *at > now));
                prop_assert_eq!(ends.len(), heap.len());
            }
        }
    }
}
