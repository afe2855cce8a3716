//! The prober's world in memory: hosts, what lies between, the server; time is virtual.

// Each test file uses its part.
#![allow(dead_code)]

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use natrig_nat::{
    Engine, Profile,
    engine::{Addresses, Content, Packet, Side, Verdict},
};
use natrig_probe::{Action, Failed, Plan, Prober, Report, Steps};
use natrig_stun::{Endpoint, Server};

/// What lies between the hosts and the server.
pub trait Way {
    /// What becomes of a packet.
    fn pass(&mut self, now: Duration, from: Side, packet: Packet) -> Vec<(Side, Packet)>;

    /// How long a packet to a side takes.
    fn takes(&mut self, to: Side) -> Duration {
        let _ = to;
        Duration::from_millis(5)
    }
}

impl Way for Engine {
    fn pass(&mut self, now: Duration, from: Side, packet: Packet) -> Vec<(Side, Packet)> {
        let verdict = match from {
            Side::Inside => self.outbound(now, packet),
            Side::Outside => self.inbound(now, packet),
        };
        match verdict {
            Verdict::Forward { to, packet } => vec![(to, packet)],
            Verdict::Reject(packet) => vec![(from, packet)],
            Verdict::Drop(_) => Vec::new(),
        }
    }
}

/// Gateways behind each other, the hosts' own first.
pub struct Chain(pub Vec<Engine>);

impl Chain {
    pub fn new(profiles: &[Profile], seed: u64) -> Self {
        let inside = ["10.0.1.0/24", "100.64.0.0/10"];
        let outside = [Ipv4Addr::new(100, 64, 0, 1), Ipv4Addr::new(192, 0, 2, 1)];
        let last = profiles.len() - 1;
        let engine = |(place, profile): (usize, &Profile)| {
            let first = u32::from(if place == last { outside[1] } else { outside[0] });
            let count = if profile.mapping.is_some() { profile.pool.addresses.into() } else { 0 };
            let outside = (first..first + count).map(Ipv4Addr::from).collect();
            let addresses = Addresses { outside, inside: inside[place].parse().unwrap() };
            Engine::new(profile.clone(), addresses, seed).unwrap()
        };
        Chain(profiles.iter().enumerate().map(engine).collect())
    }
}

impl Way for Chain {
    fn pass(&mut self, now: Duration, from: Side, packet: Packet) -> Vec<(Side, Packet)> {
        let first = if from == Side::Inside { 0 } else { self.0.len() - 1 };
        let mut on_the_way = vec![(first, from, packet)];
        let mut through = Vec::new();
        while let Some((index, from, packet)) = on_the_way.pop() {
            for (to, packet) in self.0[index].pass(now, from, packet) {
                match to {
                    Side::Inside if index == 0 => through.push((to, packet)),
                    Side::Outside if index == self.0.len() - 1 => through.push((to, packet)),
                    Side::Inside => on_the_way.push((index - 1, Side::Outside, packet)),
                    Side::Outside => on_the_way.push((index + 1, Side::Inside, packet)),
                }
            }
        }
        through
    }
}

pub fn fast(seed: u64) -> Plan {
    let server = "198.51.100.3:3478".parse().unwrap();
    let other = "198.51.100.4:3479".parse().unwrap();
    Plan::fast(server, other, "10.0.1.2:61000".parse().unwrap(), seed)
}

pub fn whole(seed: u64) -> Plan {
    Plan {
        steps: Steps::Whole,
        second: Some("10.0.1.3".parse().unwrap()),
        closed: Some("198.51.100.3:9".parse().unwrap()),
        eyes: true,
        ..fast(seed)
    }
}

/// Something on its way: when it arrives, in which order it left, where to, and what.
type Flight = (Duration, u64, Side, Packet, Vec<u8>);

struct World<'a, W> {
    way: &'a mut W,
    server: Server,
    flights: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    flying: Vec<Option<Flight>>,
    sockets: Vec<SocketAddr>,
}

