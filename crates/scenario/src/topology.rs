//! The machines of a scenario and their cables, by name: the seed's five, one more for each site that has two gateways, more
//! sites, more peers in a LAN, and more public ones.

use std::{fmt, str::FromStr};

use crate::Nat;

/// The most sites there can be.
const SITES: usize = 8;

/// The most peers in one LAN.
const SEATS: usize = 8;

/// The most public machines.
const PUBLIC: usize = 4;

/// A name for each site.
macro_rules! numbered {
    ($before:literal, $after:expr) => {
        [
            concat!($before, 1, $after),
            concat!($before, 2, $after),
            concat!($before, 3, $after),
            concat!($before, 4, $after),
            concat!($before, 5, $after),
            concat!($before, 6, $after),
            concat!($before, 7, $after),
            concat!($before, 8, $after),
        ]
    };
}

/// A peer's name for each seat and site: the first is `peer1`, the others `peer1b`, `peer1c` and so on.
macro_rules! lettered {
    ($after:literal) => {
        [
            numbered!("peer", $after),
            numbered!("peer", concat!("b", $after)),
            numbered!("peer", concat!("c", $after)),
            numbered!("peer", concat!("d", $after)),
            numbered!("peer", concat!("e", $after)),
            numbered!("peer", concat!("f", $after)),
            numbered!("peer", concat!("g", $after)),
            numbered!("peer", concat!("h", $after)),
        ]
    };
}

/// A place behind a gateway: a LAN, what stands before it, and the peers in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site(u8);

impl Site {
    /// Site 1: `nat1`, `lan1`, `peer1`.
    pub const ONE: Site = Site(0);
    /// Site 2.
    pub const TWO: Site = Site(1);
    /// The most there can be.
    pub const MOST: usize = SITES;
    /// The most peers in the LAN of one.
    pub const MOST_PEERS: usize = SEATS;

    /// All that there can be.
    pub fn all() -> impl Iterator<Item = Site> {
        (0..SITES as u8).map(Site)
    }

    /// Its number, from 1.
    pub fn number(self) -> u8 {
        self.0 + 1
    }

    /// Its place among all, from 0.
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// The first of its peers.
    pub fn peer(self) -> Machine {
        Machine::Peer(self, 0)
    }

    /// Its own gateway.
    pub fn gateway(self) -> Machine {
        Machine::Nat(self)
    }

    /// Its carrier's gateway.
    pub fn carrier(self) -> Machine {
        Machine::Cgn(self)
    }
}

/// A machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Machine {
    /// The gateway of a site.
    Nat(Site),
    /// The carrier's gateway in front of that.
    Cgn(Site),
    /// A peer in a site's LAN, and its place there, from 0.
    Peer(Site, u8),
    /// A public machine (bootstrap, coordinator, relay) and its place among these, from 0.
    Relay(u8),
}

impl Machine {
    /// `nat1`
    pub const NAT1: Machine = Machine::Nat(Site::ONE);
    /// `nat2`
    pub const NAT2: Machine = Machine::Nat(Site::TWO);
    /// `cgn1`
    pub const CGN1: Machine = Machine::Cgn(Site::ONE);
    /// `cgn2`
    pub const CGN2: Machine = Machine::Cgn(Site::TWO);
    /// `peer1`
    pub const PEER1: Machine = Machine::Peer(Site::ONE, 0);
    /// `peer2`
    pub const PEER2: Machine = Machine::Peer(Site::TWO, 0);
    /// `relay`, the first public machine.
    pub const RELAY: Machine = Machine::Relay(0);
    /// `relay2`
    pub const RELAY2: Machine = Machine::Relay(1);
    /// `relay3`
    pub const RELAY3: Machine = Machine::Relay(2);
    /// `relay4`
    pub const RELAY4: Machine = Machine::Relay(3);
    /// The most public ones there can be.
    pub const MOST_PUBLIC: usize = PUBLIC;

    /// All that there can be; [`Layout::machines`] are those of a scenario.
    pub fn all() -> impl Iterator<Item = Machine> {
        let nats = Site::all().map(Machine::Nat);
        nats.chain(Site::all().map(Machine::Cgn)).chain(Machine::nodes())
    }

    /// All that can run the node under test: peers, then public machines.
    pub fn nodes() -> impl Iterator<Item = Machine> {
        Site::all().flat_map(peers_of).chain((0..PUBLIC as u8).map(Machine::Relay))
    }

    /// Its place among the public ones.
    pub fn public(self) -> Option<usize> {
        match self {
            Machine::Relay(place) => Some(place.into()),
            _ => None,
        }
    }

    /// The site it belongs to; none if it is public.
    pub fn site(self) -> Option<Site> {
        match self {
            Machine::Nat(site) | Machine::Cgn(site) | Machine::Peer(site, _) => Some(site),
            Machine::Relay(_) => None,
        }
    }

    /// Whether it is a gateway.
    pub fn is_gateway(self) -> bool {
        matches!(self, Machine::Nat(_) | Machine::Cgn(_))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Link::names(self).0
    }

