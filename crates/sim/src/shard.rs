//! The event loop: a part of a world, which one thread runs.

use std::{collections::VecDeque, time::Duration};

use natrig_capture::{Direction, DropReason, What as Sight};
use natrig_netmodel::{Bit, Departures, Fate};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    agenda::{Agenda, Event, MachineId, Passing, PortId, What, When},
    machine::{Departure, Machine, Outcome},
    segment::{Cable, Plug, Segment},
    tap::{self, Tap},
};

/// The length of the header that a packet has on a cable.
const ETHERNET: usize = 14;

/// A machine that wants to be woken at once, again and again, gets its turn this often.
const RESTLESS: u64 = 1_000;

/// What all parts of a world know and none changes while they run.
#[derive(Debug, Default)]
pub(crate) struct Map {
    pub segments: Vec<Segment>,
    pub plugs: Vec<Plug>,
    /// Where each machine is.
    pub machines: Vec<Spot>,
    /// Where each port's cable is.
    pub ports: Vec<Spot>,
    /// How long a machine takes to see what has come to it, in nanoseconds.
    pub pace: u64,
}

/// A place in one of the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub shard: u32,
    pub index: u32,
}

/// Something that a machine under observation did.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// When, in the world's time.
    pub at: Duration,
    /// Which machine.
    pub machine: MachineId,
    /// What.
    pub what: Deed,
}

/// What can be seen of a machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// This packet came to it.
    Received(Vec<u8>),
    /// It sent this packet.
    Sent(Vec<u8>),
    /// It was woken, as it had wanted.
    Woken,
    /// One of its programs noted this.
    Noted(Value),
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Things that happened: packets that moved, machines that were woken.
    pub events: u64,
    /// Packets that machines sent.
    pub sent: u64,
    /// Packets that machines got.
    pub delivered: u64,
    /// Bytes of those, from the IPv4 header on.
    pub bytes: u64,
    /// Packets that were lost on cables.
    pub lost: u64,
}

