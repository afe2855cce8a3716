//! The machines of a scenario: addresses, routes, who is whose neighbour.

mod stand;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
};

use natrig_nat::engine::{Addresses, Prefix};
use natrig_scenario::{Gateway, Layout, Link, Machine, Nat, Scenario, Segment, Site};

use crate::wires::{Pair, SiteLinks};
pub use stand::Stand;

/// The port on which nodes listen.
pub const NODE_PORT: u16 = 4400;

/// The first inside port of a proof; outside the range that a guest draws ephemeral ports from, and no node's.
pub const PROOF_PORT: u16 = 61_000;

/// STUN's ports, of the primary and of the other address.
const STUN_PORTS: (u16, u16) = (3478, 3479);

/// All machines of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    layout: Layout,
    machines: Vec<Host>,
    gateways: Vec<Place>,
    attached: BTreeSet<Segment>,
}

/// One machine as the network sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Which one.
    pub machine: Machine,
    /// Its interfaces, in order.
    pub nics: Vec<Nic>,
    /// Destination, prefix length, next hop.
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Its behaviour, if it is a gateway; gateways forward.
    pub gateway: Option<Gateway>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// `wan` or `lan`: what it is called in the machine.
    pub name: &'static str,
    /// Its cable.
    pub link: Link,
    /// Where the cable leads.
    pub segment: Segment,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its addresses with prefix lengths, the primary one first.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// A gateway and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its machine.
    pub machine: Machine,
    /// The site it belongs to.
    pub site: Site,
    /// What it does.
    pub gateway: Gateway,
    /// Its addresses: those outside, and the prefix behind it.
    pub addresses: Addresses,
    /// Its address inside, which its hosts send to.
    pub inside: Ipv4Addr,
    /// Its link outwards.
    pub wan: Link,
    /// Its link inwards.
    pub lan: Link,
}

impl Topology {
    /// The machines of a scenario, with the seed's addresses.
    pub fn of(scenario: &Scenario) -> Self {
        Topology {
            attached: scenario.attached.clone(),
            ..Topology::between(&scenario.nats, scenario.layout())
        }
    }

    fn between(nats: &[Nat], layout: Layout) -> Self {
        let plan = Plan { nats, layout };
        let gateways: Vec<Place> = plan.layout.sites().flat_map(|site| plan.places(site)).collect();
        let machines = plan.layout.machines().map(|machine| plan.host(machine, &gateways)).collect();
        Topology { layout: plan.layout, machines, gateways, attached: BTreeSet::new() }
    }

    /// All machines.
    pub fn hosts(&self) -> &[Host] {
        &self.machines
    }

    /// All gateways, site 1 first, each site's from its LAN outwards.
    pub fn gateways(&self) -> &[Place] {
        &self.gateways
    }

    /// All links, and the segments they lead to.
    pub fn links(&self) -> impl Iterator<Item = (Link, Segment)> {
        self.layout.links()
    }

    /// Segments with a cable to somewhere outside the lab.
    pub fn attached(&self) -> &BTreeSet<Segment> {
        &self.attached
    }

