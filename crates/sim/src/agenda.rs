//! What is going to happen, in order.

use std::{cmp::Ordering, collections::BinaryHeap};

use slab::Slab;

/// A machine of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineId(pub(crate) u32);

/// A machine's cable into a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub(crate) u32);

impl MachineId {
    /// Its place among the world's machines, in the order in which they were added.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl PortId {
    /// Its place among the world's ports, in the order in which they were added.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// When something happens, and what comes first of what happens at once: what the machine with the smaller number set going,
/// and what it set going earlier. So the order is the same however a world is divided among threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct When {
    /// Nanoseconds since the world's start.
    pub at: u64,
    pub origin: MachineId,
    pub turn: u32,
}

/// Something that happens.
#[derive(Debug)]
pub(crate) struct Event {
    pub when: When,
    pub what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A machine wanted to be woken.
    Wake(MachineId),
    /// A packet is at the segment's end of the cable that leads to where it goes.
    Forwarded(PortId, Passing),
    /// A packet is at the machine's end of its cable.
    Arrived(PortId, Passing),
}

/// A packet under way.
#[derive(Debug, Clone)]
pub(crate) struct Passing {
    /// Its number in the captures.
    pub frame: u64,
    /// Whence.
    pub from: PortId,
    /// From the IPv4 header on.
    pub packet: Vec<u8>,
    /// Whether it has been damaged so that no machine takes it.
    pub strayed: bool,
}

/// A page of the calendar is so many nanoseconds long, as a power of two: about a millisecond.
const PAGE: u32 = 20;
/// Pages that lie open before the one of now.
const PAGES: u64 = 1024;

/// All that is going to happen, the next thing first: a calendar (Brown 1988). What happens on this page is in order, what
/// happens within a second lies on its page as it came, and what happens later is in a heap. So what is sorted at any time is
/// little, and fits a processor's cache also if a hundred thousand things are going to happen.
#[derive(Debug)]
pub(crate) struct Agenda {
    /// What happens on the page of now, or has been put on an earlier one.
    today: BinaryHeap<Turn>,
    page: u64,
    pages: Vec<Vec<Turn>>,
    /// How many turns lie on pages.
    laid: usize,
    later: BinaryHeap<Turn>,
    what: Slab<What>,
}

/// When something happens, and where it is kept until then.
#[derive(Debug, Clone, Copy)]
struct Turn {
    when: When,
    place: u32,
}

impl Default for Agenda {
    fn default() -> Self {
        Agenda {
            today: BinaryHeap::new(),
            page: 0,
            pages: (0..PAGES).map(|_| Vec::new()).collect(),
            laid: 0,
            later: BinaryHeap::new(),
            what: Slab::new(),
        }
    }
}

impl Agenda {
    pub fn add(&mut self, Event { when, what }: Event) {
        let turn = Turn { when, place: self.what.insert(what) as u32 };
        let page = when.at >> PAGE;
        if page <= self.page {
            self.today.push(turn);
        } else if page < self.page + PAGES {
            self.pages[(page % PAGES) as usize].push(turn);
            self.laid += 1;
        } else {
            self.later.push(turn);
        }
    }

    /// When the next thing happens.
    pub fn next(&mut self) -> Option<u64> {
        if self.today.is_empty() {
            self.turn_over();
        }
        self.today.peek().map(|turn| turn.when.at)
    }

    /// Goes on to the next page that has something on it.
    fn turn_over(&mut self) {
        let latest = self.later.peek().map_or(u64::MAX, |turn| turn.when.at >> PAGE);
        let laid = (self.laid > 0).then(|| {
            let open = self.page + 1..self.page + PAGES;
            open.into_iter().find(|page| !self.pages[(page % PAGES) as usize].is_empty())
        });
        let next = laid.flatten().unwrap_or(u64::MAX).min(latest);
        if next == u64::MAX {
            return;
        }
        self.page = next;
        let turns = &mut self.pages[(next % PAGES) as usize];
        self.laid -= turns.len();
        self.today.extend(turns.drain(..));
        while self.later.peek().is_some_and(|turn| turn.when.at >> PAGE == next) {
            self.today.extend(self.later.pop());
        }
    }

    /// The next thing, if it happens before `end`.
    pub fn pop_before(&mut self, end: u64) -> Option<Event> {
        if self.next()? >= end {
            return None;
        }
        let Turn { when, place } = self.today.pop()?;
        let what = self.what.try_remove(place as usize)?;
        Some(Event { when, what })
    }

    /// All of it, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (When, &What)> {
        let turns = self.today.iter().chain(self.pages.iter().flatten()).chain(&self.later);
        turns.filter_map(|turn| Some((turn.when, self.what.get(turn.place as usize)?)))
    }
}

// A heap gives the greatest first.
impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        other.when.cmp(&self.when)
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.when == other.when
    }
}

impl Eq for Turn {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However far ahead things are put, and whatever is put in between, they come in order.
        #[test]
        fn things_happen_in_order(
            steps in proptest::collection::vec((0u32..40, any::<u64>(), 0u32..3, 0usize..4), 1..200),
        ) {
            let mut agenda = Agenda::default();
            let mut all = std::collections::BTreeSet::new();
            let (mut now, mut turn) = (0, 0);
            for (reach, offset, origin, taken) in steps {
                turn += 1;
                let at = now + offset % (1 << reach);
                let when = When { at, origin: MachineId(origin), turn };
                agenda.add(Event { when, what: What::Wake(MachineId(turn)) });
                all.insert(when);
                for _ in 0..taken {
                    prop_assert_eq!(agenda.next(), all.first().map(|when| when.at));
                    prop_assert!(agenda.pop_before(now).is_none());
                    let got = agenda.pop_before(u64::MAX).map(|event| event.when);
                    prop_assert_eq!(got, all.pop_first());
                    now = got.map_or(now, |when| when.at);
                }
                prop_assert_eq!(agenda.iter().count(), all.len());
            }
            while let Some(event) = agenda.pop_before(u64::MAX) {
                prop_assert_eq!(Some(event.when), all.pop_first());
            }
            prop_assert!(all.is_empty());
        }
    }
}
