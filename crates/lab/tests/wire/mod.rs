//! Forged captures of two sites and a relay, frame by frame.

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::Bytes;
use etherparse::PacketBuilder;
use natrig_capture::{Direction, DropReason, LinkId, Sighting, Trace, What};
use natrig_lab::{Pair, Topology};
use natrig_scenario::{Scenario, Side};

/// The links, in the order of their numbers.
pub const LINKS: [&str; 5] = ["nat1.wan", "nat2.wan", "relay.wan", "nat1.lan", "nat2.lan"];

const MACS: [[u8; 6]; 5] = [
    [0x02, 0x4e, 0x52, 0, 0, 1],
    [0x02, 0x4e, 0x52, 0, 0, 2],
    [0x02, 0x4e, 0x52, 0, 0, 3],
    [0x02, 0x4e, 0x52, 0, 1, 1],
    [0x02, 0x4e, 0x52, 0, 2, 1],
];

/// A place on the internet segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum At {
    Site1 = 0,
    Site2 = 1,
    Relay = 2,
}

impl At {
    fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 100, self as u8 + 1)
    }
}

/// Writes frames one after the other, a millisecond apart.
#[derive(Default)]
pub struct Forger {
    sightings: Vec<Sighting>,
    frames: u64,
    payloads: u64,
    /// Payloads are all the same from now on.
    pub alike: bool,
}

impl Forger {
    /// The time of the next frame.
    pub fn now(&self) -> u64 {
        self.frames * 1_000_000
    }

    /// A datagram on the internet segment, let in by the far gateway or not.
    pub fn send(&mut self, from: At, to: At, ports: (u16, u16), first_byte: u8, length: usize, passes: bool) {
        self.payloads += u64::from(!self.alike);
        let mut payload = vec![first_byte; length.max(9)];
        payload[1..9].copy_from_slice(&self.payloads.to_be_bytes());
        let source = SocketAddrV4::new(from.address(), ports.0);
        let frame = frame(source, SocketAddrV4::new(to.address(), ports.1), &payload, MACS[to as usize]);
        self.frame(from as usize, &[to as usize], frame);
        if passes && to != At::Relay {
            let inside = SocketAddrV4::new(Ipv4Addr::new(10, 0, to as u8 + 1, 2), 4400);
            let lan = 3 + to as usize;
            self.frame(lan, &[], self::frame(source, inside, &payload, MACS[lan]));
        }
    }

    /// A datagram that the switch kept from its receiver.
    pub fn blocked(&mut self, from: At, to: At, ports: (u16, u16)) {
        let source = SocketAddrV4::new(from.address(), ports.0);
        let destination = SocketAddrV4::new(to.address(), ports.1);
        let frame = frame(source, destination, &[4; 50], MACS[to as usize]);
        let what = What::Dropped(Direction::Outbound, DropReason::Blocked);
        self.frame(from as usize, &[], frame.clone());
        self.sightings.push(Sighting {
            frame: self.frames,
            link: LinkId::new(to as usize),
            at_ns: self.now(),
            what,
            data: frame,
        });
    }

    /// The same datagram flooded to all links of the segment, as a switch does that does not know the receiver yet.
    pub fn flooded(&mut self, from: At, to: At, ports: (u16, u16), length: usize) {
        let source = SocketAddrV4::new(from.address(), ports.0);
        let destination = SocketAddrV4::new(to.address(), ports.1);
        let frame = frame(source, destination, &vec![9; length], MACS[to as usize]);
        let others: Vec<usize> = (0..3).filter(|link| *link != from as usize).collect();
        self.frame(from as usize, &others, frame);
    }

    /// Many bytes from one place to another.
    pub fn bulk(&mut self, from: At, to: At, bytes: u64) {
        for _ in 0..bytes.div_ceil(1024) {
            self.send(from, to, (4400, 4400), 0x40, 1024, true);
        }
    }

    fn frame(&mut self, from: usize, to: &[usize], data: Bytes) {
        self.frames += 1;
        let at_ns = self.now();
        let entered = (from, What::Entered, at_ns);
        let delivered = to.iter().map(|link| (*link, What::Delivered, at_ns + 1000));
        for (link, what, at_ns) in std::iter::once(entered).chain(delivered) {
            let data = data.clone();
            self.sightings.push(Sighting { frame: self.frames, link: LinkId::new(link), at_ns, what, data });
        }
    }

    pub fn trace(self) -> Trace {
        Trace::join(LINKS.map(str::to_owned).into(), self.sightings).unwrap()
    }
}

fn frame(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8], mac: [u8; 6]) -> Bytes {
    let builder = PacketBuilder::ethernet2([2; 6], mac)
        .ipv4(from.ip().octets(), to.ip().octets(), 60)
        .udp(from.port(), to.port());
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame.into()
}

/// Site 1 dials.
pub fn pair() -> Pair {
    let text = "{name: a, nat1: full-cone, nat2: full-cone, expected: direct}";
    let scenario = Scenario::parse("t.yaml", text).unwrap().remove(0);
    Topology::of(&scenario).pair(Side::One)
}