    /// Where a machine's node listens: its primary address.
    pub fn node(&self, machine: Machine) -> SocketAddrV4 {
        let host = self.machines.iter().find(|host| host.machine == machine);
        let address = host.and_then(|host| host.nics.first()?.addresses.first());
        SocketAddrV4::new(address.map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| *address), NODE_PORT)
    }

    /// The STUN server: its primary endpoint, and its other address and port.
    pub fn stun(&self) -> [SocketAddrV4; 2] {
        [SocketAddrV4::new(RELAY[0], STUN_PORTS.0), SocketAddrV4::new(RELAY[1], STUN_PORTS.1)]
    }

    /// Where frames between two machines are watched: on the segment that both can be seen on.
    pub fn pair(&self, machines: [Machine; 2]) -> Pair {
        self.pair_at(machines.map(|machine| (machine, machine.site())))
    }

    /// The same of machines that are in these sites in the end.
    pub fn pair_at(&self, machines: [(Machine, Option<Site>); 2]) -> Pair {
        let [(_, a), (_, b)] = machines;
        let within_a_lan = a.is_some() && a == b;
        Pair { sites: machines.map(|(machine, site)| self.seen(machine, site, within_a_lan)) }
    }

    /// Where a peer is that has moved to a LAN: at which address there, and behind which next hop.
    pub fn roamed(&self, peer: Machine, to: Site) -> (Segment, (Ipv4Addr, u8), Ipv4Addr) {
        let host = match peer {
            Machine::Peer(home, seat) if home == to => peer_in_lan(seat),
            Machine::Peer(home, seat) => VISITORS + 8 * home.number() + seat,
            _ => VISITORS,
        };
        (Segment::Lan(to), (lan(to, host), 24), lan(to, 1))
    }

    /// A machine's own cable, or its site as those outside see it: its outermost gateway's link outwards, and its LAN.
    fn seen(&self, machine: Machine, site: Option<Site>, within_a_lan: bool) -> SiteLinks {
        let of_site = || self.gateways.iter().filter(move |place| Some(place.site) == site);
        let own = || machine.wan().or(machine.lan());
        let (link, lan) = match (of_site().next_back(), of_site().next()) {
            (Some(outermost), Some(innermost)) if !within_a_lan => (Some(outermost.wan), Some(innermost.lan)),
            _ => (own(), None),
        };
        let nic = self.machines.iter().flat_map(|host| &host.nics).find(|nic| Some(nic.link) == link);
        SiteLinks {
            wan: link.map_or("", Link::name).to_owned(),
            wan_mac: nic.map_or([0; 6], |nic| nic.mac),
            lan: lan.map(|lan| lan.name().to_owned()),
        }
    }
}

/// The relay machine's addresses; the second one is the STUN server's other address.
const RELAY: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 100, 3), Ipv4Addr::new(192, 168, 100, 4)];

/// What addresses follow from.
struct Plan<'a> {
    nats: &'a [Nat],
    layout: Layout,
}

impl Plan<'_> {
    fn host(&self, machine: Machine, gateways: &[Place]) -> Host {
        let nics = self
            .layout
            .links()
            .filter(|(link, _)| link.machine() == machine)
            .map(|(link, segment)| {
                let addresses = self.addresses(link);
                let host = addresses.first().map_or(0, |(address, _)| address.octets()[3]);
                let name = if link.is_outside() { "wan" } else { "lan" };
                Nic { name, link, segment, mac: hardware(segment, host), addresses }
            })
            .collect();
        Host {
            machine,
            nics,
            routes: self.routes(machine, gateways),
            gateway: self.gateway(machine).cloned(),
        }
    }

    fn places(&self, site: Site) -> impl Iterator<Item = Place> {
        self.layout.gateways(site).filter_map(move |machine| {
            let (wan, lan) = (machine.wan()?, machine.lan()?);
            let gateway = self.gateway(machine)?.clone();
            let outside = self.addresses(wan).into_iter().map(|(address, _)| address).collect();
            let inside = self.addresses(lan).first()?.0;
            let addresses = Addresses { outside, inside: Prefix::new(inside, 24).ok()? };
            Some(Place { machine, site, gateway, addresses, inside, wan, lan })
        })
    }

    fn gateway(&self, machine: Machine) -> Option<&Gateway> {
        let site = machine.site()?;
        let at = self.layout.gateways(site).position(|gateway| gateway == machine)?;
        self.nats.get(site.index())?.gateways.get(at)
    }

    /// Everybody behind a gateway goes through it; on the internet only a prefix that nobody translates has a route.
    fn routes(&self, machine: Machine, gateways: &[Place]) -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
        match machine {
            Machine::Peer(site, _) => return vec![(Ipv4Addr::UNSPECIFIED, 0, lan(site, 1))],
            Machine::Nat(site) if self.layout.has(site.carrier()) => {
                return vec![(Ipv4Addr::UNSPECIFIED, 0, carrier(site, 1))];
            }
            _ => {}
        }
        open(gateways).filter(|(gateway, _)| *gateway != machine).map(|(_, route)| route).collect()
    }

    fn addresses(&self, link: Link) -> Vec<(Ipv4Addr, u8)> {
        let machine = link.machine();
        let (site, first) = match (machine, self.layout.segment(link)) {
            (Machine::RELAY, _) => return RELAY.map(|address| (address, 24)).into(),
            (Machine::Relay(place), _) => return vec![(after_the_relay(place), 24)],
            (Machine::Peer(site, seat), _) => (site, lan(site, peer_in_lan(seat))),
            (Machine::Nat(site), Some(Segment::Lan(_))) => (site, lan(site, 1)),
            (Machine::Cgn(site), Some(Segment::Carrier(_))) => (site, carrier(site, 1)),
            (Machine::Nat(site) | Machine::Cgn(site), Some(Segment::Internet)) => (site, internet(site)),
            (Machine::Nat(site) | Machine::Cgn(site), _) => (site, carrier(site, 2)),
        };
        let pool = self.gateway(machine).map_or(1, |gateway| gateway.profile.pool.addresses);
        let more = (1..u8::try_from(pool).unwrap_or(POOL).clamp(1, POOL)).map(|n| 16 * site.number() + n);
        let [a, b, c, _] = first.octets();
        let more = more.filter(|_| link.is_outside()).map(|host| Ipv4Addr::new(a, b, c, host));
        std::iter::once(first).chain(more).map(|address| (address, 24)).collect()
    }
}

