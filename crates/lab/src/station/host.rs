//! One station: addresses, ARP, next hops. No cable, no clock.

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    time::Duration,
};

use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType};
use natrig_capture::{Arp, MacAddress, Network, decode};

/// How often a silent next hop is asked for its hardware address, and how long the answer may take each time.
const QUESTIONS: u32 = 20;
const PATIENCE: Duration = Duration::from_millis(250);

/// The most packets that wait for one answer.
const WAITING: usize = 1024;

/// A host on a segment.
///
/// Give it what comes by its cable with [`Station::handle_frame`] and put what [`Station::poll_frame`] gives on it, until
/// it gives nothing; call [`Station::handle_timeout`] when [`Station::poll_timeout`] is reached.
#[derive(Debug)]
pub struct Station {
    mac: MacAddress,
    addresses: Vec<(Ipv4Addr, u8)>,
    routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    neighbours: HashMap<Ipv4Addr, Neighbour>,
    frames: VecDeque<Vec<u8>>,
    packets: VecDeque<Vec<u8>>,
}

#[derive(Debug)]
enum Neighbour {
    Known(MacAddress),
    Asked { left: u32, again: Duration, waiting: Vec<Vec<u8>> },
}

/// There is no way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the station has no route to {0}")]
pub struct NoRoute(pub Ipv4Addr);

impl Station {
    /// A station with addresses and their prefix lengths, and routes: destination, prefix length, next hop.
    pub fn new(mac: [u8; 6], addresses: Vec<(Ipv4Addr, u8)>, routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>) -> Self {
        Station {
            mac: MacAddress(mac),
            addresses,
            routes,
            neighbours: HashMap::new(),
            frames: VecDeque::new(),
            packets: VecDeque::new(),
        }
    }

    /// Sends an IPv4 packet; the packet's own source address is not looked at.
    pub fn send(&mut self, now: Duration, packet: Vec<u8>) -> Result<(), NoRoute> {
        let destination = address(&packet, 16);
        let hop = self.next_hop(destination).ok_or(NoRoute(destination))?;
        match self.neighbours.get_mut(&hop) {
            Some(Neighbour::Known(mac)) => {
                let frame = frame(*mac, self.mac, EtherType::IPV4, &packet);
                self.frames.push_back(frame);
            }
            Some(Neighbour::Asked { waiting, .. }) => {
                if waiting.len() < WAITING {
                    waiting.push(packet);
                }
            }
            None => {
                let asked =
                    Neighbour::Asked { left: QUESTIONS, again: now + PATIENCE, waiting: vec![packet] };
                self.neighbours.insert(hop, asked);
                self.ask(hop);
            }
        }
        Ok(())
    }

    /// Takes a frame from the cable; those for others are passed over.
    pub fn handle_frame(&mut self, frame: &[u8]) {
        let Some(packet) = decode(frame) else {
            return;
        };
        if packet.destination != self.mac && !packet.destination.is_group() {
            return;
        }
        match packet.network {
            Network::Arp(arp) => self.handle_arp(&arp),
            Network::Ipv4(_) if packet.destination == self.mac => {
                if let Some(ipv4) = ipv4_bytes(frame) {
                    self.packets.push_back(ipv4.to_vec());
                }
            }
            _ => {}
        }
    }

    /// The next frame for the cable.
    pub fn poll_frame(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// The next packet that came.
    pub fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.packets.pop_front()
    }

    /// When to call [`Station::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.neighbours
            .values()
            .filter_map(|neighbour| match neighbour {
                Neighbour::Asked { again, .. } => Some(*again),
                Neighbour::Known(_) => None,
            })
            .min()
    }

    /// Asks silent neighbours again, or gives up on them and what waits for them.
    pub fn handle_timeout(&mut self, now: Duration) {
        let mut due = Vec::new();
        self.neighbours.retain(|hop, neighbour| match neighbour {
            Neighbour::Asked { left, again, .. } if *again <= now => {
                *left -= 1;
                *again = now + PATIENCE;
                due.push(*hop);
                *left > 0
            }
            _ => true,
        });
        for hop in due {
            self.ask(hop);
        }
    }

    /// The most specific route, or the destination itself where it is on the segment.
    fn next_hop(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let on_link = self.addresses.iter().map(|(own, length)| (*own, *length, destination));
        on_link
            .chain(self.routes.iter().copied())
            .filter(|(prefix, length, _)| within(destination, *prefix, *length))
            .max_by_key(|(_, length, _)| *length)
            .map(|(_, _, hop)| hop)
    }

    fn handle_arp(&mut self, arp: &Arp) {
        if !self.addresses.iter().any(|(own, _)| *own == arp.target) {
            return;
        }
        self.met(arp.sender, arp.sender_mac);
        if arp.operation == ArpOperation::REQUEST.0 {
            let answer = self.arp(ArpOperation::REPLY, arp.target, arp.sender_mac, arp.sender);
            self.frames.push_back(answer);
        }
    }

    fn met(&mut self, neighbour: Ipv4Addr, mac: MacAddress) {
        let before = self.neighbours.insert(neighbour, Neighbour::Known(mac));
        if let Some(Neighbour::Asked { waiting, .. }) = before {
            let frames = waiting.iter().map(|packet| frame(mac, self.mac, EtherType::IPV4, packet));
            self.frames.extend(frames);
        }
    }

    fn ask(&mut self, hop: Ipv4Addr) {
        let near = self.addresses.iter().find(|(own, length)| within(hop, *own, *length));
        let Some((own, _)) = near.or(self.addresses.first()) else {
            return;
        };
        let question = self.arp(ArpOperation::REQUEST, *own, MacAddress([0; 6]), hop);
        self.frames.push_back(question);
    }

    /// An ARP packet as it would send it.
    pub fn arp(&self, operation: ArpOperation, own: Ipv4Addr, mac: MacAddress, target: Ipv4Addr) -> Vec<u8> {
        let arp = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            operation,
            &self.mac.0,
            &own.octets(),
            &mac.0,
            &target.octets(),
        );
        let to = if mac == MacAddress([0; 6]) { MacAddress::BROADCAST } else { mac };
        arp.map_or_else(|_| Vec::new(), |arp| frame(to, self.mac, EtherType::ARP, &arp.to_bytes()))
    }
}

