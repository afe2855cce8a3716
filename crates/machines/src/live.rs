//! A lab that is kept up: what a scenario's faults do is done to it whenever somebody asks.

mod drive;
mod leave;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use natrig_attach::{Tap, join};
use natrig_lab::{Halt, Place, Topology, node::NodeEvent, paths::Paths, proof::refuse};
use natrig_netmodel::Conditions;
use natrig_record::What;
use natrig_scenario::{
    Action, Flow, Gateway, GatewayFault, Impairment, Link, Machine, MachineFault, Nat, NodeFault, Scenario,
    Segment, Site, Where,
};
use natrig_vmm::AgentClient;

use crate::{
    Lab, Rig, Trouble,
    faults::{Faults, idle},
    gateway::{self, Listing},
    kind::Kind,
    lab::lock,
    life::{self, Life},
    nodes::{Events, Nodes, start_public},
};
use state::Seen;
pub use state::State;

/// The file beside the captures that says what was done, and when.
const JOURNAL: &str = "faults.log";

/// A lab that is kept up, with its nodes.
#[derive(Debug)]
pub struct Live {
    rig: Rig,
    scenario: Scenario,
    folder: PathBuf,
    halt: Halt,
    topology: Topology,
    nodes: Nodes,
    events: Events,
    /// Held while something is done to the lab.
    held: Mutex<Held>,
    /// What is to be seen of it meanwhile.
    seen: Mutex<Seen>,
    paths: Arc<Mutex<Paths>>,
    /// What is being done, and what ends it.
    doing: Mutex<BTreeMap<u64, (String, Halt)>>,
    number: AtomicU64,
    last_deed: Mutex<Instant>,
}

/// A lab and what has become of it.
#[derive(Debug)]
struct Held {
    lab: Lab,
    listing: Listing,
    /// Of each link, to its machine and from it.
    conditions: BTreeMap<(Link, Where), [Conditions; 2]>,
    frozen: BTreeSet<Machine>,
    paused: BTreeSet<Machine>,
    sites: BTreeMap<Machine, Site>,
    /// How many proofs the captures hold.
    rounds: u32,
}

impl Live {
    /// Boots a scenario's machines, proves its gateways and starts its nodes; nobody is told to connect. All that happens is
    /// told, for as long as there is a lab.
    pub fn stand(
        rig: Rig,
        scenario: Scenario,
        folder: &Path,
        halt: &Halt,
        tell: impl Fn(&What) + Send + 'static,
    ) -> Result<Self, Trouble> {
        let (events, told) = told_on(tell);
        let mut lab = rig.lab(&scenario, folder, halt)?;
        gateway::start_stun(&lab)?;
        gateway::load(&lab, &scenario, folder)?;
        let others = life::prove_others(&lab, &scenario, folder)?;
        let rounds = u32::try_from(others.len()).unwrap_or(u32::MAX);
        refuse(&gateway::measure(&lab, &scenario)?)?;
        let listing = gateway::flush(&lab, &scenario)?.with_others(others);
        lab.impair_in_gateways(&scenario.links)?;
        let public = start_public(&lab, &scenario, folder, halt, &events)?;
        let mut nodes = Nodes::start(&lab, &scenario, public, folder, halt, &events)?;
        nodes.keep_keys(&lab)?;
        lab.set_up();
        nodes.bootstrapped(halt)?;
        let topology = lab.topology().clone();
        let sites = topology.hosts().iter().filter_map(|host| Some((host.machine, host.machine.site()?)));
        let held = Held {
            conditions: conditions(&scenario.links),
            frozen: BTreeSet::new(),
            paused: BTreeSet::new(),
            sites: sites.collect(),
            rounds,
            lab,
            listing,
        };
        let live = Live {
            seen: Mutex::new(held.seen(&scenario)),
            held: Mutex::new(held),
            paths: watch(told, &nodes),
            halt: halt.clone(),
            folder: folder.to_owned(),
            doing: Mutex::default(),
            number: AtomicU64::new(0),
            last_deed: Mutex::new(Instant::now()),
            rig,
            scenario,
            topology,
            nodes,
            events,
        };
        Ok(live)
    }

