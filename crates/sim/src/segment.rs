//! What joins cables: segments, and the ways through them.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use natrig_netmodel::{Conditions, Link, seed_for};

use crate::agenda::{MachineId, PortId};

/// A segment of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub(crate) u32);

/// Where in the world a port of a wide segment is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(pub u16);

/// How long packets are under way between the regions of a wide segment; the same in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distances {
    regions: usize,
    /// From each region to each, row by row.
    times: Vec<Duration>,
}

impl Distances {
    /// Asks for the time between each two of some regions, and within each.
    pub fn between(regions: usize, time: impl Fn(Region, Region) -> Duration) -> Self {
        let region = |n: usize| Region(n as u16);
        let pairs = (0..regions).flat_map(|a| (0..regions).map(move |b| (a.min(b), a.max(b))));
        Distances { regions, times: pairs.map(|(a, b)| time(region(a), region(b))).collect() }
    }

    /// The time between two of them.
    pub fn of(&self, a: Region, b: Region) -> Duration {
        let at = usize::from(a.0) * self.regions + usize::from(b.0);
        self.times.get(at).copied().unwrap_or_default()
    }
}

/// An ideal switch; where it is wide, with times between its regions.
#[derive(Debug)]
pub(crate) struct Segment {
    pub name: String,
    /// Whose an address is.
    pub at: HashMap<Ipv4Addr, PortId, FixedState>,
    /// From whom to whom nothing passes.
    pub blocked: BTreeSet<(PortId, PortId)>,
    pub distances: Option<Distances>,
}

impl Segment {
    pub fn new(name: &str, distances: Option<Distances>) -> Self {
        Segment {
            name: name.to_owned(),
            at: HashMap::with_hasher(FixedState::with_seed(0)),
            blocked: BTreeSet::new(),
            distances,
        }
    }

    /// How long a packet is under way between two of its ports.
    pub fn distance(&self, a: Region, b: Region) -> Duration {
        self.distances.as_ref().map_or(Duration::ZERO, |distances| distances.of(a, b))
    }
}

/// What the whole world knows of a port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plug {
    pub machine: MachineId,
    /// Which of its interfaces.
    pub interface: u8,
    pub segment: SegmentId,
    pub region: Region,
    pub mac: [u8; 6],
}

/// A cable, at its machine.
#[derive(Debug)]
pub(crate) struct Cable {
    pub name: Box<str>,
    pub port: PortId,
    pub cut: bool,
    /// Away from the machine.
    pub inbound: Link,
    /// Towards it.
    pub outbound: Link,
}

impl Cable {
    /// A perfect one, whose chance is its own: the same as a link with this name has in the switch.
    pub fn new(seed: u64, name: &str, port: PortId) -> Self {
        let link = |way| Link::new(Conditions::default(), seed_for(seed, &format!("{name} {way}")));
        Cable { name: name.into(), port, cut: false, inbound: link("inbound"), outbound: link("outbound") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_far_there_as_back() {
        let ms = |n| Duration::from_millis(n);
        let distances = Distances::between(3, |a, b| ms(10 + 10 * u64::from(b.0 - a.0)));
        assert_eq!(distances.of(Region(0), Region(2)), ms(30));
        assert_eq!(distances.of(Region(2), Region(0)), ms(30));
        assert_eq!(distances.of(Region(1), Region(1)), ms(10));
    }
}