impl Counts {
    pub(crate) fn plus(self, other: Counts) -> Counts {
        Counts {
            events: self.events + other.events,
            sent: self.sent + other.sent,
            delivered: self.delivered + other.delivered,
            bytes: self.bytes + other.bytes,
            lost: self.lost + other.lost,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Shard {
    /// Which of the shards.
    pub index: u32,
    /// Nanoseconds since the world's start.
    pub now: u64,
    pub agenda: Agenda,
    pub machines: Vec<Machine>,
    pub cables: Vec<Cable>,
    /// What goes to other shards.
    pub outbox: Vec<(u32, Event)>,
    pub tap: Option<Tap>,
    pub seen: Vec<Seen>,
    pub counts: Counts,
    /// Whether all that comes to machines is folded into their digests.
    pub folds: bool,
    frames: u64,
    outcome: Outcome,
    /// Packets at the other end of a cable without delay, which are taken as soon as their sender's turn is over.
    at_hand: VecDeque<(PortId, Passing)>,
}

impl Shard {
    pub fn new(index: u32) -> Self {
        Shard { index, ..Shard::default() }
    }

    /// Lets everything happen that does before `end`.
    pub fn run(&mut self, map: &Map, end: u64) {
        while self.step(map, end) {}
        self.now = self.now.max(end);
    }

    /// Lets the next thing happen, if it does before `end`.
    pub fn step(&mut self, map: &Map, end: u64) -> bool {
        let Some(Event { when, what }) = self.agenda.pop_before(end) else { return false };
        self.now = self.now.max(when.at);
        self.counts.events += 1;
        match what {
            What::Wake(machine) => self.wake(map, machine, when.at),
            What::Forwarded(to, passing) => self.forwarded(map, to, passing),
            What::Arrived(to, passing) => self.arrived(map, to, passing),
        }
        self.hand_over(map);
        true
    }

    /// Has something done with a machine from outside, and lets what follows from it take its way.
    pub fn with<T>(
        &mut self,
        map: &Map,
        index: usize,
        work: impl FnOnce(&mut Machine, Duration, &mut Outcome) -> T,
    ) -> Option<T> {
        let result = self.turn(map, index, work);
        self.hand_over(map);
        result
    }

    /// Gives machines what lies at hand for them, and what they answer to it.
    fn hand_over(&mut self, map: &Map) {
        while let Some((to, passing)) = self.at_hand.pop_front() {
            self.counts.events += 1;
            self.arrived(map, to, passing);
        }
    }

    /// A machine's turn.
    fn turn<T>(
        &mut self,
        map: &Map,
        index: usize,
        work: impl FnOnce(&mut Machine, Duration, &mut Outcome) -> T,
    ) -> Option<T> {
        let now = Duration::from_nanos(self.now);
        let machine = self.machines.get_mut(index)?;
        let mut outcome = std::mem::take(&mut self.outcome);
        let result = work(machine, now, &mut outcome);
        self.settle(map, index, &mut outcome);
        self.outcome = outcome;
        Some(result)
    }

    fn wake(&mut self, map: &Map, machine: MachineId, at: u64) {
        let Some(index) = self.here(map, machine) else { return };
        let Some(one) = self.machines.get_mut(index) else { return };
        if one.wakes != Some(at) {
            // It wanted to be woken earlier, and was.
            return;
        }
        one.wakes = None;
        if one.off || one.held.is_some() {
            return;
        }
        if one.wants.is_some_and(|wanted| wanted > at) {
            // It has thought better of it since.
            return self.set_alarm(index);
        }
        let due = one.poll_timeout().is_some_and(|wanted| nanos(wanted) <= at);
        if due && one.watched {
            self.seen.push(Seen { at: Duration::from_nanos(at), machine, what: Deed::Woken });
        }
        self.turn(map, index, |machine, now, outcome| {
            if due {
                machine.handle_timeout(now, outcome);
            }
        });
    }

    /// Sees to it that a machine is woken when it wants to be.
    fn set_alarm(&mut self, index: usize) {
        let Some(machine) = self.machines.get_mut(index) else { return };
        let idle = machine.off || machine.held.is_some();
        let Some(wanted) = machine.wants.filter(|_| !idle) else { return };
        let wanted = if wanted > self.now { wanted } else { self.now + RESTLESS };
        if machine.wakes.is_none_or(|at| wanted < at) {
            machine.wakes = Some(wanted);
            machine.turn = machine.turn.wrapping_add(1);
            let when = When { at: wanted, origin: machine.id, turn: machine.turn };
            self.agenda.add(Event { when, what: What::Wake(machine.id) });
        }
    }

    /// Sends on what a machine has to send, and takes note of when it wants to be woken.
    fn settle(&mut self, map: &Map, index: usize, outcome: &mut Outcome) {
        let Some(machine) = self.machines.get_mut(index) else { return };
        machine.wants = machine.poll_timeout().map(nanos);
        self.set_alarm(index);
        let Some(machine) = self.machines.get_mut(index) else { return };
        if machine.watched {
            let id = machine.id;
            let at = Duration::from_nanos(self.now);
            let sent = outcome.departures.iter().map(|one| Deed::Sent(one.packet.clone()));
            let noted = outcome.notes.drain(..).map(Deed::Noted);
            self.seen.extend(noted.chain(sent).map(|what| Seen { at, machine: id, what }));
        }
        outcome.notes.clear();
        for Departure { interface, hop, packet } in outcome.departures.drain(..) {
            let Some(machine) = self.machines.get(index).filter(|machine| !machine.off) else { continue };
            if let Some(interface) = machine.interfaces.get(interface) {
                let from = interface.port;
                self.send(map, from, hop, packet);
            }
        }
    }

    /// Puts a packet on a cable. Where nobody has the neighbour's address nothing is sent, as when ARP is not answered.
    fn send(&mut self, map: &Map, from: PortId, hop: std::net::Ipv4Addr, packet: Vec<u8>) {
        let Some(plug) = map.plugs.get(from.index()) else { return };
        let Some(segment) = map.segments.get(plug.segment.0 as usize) else { return };
        let Some(&to) = segment.at.get(&hop).filter(|to| **to != from) else { return };
        let Some(target) = map.plugs.get(to.index()) else { return };
        self.counts.sent += 1;
        self.frames += 1;
        let passing =
            Passing { frame: (u64::from(self.index) << 48) | self.frames, from, packet, strayed: false };
        self.see(map, from, to, &passing, Sight::Entered);
        let now = self.now;
        let Some(cable) = self.cable(map, from) else { return };
        if cable.cut {
            return self.lose(map, from, to, &passing, Direction::Inbound, DropReason::Cut);
        }
        match cable.inbound.decide(Duration::from_nanos(now), passing.packet.len() + ETHERNET) {
            Fate::Lost(cause) => self.lose(map, from, to, &passing, Direction::Inbound, tap::reason(cause)),
            Fate::Departs(departures) => {
                let blocked = segment.blocked.contains(&(from, to));
                let distance = nanos(segment.distance(plug.region, target.region));
                let near = map.ports.get(to.index()).is_some_and(|spot| spot.shard == self.index);
                each(departures, passing, |at, passing| {
                    let at = nanos(at) + distance;
                    if blocked {
                        self.lose(map, from, to, &passing, Direction::Outbound, DropReason::Blocked);
                    } else if at <= now && near {
                        self.leave(map, to, passing);
                    } else {
                        self.later(map, plug.machine, at, to, What::Forwarded(to, passing));
                    }
                });
            }
        }
    }

    fn forwarded(&mut self, map: &Map, to: PortId, passing: Passing) {
        let Some(from) = map.plugs.get(passing.from.index()) else { return };
        // What was on a cable when it was cut is lost. A wide segment is no cable: what has been sent into it is on its way.
        let wide =
            map.segments.get(from.segment.0 as usize).is_some_and(|segment| segment.distances.is_some());
        let cut = !wide && self.cable(map, passing.from).is_some_and(|cable| cable.cut);
        match cut {
            true => self.lose(map, passing.from, to, &passing, Direction::Inbound, DropReason::Cut),
            false => self.leave(map, to, passing),
        }
    }

    /// Puts a packet on the cable to its machine.
    fn leave(&mut self, map: &Map, to: PortId, passing: Passing) {
        let now = self.now;
        let Some(cable) = self.cable(map, to) else { return };
        if cable.cut {
            return self.lose(map, to, to, &passing, Direction::Outbound, DropReason::Cut);
        }
        match cable.outbound.decide(Duration::from_nanos(now), passing.packet.len() + ETHERNET) {
            Fate::Lost(cause) => self.lose(map, to, to, &passing, Direction::Outbound, tap::reason(cause)),
            Fate::Departs(departures) => {
                let Some(target) = map.plugs.get(to.index()) else { return };
                each(departures, passing, |at, passing| {
                    let at = nanos(at) + map.pace;
                    if at <= now {
                        self.at_hand.push_back((to, passing));
                    } else {
                        self.later(map, target.machine, at, to, What::Arrived(to, passing));
                    }
                });
            }
        }
    }

    fn arrived(&mut self, map: &Map, to: PortId, passing: Passing) {
        let Some(plug) = map.plugs.get(to.index()) else { return };
        let Some(index) = self.here(map, plug.machine) else { return };
        if self.cable(map, to).is_none_or(|cable| cable.cut) {
            return self.lose(map, to, to, &passing, Direction::Outbound, DropReason::Cut);
        }
        let (now, folds) = (self.now, self.folds);
        let Some(machine) = self.machines.get_mut(index) else { return };
        if machine.off {
            return self.lose(map, to, to, &passing, Direction::Outbound, DropReason::Unplugged);
        }
        if folds {
            machine.digest = xxh3_64_with_seed(&passing.packet, machine.digest ^ now.rotate_left(17));
        }
        if machine.watched {
            let what = Deed::Received(passing.packet.clone());
            self.seen.push(Seen { at: Duration::from_nanos(now), machine: plug.machine, what });
        }
        self.counts.delivered += 1;
        self.counts.bytes += passing.packet.len() as u64;
        self.see(map, to, to, &passing, Sight::Delivered);
        if passing.strayed {
            return;
        }
        let interface = usize::from(plug.interface);
        let Some(machine) = self.machines.get_mut(index) else { return };
        let Some(packet) = machine.hold_back(interface, passing.packet) else { return };
        self.turn(map, index, |machine, now, outcome| {
            machine.handle(now, interface, packet, outcome);
        });
    }

    /// Puts something on the agenda of the shard that a port is in. `origin` is a machine of this one.
    fn later(&mut self, map: &Map, origin: MachineId, at: u64, to: PortId, what: What) {
        let Some(machine) = self.here(map, origin).and_then(|index| self.machines.get_mut(index)) else {
            return;
        };
        machine.turn = machine.turn.wrapping_add(1);
        let when = When { at, origin, turn: machine.turn };
        match map.ports.get(to.index()) {
            Some(spot) if spot.shard != self.index => self.outbox.push((spot.shard, Event { when, what })),
            Some(_) => self.agenda.add(Event { when, what }),
            None => {}
        }
    }

    fn lose(
        &mut self,
        map: &Map,
        on: PortId,
        to: PortId,
        passing: &Passing,
        direction: Direction,
        reason: DropReason,
    ) {
        self.counts.lost += 1;
        // A filter's victim is seen on the way out to the port that it does not reach.
        let on = if direction == Direction::Outbound { to } else { on };
        self.see(map, on, to, passing, Sight::Dropped(direction, reason));
    }

    fn see(&mut self, map: &Map, on: PortId, to: PortId, passing: &Passing, what: Sight) {
        if let Some(tap) = &mut self.tap {
            tap.see(self.now, &map.plugs, on, to, passing, what);
        }
    }

    fn cable(&mut self, map: &Map, port: PortId) -> Option<&mut Cable> {
        let spot = map.ports.get(port.index())?;
        self.cables.get_mut(spot.index as usize)
    }

    /// A machine's place here; none if it is in another shard.
    fn here(&self, map: &Map, machine: MachineId) -> Option<usize> {
        let spot = map.machines.get(machine.index())?;
        (spot.shard == self.index).then_some(spot.index as usize)
    }
}

/// Does something with each copy of a packet that leaves a link, when it does; the last one is the packet itself.
fn each(mut departures: Departures, passing: Passing, mut work: impl FnMut(Duration, Passing)) {
    let mut next = departures.next();
    while let Some(natrig_netmodel::Departure { at, flipped }) = next {
        next = departures.next();
        if next.is_none() {
            return work(at, damaged(passing, flipped));
        }
        work(at, damaged(passing.clone(), flipped));
    }
}

/// A packet of whose frame a bit was turned over. What has another address or kind in its Ethernet header, nobody takes.
fn damaged(mut passing: Passing, flipped: Option<Bit>) -> Passing {
    let Some(bit) = flipped else { return passing };
    match bit.place() / 8 {
        0..6 | 12..ETHERNET => passing.strayed = true,
        6..12 => {}
        _ => bit.of_rest(ETHERNET).flip(&mut passing.packet),
    }
    passing
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
