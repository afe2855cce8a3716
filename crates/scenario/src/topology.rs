//! The machines of the seed's topology and their cables, by name: five, one more for each site that has two gateways, and
//! up to three more public ones.

use std::{fmt, str::FromStr};

use crate::{Nat, Side};

/// A machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Machine {
    /// The gateway of site 1.
    Nat1,
    /// The gateway of site 2.
    Nat2,
    /// The carrier's gateway in front of gateway 1.
    Cgn1,
    /// The carrier's gateway in front of gateway 2.
    Cgn2,
    /// The peer behind gateway 1.
    Peer1,
    /// The peer behind gateway 2.
    Peer2,
    /// The public machine: bootstrap, coordinator, relay.
    Relay,
    /// The second public machine.
    Relay2,
    /// The third.
    Relay3,
    /// The fourth.
    Relay4,
}

impl Machine {
    /// All that there can be; [`Layout::machines`] are those of a scenario.
    pub const ALL: [Machine; 10] = [
        Machine::Nat1,
        Machine::Nat2,
        Machine::Cgn1,
        Machine::Cgn2,
        Machine::Peer1,
        Machine::Peer2,
        Machine::Relay,
        Machine::Relay2,
        Machine::Relay3,
        Machine::Relay4,
    ];

    /// The public ones, in their order.
    pub const PUBLIC: [Machine; 4] = [Machine::Relay, Machine::Relay2, Machine::Relay3, Machine::Relay4];

    /// Those that run the node under test.
    pub const NODES: [Machine; 6] =
        [Machine::Peer1, Machine::Peer2, Machine::Relay, Machine::Relay2, Machine::Relay3, Machine::Relay4];

    /// Its place among the public ones.
    pub fn public(self) -> Option<usize> {
        Machine::PUBLIC.into_iter().position(|machine| machine == self)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Nat1 => "nat1",
            Machine::Nat2 => "nat2",
            Machine::Cgn1 => "cgn1",
            Machine::Cgn2 => "cgn2",
            Machine::Peer1 => "peer1",
            Machine::Peer2 => "peer2",
            Machine::Relay => "relay",
            Machine::Relay2 => "relay2",
            Machine::Relay3 => "relay3",
            Machine::Relay4 => "relay4",
        }
    }
}

/// A layer 2 domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// What the outermost gateways' outsides and the public machines share.
    Internet,
    /// Between gateway 1 and its carrier's.
    Carrier1,
    /// Between gateway 2 and its carrier's.
    Carrier2,
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
            Segment::Carrier1 => "carrier1",
            Segment::Carrier2 => "carrier2",
            Segment::Lan1 => "lan1",
            Segment::Lan2 => "lan2",
        }
    }
}

/// A machine's cable into a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// Gateway 1 to the internet, or to its carrier.
    Nat1Wan,
    /// Gateway 2 to the internet, or to its carrier.
    Nat2Wan,
    /// The carrier's gateway 1 to the internet.
    Cgn1Wan,
    /// The carrier's gateway 2 to the internet.
    Cgn2Wan,
    /// The carrier's gateway 1 to gateway 1.
    Cgn1Lan,
    /// The carrier's gateway 2 to gateway 2.
    Cgn2Lan,
    /// The relay to the internet.
    RelayWan,
    /// The second public machine to the internet.
    Relay2Wan,
    /// The third one.
    Relay3Wan,
    /// The fourth one.
    Relay4Wan,
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
    /// All that there can be; [`Layout::links`] are those of a scenario.
    pub const ALL: [Link; 14] = [
        Link::Nat1Wan,
        Link::Nat2Wan,
        Link::Cgn1Wan,
        Link::Cgn2Wan,
        Link::Cgn1Lan,
        Link::Cgn2Lan,
        Link::RelayWan,
        Link::Relay2Wan,
        Link::Relay3Wan,
        Link::Relay4Wan,
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
            Link::Cgn1Wan => "cgn1.wan",
            Link::Cgn2Wan => "cgn2.wan",
            Link::Cgn1Lan => "cgn1.lan",
            Link::Cgn2Lan => "cgn2.lan",
            Link::RelayWan => "relay.wan",
            Link::Relay2Wan => "relay2.wan",
            Link::Relay3Wan => "relay3.wan",
            Link::Relay4Wan => "relay4.wan",
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
            Link::Cgn1Wan | Link::Cgn1Lan => Machine::Cgn1,
            Link::Cgn2Wan | Link::Cgn2Lan => Machine::Cgn2,
            Link::RelayWan => Machine::Relay,
            Link::Relay2Wan => Machine::Relay2,
            Link::Relay3Wan => Machine::Relay3,
            Link::Relay4Wan => Machine::Relay4,
            Link::Peer1Lan => Machine::Peer1,
            Link::Peer2Lan => Machine::Peer2,
        }
    }

    /// Whether it is its machine's way out of a site.
    pub fn is_outside(self) -> bool {
        matches!(self, Link::Nat1Wan | Link::Nat2Wan | Link::Cgn1Wan | Link::Cgn2Wan)
            || self.machine().public().is_some()
    }
}