    /// Its cable outwards, if it has one: a gateway's or a public machine's.
    pub fn wan(self) -> Option<Link> {
        (!matches!(self, Machine::Peer(..))).then_some(Link { machine: self, end: End::Wan })
    }

    /// Its cable into a LAN, or into what lies between a carrier and its customers; public machines have none.
    pub fn lan(self) -> Option<Link> {
        (!matches!(self, Machine::Relay(_))).then_some(Link { machine: self, end: End::Lan })
    }
}

fn peers_of(site: Site) -> impl Iterator<Item = Machine> {
    (0..SEATS as u8).map(move |seat| Machine::Peer(site, seat))
}

/// A layer 2 domain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// What the outermost gateways' outsides and the public machines share.
    Internet,
    /// Between a site's gateway and its carrier's.
    Carrier(Site),
    /// Behind a site's gateway.
    Lan(Site),
}

impl Segment {
    /// The cable from it to somewhere outside the lab, as captures call it.
    pub fn attachment(self) -> String {
        format!("{self}.attached")
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        const CARRIERS: [&str; SITES] = numbered!("carrier", "");
        const LANS: [&str; SITES] = numbered!("lan", "");
        match self {
            Segment::Internet => "internet",
            Segment::Carrier(site) => CARRIERS[site.index()],
            Segment::Lan(site) => LANS[site.index()],
        }
    }
}

/// A machine's cable into a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link {
    end: End,
    machine: Machine,
}

/// Which of a machine's cables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum End {
    Wan,
    Lan,
}

impl Link {
    /// `nat1.wan`
    pub const NAT1_WAN: Link = Link { machine: Machine::NAT1, end: End::Wan };
    /// `nat1.lan`
    pub const NAT1_LAN: Link = Link { machine: Machine::NAT1, end: End::Lan };
    /// `nat2.wan`
    pub const NAT2_WAN: Link = Link { machine: Machine::NAT2, end: End::Wan };
    /// `nat2.lan`
    pub const NAT2_LAN: Link = Link { machine: Machine::NAT2, end: End::Lan };
    /// `relay.wan`
    pub const RELAY_WAN: Link = Link { machine: Machine::RELAY, end: End::Wan };
    /// `peer1.lan`
    pub const PEER1_LAN: Link = Link { machine: Machine::PEER1, end: End::Lan };

    /// All that there can be, those outwards first; [`Layout::links`] are those of a scenario.
    pub fn all() -> impl Iterator<Item = Link> {
        Machine::all().filter_map(Machine::wan).chain(Machine::all().filter_map(Machine::lan))
    }

