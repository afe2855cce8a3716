//! One scenario's machines, joined by a switch.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use natrig_agent_proto::{Identity, Network, Nic, Request, Route};
use natrig_capture::{Direction, Trace};
use natrig_lab::{Halt, Host, Stand, Topology, station::Station};
use natrig_scenario::{Flow, Impairment, Link, Machine as Name, Scenario, Where};
use natrig_vmm::{AgentClient, CloneSpec, Machine, Slots, Turn};
use natrig_wire::Switch;
use rand::RngCore;

use crate::{
    Rig, Trouble, kind::Kind, model::Model, netem::Netem, port_mapping::PortMapper, reuse::Console,
    station::Stations,
};

/// How long a lab may wait for other labs on this host.
const QUEUE: Duration = Duration::from_secs(600);

/// How often a lab that waits for others looks whether the run is halted.
const LOOK: Duration = Duration::from_millis(500);

/// Where a kernel tells its release.
const RELEASE: &str = "/proc/sys/kernel/osrelease";

/// Connections a gateway can track; a guest's own default overflows in a birthday search.
const CONNTRACK_MAX: &str = "65536";

/// The machines of a scenario, running; dropping it ends them.
#[derive(Debug)]
pub struct Lab {
    pub(crate) topology: Topology,
    pub(crate) members: Vec<Member>,
    pub(crate) switch: Switch,
    pub(crate) seed: u64,
    pub(crate) served: u32,
    /// What a scenario's faults have cut.
    pub(crate) cut: Mutex<BTreeSet<Link>>,
    /// What they keep from each other.
    pub(crate) parted: Mutex<Vec<[Link; 2]>>,
    /// What gateways do to frames by themselves.
    pub(crate) netem: Mutex<Netem>,
    /// Until it is [set up](Self::set_up).
    pub(crate) turn: Option<Turn>,
    /// How long it waited for other labs.
    pub(crate) queued: Duration,
    /// The disk of its machines.
    pub(crate) disk: PathBuf,
    _slots: Slots,
}

/// A machine of a lab.
#[derive(Debug)]
pub struct Member {
    /// Which one.
    pub name: Name,
    machine: Machine,
    /// What it is a copy of.
    pub(crate) kind: Kind,
    pub(crate) console: Console,
    /// The NAT engine, where it runs in a process.
    pub(crate) model: Mutex<Option<Model>>,
    /// What maps ports, where hosts may ask for them.
    pub(crate) port_mapper: Mutex<Option<PortMapper>>,
}

impl Member {
    /// The way to talk to it.
    pub fn agent(&self) -> &AgentClient {
        self.machine.agent()
    }

    /// Its process.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

impl Lab {
    /// Boots the machines of a scenario, each with its own identity, addresses and routes, and the node's disk mounted.
    /// Captures, and what the machines' kernels say, go into the folder. No other lab is booted before this one is
    /// [set up](Self::set_up).
    pub fn boot(rig: &Rig, scenario: &Scenario, folder: &Path, halt: &Halt) -> Result<Self, Trouble> {
        Self::boot_only(rig, scenario, |_| true, folder, halt)
    }