fn frame(to: MacAddress, from: MacAddress, kind: EtherType, payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &kind.0.to_be_bytes(), payload].concat()
}

/// The IPv4 packet in a frame, without the frame's padding.
fn ipv4_bytes(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(14..)?;
    let total = packet.get(2..4).map(|total| u16::from_be_bytes([total[0], total[1]]))?;
    packet.get(..usize::from(total))
}

/// An address in a packet; unspecified where the packet is too short.
fn address(packet: &[u8], at: usize) -> Ipv4Addr {
    packet
        .get(at..at + 4)
        .and_then(|octets| <[u8; 4]>::try_from(octets).ok())
        .map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from)
}

fn within(address: Ipv4Addr, prefix: Ipv4Addr, length: u8) -> bool {
    let differing = u32::from(address) ^ u32::from(prefix);
    differing.leading_zeros() >= u32::from(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::station::packet;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const ROUTER: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn station() -> Station {
        let lan = Ipv4Addr::new(10, 0, 1, 1);
        let addresses = [250, 251].map(|host| (Ipv4Addr::new(10, 0, 1, host), 24)).into();
        Station::new(MAC, addresses, vec![(Ipv4Addr::UNSPECIFIED, 0, lan)])
    }

    fn away() -> Vec<u8> {
        packet::udp("10.0.1.250:9".parse().unwrap(), "192.168.100.3:3478".parse().unwrap(), b"out")
    }

    fn router_says(operation: ArpOperation, target: Ipv4Addr) -> Vec<u8> {
        let router = Station::new(ROUTER.0, vec![(Ipv4Addr::new(10, 0, 1, 1), 24)], Vec::new());
        router.arp(operation, Ipv4Addr::new(10, 0, 1, 1), MacAddress(MAC), target)
    }

    #[test]
    fn packets_wait_for_the_next_hops_answer() {
        let (mut station, now) = (station(), Duration::ZERO);
        station.send(now, away()).unwrap();
        station.send(now, away()).unwrap();
        let question = station.poll_frame().unwrap();
        let asked = decode(&question).unwrap();
        assert!(asked.destination.is_group());
        assert_eq!(asked.arp().unwrap().target, Ipv4Addr::new(10, 0, 1, 1));
        assert_eq!(station.poll_frame(), None);

        station.handle_frame(&router_says(ArpOperation::REPLY, Ipv4Addr::new(10, 0, 1, 250)));
        for _ in 0..2 {
            let sent = station.poll_frame().unwrap();
            let sent = decode(&sent).unwrap();
            assert_eq!((sent.destination, sent.udp().unwrap().payload), (ROUTER, &b"out"[..]));
        }
        assert_eq!(station.poll_timeout(), None);
    }

    #[test]
    fn neighbours_are_reached_without_the_router() {
        let (mut station, now) = (station(), Duration::ZERO);
        let near = packet::udp("10.0.1.250:9".parse().unwrap(), "10.0.1.2:9".parse().unwrap(), b"");
        station.send(now, near).unwrap();
        let question = station.poll_frame().unwrap();
        assert_eq!(decode(&question).unwrap().arp().unwrap().target, Ipv4Addr::new(10, 0, 1, 2));
    }

    #[test]
    fn all_its_addresses_are_answered_for_and_no_other() {
        let mut station = station();
        for (host, answered) in [(250, true), (251, true), (252, false)] {
            station.handle_frame(&router_says(ArpOperation::REQUEST, Ipv4Addr::new(10, 0, 1, host)));
            let answer = station.poll_frame();
            assert_eq!(answer.is_some(), answered, "{host}");
            if let Some(answer) = answer {
                let arp = decode(&answer).unwrap().arp().unwrap();
                assert_eq!((arp.sender, arp.sender_mac), (Ipv4Addr::new(10, 0, 1, host), MacAddress(MAC)));
            }
        }
    }

    #[test]
    fn a_silent_neighbour_is_asked_again_and_then_given_up() {
        let (mut station, now) = (station(), Duration::ZERO);
        station.send(now, away()).unwrap();
        let mut questions = 0;
        while let Some(at) = station.poll_timeout() {
            questions += std::iter::from_fn(|| station.poll_frame()).count();
            station.handle_timeout(at);
        }
        assert_eq!(questions, QUESTIONS as usize);
    }

    #[test]
    fn without_a_route_the_caller_is_told() {
        let mut lonely = Station::new(MAC, vec![(Ipv4Addr::new(192, 168, 100, 250), 24)], Vec::new());
        let refused = lonely.send(
            Duration::ZERO,
            packet::udp("192.168.100.250:1".parse().unwrap(), "10.0.1.2:1".parse().unwrap(), b""),
        );
        assert_eq!(refused, Err(NoRoute(Ipv4Addr::new(10, 0, 1, 2))));
    }

    #[test]
    fn no_frame_makes_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut station = station();
            station.handle_frame(bytes);
            let _ = station.send(Duration::ZERO, bytes.to_vec());
            let mine = frame(MacAddress(MAC), ROUTER, EtherType::IPV4, bytes);
            station.handle_frame(&mine);
            while station.poll_frame().is_some() || station.poll_packet().is_some() {}
        });
    }
}
