//! The seed's five machines: addresses, routes, who is whose neighbour.

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_scenario::{Gateway, Link, Machine, Nat, Scenario, Segment, Side};

use crate::wires::{Pair, SiteLinks};

/// The port on which nodes listen.
pub const NODE_PORT: u16 = 4400;

/// The first inside port of a proof; outside the range that a guest draws ephemeral ports from, and no node's.
pub const PROOF_PORT: u16 = 61_000;

/// STUN's ports, of the primary and of the other address.
const STUN_PORTS: (u16, u16) = (3478, 3479);

/// All machines of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    machines: Vec<Host>,
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
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its addresses with prefix lengths, the primary one first.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// A host that the lab itself plays: on its own hardware and with its own addresses, so that it stands in nobody's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// Its cable.
    pub link: String,
    /// Where it stands.
    pub segment: Segment,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its addresses with prefix lengths; there are two.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Destination, prefix length, next hop.
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
}

impl Stand {
    /// A port at one of its two addresses.
    pub fn endpoint(&self, address: usize, port: u16) -> SocketAddrV4 {
        let address = self.addresses.get(address).map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| *address);
        SocketAddrV4::new(address, port)
    }
}

impl Topology {
    /// The machines of a scenario, with the seed's addresses.
    pub fn of(scenario: &Scenario) -> Self {
        let machines = Machine::ALL.map(|machine| host(machine, &scenario.nats)).into();
        Topology { machines }
    }

    /// All machines.
    pub fn hosts(&self) -> &[Host] {
        &self.machines
    }

    /// Where a machine's node listens: its primary address.
    pub fn node(&self, machine: Machine) -> SocketAddrV4 {
        SocketAddrV4::new(primary(machine), NODE_PORT)
    }

    /// The STUN server: its primary endpoint, and its other address and port.
    pub fn stun(&self) -> [SocketAddrV4; 2] {
        [SocketAddrV4::new(RELAY[0], STUN_PORTS.0), SocketAddrV4::new(RELAY[1], STUN_PORTS.1)]
    }

    /// Where the lab itself plays hosts on both sides of a side's gateway: behind it, and in front of it.
    pub fn stands(&self, side: Side) -> [Stand; 2] {
        let segment = if side == Side::One { Segment::Lan1 } else { Segment::Lan2 };
        let number = side.number();
        let inside = Stand {
            link: format!("station{number}.lan"),
            segment,
            mac: hardware(segment, STATIONS),
            addresses: [STATIONS, STATIONS + 1].map(|host| (lan_prefix(side, host), 24)).into(),
            routes: vec![(Ipv4Addr::UNSPECIFIED, 0, lan_prefix(side, 1))],
        };
        let host = STATIONS + 2 * (number - 1);
        let routed = self
            .machines
            .iter()
            .filter(|host| host.gateway.as_ref().is_some_and(|gateway| gateway.profile.mapping.is_none()));
        let outside = Stand {
            link: format!("station{number}.wan"),
            segment: Segment::Internet,
            mac: hardware(Segment::Internet, host),
            addresses: [host, host + 1].map(|host| (Ipv4Addr::new(192, 168, 100, host), 24)).into(),
            routes: routed
                .filter_map(|host| Some((side_of(host.machine)?, primary(host.machine))))
                .map(|(side, gateway)| (lan_prefix(side, 0), 24, gateway))
                .collect(),
        };
        [inside, outside]
    }

    /// The sites, the initiator's first.
    pub fn pair(&self, initiator: Side) -> Pair {
        Pair { sites: [site(initiator), site(initiator.other())] }
    }
}

/// The first of a segment's addresses that belong to stations.
const STATIONS: u8 = 250;

/// The relay machine's addresses; the second one is the STUN server's other address.
const RELAY: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 100, 3), Ipv4Addr::new(192, 168, 100, 4)];

/// The links of one side's gateway.
pub fn site(side: Side) -> SiteLinks {
    let (wan, lan) = match side {
        Side::One => (Link::Nat1Wan, Link::Nat1Lan),
        Side::Two => (Link::Nat2Wan, Link::Nat2Lan),
    };
    SiteLinks { wan: wan.name().to_owned(), wan_mac: mac(wan), lan: lan.name().to_owned() }
}