    /// Boots some machines of a scenario; where the others would be, there is nobody.
    pub fn boot_only(
        rig: &Rig,
        scenario: &Scenario,
        only: impl Fn(Name) -> bool,
        folder: &Path,
        halt: &Halt,
    ) -> Result<Self, Trouble> {
        let topology = Topology::of(scenario);
        let hosts: Vec<&Host> = topology.hosts().iter().filter(|host| only(host.machine)).collect();
        let waiting = Instant::now();
        let disk = rig.disk_of(scenario, &mut |_| ())?.path().to_owned();
        let slots = room(rig, hosts.len(), halt)?;
        let turn = turn(rig, halt)?;
        let queued = waiting.elapsed();
        let captures = folder.join("captures");
        fs::create_dir_all(&captures)?;
        let (switch, mut cables) = wire(scenario, &topology, &captures, rig)?;
        let mut cables_of = |host: &Host| -> Vec<OwnedFd> {
            host.nics
                .iter()
                .filter_map(|nic| {
                    let at = cables.iter().position(|(link, _)| *link == nic.link)?;
                    Some(cables.swap_remove(at).1)
                })
                .collect()
        };
        let started: Vec<Result<Member, Trouble>> = std::thread::scope(|scope| {
            let threads: Vec<_> = hosts
                .into_iter()
                .map(|host| {
                    let nics = cables_of(host);
                    let kind = kind(scenario, host.machine);
                    let disk = &disk;
                    scope.spawn(move || {
                        start(rig, host, (kind, disk), nics, folder)
                            .map_err(|trouble| trouble.at(host.machine))
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(Trouble::lab("a thread panicked"))))
                .collect()
        });
        if halt.raised() {
            return Err(Trouble::lab("interrupted"));
        }
        let members = started.into_iter().collect::<Result<_, _>>()?;
        Ok(Lab {
            topology,
            members,
            switch,
            seed: rig.seed,
            served: 0,
            cut: Mutex::default(),
            parted: Mutex::default(),
            netem: Mutex::default(),
            turn: Some(turn),
            queued,
            disk,
            _slots: slots,
        })
    }

    /// Lets the next lab be booted, now that what costs processor time is done in this one.
    pub fn set_up(&mut self) {
        self.turn = None;
    }

    /// How long it waited for other labs of this host before anything was done.
    pub fn queued(&self) -> Duration {
        self.queued
    }

    /// Where everything is.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What all that is random in it comes from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// All machines.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A machine.
    pub fn member(&self, name: Name) -> Result<&Member, Trouble> {
        self.members
            .iter()
            .find(|member| member.name == name)
            .ok_or_else(|| Trouble::lab(format!("there is no machine `{name}`")))
    }

    /// A machine's agent.
    pub fn agent(&self, name: Name) -> Result<&AgentClient, Trouble> {
        Ok(self.member(name)?.agent())
    }

    /// The switch.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Plugs in stations; they are unplugged when they are dropped.
    pub fn stations<'a>(&self, stands: impl IntoIterator<Item = &'a Stand>) -> Result<Stations, Trouble> {
        let mut stations = Stations::new();
        for stand in stands {
            let link = &stand.link;
            let port =
                self.switch.port(link).ok_or_else(|| Trouble::lab(format!("there is no link `{link}`")))?;
            let station = Station::new(stand.mac, stand.addresses.clone(), stand.routes.clone());
            stations.add(station, self.switch.replug(port)?);
        }
        Ok(stations)
    }

    /// All that the wires have seen so far, read back from the capture files.
    pub fn trace(&self) -> Result<Trace, Trouble> {
        Ok(Trace::read_extent(&self.switch.flush()?)?)
    }

    /// Takes links off the wire, whatever a scenario does to them.
    pub(crate) fn take_off(&self, links: [Link; 2]) -> Result<(), Trouble> {
        links.into_iter().try_for_each(|link| Ok(self.switch.cut(port(&self.switch, link)?)?))
    }

    /// Puts links back on the wire that were taken off, but for those that a scenario has cut.
    pub(crate) fn put_back(&self, links: [Link; 2]) -> Result<(), Trouble> {
        let cut = lock(&self.cut);
        let whole = links.into_iter().filter(|link| !cut.contains(link));
        whole.into_iter().try_for_each(|link| Ok(self.switch.heal(port(&self.switch, link)?)?))
    }

    /// Ends a machine and starts another one in its place, on the same cables.
    pub(crate) fn restart(
        &mut self,
        rig: &Rig,
        scenario: &Scenario,
        name: Name,
        folder: &Path,
    ) -> Result<(), Trouble> {
        let at = self.members.iter().position(|member| member.name == name);
        let at = at.ok_or_else(|| Trouble::lab(format!("there is no machine `{name}`")))?;
        // Two of one name would answer each other's ARP.
        self.members.remove(at);
        let member = plugged_in(self, rig, scenario, name, folder)?;
        self.members.insert(at, member);
        self.impair_anew(name)
    }

    /// The kernels of machines that boot something else than the usual image, by machine.
    pub(crate) fn kernels(&self) -> Result<BTreeMap<String, String>, Trouble> {
        let named = self.members.iter().filter(|member| member.kind.base.is_some());
        named
            .map(|member| {
                let release = member.agent().read_file(RELEASE, 256)?;
                Ok((member.name.to_string(), String::from_utf8_lossy(&release).trim_end().to_owned()))
            })
            .collect()
    }

    /// Whether some machines are a distribution's, which serve one cell only.
    pub(crate) fn has_tenants(&self) -> bool {
        self.members.iter().any(|member| member.kind.is_cloud())
    }

    /// The processor time that all machines have had so far, on the host.
    pub fn processor_time(&self) -> Result<Duration, Trouble> {
        self.members.iter().map(|member| Ok(member.machine.processor_time()?)).sum()
    }

    /// How long all machines have waited so far for a processor of the host, where its kernel counts that.
    pub fn processor_wait(&self) -> Option<Duration> {
        self.members.iter().map(|member| member.machine.processor_wait()).sum()
    }

    /// Own memory of all machines, in bytes.
    pub fn own_memory(&self) -> Result<u64, Trouble> {
        self.members.iter().map(|member| Ok(member.machine.own_memory()?)).sum()
    }
}

/// Waits until there is room for machines, unless the run is halted.
fn room(rig: &Rig, count: usize, halt: &Halt) -> Result<Slots, Trouble> {
    queue(halt, &format!("no room for {count} more machines"), || {
        match Slots::acquire(&rig.store, count, LOOK) {
            // Those that might serve another cell have room that this one needs now.
            Err(natrig_vmm::Error::Timeout { .. }) => {
                rig.give_up_idle();
                Ok(None)
            }
            done => Ok(Some(done?)),
        }
    })
}

/// Waits until no other lab is being set up, unless the run is halted.
pub(crate) fn turn(rig: &Rig, halt: &Halt) -> Result<Turn, Trouble> {
    queue(halt, "other labs were being set up all the time", || Ok(Turn::take(&rig.store, LOOK)?))
}

/// Tries until something is to be had.
fn queue<T>(
    halt: &Halt,
    complaint: &str,
    mut attempt: impl FnMut() -> Result<Option<T>, Trouble>,
) -> Result<T, Trouble> {
    let deadline = Instant::now() + QUEUE;
    loop {
        if let Some(had) = attempt()? {
            return Ok(had);
        }
        if halt.raised() {
            return Err(Trouble::lab("interrupted"));
        }
        if over(deadline, halt) {
            let minutes = QUEUE.as_secs() / 60;
            return Err(Trouble::lab(format!("{complaint}, for {minutes} minutes"))
                .hint("other labs run on this host; natrig down ends one that is kept up"));
        }
    }
}

pub(crate) fn port(switch: &Switch, link: Link) -> Result<natrig_wire::Port, Trouble> {
    switch.port(link.name()).ok_or_else(|| Trouble::lab(format!("the switch has no link `{link}`")))
}

/// What a machine is a copy of.
pub(crate) fn kind(scenario: &Scenario, machine: Name) -> Kind {
    Kind::of(scenario, machine)
}

/// Segments and links, with the conditions and filters of the scenario in force.
fn wire(
    scenario: &Scenario,
    topology: &Topology,
    captures: &Path,
    rig: &Rig,
) -> Result<(Switch, Vec<(Link, OwnedFd)>), Trouble> {
    let mut builder = Switch::builder();
    builder.seed(rig.seed).capture_into(captures);
    if let Some(bytes) = rig.ring {
        builder.keep_newest(bytes);
    }
    let mut segments = BTreeMap::new();
    let mut cables = Vec::new();
    for (link, segment) in topology.links() {
        let segment = *segments.entry(segment).or_insert_with(|| builder.segment());
        cables.push((link, builder.port(segment, link.name())?.1));
    }
    // Nobody is there until a station is plugged in.
    for stand in topology.gateways().iter().flat_map(|place| topology.stands(place)) {
        if let Some(segment) = segments.get(&stand.segment) {
            builder.port(*segment, stand.link)?;
        }
    }
    for segment in topology.attached() {
        if let Some(at) = segments.get(segment) {
            builder.port(*at, segment.attachment())?;
        }
    }
    let switch = builder.start()?;
    condition(&switch, scenario)?;
    Ok((switch, cables))
}

/// A machine that is started on new cables in the place of the one that was there.
pub(crate) fn plugged_in(
    lab: &Lab,
    rig: &Rig,
    scenario: &Scenario,
    name: Name,
    folder: &Path,
) -> Result<Member, Trouble> {
    let host = lab.topology.hosts().iter().find(|host| host.machine == name);
    let host = host.ok_or_else(|| Trouble::lab(format!("{name} is not in the topology")))?;
    let cables = host.nics.iter().map(|nic| Ok(lab.switch.replug(port(&lab.switch, nic.link)?)?));
    let cables = cables.collect::<Result<_, Trouble>>()?;
    start(rig, host, (kind(scenario, name), &lab.disk), cables, folder)
}

/// Puts a scenario's conditions and filters in force.
pub(crate) fn condition(switch: &Switch, scenario: &Scenario) -> Result<(), Trouble> {
    impair(switch, &scenario.links)?;
    for filter in &scenario.filters {
        let [a, b] = filter.between;
        let (a, b) = (port(switch, a)?, port(switch, b)?);
        switch.block(a, b)?;
        switch.block(b, a)?;
    }
    Ok(())
}

/// Puts those conditions of links in force that the switch makes.
pub(crate) fn impair(switch: &Switch, impairments: &[Impairment]) -> Result<(), Trouble> {
    for impairment in impairments.iter().filter(|it| it.at == Where::Link) {
        let port = port(switch, impairment.link)?;
        let directions: &[Direction] = match impairment.flow {
            Flow::In => &[Direction::Outbound],
            Flow::Out => &[Direction::Inbound],
            Flow::Both => &[Direction::Inbound, Direction::Outbound],
        };
        for direction in directions {
            switch.condition(port, *direction, impairment.conditions)?;
        }
    }
    Ok(())
}

fn start(
    rig: &Rig,
    host: &Host,
    (kind, disk): (Kind, &Path),
    nics: Vec<OwnedFd>,
    folder: &Path,
) -> Result<Member, Trouble> {
    let template = rig.template(&kind, &mut |_| ())?;
    let console = log(folder, &format!("{}.console.log", host.machine))?;
    let said = Console::new(console.try_clone()?);
    let spec = CloneSpec { nics, disk: Some(disk.to_owned()), console };
    let machine = template.spawn(spec).map_err(|error| match error {
        // A template whose copies do not come up is of no use to anybody; the next run makes a new one.
        error @ natrig_vmm::Error::Boot { .. } => {
            let hint = match rig.discard(&kind) {
                Ok(()) => "the template was removed; run again".to_owned(),
                Err(error) => format!("natrig clean, since the template could not be removed: {error}"),
            };
            Trouble::lab(error).hint(hint)
        }
        error => Trouble::lab(error),
    })?;
    let agent = machine.agent();
    agent.done(Request::Identify(identity(host.machine)))?;
    agent.done(Request::Network(network(host)))?;
    agent.done(Request::MountApp)?;
    Ok(Member {
        name: host.machine,
        machine,
        kind,
        console: said,
        model: Mutex::default(),
        port_mapper: Mutex::default(),
    })
}

/// What makes a copy another machine than its siblings.
pub(crate) fn identity(name: Name) -> Identity {
    let mut random = rand::rng();
    let mut entropy = vec![0; 64];
    random.fill_bytes(&mut entropy);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Identity {
        entropy,
        hostname: name.name().to_owned(),
        machine_id: format!("{:016x}{:016x}", random.next_u64(), random.next_u64()),
        realtime_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
    }
}

pub(crate) fn network(host: &Host) -> Network {
    let gateway = host.gateway.is_some();
    Network {
        nics: host
            .nics
            .iter()
            .map(|nic| Nic { name: nic.name.to_owned(), mac: nic.mac, addresses: nic.addresses.clone() })
            .collect(),
        routes: host.routes.iter().map(|(to, length, via)| Route { to: (*to, *length), via: *via }).collect(),
        forward: gateway,
        sysctls: if gateway {
            vec![("net/netfilter/nf_conntrack_max".to_owned(), CONNTRACK_MAX.to_owned())]
        } else {
            Vec::new()
        },
    }
}

/// Opens a log of a cell for appending.
pub(crate) fn log(folder: &Path, name: &str) -> Result<File, Trouble> {
    let logs = folder.join("logs");
    fs::create_dir_all(&logs)?;
    Ok(OpenOptions::new().create(true).read(true).append(true).open(logs.join(name))?)
}

/// Whether a wait is over: the time is up or the run is halted.
pub(crate) fn over(deadline: Instant, halt: &Halt) -> bool {
    halt.raised() || Instant::now() >= deadline
}

/// A lock whose holder may have panicked.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
