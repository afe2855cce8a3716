//! A scenario's machines in a world, and the time that passes there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
    time::Duration,
};

use natrig_capture::{Direction, Trace};
use natrig_lab::{
    Halt, Host, Stand, Topology, Trouble,
    node::missed,
    talk::{Conversation, DRAIN},
};
use natrig_record::What;
use natrig_scenario::{Action, Flow, Impairment, Link, Machine, Scenario, Seen, Segment, Where};
use serde_json::json;

use super::{
    Simulator, gateway,
    node::{Node, Reported},
    watch::{Stop, Traces, millis},
};
use crate::{
    agenda::MachineId,
    clock::START_NS,
    segment::{Region, SegmentId},
    world::{Body, Nic, World},
};

/// How long a machine takes to see what has come to it: about as long as the machines of the other backend.
const PACE: Duration = Duration::from_micros(200);

/// How many things happen between two looks whether the run is halted.
const LOOK: u32 = 1024;

/// The file with the state of a world that was stopped.
const STOPPED: &str = "stopped.json";

/// Machines, stations and nodes of a scenario.
pub struct Stage<'s> {
    pub world: World,
    pub topology: Topology,
    pub nodes: Vec<Node>,
    folder: &'s Path,
    halt: &'s Halt,
    events: &'s dyn Fn(What),
    machines: BTreeMap<Machine, MachineId>,
    pub(super) segments: BTreeMap<Segment, SegmentId>,
    /// What the scenario's faults have cut, and kept apart.
    pub(super) cut: BTreeSet<Link>,
    pub(super) parted: Vec<[Link; 2]>,
    /// Whom a fault has stopped for a while.
    pub(super) held: BTreeSet<Machine>,
    /// How links are that nothing was done to.
    pub(super) links: Vec<Impairment>,
    /// What is said while all goes on.
    pub(super) conversations: Vec<Conversation>,
    traces: Traces,
    stop: Option<Stop>,
    steps: u32,
}

impl fmt::Debug for Stage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("world", &self.world).finish_non_exhaustive()
    }
}

/// Who wants to know of a cell, and where it leaves things.
#[derive(Clone, Copy)]
pub struct Surroundings<'s> {
    pub folder: &'s Path,
    pub halt: &'s Halt,
    pub events: &'s dyn Fn(What),
}

impl<'s> Stage<'s> {
    /// The machines of a scenario, without programs; where those would be that are not wanted, there is nobody. All that
    /// goes over their cables is captured.
    pub fn new(
        simulator: &Simulator,
        scenario: &Scenario,
        seed: u64,
        wanted: impl Fn(Machine) -> bool,
        around: Surroundings<'s>,
    ) -> Result<Self, Trouble> {
        let topology = Topology::of(scenario);
        let mut world = World::new(seed);
        world.set_pace(PACE);
        let mut segments = BTreeMap::new();
        for (_, segment) in topology.links() {
            segments.entry(segment).or_insert_with(|| world.segment(segment.name()));
        }
        let mut machines = BTreeMap::new();
        for host in topology.hosts().iter().filter(|host| wanted(host.machine)) {
            machines.insert(host.machine, add(&mut world, host, &topology, &segments)?);
        }
        for stand in topology.gateways().iter().flat_map(|place| topology.stands(place)) {
            world.station(0, station(&stand, &segments)?);
        }
        let captures = around.folder.join("captures");
        fs::create_dir_all(&captures)?;
        world.capture(&captures)?;
        let mut traces = Traces::default();
        for name in &simulator.traced {
            if let Some(machine) = machines.get(name) {
                traces.begin(&mut world, *machine, *name, around.folder)?;
            }
        }
        let Surroundings { folder, halt, events } = around;
        let mut stage = Stage {
            world,
            topology,
            nodes: Vec::new(),
            folder,
            halt,
            events,
            machines,
            segments,
            cut: BTreeSet::new(),
            parted: Vec::new(),
            held: BTreeSet::new(),
            links: scenario.links.clone(),
            conversations: Vec::new(),
            traces,
            stop: simulator.stop.clone(),
            steps: 0,
        };
        stage.impair(scenario)?;
        Ok(stage)
    }

