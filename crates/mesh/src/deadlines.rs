//! Who wants to be woken when.

use std::time::Instant;

/// Many deadlines, of which the first is at hand. Equal ones are ordered by their keys.
///
/// They lie in a row. Most nodes have a handful, and a relay's few hundred are moved about sooner than a tree is walked.
pub(crate) struct Deadlines<K>(Vec<(Instant, K)>);

/// One's own deadline, kept where its owner is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Deadline(Option<Instant>);

impl<K: Copy + Ord> Deadlines<K> {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Moves the deadline of `key`; `held` is what this was told last.
    pub fn change(&mut self, key: K, held: &mut Deadline, to: Option<Instant>) {
        if held.0 != to {
            if let Some(Ok(place)) = held.0.map(|old| self.0.binary_search(&(old, key))) {
                self.0.remove(place);
            }
            if let Some(entry) = to.map(|at| (at, key))
                && let Err(place) = self.0.binary_search(&entry)
            {
                self.0.insert(place, entry);
            }
            held.0 = to;
        }
    }

    /// The first deadline.
    pub fn first(&self) -> Option<Instant> {
        self.0.first().map(|&(at, _)| at)
    }

    /// All whose deadlines have come.
    pub fn due(&self, now: Instant) -> Vec<K> {
        self.0.iter().take_while(|(at, _)| *at <= now).map(|&(_, key)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_is_at_hand_and_a_moved_one_leaves_nothing_behind() {
        let (now, mut deadlines) = (Instant::now(), Deadlines::new());
        let at = |n| Some(now + Duration::from_secs(n));
        let (mut a, mut b) = (Deadline::default(), Deadline::default());
        deadlines.change(2, &mut b, at(5));
        deadlines.change(1, &mut a, at(5));
        assert!(deadlines.due(now + Duration::from_secs(4)).is_empty());
        assert_eq!(deadlines.due(now + Duration::from_secs(5)), [1, 2]);
        deadlines.change(1, &mut a, at(9));
        deadlines.change(2, &mut b, None);
        assert_eq!(deadlines.first(), at(9));
        deadlines.change(1, &mut a, None);
        assert_eq!(deadlines.first(), None);
    }
}
