//! The five machines of the seed's topology, by name.

use std::{fmt, str::FromStr};

/// A machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Machine {
    /// The gateway of site 1.
    Nat1,
    /// The gateway of site 2.
    Nat2,
    /// The peer behind gateway 1.
    Peer1,
    /// The peer behind gateway 2.
    Peer2,
    /// The public machine: bootstrap, coordinator, relay.
    Relay,
}

impl Machine {
    /// All.
    pub const ALL: [Machine; 5] =
        [Machine::Nat1, Machine::Nat2, Machine::Peer1, Machine::Peer2, Machine::Relay];

    /// Those that run the node under test.
    pub const NODES: [Machine; 3] = [Machine::Peer1, Machine::Peer2, Machine::Relay];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Nat1 => "nat1",
            Machine::Nat2 => "nat2",
            Machine::Peer1 => "peer1",
            Machine::Peer2 => "peer2",
            Machine::Relay => "relay",
        }
    }
}

/// A layer 2 domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// What the gateways' outsides and the relay share.
    Internet,
    /// Behind gateway 1.
    Lan1,
    /// Behind gateway 2.
    Lan2,
}

impl Segment {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Segment::Internet => "internet",
            Segment::Lan1 => "lan1",
            Segment::Lan2 => "lan2",
        }
    }
}

/// A machine's cable into a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// Gateway 1 to the internet.
    Nat1Wan,
    /// Gateway 2 to the internet.
    Nat2Wan,
    /// The relay to the internet.
    RelayWan,
    /// Gateway 1 to its LAN.
    Nat1Lan,
    /// Gateway 2 to its LAN.
    Nat2Lan,
    /// Peer 1 to its LAN.
    Peer1Lan,
    /// Peer 2 to its LAN.
    Peer2Lan,
}

impl Link {
    /// All.
    pub const ALL: [Link; 7] = [
        Link::Nat1Wan,
        Link::Nat2Wan,
        Link::RelayWan,
        Link::Nat1Lan,
        Link::Nat2Lan,
        Link::Peer1Lan,
        Link::Peer2Lan,
    ];

    /// Its name: the machine, a dot, `wan` or `lan`.
    pub fn name(self) -> &'static str {
        match self {
            Link::Nat1Wan => "nat1.wan",
            Link::Nat2Wan => "nat2.wan",
            Link::RelayWan => "relay.wan",
            Link::Nat1Lan => "nat1.lan",
            Link::Nat2Lan => "nat2.lan",
            Link::Peer1Lan => "peer1.lan",
            Link::Peer2Lan => "peer2.lan",
        }
    }

    /// The machine it belongs to.
    pub fn machine(self) -> Machine {
        match self {
            Link::Nat1Wan | Link::Nat1Lan => Machine::Nat1,
            Link::Nat2Wan | Link::Nat2Lan => Machine::Nat2,
            Link::RelayWan => Machine::Relay,
            Link::Peer1Lan => Machine::Peer1,
            Link::Peer2Lan => Machine::Peer2,
        }
    }

    /// The segment it leads to.
    pub fn segment(self) -> Segment {
        match self {
            Link::Nat1Wan | Link::Nat2Wan | Link::RelayWan => Segment::Internet,
            Link::Nat1Lan | Link::Peer1Lan => Segment::Lan1,
            Link::Nat2Lan | Link::Peer2Lan => Segment::Lan2,
        }
    }
}

/// A name that nothing in the topology has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such name in the topology")]
pub struct UnknownName;

macro_rules! named {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    )*};
}

named!(Machine, Segment, Link);

impl FromStr for Link {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Link::ALL.into_iter().find(|link| link.name() == name).ok_or(UnknownName)
    }
}

impl FromStr for Machine {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Machine::ALL.into_iter().find(|machine| machine.name() == name).ok_or(UnknownName)
    }
}