    /// Puts a scenario's conditions and filters in force, but for what gateways do themselves.
    fn impair(&mut self, scenario: &Scenario) -> Result<(), Trouble> {
        self.condition_at(Where::Link, scenario)?;
        for filter in &scenario.filters {
            let [a, b] = filter.between;
            let (a, b) = (self.port(a)?, self.port(b)?);
            self.world.block(a, b);
            self.world.block(b, a);
        }
        Ok(())
    }

    /// Has gateways do to what they send what a scenario says, once they have been proven.
    pub(super) fn impair_in_gateways(&mut self, scenario: &Scenario) -> Result<(), Trouble> {
        self.condition_at(Where::Gateway, scenario)
    }

    fn condition_at(&mut self, at: Where, scenario: &Scenario) -> Result<(), Trouble> {
        let there: Vec<Impairment> = scenario.links.iter().filter(|it| it.at == at).copied().collect();
        self.condition(&there)
    }

    /// Puts conditions in force.
    pub(super) fn condition(&mut self, impairments: &[Impairment]) -> Result<(), Trouble> {
        for impairment in impairments {
            let port = self.port(impairment.link)?;
            let directions: &[Direction] = match impairment.flow {
                Flow::In => &[Direction::Outbound],
                Flow::Out => &[Direction::Inbound],
                Flow::Both => &[Direction::Inbound, Direction::Outbound],
            };
            for direction in directions {
                self.world.condition(port, *direction, impairment.conditions);
            }
        }
        Ok(())
    }

    /// A machine of the scenario.
    pub fn machine(&self, name: Machine) -> Result<MachineId, Trouble> {
        let machine = self.machines.get(&name).copied();
        machine.ok_or_else(|| Trouble::lab(format!("there is no machine `{name}`")))
    }

    /// The node on a machine.
    pub fn node(&self, name: Machine) -> Result<&Node, Trouble> {
        let node = self.nodes.iter().find(|node| node.name == name);
        node.ok_or_else(|| Trouble::lab(format!("no node runs on {name}")))
    }

    /// The same, to have something done with it.
    pub fn with_node<T>(
        &mut self,
        name: Machine,
        work: impl FnOnce(&mut Node, &mut World) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let node = self.nodes.iter_mut().find(|node| node.name == name);
        let node = node.ok_or_else(|| Trouble::lab(format!("no node runs on {name}")))?;
        work(node, &mut self.world)
    }

    /// What time it is, as captures say it.
    pub fn now_ns(&self) -> u64 {
        START_NS + u64::try_from(self.world.now().as_nanos()).unwrap_or(u64::MAX)
    }

    /// All that the cables have seen so far, read back from the capture files.
    pub fn trace(&mut self) -> Result<Trace, Trouble> {
        Ok(Trace::read_extent(&self.world.flush()?)?)
    }

    /// Adds a node that has been started.
    pub fn add_node(&mut self, node: Node) {
        node.told(0).for_each(self.events);
        self.nodes.push(node);
    }

