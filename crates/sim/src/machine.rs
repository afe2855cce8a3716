//! A machine: interfaces, routes, a clock, and what it is.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natrig_nat::{bytes::Gateway, engine::Side};
use serde_json::Value;

use crate::{
    agenda::{MachineId, PortId},
    clock::Clock,
    packet::{self, Read},
    program::{Datagram, Io, Program, Sending, Sockets},
};

/// A complaint a second is the most that a host sends about ports where nobody listens, as Linux does.
const COMPLAINTS: Duration = Duration::from_secs(1);

/// Packets that wait for a machine that is held; more are lost, as in a socket's buffer.
const HELD: usize = 4096;

/// An interface as its machine knows it.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    pub port: PortId,
    /// With prefix lengths, the primary one first.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// A packet that a machine sends: from which of its interfaces, to which neighbour.
#[derive(Debug)]
pub(crate) struct Departure {
    pub interface: usize,
    pub hop: Ipv4Addr,
    pub packet: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub id: MachineId,
    pub name: Box<str>,
    pub interfaces: Vec<Interface>,
    /// Destination, prefix length, next hop; to an unspecified hop means that the destination is a neighbour.
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    pub clock: Clock,
    pub role: Role,
    /// Switched off, it neither hears nor says anything, and forgets nothing.
    pub off: bool,
    /// What has come, by which interface, while it was held.
    pub held: Option<VecDeque<(usize, Vec<u8>)>>,
    /// How often it has set something going.
    pub turn: u32,
    /// When it will be woken, in the world's nanoseconds.
    pub wakes: Option<u64>,
    /// When it wants to be woken, which may be later.
    pub wants: Option<u64>,
    /// What has come to it so far, folded.
    pub digest: u64,
    /// Whether what it does is told to those who look on.
    pub watched: bool,
}

#[derive(Debug)]
pub(crate) enum Role {
    Host(Host),
    /// Its first interface leads out, its second one in.
    Gateway(Box<Gateway>),
    /// The lab itself plays it: what comes is put by.
    Station(VecDeque<(Duration, Vec<u8>)>),
}

/// What a machine did in one step.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub departures: Vec<Departure>,
    /// What its programs noted.
    pub notes: Vec<Value>,
    /// Kept for its memory.
    sends: Vec<Sending>,
}