    /// Joins a segment that has a cable for it to a device of this host, for as long as there is a lab.
    pub fn attach(&self, segment: Segment, tap: Tap) -> Result<(), Trouble> {
        let name = tap.name().to_owned();
        let wrong = |error: &dyn std::fmt::Display| {
            Trouble::lab(format!("{segment} is not attached to {name}: {error}"))
        };
        let held = lock(&self.held);
        let switch = held.lab.switch();
        let port = switch.port(&segment.attachment()).ok_or_else(|| wrong(&"it has no cable for that"))?;
        let ended = move |error| tracing::warn!("{segment} is attached no more: {error}");
        join(tap, switch.replug(port)?, ended).map_err(|error| wrong(&error))?;
        self.note(&format!("attach {segment} to {name}"))
    }

    /// What runs in it.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Where everything was when it was booted.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The nodes in it.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Where its captures and logs are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What stands before each site by now.
    pub fn nats(&self) -> Vec<Nat> {
        lock(&self.seen).nats.clone()
    }

    /// The site that a machine is in by now.
    pub fn site_of(&self, machine: Machine) -> Option<Site> {
        lock(&self.seen).sites.get(&machine).copied()
    }

    /// The way to talk to a machine that is on.
    pub fn agent(&self, machine: Machine) -> Result<AgentClient, Trouble> {
        let agent = lock(&self.seen).agents.get(&machine).cloned();
        agent.ok_or_else(|| off(machine))
    }

    /// A command as the agent starts it in a machine's own file system.
    pub fn command(&self, machine: Machine, argv: Vec<String>) -> Vec<String> {
        Kind::of(&self.scenario, machine).command(argv)
    }

    /// What is broken, and which way nodes reach each other.
    pub fn state(&self) -> State {
        let state = lock(&self.seen).state.clone();
        let doing = lock(&self.doing).values().map(|(what, _)| what.clone()).collect();
        state.with(doing, &self.nodes, &lock(&self.paths))
    }

    /// Does what a fault does, reads it back, and says what was done. What takes its time ends when `halt` is raised.
    pub fn befall(&self, action: &Action, halt: &Halt) -> Result<String, Trouble> {
        let _doing = self.doing(action, halt);
        if !matches!(action, Action::Expect(_)) {
            *lock(&self.last_deed) = Instant::now();
        }
        // What waits does not keep others from doing something.
        let shown = match action {
            Action::Expect(seen) => {
                let since = *lock(&self.last_deed);
                self.nodes.expect(seen, since, halt)?;
                String::new()
            }
            Action::Idle(pause) => {
                idle(pause.drawn(rand::random()), halt)?;
                String::new()
            }
            Action::Flap(link, times, every) => {
                self.flap(*link, *times, *every, halt).map_err(|trouble| trouble.at(action))?;
                String::new()
            }
            action => self.hold(|held| held.befall(self, action))?,
        };
        let done = match action {
            Action::Impair(impairments) => {
                let impairments: Vec<String> = impairments.iter().map(Impairment::to_string).collect();
                format!("impair {}", impairments.join("; "))
            }
            action => format!("{action}{shown}"),
        };
        self.note(&done)?;
        let _ = self.events.send(What::Fault { message: done.clone() });
        Ok(done)
    }

    /// Ends all that is being done, and the machines one by one, so that captures are whole when this returns.
    pub fn end(&self) {
        self.halt.raise();
        lock(&self.doing).values().for_each(|(_, halt)| halt.raise());
        let held = lock(&self.held);
        for member in held.lab.members() {
            if let Err(error) = member.machine().kill() {
                tracing::warn!("{}: {error}", member.name);
            }
        }
        if let Err(error) = held.lab.switch().stop() {
            tracing::warn!("{error}");
        }
    }

    /// Does something to the lab while nobody else does; whatever comes of it is to be seen then.
    fn hold<T>(&self, work: impl FnOnce(&mut Held) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let mut held = lock(&self.held);
        if self.halt.raised() {
            return Err(Trouble::lab("the lab is being taken down"));
        }
        let done = work(&mut held);
        *lock(&self.seen) = held.seen(&self.scenario);
        done
    }