    /// Its name: the machine, a dot, `wan` or `lan`.
    pub fn name(self) -> &'static str {
        let (_, wan, lan) = Link::names(self.machine);
        match self.end {
            End::Wan => wan,
            End::Lan => lan,
        }
    }

    /// The machine it belongs to.
    pub fn machine(self) -> Machine {
        self.machine
    }

    /// Whether it is its machine's way out of a site, or a public machine's.
    pub fn is_outside(self) -> bool {
        self.end == End::Wan
    }

    /// The names of a machine and of its cables outwards and inwards.
    fn names(machine: Machine) -> (&'static str, &'static str, &'static str) {
        type Three<const N: usize> = [[&'static str; N]; 3];
        const NATS: Three<SITES> = [numbered!("nat", ""), numbered!("nat", ".wan"), numbered!("nat", ".lan")];
        const CGNS: Three<SITES> = [numbered!("cgn", ""), numbered!("cgn", ".wan"), numbered!("cgn", ".lan")];
        const RELAYS: Three<PUBLIC> = [
            ["relay", "relay2", "relay3", "relay4"],
            ["relay.wan", "relay2.wan", "relay3.wan", "relay4.wan"],
            ["", "", "", ""],
        ];
        const PEERS: [[&str; SITES]; SEATS] = lettered!("");
        const PEER_LANS: [[&str; SITES]; SEATS] = lettered!(".lan");
        let of = |[name, wan, lan]: [&'static str; 3]| (name, wan, lan);
        match machine {
            Machine::Nat(site) => of(NATS.map(|names| names[site.index()])),
            Machine::Cgn(site) => of(CGNS.map(|names| names[site.index()])),
            Machine::Relay(place) => of(RELAYS.map(|names| names[usize::from(place)])),
            Machine::Peer(site, seat) => {
                let at = |names: &[[&'static str; SITES]; SEATS]| names[usize::from(seat)][site.index()];
                (at(&PEERS), "", at(&PEER_LANS))
            }
        }
    }
}

/// Which machines a scenario has, and where their cables lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// How many gateways stand before each site; none where there is no site.
    gateways: [u8; SITES],
    /// How many peers each site has.
    peers: [u8; SITES],
    public: u8,
}

impl Layout {
    /// How many gateways a site may have: its own, and one of a carrier.
    pub const MOST_GATEWAYS: usize = 2;

    /// The layout for what stands before the sites, so many peers in the LAN of each (one, where nothing is said), and so many
    /// public machines.
    pub fn of(nats: &[Nat], peers: &[usize], public: usize) -> Self {
        let small = |count: usize, most: usize| u8::try_from(count.min(most)).unwrap_or(u8::MAX);
        let mut layout = Layout { gateways: [0; SITES], peers: [0; SITES], public: small(public, PUBLIC) };
        for (site, nat) in Site::all().zip(nats) {
            layout.gateways[site.index()] = small(nat.gateways.len(), Self::MOST_GATEWAYS);
            layout.peers[site.index()] = small(peers.get(site.index()).copied().unwrap_or(1), SEATS);
        }
        layout
    }

    /// The machines there are.
    pub fn machines(self) -> impl Iterator<Item = Machine> {
        Machine::all().filter(move |machine| self.has(*machine))
    }

    /// Whether there is a machine.
    pub fn has(self, machine: Machine) -> bool {
        match machine {
            Machine::Nat(site) => self.gateways[site.index()] > 0,
            Machine::Cgn(site) => self.gateways[site.index()] > 1,
            Machine::Peer(site, seat) => seat < self.peers[site.index()],
            Machine::Relay(place) => place < self.public,
        }
    }

    /// The sites there are.
    pub fn sites(self) -> impl Iterator<Item = Site> {
        Site::all().filter(move |site| self.gateways[site.index()] > 0)
    }

    /// The links there are, and the segments they lead to.
    pub fn links(self) -> impl Iterator<Item = (Link, Segment)> {
        Link::all().filter_map(move |link| Some((link, self.segment(link)?)))
    }

    /// The segment a link leads to; none if there is no such link.
    pub fn segment(self, link: Link) -> Option<Segment> {
        let machine = link.machine();
        self.has(machine).then(|| match (machine, link.end) {
            (Machine::Relay(_) | Machine::Cgn(_), End::Wan) => Segment::Internet,
            (Machine::Nat(site), End::Wan) if self.has(site.carrier()) => Segment::Carrier(site),
            (Machine::Nat(_), End::Wan) => Segment::Internet,
            (Machine::Cgn(site), End::Lan) => Segment::Carrier(site),
            (Machine::Nat(site), End::Lan) | (Machine::Peer(site, _), _) => Segment::Lan(site),
            // There is no such cable: nothing makes one.
            (Machine::Relay(_), End::Lan) => Segment::Internet,
        })
    }

    /// The public machines there are.
    pub fn public(self) -> impl Iterator<Item = Machine> {
        (0..self.public).map(Machine::Relay)
    }

    /// The peers there are, site by site.
    pub fn peers(self) -> impl Iterator<Item = Machine> {
        self.sites().flat_map(peers_of).filter(move |peer| self.has(*peer))
    }

    /// The gateways of a site, from its LAN outwards.
    pub fn gateways(self, site: Site) -> impl Iterator<Item = Machine> {
        [site.gateway(), site.carrier()].into_iter().filter(move |gateway| self.has(*gateway))
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

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    )*};
}

named!(Machine, Segment, Link);

impl FromStr for Link {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Link::all().find(|link| link.name() == name).ok_or(UnknownName)
    }
}

impl FromStr for Machine {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Machine::all().find(|machine| machine.name() == name).ok_or(UnknownName)
    }
}

#[cfg(test)]
mod tests {
    use natrig_nat::Preset;

    use super::*;

    #[test]
    fn every_name_names_one_thing() {
        for machine in Machine::all() {
            assert_eq!(machine.name().parse(), Ok(machine));
        }
        for link in Link::all() {
            assert_eq!(link.name().parse(), Ok(link));
            assert!(link.name().starts_with(&format!("{}.", link.machine())), "{link}");
        }
        let names = |site| [0, 1, 7].map(|seat| Machine::Peer(site, seat).name());
        assert_eq!(names(Site::ONE), ["peer1", "peer1b", "peer1h"]);
        assert_eq!(names(Site::TWO), ["peer2", "peer2b", "peer2h"]);
    }

    #[test]
    fn a_layout_has_what_was_asked_for() {
        let nats: Vec<Nat> = [Preset::FullCone, Preset::Public, Preset::Symmetric].map(Nat::from).into();
        let layout = Layout::of(&nats, &[2, 1], 1);
        let there: Vec<&str> = layout.machines().map(Machine::name).collect();
        assert_eq!(there, ["nat1", "nat2", "nat3", "peer1", "peer1b", "peer2", "peer3", "relay"]);
        let links: Vec<&str> = layout.links().map(|(link, _)| link.name()).collect();
        assert_eq!(links.len(), 11);
        assert_eq!(layout.segment("peer1b.lan".parse().unwrap()), Some(Segment::Lan(Site::ONE)));
        assert_eq!(layout.segment("relay2.wan".parse().unwrap()), None);
    }
}