    /// Lets things happen until `find` finds what it wants; none if it was not found before a time.
    pub fn wait<T>(
        &mut self,
        until: Duration,
        mut find: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>, Trouble> {
        loop {
            self.hear()?;
            if let Some(found) = find(self) {
                return Ok(Some(found));
            }
            if !self.step(until)? {
                self.hear()?;
                return Ok(find(self));
            }
        }
    }

    /// Waits for a node's first event that fits. That it comes too late is the node's fault.
    pub fn wait_for(
        &mut self,
        name: Machine,
        what: &str,
        deadline: Duration,
        fits: impl Fn(&Reported) -> bool,
    ) -> Result<Reported, Trouble> {
        let mut looked = 0;
        let found = self.wait(deadline, |stage| {
            let reported = &stage.node(name).ok()?.reported;
            let new = reported.get(looked..).unwrap_or_default();
            looked = reported.len();
            new.iter().find(|one| fits(one)).cloned()
        })?;
        found.map_or_else(
            || {
                let tail = self.node(name)?.tail();
                Err(Trouble::node(format!("{name}: time was up before {what}")).lines(tail))
            },
            Ok,
        )
    }

    /// Waits for what a scenario expects a node to have reported since a time.
    pub fn expect(&mut self, seen: &Seen, since: Duration) -> Result<(), Trouble> {
        let (mut looked, mut count) = (0, 0);
        let until = self.world.now() + seen.within;
        let found = self.wait(until, |stage| {
            let id = |name| stage.node(name).ok().map(|node| node.id.to_string());
            let reported = &stage.node(seen.at).ok()?.reported;
            let new = reported.get(looked..).unwrap_or_default();
            looked = reported.len();
            count += new.iter().filter(|one| one.at >= since && one.event.shows(seen, id)).count();
            (count >= seen.times.max(1)).then_some(())
        })?;
        if found.is_some() == (seen.times > 0) {
            return Ok(());
        }
        let tail = self.node(seen.at)?.tail();
        Err(missed(seen, count).lines(tail))
    }

    /// Leaves everything alone for a while.
    pub fn pass(&mut self, time: Duration) -> Result<(), Trouble> {
        let until = self.world.now() + time;
        self.wait(until, |_| None::<()>).map(|_| ())
    }

    /// Something was done to nodes, links or machines.
    pub fn disturbed(&mut self) {
        let now = self.world.now();
        self.conversations.iter_mut().for_each(|one| one.disturbed(now));
    }

    /// Begins what is said while all goes on.
    pub fn converse(&mut self, scenario: &Scenario, seed: u64) -> Result<(), Trouble> {
        for [from, to] in Conversation::meetings(scenario) {
            self.apply(&Action::Connect(from, to))?;
        }
        self.conversations = Conversation::all(scenario, seed, self.world.now());
        Ok(())
    }

    /// Lets what is said go on for as long as it is to, then waits for what is under way; gives what has become of it.
    pub fn end_conversations(&mut self) -> Result<Vec<Conversation>, Trouble> {
        let until = self.conversations.iter().map(Conversation::until).max().unwrap_or_default();
        let left = until.saturating_sub(self.world.now());
        self.pass(left)?;
        self.conversations.iter_mut().for_each(Conversation::end);
        let deadline = self.world.now() + DRAIN;
        self.wait(deadline, |stage| {
            let quiet = stage.conversations.iter().all(|one| !one.is_under_way());
            quiet.then_some(())
        })?;
        Ok(std::mem::take(&mut self.conversations))
    }

    /// Has nodes say what is due.
    fn speak(&mut self) -> Result<(), Trouble> {
        let now = self.world.now();
        for at in 0..self.conversations.len() {
            let Some((from, to)) = self.conversations.get(at).map(|one| (one.from(), one.to())) else {
                break;
            };
            let (speaks, peer) = (self.node(from)?.runs, self.node(to)?.id);
            let Some(one) = self.conversations.get_mut(at) else { break };
            if !speaks {
                one.skip(now);
                continue;
            }
            // It says it when it goes on.
            if self.held.contains(&from) {
                continue;
            }
            if one.calls(now) {
                self.with_node(from, |node, world| node.connect(world, peer))?;
            }
            while let Some((number, text)) = self.conversations.get_mut(at).and_then(|one| one.due(now)) {
                self.with_node(from, |node, world| node.say(world, peer, text, number))?;
            }
        }
        Ok(())
    }

    /// Takes links off the wire, whatever a scenario does to them.
    pub fn take_off(&mut self, links: [Link; 2]) -> Result<(), Trouble> {
        for link in links {
            let port = self.port(link)?;
            self.world.cut(port, true);
        }
        Ok(())
    }

    /// Puts links back on the wire that were taken off, but for those that the scenario has cut.
    pub fn put_back(&mut self, links: [Link; 2]) -> Result<(), Trouble> {
        for link in links {
            let port = self.port(link)?;
            self.world.cut(port, self.cut.contains(&link));
        }
        Ok(())
    }

    /// Hands all that is written on to the files. What is told, if time was to stop and did not.
    pub fn end(&mut self) -> Result<Option<String>, Trouble> {
        self.traces.write(&mut self.world)?;
        self.nodes.iter_mut().try_for_each(Node::flush)?;
        self.world.flush()?;
        let stop = self.stop.take();
        Ok(stop.map(|stop| format!("time did not stop at {stop}: it never came to that")))
    }

    pub(super) fn port(&self, link: Link) -> Result<crate::PortId, Trouble> {
        self.world.port(link.name()).ok_or_else(|| Trouble::lab(format!("the world has no link `{link}`")))
    }

    /// Lets the next thing happen; false if there is none before a time, which it then is.
    fn step(&mut self, until: Duration) -> Result<bool, Trouble> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(LOOK) {
            self.traces.write(&mut self.world)?;
            if self.halt.raised() {
                return Err(Trouble::lab("interrupted"));
            }
        }
        let stop = match self.stop {
            Some(Stop::At(time)) if time <= until => Some(time),
            _ => None,
        };
        let speaking = self.conversations.iter().filter(|one| !self.held.contains(&one.from()));
        let due = speaking.filter_map(Conversation::next).min();
        if due.is_some_and(|due| due <= self.world.now()) {
            self.speak()?;
            return Ok(true);
        }
        let end = stop.unwrap_or(until);
        if let Some(due) = due.filter(|due| *due < end) {
            if !self.world.step(due) {
                self.world.run(due);
            }
            return Ok(true);
        }
        if self.world.step(end) {
            return Ok(true);
        }
        self.world.run(end);
        if stop.is_some() { Err(self.stopped()?) } else { Ok(false) }
    }