    fn flap(&self, link: Link, times: usize, every: Duration, halt: &Halt) -> Result<(), Trouble> {
        for _ in 0..times {
            self.hold(|held| held.lab.cut(link))?;
            let waited = idle(every, halt);
            // Also when nobody waits for it any more.
            self.hold(|held| held.heal(link))?;
            waited?;
            idle(every, halt)?;
        }
        Ok(())
    }

    /// Has it be told that something is being done, until what is returned is dropped.
    fn doing(&self, action: &Action, halt: &Halt) -> impl Drop {
        struct Doing<'a>(&'a Live, u64);
        impl Drop for Doing<'_> {
            fn drop(&mut self) {
                lock(&self.0.doing).remove(&self.1);
            }
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        lock(&self.doing).insert(number, (action.to_string(), halt.clone()));
        Doing(self, number)
    }

    /// Writes down what was done, in the time of the captures.
    fn note(&self, done: &str) -> Result<(), Trouble> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join(JOURNAL));
        let line = format!("{}.{:06} {done}\n", now.as_secs(), now.subsec_micros());
        file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(|error| {
            Trouble::lab(format!("{done}, but that could not be written into {JOURNAL}: {error}"))
        })
    }
}

impl Held {
    fn befall(&mut self, live: &Live, action: &Action) -> Result<String, Trouble> {
        self.ready_for(live, action).map_err(|trouble| trouble.at(action))?;
        let Live { rig, scenario, folder, halt, nodes, events, .. } = live;
        if let Action::Gateway(machine, fault) = action {
            let life = Life { rig, scenario, folder };
            if let GatewayFault::Become(gateway) = fault {
                self.prove(&life, *machine, gateway).map_err(|trouble| trouble.at(action))?;
            }
            let shown = life.befall(&mut self.lab, &mut self.listing, *machine, fault)?;
            return Ok(format!(": {shown}"));
        }
        let lab = &mut self.lab;
        Faults { rig, scenario, folder, halt, lab, nodes: Some(nodes), events }.befall(action)?;
        self.keep(scenario, action);
        Ok(String::new())
    }

    /// Proves what a gateway becomes, unless that was done before.
    fn prove(&mut self, life: &Life<'_>, machine: Machine, gateway: &Gateway) -> Result<(), Trouble> {
        let known = |place: &Place| place.machine == machine && place.gateway == *gateway;
        if self.listing.others().iter().any(|other| known(&other.place)) {
            return Ok(());
        }
        self.rounds += 1;
        life.prove_another(&self.lab, &mut self.listing, machine, gateway, self.rounds)
    }

    /// What cannot be done to a machine or a node as it is now, with what to do first. An agent would be asked in vain.
    fn ready_for(&self, live: &Live, action: &Action) -> Result<(), Trouble> {
        let machine = match action {
            Action::Node(machine, _)
            | Action::Machine(machine, _)
            | Action::Roam(machine, _)
            | Action::Clock(machine, _)
            | Action::Connect(machine, _)
            | Action::Gateway(machine, _) => *machine,
            _ => return Ok(()),
        };
        let frozen = self.frozen.contains(&machine);
        let wrong = |what: &str, remedy: &str| {
            Err(Trouble::lab(format!("{machine} {what}")).hint(format!("natrig fault {remedy} {machine}")))
        };
        match action {
            Action::Machine(_, MachineFault::PowerOn) => return Ok(()),
            _ if self.lab.member(machine).is_err() => return Err(off(machine)),
            // What takes its place has its first addresses, and would be in the LAN that it moved to.
            Action::Machine(_, MachineFault::PowerOff) => {
                match self.sites.get(&machine).zip(machine.site()) {
                    Some((now, home)) if *now != home => {
                        let hint = format!("natrig fault roam {machine} to {}", Segment::Lan(home));
                        return Err(
                            Trouble::lab(format!("{machine} has moved to {}", Segment::Lan(*now))).hint(hint)
                        );
                    }
                    _ => return Ok(()),
                }
            }
            Action::Machine(_, MachineFault::Thaw) if frozen => return Ok(()),
            Action::Machine(_, MachineFault::Thaw) => {
                return Err(Trouble::lab(format!("{machine} is not frozen")));
            }
            _ if frozen => return wrong("is frozen", "thaw"),
            _ => {}
        }
        let runs = live.nodes.on(machine).is_ok_and(|node| node.runs());
        match action {
            Action::Node(_, NodeFault::Restart) => Ok(()),
            Action::Node(..) | Action::Connect(..) if !runs => wrong("has no node that runs", "restart"),
            Action::Node(_, NodeFault::Stop) | Action::Connect(..) if self.paused.contains(&machine) => {
                wrong("has a node that stands still and hears nothing", "resume")
            }
            _ => Ok(()),
        }
    }

