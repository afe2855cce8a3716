//! Where the lab itself plays hosts.

use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_scenario::Segment;

use super::{Place, Topology, carrier, hardware, internet, lan, open};

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

/// The first of a LAN's addresses that belong to stands, and of the internet's.
const FIRST: u8 = 250;
const OUTSIDE: u8 = 230;

impl Stand {
    /// A port at one of its two addresses.
    pub fn endpoint(&self, address: usize, port: u16) -> SocketAddrV4 {
        let address = self.addresses.get(address).map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| *address);
        SocketAddrV4::new(address, port)
    }
}

impl Topology {
    /// Where the lab itself plays hosts on both sides of a gateway: behind it, and in front of it.
    pub fn stands(&self, place: &Place) -> [Stand; 2] {
        let site = place.site;
        let segment = |link| self.layout.segment(link).unwrap_or(Segment::Internet);
        let [within, beyond] = [place.lan, place.wan].map(segment);
        let behind = match within {
            // The gateway in between has its stand outwards here, too.
            Segment::Carrier(_) => [2, 3].map(|n| carrier(site, FIRST + n)),
            _ => [0, 1].map(|n| lan(site, FIRST + n)),
        };
        let before = match beyond {
            Segment::Internet => [0, 1].map(|n| {
                let [a, b, c, _] = internet(site).octets();
                Ipv4Addr::new(a, b, c, OUTSIDE + 2 * (site.number() - 1) + n)
            }),
            _ => [0, 1].map(|n| carrier(site, FIRST + n)),
        };
        let routes = match beyond {
            Segment::Internet => open(&self.gateways).map(|(_, route)| route).collect(),
            _ => Vec::new(),
        };
        let machine = place.machine;
        [
            stand(
                format!("{machine}.behind"),
                within,
                behind,
                vec![(Ipv4Addr::UNSPECIFIED, 0, place.inside)],
            ),
            stand(format!("{machine}.before"), beyond, before, routes),
        ]
    }
}

fn stand(
    link: String,
    segment: Segment,
    addresses: [Ipv4Addr; 2],
    routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
) -> Stand {
    let mac = hardware(segment, addresses[0].octets()[3]);
    Stand { link, segment, mac, addresses: addresses.map(|address| (address, 24)).into(), routes }
}