    /// Takes what nodes have reported.
    fn hear(&mut self) -> Result<(), Trouble> {
        let mut stops = false;
        let ids: BTreeMap<Machine, String> = match self.conversations.is_empty() {
            true => BTreeMap::new(),
            false => self.nodes.iter().map(|node| (node.name, node.id.to_string())).collect(),
        };
        for node in &mut self.nodes {
            if !node.has_news(&self.world) {
                continue;
            }
            let known = node.reported.len();
            node.hear(&mut self.world)?;
            node.told(known).for_each(self.events);
            for reported in node.reported.iter().skip(known) {
                self.conversations.iter_mut().for_each(|one| {
                    one.reported(node.name, reported.at, &reported.event, |name| ids.get(&name).cloned());
                });
            }
            if let Some(Stop::Event(name, event)) = &self.stop {
                stops |=
                    node.name == *name && node.reported.iter().skip(known).any(|one| one.event.is(event));
            }
        }
        if stops { Err(self.stopped()?) } else { Ok(()) }
    }

    /// Writes down the state of everything, and says so.
    fn stopped(&mut self) -> Result<Trouble, Trouble> {
        let asked = self.stop.take().map(|stop| stop.to_string()).unwrap_or_default();
        let at_ms = millis(self.world.now());
        let state = json!({ "stopped_at": asked, "world": self.world.snapshot() });
        let file = self.folder.join(STOPPED);
        fs::write(&file, serde_json::to_vec_pretty(&state)?)?;
        Ok(Trouble::lab(format!("time was stopped at {asked}, after {at_ms} ms, as was asked for"))
            .lines([format!("the state of nodes, NATs and links is in {}", file.display())]))
    }
}

fn add(
    world: &mut World,
    host: &Host,
    topology: &Topology,
    segments: &BTreeMap<Segment, SegmentId>,
) -> Result<MachineId, Trouble> {
    let nics = host.nics.iter().map(|nic| {
        let addresses = nic.addresses.clone();
        Ok(Nic {
            link: nic.link.name().to_owned(),
            segment: on(segments, nic.segment)?,
            region: Region::default(),
            mac: nic.mac,
            addresses,
        })
    });
    let nics = nics.collect::<Result<_, Trouble>>()?;
    let name = host.machine.name().to_owned();
    let body = Body { name, nics, routes: host.routes.clone(), ..Body::default() };
    let place = topology.gateways().iter().find(|place| place.machine == host.machine);
    Ok(match place {
        Some(place) => {
            let made = gateway::made(place, world.seed_of(&body.name))?;
            world.gateway(0, body, made)
        }
        None => world.host(0, body),
    })
}

fn station(stand: &Stand, segments: &BTreeMap<Segment, SegmentId>) -> Result<Body, Trouble> {
    let nic = Nic {
        link: stand.link.clone(),
        segment: on(segments, stand.segment)?,
        region: Region::default(),
        mac: stand.mac,
        addresses: stand.addresses.clone(),
    };
    let (name, routes) = (stand.link.clone(), stand.routes.clone());
    Ok(Body { name, nics: vec![nic], routes, ..Body::default() })
}

pub(super) fn on(segments: &BTreeMap<Segment, SegmentId>, segment: Segment) -> Result<SegmentId, Trouble> {
    let found = segments.get(&segment).copied();
    found.ok_or_else(|| Trouble::lab(format!("there is no segment `{segment}`")))
}