impl Machine {
    /// When it next wants to be woken, in the world's time.
    pub fn poll_timeout(&mut self) -> Option<Duration> {
        match &mut self.role {
            Role::Host(host) => host.poll_timeout().map(|at| self.clock.world(at)),
            Role::Gateway(gateway) => gateway.poll_timeout(),
            Role::Station(_) => None,
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Duration, outcome: &mut Outcome) {
        let at = Moment { now, clock: self.clock, watched: self.watched };
        match &mut self.role {
            Role::Host(host) => host.handle_timeout(at, outcome),
            Role::Gateway(gateway) => gateway.handle_timeout(now),
            Role::Station(_) => {}
        }
        self.carry_on(outcome);
    }

    /// Takes a packet that came by an interface.
    pub fn handle(&mut self, now: Duration, interface: usize, packet: Vec<u8>, outcome: &mut Outcome) {
        let at = Moment { now, clock: self.clock, watched: self.watched };
        match &mut self.role {
            Role::Host(host) => match packet::read(&packet) {
                Read::Udp { from, to, payload } if has(&self.interfaces, *to.ip()) => {
                    let heard = host.handle(at, from, to, payload, outcome);
                    if !heard && host.complains(now) {
                        let complaint = packet::port_unreachable(&packet);
                        self.route(complaint, outcome);
                    }
                }
                Read::Ping { to, .. } if has(&self.interfaces, to) => {
                    self.route(packet::pong(&packet), outcome);
                }
                _ => {}
            },
            Role::Gateway(gateway) => {
                let from = if interface == 0 { Side::Outside } else { Side::Inside };
                // Why a packet goes no further is the gateway's own affair.
                let _ = gateway.handle(now, from, packet);
            }
            Role::Station(arrivals) => arrivals.push_back((now, packet)),
        }
        self.carry_on(outcome);
    }

    /// Puts a packet by if it is held; gives it back if not.
    pub fn hold_back(&mut self, interface: usize, packet: Vec<u8>) -> Option<Vec<u8>> {
        let Some(held) = &mut self.held else { return Some(packet) };
        if held.len() < HELD {
            held.push_back((interface, packet));
        }
        None
    }

    /// Has something done with one of its programs; none if there is no such program.
    pub fn call<T>(
        &mut self,
        now: Duration,
        slot: usize,
        outcome: &mut Outcome,
        work: impl FnOnce(&mut dyn Program, &mut Io<'_>) -> T,
    ) -> Option<T> {
        let at = Moment { now, clock: self.clock, watched: self.watched };
        let Role::Host(host) = &mut self.role else { return None };
        let result = host.call(at, slot, outcome, work);
        self.carry_on(outcome);
        result
    }

    /// Sends a packet by its own routes; without one it is lost.
    pub fn route(&self, packet: Vec<u8>, outcome: &mut Outcome) {
        if let Some((interface, hop)) = self.next_hop(packet::destination(&packet)) {
            outcome.departures.push(Departure { interface, hop, packet });
        }
    }

    /// Works off what its gateway or its programs want to send.
    pub fn carry_on(&mut self, outcome: &mut Outcome) {
        if let Role::Gateway(gateway) = &mut self.role {
            let mut sent = Vec::new();
            while let Some(transmit) = gateway.poll_transmit() {
                sent.push(transmit);
            }
            for transmit in sent {
                match transmit.to {
                    Side::Inside => {
                        let hop = packet::destination(&transmit.packet);
                        outcome.departures.push(Departure { interface: 1, hop, packet: transmit.packet });
                    }
                    Side::Outside => self.route(transmit.packet, outcome),
                }
            }
        }
        let mut sends = std::mem::take(&mut outcome.sends);
        for Sending { from, to, payload } in sends.drain(..) {
            let Some((interface, hop)) = self.next_hop(*to.ip()) else { continue };
            let own = self.interfaces.get(interface).and_then(|interface| interface.addresses.first());
            let source = if from.ip().is_unspecified() { own.map(|(own, _)| *own) } else { Some(*from.ip()) };
            // A longer one would have to be cut, which sockets that set don't-fragment refuse.
            if let Some(source) = source
                && payload.len() <= packet::MAX_PAYLOAD
            {
                let packet = packet::udp(SocketAddrV4::new(source, from.port()), to, &payload);
                outcome.departures.push(Departure { interface, hop, packet });
            }
        }
        outcome.sends = sends;
    }

    /// The address from which it sends to a destination.
    pub fn source(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let (interface, _) = self.next_hop(destination)?;
        self.interfaces.get(interface)?.addresses.first().map(|(own, _)| *own)
    }

    /// The most specific way: its interface, and the neighbour to give the packet to.
    fn next_hop(&self, destination: Ipv4Addr) -> Option<(usize, Ipv4Addr)> {
        let near = |of: Ipv4Addr| {
            let own = self.interfaces.iter().enumerate();
            own.flat_map(|(at, one)| one.addresses.iter().map(move |(own, length)| (at, *own, *length)))
                .filter(|(_, own, length)| within(of, *own, *length))
                .max_by_key(|(.., length)| *length)
        };
        let on_link = near(destination).map(|(at, _, length)| (length, at, destination));
        let routed = self.routes.iter().filter(|(prefix, length, _)| within(destination, *prefix, *length));
        let routed = routed.max_by_key(|(_, length, _)| *length).and_then(|(_, length, hop)| {
            match hop.is_unspecified() {
                true => Some((*length, 0, destination)),
                false => near(*hop).map(|(at, ..)| (*length, at, *hop)),
            }
        });
        on_link.into_iter().chain(routed).max_by_key(|(length, ..)| *length).map(|(_, at, hop)| (at, hop))
    }
}

/// A host: its programs and their sockets.
pub(crate) struct Host {
    programs: Vec<Box<dyn Program>>,
    sockets: Sockets,
    complained: Option<Duration>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

/// When and for whom something happens.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now: Duration,
    clock: Clock,
    watched: bool,
}

impl Host {
    pub fn new(seed: u64) -> Self {
        Host { programs: Vec::new(), sockets: Sockets::new(seed), complained: None }
    }

    /// Adds a program, which is not begun.
    pub fn install(&mut self, program: Box<dyn Program>) -> usize {
        self.programs.push(program);
        self.programs.len() - 1
    }

    /// Puts another program in the place of one, whose sockets are closed.
    pub fn replace(&mut self, slot: usize, program: Box<dyn Program>) {
        if let Some(place) = self.programs.get_mut(slot) {
            *place = program;
            self.sockets.close_all(slot as u8);
        }
    }

    /// A program.
    pub fn program(&self, slot: usize) -> Option<&dyn Program> {
        self.programs.get(slot).map(Box::as_ref)
    }

    /// All programs, in the order in which they were added.
    pub fn programs(&self) -> impl Iterator<Item = &dyn Program> {
        self.programs.iter().map(Box::as_ref)
    }

    fn poll_timeout(&mut self) -> Option<Duration> {
        self.programs.iter_mut().filter_map(|program| program.poll_timeout()).min()
    }

    fn handle_timeout(&mut self, at: Moment, outcome: &mut Outcome) {
        let due = at.clock.elapsed(at.now);
        for slot in 0..self.programs.len() {
            let wanted = self.programs.get_mut(slot).and_then(|program| program.poll_timeout());
            if wanted.is_some_and(|wanted| wanted <= due) {
                self.call(at, slot, outcome, |program, io| program.handle_timeout(io));
            }
        }
    }

    /// Whether anybody listens there.
    fn handle(
        &mut self,
        at: Moment,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
        outcome: &mut Outcome,
    ) -> bool {
        let Some((slot, socket)) = self.sockets.find(to) else { return false };
        let datagram = Datagram { socket, from, payload };
        self.call(at, slot.into(), outcome, |program, io| program.handle_datagram(io, datagram)).is_some()
    }

    fn call<T>(
        &mut self,
        at: Moment,
        slot: usize,
        outcome: &mut Outcome,
        work: impl FnOnce(&mut dyn Program, &mut Io<'_>) -> T,
    ) -> Option<T> {
        let program = self.programs.get_mut(slot)?;
        let mut io = Io {
            now: at.clock.elapsed(at.now),
            calendar_us: at.clock.calendar_us(at.now),
            slot: slot as u8,
            sockets: &mut self.sockets,
            sends: &mut outcome.sends,
            notes: at.watched.then_some(&mut outcome.notes),
        };
        Some(work(program.as_mut(), &mut io))
    }

    fn complains(&mut self, now: Duration) -> bool {
        let may = self.complained.is_none_or(|last| now >= last + COMPLAINTS);
        if may {
            self.complained = Some(now);
        }
        may
    }
}

fn has(interfaces: &[Interface], address: Ipv4Addr) -> bool {
    interfaces.iter().flat_map(|interface| &interface.addresses).any(|(own, _)| *own == address)
}

fn within(address: Ipv4Addr, prefix: Ipv4Addr, length: u8) -> bool {
    let differing = u32::from(address) ^ u32::from(prefix);
    differing.leading_zeros() >= u32::from(length)
}
