//! Forged captures of two sites and a relay, frame by frame.

#![allow(dead_code, reason = "no test needs all of it")]

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use bytes::Bytes;
use etherparse::PacketBuilder;
use natrig_capture::{Direction, DropReason, LinkId, Sighting, Trace, What};
use natrig_lab::{Pair, Topology};
use natrig_nat::{
    Engine, Profile,
    engine::{Addresses, Packet, Verdict},
};
use natrig_scenario::{Machine, Scenario};

/// The links, in the order of their numbers.
pub const LINKS: [&str; 6] = ["nat1.wan", "nat2.wan", "relay.wan", "nat1.lan", "nat2.lan", "peer1.lan"];

const MACS: [[u8; 6]; 5] = [
    [0x02, 0x4e, 0x52, 0, 0, 1],
    [0x02, 0x4e, 0x52, 0, 0, 2],
    [0x02, 0x4e, 0x52, 0, 0, 3],
    [0x02, 0x4e, 0x52, 0, 1, 1],
    [0x02, 0x4e, 0x52, 0, 2, 1],
];

/// The inside link of gateway 1, and the link of the peer there.
const GATEWAY1: usize = 3;
const PEER1: usize = 5;

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
        let payload = self.departs(from, to, ports, first_byte, length);
        if passes && to != At::Relay {
            self.is_let_in(from, to, ports.0, &payload);
        }
    }

    /// Two datagrams that meet on the internet segment: that which left later is let in earlier.
    pub fn crossing(&mut self, from: At, to: At, port: u16, first_byte: u8) {
        let ports = (port, port);
        let earlier = self.departs(from, to, ports, first_byte, 50);
        let later = self.departs(to, from, ports, first_byte, 50);
        self.is_let_in(to, from, port, &later);
        self.is_let_in(from, to, port, &earlier);
    }

    fn departs(&mut self, from: At, to: At, ports: (u16, u16), first_byte: u8, length: usize) -> Vec<u8> {
        self.payloads += u64::from(!self.alike);
        let mut payload = vec![first_byte; length.max(9)];
        payload[1..9].copy_from_slice(&self.payloads.to_be_bytes());
        let source = SocketAddrV4::new(from.address(), ports.0);
        let frame = frame(source, SocketAddrV4::new(to.address(), ports.1), &payload, MACS[to as usize]);
        self.frame(from as usize, &[to as usize], frame);
        payload
    }

    fn is_let_in(&mut self, from: At, to: At, port: u16, payload: &[u8]) {
        let source = SocketAddrV4::new(from.address(), port);
        let inside = SocketAddrV4::new(Ipv4Addr::new(10, 0, to as u8 + 1, 2), 4400);
        let lan = 3 + to as usize;
        self.frame(lan, &[], frame(source, inside, payload, MACS[lan]));
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

    /// A datagram of peer 1, and what gateway 1 makes of it.
    pub fn translated(&mut self, inside: SocketAddrV4, to: SocketAddrV4, outside: SocketAddrV4) {
        self.burst(&[(inside, to, outside)], false);
    }

    /// Datagrams of peer 1 that come before the first of them leaves, or one after the other, and what gateway 1 makes of
    /// them: who sends, to whom, and from where it seems to be.
    pub fn burst(&mut self, sent: &[(SocketAddrV4, SocketAddrV4, SocketAddrV4)], apart: bool) {
        let mut leaving = Vec::new();
        for (inside, to, outside) in sent {
            self.payloads += 1;
            self.enters(*inside, *to, self.payloads);
            leaving.push((*outside, *to, self.payloads));
            if apart {
                leaving.drain(..).for_each(|(outside, to, payload)| self.leaves(outside, to, payload));
            }
        }
        leaving.into_iter().for_each(|(outside, to, payload)| self.leaves(outside, to, payload));
    }

    /// A datagram of peer 1 that comes to gateway 1.
    pub fn enters(&mut self, inside: SocketAddrV4, to: SocketAddrV4, payload: u64) {
        let frame = frame(inside, to, &payload.to_be_bytes(), MACS[GATEWAY1]);
        self.frame(PEER1, &[GATEWAY1], frame);
    }

    /// A datagram that leaves gateway 1.
    pub fn leaves(&mut self, outside: SocketAddrV4, to: SocketAddrV4, payload: u64) {
        let frame = frame(outside, to, &payload.to_be_bytes(), MACS[2]);
        self.frame(At::Site1 as usize, &[At::Relay as usize], frame);
    }

    /// A datagram that comes to gateway 1 from outside.
    pub fn outsider(&mut self, from: SocketAddrV4, to: SocketAddrV4) {
        self.frame(At::Site2 as usize, &[At::Site1 as usize], frame(from, to, b"early", MACS[0]));
    }

    /// Lets time pass.
    pub fn wait(&mut self, milliseconds: u64) {
        self.frames += milliseconds;
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
    Topology::of(&scenario).pair([Machine::PEER1, Machine::PEER2])
}

/// The engine as gateway 1.
pub struct Nat(Engine);

impl Nat {
    /// Of a profile.
    pub fn new(profile: &Profile, seed: u64) -> Self {
        let addresses =
            Addresses { outside: vec![At::Site1.address()], inside: "10.0.1.0/24".parse().unwrap() };
        Nat(Engine::new(profile.clone(), addresses, seed).unwrap())
    }

    /// The outside endpoint of a datagram that leaves it.
    pub fn outside(&mut self, inside: SocketAddrV4, to: SocketAddrV4, now_ns: u64) -> SocketAddrV4 {
        match self.0.outbound(Duration::from_nanos(now_ns), Packet::udp(inside, to)) {
            Verdict::Forward { packet, .. } => packet.source,
            other => panic!("{other:?}"),
        }
    }
}