impl<W: Way> World<'_, W> {
    /// Through the gateway, and off to whom it is for.
    fn send(&mut self, now: Duration, from: Side, packet: Packet, payload: Vec<u8>) {
        for (to, packet) in self.way.pass(now, from, packet) {
            let at = now + self.way.takes(to);
            let order = self.flying.len();
            self.flying.push(Some((at, order as u64, to, packet, payload.clone())));
            self.flights.push(Reverse((at, order as u64, order)));
        }
    }

    fn serve(&mut self, now: Duration, packet: Packet, payload: &[u8]) {
        let to = SocketAddr::from(packet.destination);
        let Some(at) = Endpoint::ALL.into_iter().find(|at| self.server.address(*at) == Some(to)) else {
            let error = packet.error(*packet.destination.ip(), 3, 3).unwrap();
            return self.send(now, Side::Outside, error, Vec::new());
        };
        if let Some(reply) = self.server.answer(at, packet.source.into(), payload) {
            let from = self.server.address(reply.from).unwrap();
            self.send(now, Side::Outside, Packet::udp(v4(from), v4(reply.to)), reply.datagram);
        }
    }
}

pub fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address}"),
    }
}

/// Has a gateway measured.
pub fn measure(plan: Plan, way: &mut impl Way) -> Result<Report, Failed> {
    let mut now = Duration::ZERO;
    let mut prober = Prober::new(plan, now);
    let server = Server::new(plan.server, Some(plan.other));
    let mut world =
        World { way, server, flights: BinaryHeap::new(), flying: Vec::new(), sockets: Vec::new() };
    for _ in 0..1_000_000 {
        while let Some(action) = prober.poll_action() {
            match action {
                Action::Bind { socket, local } => {
                    assert_eq!(usize::from(socket), world.sockets.len());
                    assert!(!world.sockets.contains(&local), "{local} is bound twice");
                    world.sockets.push(local);
                }
                Action::Send { socket, to, datagram } => {
                    let from = world.sockets[usize::from(socket)];
                    world.send(now, Side::Inside, Packet::udp(v4(from), v4(to)), datagram);
                }
            }
        }
        if let Some(outcome) = prober.outcome() {
            return outcome.clone();
        }
        let timeout = prober.poll_timeout().unwrap();
        match world.flights.peek() {
            Some(Reverse((at, ..))) if *at <= timeout => {
                let Some(Reverse((at, _, index))) = world.flights.pop() else { unreachable!() };
                now = now.max(at);
                let (_, _, side, packet, payload) = world.flying[index].take().unwrap();
                arrive(&mut world, &mut prober, now, side, packet, &payload);
            }
            _ => {
                now = now.max(timeout);
                prober.handle_timeout(now);
            }
        }
    }
    panic!("the prober does not end");
}

fn arrive(
    world: &mut World<'_, impl Way>,
    prober: &mut Prober,
    now: Duration,
    side: Side,
    packet: Packet,
    payload: &[u8],
) {
    let socket = |sockets: &[SocketAddr], at: SocketAddrV4| {
        sockets.iter().position(|local| *local == SocketAddr::from(at)).map(|socket| socket as u16)
    };
    match (side, packet.content) {
        (Side::Inside, Content::Error(error)) => {
            if let Some(socket) = socket(&world.sockets, error.source) {
                prober.handle_icmp_error(now, socket, error.destination.into());
            }
        }
        (Side::Inside, _) => {
            if let Some(socket) = socket(&world.sockets, packet.destination) {
                prober.handle_datagram(now, socket, packet.source.into(), payload);
            }
        }
        (Side::Outside, Content::Error(error)) => {
            prober.handle_refusal(now, error.source.into(), error.destination.into());
        }
        (Side::Outside, _) => world.serve(now, packet, payload),
    }
}