    /// Remembers what was done, where the lab does not.
    fn keep(&mut self, scenario: &Scenario, action: &Action) {
        match action {
            Action::Heal(link) => self.uncut(*link),
            Action::Impair(impairments) => lay(&mut self.conditions, impairments),
            Action::Mend(link) => {
                self.conditions.retain(|(other, _), _| other != link);
                let first: Vec<_> = scenario.links.iter().filter(|one| one.link == *link).copied().collect();
                lay(&mut self.conditions, &first);
            }
            Action::Node(machine, NodeFault::Pause) => {
                self.paused.insert(*machine);
            }
            Action::Node(machine, _) => {
                self.paused.remove(machine);
            }
            Action::Machine(machine, MachineFault::Freeze) => {
                self.frozen.insert(*machine);
            }
            Action::Machine(machine, fault) => {
                self.frozen.remove(machine);
                if *fault == MachineFault::PowerOff {
                    self.paused.remove(machine);
                }
            }
            Action::Roam(machine, site) => {
                self.sites.insert(*machine, *site);
            }
            _ => {}
        }
    }

    fn heal(&mut self, link: Link) -> Result<(), Trouble> {
        self.lab.heal(link)?;
        self.uncut(link);
        Ok(())
    }

    /// A link that is healed is also whole where its conditions had cut it.
    fn uncut(&mut self, link: Link) {
        if let Some(conditions) = self.conditions.get_mut(&(link, Where::Link)) {
            conditions.iter_mut().for_each(|one| one.cut = false);
        }
    }
}

/// What links are like that are not perfect.
fn conditions(impairments: &[Impairment]) -> BTreeMap<(Link, Where), [Conditions; 2]> {
    let mut conditions = BTreeMap::new();
    lay(&mut conditions, impairments);
    conditions
}

fn lay(conditions: &mut BTreeMap<(Link, Where), [Conditions; 2]>, impairments: &[Impairment]) {
    for impairment in impairments {
        let [into, out] = conditions.entry((impairment.link, impairment.at)).or_default();
        if impairment.flow != Flow::Out {
            *into = impairment.conditions;
        }
        if impairment.flow != Flow::In {
            *out = impairment.conditions;
        }
    }
}

/// A way for what happens, on which it is told as it comes.
fn told_on(tell: impl Fn(&What) + Send + 'static) -> (Events, Receiver<What>) {
    let (events, coming) = mpsc::channel::<What>();
    let (on, told) = mpsc::channel();
    std::thread::spawn(move || {
        for what in coming {
            tell(&what);
            // Whoever follows the paths is gone with the lab.
            let _ = on.send(what);
        }
    });
    (events, told)
}

/// Follows what the nodes report of their paths, for as long as there is a lab.
fn watch(told: Receiver<What>, nodes: &Nodes) -> Arc<Mutex<Paths>> {
    let paths = Arc::<Mutex<Paths>>::default();
    let ids: BTreeMap<String, Machine> = nodes.ids().map(|(machine, id)| (id.to_owned(), machine)).collect();
    let kept = Arc::clone(&paths);
    std::thread::spawn(move || {
        for what in told {
            let What::Node { machine, event } = what else { continue };
            if let Ok(machine) = machine.parse() {
                lock(&kept).take(machine, &NodeEvent(event), |id| ids.get(id).copied());
            }
        }
    });
    paths
}

fn off(machine: Machine) -> Trouble {
    Trouble::lab(format!("{machine} is off")).hint(format!("natrig fault power_on {machine}"))
}
