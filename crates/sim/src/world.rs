//! A world: machines, what joins them, and its time.

use std::{
    any::Any,
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Barrier, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use natrig_capture::{Direction, Extent, FolderError};
use natrig_nat::bytes::Gateway;
use natrig_netmodel::{Conditions, seed_for};

use crate::{
    agenda::{Event, MachineId, PortId},
    clock::Clock,
    machine::{Host, Interface, Machine, Role},
    program::{Io, Program},
    segment::{Cable, Distances, Plug, Region, Segment, SegmentId},
    shard::{Counts, Map, Seen, Shard, Spot, nanos},
    tap::Tap,
};

/// An interface of a machine that is to be added.
#[derive(Debug, Clone)]
pub struct Nic {
    /// What its cable is called.
    pub link: String,
    /// Where the cable leads.
    pub segment: SegmentId,
    /// Where on a wide segment that is.
    pub region: Region,
    /// Its hardware address, for captures.
    pub mac: [u8; 6],
    /// Its addresses with prefix lengths, the primary one first.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// A machine that is to be added.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// What it is called; its chance follows from its name and the world's seed.
    pub name: String,
    /// Its interfaces; a gateway's first one leads out, its second one in.
    pub nics: Vec<Nic>,
    /// Destination, prefix length, next hop; with an unspecified hop, destinations are neighbours on the first interface.
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// How its clock goes.
    pub clock: Clock,
}

/// Hosts, gateways and stations on segments, in virtual time.
///
/// Nothing happens but in [`World::run`] and [`World::step`], and the same calls on a world of the same seed have the same
/// results, on however many threads.
#[derive(Debug)]
pub struct World {
    seed: u64,
    map: Map,
    shards: Vec<Shard>,
}

impl World {
    /// An empty world on one thread.
    pub fn new(seed: u64) -> Self {
        World::divided(seed, 1)
    }

    /// An empty world that is divided into parts, each run by a thread of its own. Only a wide segment may join machines of
    /// different parts.
    pub fn divided(seed: u64, parts: usize) -> Self {
        let shard = Shard::new;
        let parts = u32::try_from(parts).unwrap_or(u32::MAX).max(1);
        World { seed, map: Map::default(), shards: (0..parts).map(shard).collect() }
    }

    /// How long machines take to see what has come to them; nothing, if it is not set.
    pub fn set_pace(&mut self, pace: Duration) {
        self.map.pace = nanos(pace);
    }

    /// A seed that belongs to a name in this world.
    pub fn seed_of(&self, name: &str) -> u64 {
        seed_for(self.seed, name)
    }

    /// What time it is.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.shards.iter().map(|shard| shard.now).max().unwrap_or(0))
    }

    /// Adds an ideal switch.
    pub fn segment(&mut self, name: &str) -> SegmentId {
        self.add_segment(Segment::new(name, None))
    }

    /// Adds a segment with times between its regions.
    pub fn wide_segment(&mut self, name: &str, distances: Distances) -> SegmentId {
        self.add_segment(Segment::new(name, Some(distances)))
    }

    fn add_segment(&mut self, segment: Segment) -> SegmentId {
        self.map.segments.push(segment);
        SegmentId(self.map.segments.len() as u32 - 1)
    }

    /// Adds a host without programs.
    pub fn host(&mut self, part: usize, body: Body) -> MachineId {
        let role = Role::Host(Host::new(self.seed_of(&format!("{} ports", body.name))));
        self.add(part, body, role)
    }

    /// Adds a gateway.
    pub fn gateway(&mut self, part: usize, body: Body, gateway: Gateway) -> MachineId {
        self.add(part, body, Role::Gateway(Box::new(gateway)))
    }

    /// Adds a station: a machine whose packets the caller makes and takes.
    pub fn station(&mut self, part: usize, body: Body) -> MachineId {
        self.add(part, body, Role::Station(Default::default()))
    }

    fn add(&mut self, part: usize, body: Body, role: Role) -> MachineId {
        let Body { name, nics, routes, clock } = body;
        let id = MachineId(self.map.machines.len() as u32);
        let seed = self.seed;
        let part = part % self.shards.len();
        let shard = &mut self.shards[part];
        self.map.machines.push(Spot { shard: shard.index, index: shard.machines.len() as u32 });
        let mut interfaces = Vec::with_capacity(nics.len());
        for (number, nic) in nics.into_iter().enumerate() {
            let port = PortId(self.map.plugs.len() as u32);
            let Nic { link, segment, region, mac, addresses } = nic;
            self.map.ports.push(Spot { shard: shard.index, index: shard.cables.len() as u32 });
            self.map.plugs.push(Plug { machine: id, interface: number as u8, segment, region, mac });
            shard.cables.push(Cable::new(seed, &link, port));
            if let Some(segment) = self.map.segments.get_mut(segment.0 as usize) {
                segment.at.extend(addresses.iter().map(|(address, _)| (*address, port)));
            }
            interfaces.push(Interface { port, addresses });
        }
        shard.machines.push(Machine {
            id,
            name: name.into(),
            interfaces,
            routes,
            clock,
            role,
            off: false,
            held: None,
            turn: 0,
            wakes: None,
            wants: None,
            digest: 0,
            watched: false,
        });
        id
    }

    /// The machine with a name.
    pub fn find(&self, name: &str) -> Option<MachineId> {
        self.machines().find(|machine| *machine.name == *name).map(|machine| machine.id)
    }

    /// The addresses from which a host would send to some destinations, each once.
    pub fn sources(
        &self,
        host: MachineId,
        destinations: impl IntoIterator<Item = SocketAddr>,
    ) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for destination in destinations {
            let IpAddr::V4(destination) = destination.ip() else { continue };
            let source = self.machine(host).and_then(|machine| machine.source(destination)).map(IpAddr::V4);
            found.extend(source.filter(|source| !found.contains(source)));
        }
        found
    }

    /// The port of the cable with a name.
    pub fn port(&self, link: &str) -> Option<PortId> {
        let mut cables = self.shards.iter().flat_map(|shard| &shard.cables);
        cables.find(|cable| *cable.name == *link).map(|cable| cable.port)
    }

    /// The port of a machine's interface.
    pub fn port_of(&self, machine: MachineId, interface: usize) -> Option<PortId> {
        self.machine(machine)?.interfaces.get(interface).map(|interface| interface.port)
    }

    /// Starts a program on a host; gives its slot there. None if the machine is no host.
    pub fn start(&mut self, host: MachineId, program: impl Program) -> Option<usize> {
        let slot = self.with(host, |machine| match &mut machine.role {
            Role::Host(host) => Some(host.install(Box::new(program))),
            _ => None,
        })??;
        self.call(host, slot, |program, io| program.start(io));
        Some(slot)
    }

    /// Ends a program and starts another one in its slot.
    pub fn restart(&mut self, host: MachineId, slot: usize, program: impl Program) {
        self.with(host, |machine| {
            if let Role::Host(host) = &mut machine.role {
                host.replace(slot, Box::new(program));
            }
        });
        self.call(host, slot, |program, io| program.start(io));
    }

    /// Does something with a host's program; none if there is no such program of this kind.
    pub fn tell<P: Program, T>(
        &mut self,
        host: MachineId,
        slot: usize,
        work: impl FnOnce(&mut P, &mut Io<'_>) -> T,
    ) -> Option<T> {
        self.call(host, slot, |program, io| {
            let program: &mut dyn Any = program;
            program.downcast_mut().map(|program| work(program, io))
        })?
    }

    /// Looks at a host's program.
    pub fn program<P: Program>(&self, host: MachineId, slot: usize) -> Option<&P> {
        match &self.machine(host)?.role {
            Role::Host(host) => {
                let program: &dyn Any = host.program(slot)?;
                program.downcast_ref()
            }
            _ => None,
        }
    }

    /// Does something with a gateway and sends what it then has to send; none if the machine is no gateway.
    pub fn with_gateway<T>(
        &mut self,
        machine: MachineId,
        work: impl FnOnce(&mut Gateway, Duration) -> T,
    ) -> Option<T> {
        let (shard, index) = self.spot(machine)?;
        let map = &self.map;
        self.shards.get_mut(shard)?.with(map, index, |machine, now, outcome| {
            let Role::Gateway(gateway) = &mut machine.role else { return None };
            let result = work(gateway, now);
            machine.carry_on(outcome);
            Some(result)
        })?
    }

    /// Sends a packet from a station.
    pub fn send(&mut self, station: MachineId, packet: Vec<u8>) {
        if let Some((shard, index)) = self.spot(station) {
            let map = &self.map;
            if let Some(shard) = self.shards.get_mut(shard) {
                shard.with(map, index, |machine, _, outcome| machine.route(packet, outcome));
            }
        }
    }

    /// The next packet that has come to a station, and when it came.
    pub fn receive(&mut self, station: MachineId) -> Option<(Duration, Vec<u8>)> {
        self.with(station, |machine| match &mut machine.role {
            Role::Station(arrivals) => arrivals.pop_front(),
            _ => None,
        })?
    }

    /// Gives a machine other addresses on one of its interfaces. Its programs notice.
    pub fn readdress(&mut self, machine: MachineId, interface: usize, addresses: Vec<(Ipv4Addr, u8)>) {
        let changed = self.with(machine, |machine| {
            let one = machine.interfaces.get_mut(interface)?;
            Some((one.port, std::mem::replace(&mut one.addresses, addresses.clone())))
        });
        let Some(Some((port, before))) = changed else { return };
        let segment = self.map.plugs.get(port.index()).map(|plug| plug.segment.0 as usize);
        if let Some(segment) = segment.and_then(|segment| self.map.segments.get_mut(segment)) {
            for (address, _) in before {
                if segment.at.get(&address) == Some(&port) {
                    segment.at.remove(&address);
                }
            }
            segment.at.extend(addresses.iter().map(|(address, _)| (*address, port)));
        }
        let all: Vec<Ipv4Addr> = self
            .with(machine, |machine| {
                let interfaces = machine.interfaces.iter();
                interfaces.flat_map(|one| one.addresses.iter().map(|(address, _)| *address)).collect()
            })
            .unwrap_or_default();
        let mut slot = 0;
        while self.call(machine, slot, |program, io| program.handle_addresses(io, &all)).is_some() {
            slot += 1;
        }
    }

    /// Gives a machine other routes.
    pub fn reroute(&mut self, machine: MachineId, routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>) {
        self.with(machine, |machine| machine.routes = routes);
    }

    /// Has a machine's clock go otherwise from now on.
    pub fn set_clock(&mut self, machine: MachineId, clock: Clock) {
        self.with(machine, |machine| machine.clock = clock);
        self.look_after(machine);
    }

    /// Puts a machine's calendar on or back by so many nanoseconds.
    pub fn shift_clock(&mut self, machine: MachineId, by_ns: i64) {
        self.with(machine, |machine| {
            machine.clock.offset_ns = machine.clock.offset_ns.saturating_add(by_ns);
        });
    }

    /// Switches a machine off or on. What comes to one that is off is lost; its timers wait.
    pub fn switch(&mut self, machine: MachineId, on: bool) {
        self.with(machine, |machine| machine.off = !on);
        self.look_after(machine);
    }

    /// Holds a machine, or lets it go on. What comes to one that is held waits, as do its timers.
    pub fn hold(&mut self, machine: MachineId, held: bool) {
        let waiting = self.with(machine, |machine| match held {
            true => {
                machine.held.get_or_insert_default();
                None
            }
            false => machine.held.take(),
        });
        for (interface, packet) in waiting.flatten().unwrap_or_default() {
            if let Some((shard, index)) = self.spot(machine)
                && let Some(shard) = self.shards.get_mut(shard)
            {
                shard.with(&self.map, index, |machine, now, outcome| {
                    machine.handle(now, interface, packet, outcome);
                });
            }
        }
        self.look_after(machine);
    }

    /// Plugs a machine's interface into another segment, with other addresses and routes. Its programs notice.
    pub fn replug(
        &mut self,
        machine: MachineId,
        interface: usize,
        segment: SegmentId,
        addresses: Vec<(Ipv4Addr, u8)>,
        routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    ) {
        self.readdress(machine, interface, Vec::new());
        if let Some(port) = self.port_of(machine, interface)
            && let Some(plug) = self.map.plugs.get_mut(port.index())
        {
            plug.segment = segment;
        }
        self.reroute(machine, routes);
        self.readdress(machine, interface, addresses);
    }

    /// Finds out anew when a machine wants to be woken.
    fn look_after(&mut self, machine: MachineId) {
        if let Some((shard, index)) = self.spot(machine)
            && let Some(shard) = self.shards.get_mut(shard)
        {
            shard.with(&self.map, index, |_, _, _| ());
        }
    }

    /// Puts conditions in force on a cable: inbound is away from the machine.
    pub fn condition(&mut self, port: PortId, direction: Direction, conditions: Conditions) {
        if let Some(cable) = self.cable(port) {
            match direction {
                Direction::Inbound => cable.inbound.set_conditions(conditions),
                Direction::Outbound => cable.outbound.set_conditions(conditions),
            }
        }
    }

    /// Cuts a cable or mends it. What is on it is lost.
    pub fn cut(&mut self, port: PortId, cut: bool) {
        if let Some(cable) = self.cable(port) {
            cable.cut = cut;
        }
    }

    /// Lets nothing pass from one port to another.
    pub fn block(&mut self, from: PortId, to: PortId) {
        let segment = self.map.plugs.get(from.index()).map(|plug| plug.segment.0 as usize);
        if let Some(segment) = segment.and_then(|segment| self.map.segments.get_mut(segment)) {
            segment.blocked.insert((from, to));
        }
    }

    /// Lets everything pass again from one port to another.
    pub fn unblock(&mut self, from: PortId, to: PortId) {
        let segment = self.map.plugs.get(from.index()).map(|plug| plug.segment.0 as usize);
        if let Some(segment) = segment.and_then(|segment| self.map.segments.get_mut(segment)) {
            segment.blocked.remove(&(from, to));
        }
    }

    /// Writes a capture of each cable into a folder from now on. Only of a world on one thread.
    pub fn capture(&mut self, folder: &Path) -> Result<(), FolderError> {
        if let [shard] = self.shards.as_mut_slice() {
            let names: Vec<&str> = shard.cables.iter().map(|cable| &*cable.name).collect();
            shard.tap = Some(Tap::create(folder, &names)?);
        }
        Ok(())
    }

    /// Hands the captures on to their files; tells how far they reach.
    pub fn flush(&mut self) -> Result<Extent, FolderError> {
        let mut taps = self.shards.iter_mut().filter_map(|shard| shard.tap.as_mut());
        taps.next().map_or_else(|| Ok(Extent::default()), Tap::flush)
    }

    /// Has all that a machine does be told by [`World::seen`].
    pub fn watch(&mut self, machine: MachineId) {
        self.with(machine, |machine| machine.watched = true);
    }

    /// What watched machines have done since this was last asked.
    pub fn seen(&mut self) -> Vec<Seen> {
        let mut seen: Vec<Seen> =
            self.shards.iter_mut().flat_map(|shard| std::mem::take(&mut shard.seen)).collect();
        seen.sort_by_key(|seen| (seen.at, seen.machine));
        seen
    }

    /// Has all that comes to machines be folded into [`World::digest`].
    pub fn fold(&mut self) {
        self.shards.iter_mut().for_each(|shard| shard.folds = true);
    }

    /// A number that two worlds have in common if the same came to each machine at the same times.
    pub fn digest(&self) -> u64 {
        let digests = self.map.machines.iter().filter_map(|spot| {
            Some(self.shards.get(spot.shard as usize)?.machines.get(spot.index as usize)?.digest)
        });
        digests.fold(0, |sum: u64, digest| (sum.rotate_left(7) ^ digest).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.shards.iter().fold(Counts::default(), |sum, shard| sum.plus(shard.counts))
    }

    /// Lets the next thing happen, if it does before `end`; false if there is none. Only in a world on one thread.
    pub fn step(&mut self, end: Duration) -> bool {
        match self.shards.as_mut_slice() {
            [shard] => shard.step(&self.map, nanos(end)),
            _ => false,
        }
    }

    /// Lets things happen until `done` says so or it is `end`; tells whether `done` did.
    pub fn run_until(&mut self, end: Duration, mut done: impl FnMut(&mut World) -> bool) -> bool {
        while !done(self) {
            if !self.step(end) {
                self.run(end);
                return done(self);
            }
        }
        true
    }

    /// Lets everything happen that does before `end`.
    pub fn run(&mut self, end: Duration) {
        let end = nanos(end);
        match self.shards.as_mut_slice() {
            [shard] => shard.run(&self.map, end),
            shards => side_by_side(&self.map, shards, end),
        }
    }

    fn call<T>(
        &mut self,
        host: MachineId,
        slot: usize,
        work: impl FnOnce(&mut dyn Program, &mut Io<'_>) -> T,
    ) -> Option<T> {
        let (shard, index) = self.spot(host)?;
        let map = &self.map;
        let shard = self.shards.get_mut(shard)?;
        shard.with(map, index, |machine, now, outcome| machine.call(now, slot, outcome, work))?
    }

    fn with<T>(&mut self, machine: MachineId, work: impl FnOnce(&mut Machine) -> T) -> Option<T> {
        let (shard, index) = self.spot(machine)?;
        self.shards.get_mut(shard)?.machines.get_mut(index).map(work)
    }

    pub(crate) fn machine(&self, machine: MachineId) -> Option<&Machine> {
        let (shard, index) = self.spot(machine)?;
        self.shards.get(shard)?.machines.get(index)
    }

    pub(crate) fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.map
            .machines
            .iter()
            .filter_map(|spot| self.shards.get(spot.shard as usize)?.machines.get(spot.index as usize))
    }

    pub(crate) fn map(&self) -> &Map {
        &self.map
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    pub(crate) fn shards_mut(&mut self) -> (&Map, &mut [Shard]) {
        (&self.map, &mut self.shards)
    }

    fn cable(&mut self, port: PortId) -> Option<&mut Cable> {
        let spot = self.map.ports.get(port.index())?;
        self.shards.get_mut(spot.shard as usize)?.cables.get_mut(spot.index as usize)
    }

    fn spot(&self, machine: MachineId) -> Option<(usize, usize)> {
        let spot = self.map.machines.get(machine.index())?;
        Some((spot.shard as usize, spot.index as usize))
    }
}

/// How long the shortest way is between two parts of a world.
fn window(map: &Map, parts: usize) -> u64 {
    let mut shortest = u64::MAX;
    for (number, segment) in (0..).map(SegmentId).zip(&map.segments) {
        let Some(distances) = &segment.distances else { continue };
        let mut regions = vec![BTreeSet::new(); parts];
        for (plug, spot) in map.plugs.iter().zip(&map.ports).filter(|(plug, _)| plug.segment == number) {
            if let Some(regions) = regions.get_mut(spot.shard as usize) {
                regions.insert(plug.region);
            }
        }
        for (at, here) in regions.iter().enumerate() {
            let others = regions.iter().skip(at + 1).flatten();
            let ways = others.flat_map(|there| here.iter().map(|here| nanos(distances.of(*here, *there))));
            shortest = ways.fold(shortest, u64::min);
        }
    }
    shortest.max(1)
}

/// Runs the parts of a world side by side, in windows that no packet crosses: it is longer under way.
fn side_by_side(map: &Map, shards: &mut [Shard], end: u64) {
    let count = shards.len();
    let window = window(map, count);
    let mail: Vec<Mutex<Vec<Event>>> = (0..count).map(|_| Mutex::default()).collect();
    let next: Vec<AtomicU64> = (0..count).map(|_| AtomicU64::new(u64::MAX)).collect();
    let barrier = Barrier::new(count);
    let work = |shard: &mut Shard| {
        let own = shard.index as usize;
        loop {
            for (to, event) in shard.outbox.drain(..) {
                if let Some(letters) = mail.get(to as usize) {
                    letters.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
            barrier.wait();
            if let Some(letters) = mail.get(own) {
                letters
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .drain(..)
                    .for_each(|event| shard.agenda.add(event));
            }
            if let Some(place) = next.get(own) {
                place.store(shard.agenda.next().unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            barrier.wait();
            let first = next.iter().map(|next| next.load(Ordering::Relaxed)).min().unwrap_or(u64::MAX);
            if first >= end {
                break;
            }
            shard.run(map, first.saturating_add(window).min(end));
        }
        shard.now = shard.now.max(end);
    };
    #[allow(clippy::disallowed_methods, reason = "shards come to the same on any number of threads")]
    std::thread::scope(|scope| {
        for shard in shards {
            scope.spawn(|| work(shard));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(world: &mut World, segment: SegmentId, part: usize, region: u16) {
        let name = format!("{part} {region}");
        let nic = Nic { link: name.clone(), segment, region: Region(region), mac: [0; 6], addresses: vec![] };
        world.station(part, Body { name, nics: vec![nic], ..Body::default() });
    }

    #[test]
    fn parts_run_ahead_by_the_shortest_way_between_them() {
        let ms = |n| Duration::from_millis(n);
        let mut world = World::divided(1, 2);
        let far = Distances::between(3, |a, b| ms(1 + 10 * u64::from(b.0 - a.0)));
        let segment = world.wide_segment("internet", far);
        assert_eq!(window(&world.map, 2), u64::MAX);
        for (part, region) in [(0, 0), (0, 1), (1, 2)] {
            add(&mut world, segment, part, region);
        }
        assert_eq!(window(&world.map, 2), nanos(ms(11)));
        add(&mut world, segment, 1, 1);
        assert_eq!(window(&world.map, 2), nanos(ms(1)));
    }
}
