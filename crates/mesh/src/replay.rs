//! What of a sender's datagrams was seen already.

/// How far behind the newest a counter may be and still be told apart from a repeat.
///
/// A birthday search sends 256 at once over as many sockets, so the order of arrival is loose.
const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

/// One start of a sender: later starts have larger epochs, the salt tells equal ones apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Start {
    pub epoch: u64,
    pub salt: u64,
}

/// A sliding window over one sender's counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplayWindow {
    start: Option<Start>,
    highest: u64,
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// The start that the sender last showed.
    pub fn start(&self) -> Option<Start> {
        self.start
    }

    /// Takes note of an authenticated datagram; false if it is a repeat or from an earlier start.
    pub fn accept(&mut self, start: Start, counter: u64) -> bool {
        match self.start {
            Some(known) if known == start => {}
            Some(known) if start.epoch <= known.epoch => return false,
            _ => {
                *self = Self { start: Some(start), highest: counter, seen: [0; WORDS] };
                self.mark(counter);
                return true;
            }
        }
        if counter > self.highest {
            self.advance(counter);
        } else if self.highest - counter >= WINDOW || self.is_marked(counter) {
            return false;
        }
        self.mark(counter);
        true
    }

    fn advance(&mut self, counter: u64) {
        if counter - self.highest >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for passed in self.highest + 1..=counter {
                let (word, bit) = position(passed);
                self.seen[word] &= !bit;
            }
        }
        self.highest = counter;
    }

    fn mark(&mut self, counter: u64) {
        let (word, bit) = position(counter);
        self.seen[word] |= bit;
    }

    fn is_marked(&self, counter: u64) -> bool {
        let (word, bit) = position(counter);
        self.seen[word] & bit != 0
    }
}

fn position(counter: u64) -> (usize, u64) {
    let slot = counter % WINDOW;
    ((slot / 64) as usize, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const START: Start = Start { epoch: 5, salt: 1 };

    #[test]
    fn a_repeat_and_a_stray_from_long_ago_are_refused() {
        let mut window = ReplayWindow::default();
        assert!(window.accept(START, 10));
        assert!(!window.accept(START, 10));
        assert!(window.accept(START, 9), "late but new");
        assert!(window.accept(START, 10 + WINDOW));
        assert!(!window.accept(START, 10));
        assert!(window.accept(START, 11), "just inside the window");
    }

    #[test]
    fn an_earlier_start_is_refused_and_a_later_one_begins_afresh() {
        let mut window = ReplayWindow::default();
        assert!(window.accept(START, 700));
        assert!(!window.accept(Start { epoch: 4, salt: 9 }, 1));
        assert!(!window.accept(Start { epoch: 5, salt: 9 }, 1), "same epoch, other salt");
        assert!(window.accept(Start { epoch: 6, salt: 1 }, 1));
        assert!(!window.accept(START, 701));
    }

    proptest! {
        #[test]
        fn nothing_is_accepted_twice_and_nothing_fresh_is_lost(
            counters in proptest::collection::vec(0u64..3000, 1..400),
        ) {
            let mut window = ReplayWindow::default();
            let (mut accepted, mut highest) = (HashSet::new(), 0);
            for counter in counters {
                let in_window = accepted.is_empty() || counter + WINDOW > highest;
                let expected = in_window && !accepted.contains(&counter);
                prop_assert_eq!(window.accept(START, counter), expected);
                if expected {
                    accepted.insert(counter);
                    highest = highest.max(counter);
                }
            }
        }
    }
}