fn host(machine: Machine, nats: &[Nat; 2]) -> Host {
    let nics = Link::ALL
        .into_iter()
        .filter(|link| link.machine() == machine)
        .map(|link| Nic {
            name: if link.segment() == Segment::Internet { "wan" } else { "lan" },
            link,
            mac: mac(link),
            addresses: addresses(link),
        })
        .collect();
    let gateway = match machine {
        Machine::Nat1 => nats[0].gateways.first().cloned(),
        Machine::Nat2 => nats[1].gateways.first().cloned(),
        _ => None,
    };
    Host { machine, nics, routes: routes(machine, nats), gateway }
}

/// Peers go through their gateway; on the internet only a prefix without NAT has a route.
fn routes(machine: Machine, nats: &[Nat; 2]) -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
    if let Some(side) = [Side::One, Side::Two].into_iter().find(|side| side.peer() == machine) {
        return vec![(Ipv4Addr::UNSPECIFIED, 0, lan_prefix(side, 1))];
    }
    [Side::One, Side::Two]
        .into_iter()
        .filter(|side| nats[side.index()].mapping().is_none() && side.gateway() != machine)
        .map(|side| (lan_prefix(side, 0), 24, primary(side.gateway())))
        .collect()
}

fn primary(machine: Machine) -> Ipv4Addr {
    match machine {
        Machine::Nat1 => Ipv4Addr::new(192, 168, 100, 1),
        Machine::Nat2 => Ipv4Addr::new(192, 168, 100, 2),
        Machine::Relay => RELAY[0],
        Machine::Peer1 => lan_prefix(Side::One, 2),
        Machine::Peer2 => lan_prefix(Side::Two, 2),
    }
}

fn lan_prefix(side: Side, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, side.number(), host)
}

fn addresses(link: Link) -> Vec<(Ipv4Addr, u8)> {
    match link {
        Link::RelayWan => RELAY.map(|address| (address, 24)).into(),
        Link::Nat1Lan => vec![(lan_prefix(Side::One, 1), 24)],
        Link::Nat2Lan => vec![(lan_prefix(Side::Two, 1), 24)],
        _ => vec![(primary(link.machine()), 24)],
    }
}

fn side_of(gateway: Machine) -> Option<Side> {
    [Side::One, Side::Two].into_iter().find(|side| side.gateway() == gateway)
}

/// Locally administered, and telling in a capture: segment and machine are its last bytes.
fn mac(link: Link) -> [u8; 6] {
    let host = addresses(link).first().map_or(0, |(address, _)| address.octets()[3]);
    hardware(link.segment(), host)
}

fn hardware(segment: Segment, host: u8) -> [u8; 6] {
    let segment = match segment {
        Segment::Internet => 0,
        Segment::Lan1 => 1,
        Segment::Lan2 => 2,
    };
    [0x02, 0x4e, 0x52, 0, segment, host]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use natrig_nat::Preset;

    use super::*;

    fn hosts(nats: [Preset; 2]) -> Vec<Host> {
        let nats = nats.map(Nat::from);
        Machine::ALL.map(|machine| host(machine, &nats)).into()
    }

    #[test]
    fn no_address_and_no_mac_is_used_twice() {
        let nics: Vec<Nic> = hosts([Preset::Symmetric; 2]).into_iter().flat_map(|host| host.nics).collect();
        let topology = Topology { machines: hosts([Preset::Symmetric; 2]) };
        let stands: Vec<Stand> =
            [Side::One, Side::Two].into_iter().flat_map(|side| topology.stands(side)).collect();
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

    #[test]
    fn only_a_site_without_nat_is_routed_to() {
        let routed = |machine, nats| hosts(nats).into_iter().find(|h| h.machine == machine).unwrap().routes;
        let nats = [Preset::Public, Preset::Symmetric];
        let to_site_1 = (Ipv4Addr::new(10, 0, 1, 0), 24, Ipv4Addr::new(192, 168, 100, 1));
        assert_eq!(routed(Machine::Relay, nats), [to_site_1]);
        assert_eq!(routed(Machine::Nat2, nats), [to_site_1]);
        assert_eq!(routed(Machine::Nat1, nats), []);
        assert_eq!(routed(Machine::Relay, [Preset::FullCone; 2]), []);
        let topology = Topology { machines: hosts(nats) };
        assert_eq!(topology.stands(Side::Two)[1].routes, [to_site_1]);
    }

    #[test]
    fn gateways_have_their_outside_first() {
        for host in hosts([Preset::Symmetric; 2]).iter().filter(|host| host.gateway.is_some()) {
            assert_eq!(host.nics.iter().map(|nic| nic.name).collect::<Vec<_>>(), ["wan", "lan"]);
        }
    }
}