/// The prefixes that are on the internet without translation: each outermost gateway that translates nothing, and the route
/// to what is behind it.
fn open(gateways: &[Place]) -> impl Iterator<Item = (Machine, (Ipv4Addr, u8, Ipv4Addr))> {
    Site::all().filter_map(|site| {
        let outermost = gateways.iter().rfind(|place| place.site == site)?;
        let [a, b, c, _] = outermost.inside.octets();
        let route = (Ipv4Addr::new(a, b, c, 0), 24, *outermost.addresses.outside.first()?);
        outermost.gateway.profile.mapping.is_none().then_some((outermost.machine, route))
    })
}

/// The most outside addresses a gateway has here.
const POOL: u8 = 16;

/// A site's address on the internet: the seed's for the first two, the others' after those of the public machines.
fn internet(site: Site) -> Ipv4Addr {
    let host = if site <= Site::TWO { site.number() } else { AFTER_PUBLIC + site.number() };
    Ipv4Addr::new(192, 168, 100, host)
}

/// What is added to a site's number for its address on the internet.
const AFTER_PUBLIC: u8 = 5;

/// The addresses of peers from other LANs come after this one.
const VISITORS: u8 = 32;

/// The last byte of a peer's address. The second one's is not the first one's second address, which a prober takes.
fn peer_in_lan(seat: u8) -> u8 {
    if seat == 0 { 2 } else { 3 + seat }
}

/// The address of a public machine after the first one, by its place among them.
fn after_the_relay(place: u8) -> Ipv4Addr {
    let [a, b, c, last] = RELAY[1].octets();
    Ipv4Addr::new(a, b, c, last + place)
}

fn lan(site: Site, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, site.number(), host)
}

/// Between a site and its carrier (RFC 6598).
fn carrier(site: Site, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(100, 64, site.number(), host)
}