/// Which machines a scenario has, and where their cables lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    chained: [bool; 2],
    relays: usize,
}

impl Layout {
    /// How many gateways a site may have: its own, and one of a carrier.
    pub const MOST_GATEWAYS: usize = 2;

    /// The layout for what stands before the sites, and so many public machines.
    pub fn of(nats: &[Nat; 2], relays: usize) -> Self {
        Layout { chained: nats.each_ref().map(|nat| nat.gateways.len() > 1), relays }
    }

    /// The machines there are.
    pub fn machines(self) -> impl Iterator<Item = Machine> {
        Machine::ALL.into_iter().filter(move |machine| match machine {
            Machine::Cgn1 => self.chained[0],
            Machine::Cgn2 => self.chained[1],
            _ => machine.public().is_none_or(|place| place < self.relays),
        })
    }

    /// The links there are, and the segments they lead to.
    pub fn links(self) -> impl Iterator<Item = (Link, Segment)> {
        Link::ALL.into_iter().filter_map(move |link| Some((link, self.segment(link)?)))
    }

    /// The segment a link leads to; none if there is no such link.
    pub fn segment(self, link: Link) -> Option<Segment> {
        let chained = |side: Side| self.chained[side.index()];
        if let Some(place) = link.machine().public() {
            return (place < self.relays).then_some(Segment::Internet);
        }
        Some(match link {
            Link::Nat1Wan if chained(Side::One) => Segment::Carrier1,
            Link::Nat2Wan if chained(Side::Two) => Segment::Carrier2,
            Link::Nat1Wan | Link::Nat2Wan => Segment::Internet,
            Link::Cgn1Wan | Link::Cgn1Lan if !chained(Side::One) => return None,
            Link::Cgn2Wan | Link::Cgn2Lan if !chained(Side::Two) => return None,
            Link::Cgn1Wan | Link::Cgn2Wan => Segment::Internet,
            Link::RelayWan | Link::Relay2Wan | Link::Relay3Wan | Link::Relay4Wan => Segment::Internet,
            Link::Cgn1Lan => Segment::Carrier1,
            Link::Cgn2Lan => Segment::Carrier2,
            Link::Nat1Lan | Link::Peer1Lan => Segment::Lan1,
            Link::Nat2Lan | Link::Peer2Lan => Segment::Lan2,
        })
    }

    /// The public machines there are.
    pub fn public(self) -> impl Iterator<Item = Machine> {
        Machine::PUBLIC.into_iter().take(self.relays)
    }

    /// The gateways of a site, from its LAN outwards.
    pub fn gateways(self, side: Side) -> impl Iterator<Item = Machine> {
        let carrier = match side {
            Side::One => Machine::Cgn1,
            Side::Two => Machine::Cgn2,
        };
        [side.gateway(), carrier].into_iter().take(1 + usize::from(self.chained[side.index()]))
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
