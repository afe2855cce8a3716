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

/// All that is going to happen, the next thing first.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Small, since a heap moves what is in it about.
    order: BinaryHeap<Turn>,
    what: Slab<What>,
}

/// When something happens, and where it is kept until then.
#[derive(Debug, Clone, Copy)]
struct Turn {
    when: When,
    place: u32,
}

impl Agenda {
    pub fn add(&mut self, Event { when, what }: Event) {
        let place = self.what.insert(what) as u32;
        self.order.push(Turn { when, place });
    }

    /// When the next thing happens.
    pub fn next(&self) -> Option<u64> {
        self.order.peek().map(|turn| turn.when.at)
    }

    /// The next thing, if it happens before `end`.
    pub fn pop_before(&mut self, end: u64) -> Option<Event> {
        if self.next()? >= end {
            return None;
        }
        let Turn { when, place } = self.order.pop()?;
        let what = self.what.try_remove(place as usize)?;
        Some(Event { when, what })
    }

    pub fn iter(&self) -> impl Iterator<Item = (When, &What)> {
        self.order.iter().filter_map(|turn| Some((turn.when, self.what.get(turn.place as usize)?)))
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
