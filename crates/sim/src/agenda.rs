//! What is going to happen, in order.

use std::{cmp::Ordering, collections::BinaryHeap};

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
pub(crate) struct Agenda(BinaryHeap<Event>);

impl Agenda {
    pub fn add(&mut self, event: Event) {
        self.0.push(event);
    }

    /// When the next thing happens.
    pub fn next(&self) -> Option<u64> {
        self.0.peek().map(|event| event.when.at)
    }

    /// The next thing, if it happens before `end`.
    pub fn pop_before(&mut self, end: u64) -> Option<Event> {
        if self.next()? < end { self.0.pop() } else { None }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.0.iter()
    }
}

// A heap gives the greatest first.
impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        other.when.cmp(&self.when)
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.when == other.when
    }
}

impl Eq for Event {}