/// Locally administered, and telling in a capture: segment and machine are its last bytes.
fn hardware(segment: Segment, host: u8) -> [u8; 6] {
    let segment = match segment {
        Segment::Internet => 0,
        Segment::Lan(site) => site.number(),
        Segment::Carrier(site) => 0x40 | site.number(),
    };
    [0x02, 0x4e, 0x52, 0, segment, host]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use natrig_nat::{Preset, profile::Named};

    use super::*;

    fn topology(nats: [&str; 2]) -> Topology {
        let nats = nats.map(|name| Nat::of(&Named::find(name).unwrap()));
        Topology::between(&nats, Layout::of(&nats, &[], 4))
    }

    fn routes(topology: &Topology, machine: Machine) -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
        topology.hosts().iter().find(|host| host.machine == machine).unwrap().routes.clone()
    }

    #[test]
    fn no_address_and_no_mac_is_used_twice() {
        let mut pooled = Nat::from(Preset::Symmetric);
        pooled.gateways[0].profile.pool.addresses = 16;
        let pooled = [pooled.clone(), pooled];
        let pooled = Topology::between(&pooled, Layout::of(&pooled, &[], 4));
        for topology in [topology(["symmetric", "cgn"]), pooled] {
            let nics: Vec<&Nic> = topology.hosts().iter().flat_map(|host| &host.nics).collect();
            let stands: Vec<Stand> =
                topology.gateways().iter().flat_map(|place| topology.stands(place)).collect();
            let macs: HashSet<_> =
                nics.iter().map(|nic| nic.mac).chain(stands.iter().map(|stand| stand.mac)).collect();
            let addresses: Vec<_> = nics
                .iter()
                .flat_map(|nic| &nic.addresses)
                .chain(stands.iter().flat_map(|stand| &stand.addresses))
                .collect();
            let different: HashSet<_> = addresses.iter().collect();
            assert_eq!((macs.len(), different.len()), (nics.len() + stands.len(), addresses.len()));
        }
    }

    #[test]
    fn only_a_site_without_nat_is_routed_to() {
        let to_site_1 = (Ipv4Addr::new(10, 0, 1, 0), 24, Ipv4Addr::new(192, 168, 100, 1));
        let open = topology(["public", "symmetric"]);
        assert_eq!(routes(&open, Machine::RELAY), [to_site_1]);
        assert_eq!(routes(&open, Machine::NAT2), [to_site_1]);
        assert_eq!(routes(&open, Machine::NAT1), []);
        assert_eq!(open.stands(&open.gateways()[1])[1].routes, [to_site_1]);
        assert_eq!(routes(&topology(["full-cone", "full-cone"]), Machine::RELAY), []);
    }

    #[test]
    fn gateways_have_their_outside_first() {
        let chain = topology(["cgn", "symmetric"]);
        for host in chain.hosts().iter().filter(|host| host.gateway.is_some()) {
            assert_eq!(host.nics.iter().map(|nic| nic.name).collect::<Vec<_>>(), ["wan", "lan"]);
        }
    }

    /// The carrier's gateway has the site's address on the internet, and the site's own gateway one of the carrier's.
    #[test]
    fn a_chain_is_a_site_behind_its_carrier() {
        let chain = topology(["cgn", "symmetric"]);
        let places: Vec<String> = chain
            .gateways()
            .iter()
            .map(|place| format!("{} {} behind {}", place.machine, place.inside, place.addresses.outside[0]))
            .collect();
        assert_eq!(
            places,
            [
                "nat1 10.0.1.1 behind 100.64.1.2",
                "cgn1 100.64.1.1 behind 192.168.100.1",
                "nat2 10.0.2.1 behind 192.168.100.2"
            ]
        );
        let [site, _] = chain.pair([Machine::PEER1, Machine::PEER2]).sites;
        assert_eq!((site.wan.as_str(), site.lan.as_deref()), ("cgn1.wan", Some("nat1.lan")));
        let default = (Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(100, 64, 1, 1));
        assert_eq!(routes(&chain, Machine::NAT1), [default]);
        let segments: Vec<Segment> =
            chain.stands(&chain.gateways()[0]).iter().map(|stand| stand.segment).collect();
        assert_eq!(segments, [Segment::Lan(Site::ONE), Segment::Carrier(Site::ONE)]);
    }
}
