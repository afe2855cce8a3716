//! What is done to links, nodes and machines while a scenario runs, each read back: what did not take is the lab's fault.

use std::{
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use natrig_capture::Direction;
use natrig_lab::Halt;
use natrig_netmodel::Conditions;
use natrig_scenario::{
    Action, Impairment, Link, Machine, MachineFault, NodeFault, Scenario, Segment, Shift, Site, Stun,
};

use crate::{
    Lab, Rig, Trouble,
    gateway::{self, expect},
    lab::{self, impair, lock, over, port},
    memory,
    nodes::{Events, Nodes},
};

/// How often a lab that is left alone looks whether the run is halted.
const LOOK: Duration = Duration::from_millis(100);

/// How long a node may take to end when it is told to.
const GOODBYE: Duration = Duration::from_secs(10);

/// How far a clock may be from what it was set to: more than an emulated machine takes to say what time it is.
const SLACK: Duration = Duration::from_secs(3);

/// The numbers of signals.
const KILL: i32 = 9;
const TERMINATE: i32 = 15;
const CONTINUE: i32 = 18;
const STOP: i32 = 19;

/// What faults are done to.
pub(crate) struct Faults<'a> {
    pub rig: &'a Rig,
    pub scenario: &'a Scenario,
    pub folder: &'a Path,
    pub halt: &'a Halt,
    pub lab: &'a mut Lab,
    /// None before the peers have been started.
    pub nodes: Option<&'a Nodes>,
    pub events: &'a Events,
}

impl Faults<'_> {
    /// Does what is no gateway's affair.
    pub fn befall(&mut self, action: &Action) -> Result<(), Trouble> {
        let done = match action {
            Action::Cut(link) => self.lab.cut(*link),
            Action::Heal(link) => self.lab.heal(*link),
            Action::Flap(link, times, every) => self.flap(*link, *times, *every),
            Action::Impair(impairments) => self.lab.impair(impairments),
            Action::Mend(link) => self.mend(*link),
            Action::Partition(partition) => self.lab.part(&partition.blocked()),
            Action::Rejoin(segment) => self.lab.rejoin(*segment),
            Action::Node(machine, fault) => self.node(*machine, *fault),
            Action::Machine(machine, fault) => self.machine(*machine, *fault),
            Action::Roam(peer, site) => self.roam(*peer, *site),
            Action::Clock(machine, shift) => self.clock(*machine, *shift),
            Action::Connect(from, to) => self.nodes()?.connect(*from, *to),
            Action::Ask(name, errand) => self.nodes()?.ask(*name, *errand),
            Action::Gateway(..) | Action::Expect(_) | Action::Idle(_) => {
                Err(Trouble::lab("that is nothing that is done to a link, a node or a machine"))
            }
        };
        done.map_err(|trouble| trouble.at(action))
    }

    fn nodes(&self) -> Result<&Nodes, Trouble> {
        self.nodes.ok_or_else(|| Trouble::lab("no peer has been started yet"))
    }

    fn flap(&self, link: Link, times: usize, every: Duration) -> Result<(), Trouble> {
        for _ in 0..times {
            self.lab.cut(link)?;
            idle(every, self.halt)?;
            self.lab.heal(link)?;
            idle(every, self.halt)?;
        }
        Ok(())
    }

    fn mend(&self, link: Link) -> Result<(), Trouble> {
        let switch = self.lab.switch();
        for direction in [Direction::Inbound, Direction::Outbound] {
            switch.condition(port(switch, link)?, direction, Conditions::default())?;
        }
        self.lab.mend_in_gateway(link)?;
        let first: Vec<_> = self.scenario.links.iter().filter(|one| one.link == link).copied().collect();
        self.lab.impair(&first)
    }

    fn node(&self, machine: Machine, fault: NodeFault) -> Result<(), Trouble> {
        let nodes = self.nodes()?;
        let node = nodes.on(machine)?;
        match fault {
            NodeFault::Kill => {
                node.signal(KILL)?;
                node.wait_for_end(Instant::now() + GOODBYE, self.halt)?;
                nodes.forgets(machine);
            }
            NodeFault::Stop => {
                node.signal(TERMINATE)?;
                node.wait_for_end(Instant::now() + GOODBYE, self.halt)?;
                nodes.forgets(machine);
            }
            NodeFault::Pause => {
                node.signal(STOP)?;
                self.stands_still(machine, true)?;
            }
            NodeFault::Resume => {
                node.signal(CONTINUE)?;
                self.stands_still(machine, false)?;
            }
            NodeFault::Limit(mebibytes) => memory::limit(self.lab.agent(machine)?, mebibytes)?,
            NodeFault::Restart => {
                if node.runs() {
                    node.signal(KILL)?;
                    node.wait_for_end(Instant::now() + GOODBYE, self.halt)?;
                }
                nodes.forgets(machine);
                nodes.start_anew(self.lab, machine, self.folder, self.halt, self.events)?;
            }
        }
        Ok(())
    }

    /// Reads back whether a node's process is stopped.
    fn stands_still(&self, machine: Machine, wanted: bool) -> Result<(), Trouble> {
        let script = "cat /proc/$(pidof omerta-mesh)/stat";
        let output = expect(self.lab.agent(machine)?, &["sh", "-c", script])?;
        let text = String::from_utf8_lossy(&output.stdout);
        let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if (state == Some('T')) == wanted {
            return Ok(());
        }
        Err(Trouble::lab("its process is not as it should be").lines([text.into_owned()]))
    }

    fn machine(&mut self, name: Machine, fault: MachineFault) -> Result<(), Trouble> {
        match fault {
            MachineFault::PowerOff => {
                self.lab.power_off(name, self.folder)?;
                self.nodes.iter().for_each(|nodes| nodes.forgets(name));
                Ok(())
            }
            MachineFault::PowerOn => {
                self.lab.power_on(self.rig, self.scenario, name, self.folder)?;
                if name == Machine::RELAY && self.scenario.node.stun == Stun::Server {
                    // It runs for as long as its machine does.
                    gateway::start_stun(self.lab)?;
                }
                self.nodes()?.start_anew(self.lab, name, self.folder, self.halt, self.events)
            }
            MachineFault::Freeze => Ok(self.lab.member(name)?.machine().pause()?),
            MachineFault::Thaw => Ok(self.lab.member(name)?.machine().resume()?),
        }
    }

    fn roam(&self, peer: Machine, site: Site) -> Result<(), Trouble> {
        let link = peer.lan().ok_or_else(|| Trouble::lab(format!("{peer} has no LAN")))?;
        let beside = site.gateway().lan().ok_or_else(|| Trouble::lab("there is no such LAN"))?;
        let switch = self.lab.switch();
        let (_, (address, length), hop) = self.lab.topology().roamed(peer, site);
        // The cable is out for a moment, as with any host that is carried from one room to another.
        self.lab.cut(link)?;
        switch.move_beside(port(switch, link)?, port(switch, beside)?)?;
        let script = format!(
            "ip -4 addr flush dev lan && ip neigh flush dev lan && ip addr add {address}/{length} brd + dev lan && \
             ip route replace default via {hop} && ip -4 -o addr show dev lan"
        );
        let output = expect(self.lab.agent(peer)?, &["sh", "-c", &script])?;
        self.lab.heal(link)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let found = said.split_whitespace().skip_while(|word| *word != "inet").nth(1);
        let found = found.and_then(|address| address.split('/').next()?.parse::<Ipv4Addr>().ok());
        if found == Some(address) {
            return Ok(());
        }
        Err(Trouble::lab(format!("its address is not {address}")).lines([said.into_owned()]))
    }

    fn clock(&self, machine: Machine, Shift { by, back }: Shift) -> Result<(), Trouble> {
        let agent = self.lab.agent(machine)?;
        let now = || -> Result<i64, Trouble> {
            let output = expect(agent, &["date", "+%s"])?;
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(text.trim().parse()?)
        };
        let by = i64::try_from(by.as_secs())? * if back { -1 } else { 1 };
        let wanted = now()? + by;
        expect(agent, &["date", "-s", &format!("@{wanted}")])?;
        let found = now()?;
        if found.abs_diff(wanted) <= SLACK.as_secs() {
            return Ok(());
        }
        Err(Trouble::lab(format!("its clock says {found} and not {wanted}")))
    }
}

/// Leaves everything alone for a while.
pub(crate) fn idle(time: Duration, halt: &Halt) -> Result<(), Trouble> {
    let until = Instant::now() + time;
    while !over(until, halt) {
        std::thread::sleep(until.saturating_duration_since(Instant::now()).min(LOOK));
    }
    if halt.raised() { Err(Trouble::lab("interrupted")) } else { Ok(()) }
}

impl Lab {
    /// Lets nothing pass a link.
    pub fn cut(&self, link: Link) -> Result<(), Trouble> {
        self.switch.cut(port(&self.switch, link)?)?;
        lock(&self.cut).insert(link);
        Ok(())
    }

    /// Lets everything pass a link again.
    pub fn heal(&self, link: Link) -> Result<(), Trouble> {
        let port = port(&self.switch, link)?;
        self.switch.heal(port)?;
        // Also where it was cut from the start.
        self.switch.restore(port)?;
        lock(&self.cut).remove(&link);
        Ok(())
    }

    /// Has links do to frames what a scenario tells, in the switch or in their gateways.
    fn impair(&self, impairments: &[Impairment]) -> Result<(), Trouble> {
        impair(&self.switch, impairments)?;
        self.impair_in_gateways(impairments)
    }

    fn part(&self, pairs: &[[Link; 2]]) -> Result<(), Trouble> {
        for [from, to] in pairs {
            self.switch.block(port(&self.switch, *from)?, port(&self.switch, *to)?)?;
        }
        lock(&self.parted).extend_from_slice(pairs);
        Ok(())
    }

    fn rejoin(&self, segment: Segment) -> Result<(), Trouble> {
        let there: Vec<Link> =
            self.topology.links().filter(|(_, on)| *on == segment).map(|(link, _)| link).collect();
        let rejoined: Vec<[Link; 2]> =
            lock(&self.parted).extract_if(.., |[from, _]| there.contains(from)).collect();
        self.unblock(&rejoined)
    }

    /// Keeps links of one machine from all others, but for stations; gives the pairs between which something passed before.
    pub(crate) fn isolate(&self, links: [Link; 2], scenario: &Scenario) -> Result<Vec<[Link; 2]>, Trouble> {
        let others = self.topology.links().map(|(link, _)| link).filter(|link| !links.contains(link));
        let pairs = others.flat_map(|other| links.map(|link| [[link, other], [other, link]])).flatten();
        let filtered = |[from, to]: &[Link; 2]| {
            scenario.filters.iter().any(|filter| filter.between.contains(from) && filter.between.contains(to))
        };
        let parted = lock(&self.parted);
        let pairs: Vec<[Link; 2]> = pairs.filter(|pair| !parted.contains(pair) && !filtered(pair)).collect();
        for [from, to] in &pairs {
            self.switch.block(port(&self.switch, *from)?, port(&self.switch, *to)?)?;
        }
        Ok(pairs)
    }

    pub(crate) fn unblock(&self, pairs: &[[Link; 2]]) -> Result<(), Trouble> {
        for [from, to] in pairs {
            self.switch.unblock(port(&self.switch, *from)?, port(&self.switch, *to)?)?;
        }
        Ok(())
    }

    /// Ends a machine, as if its power had failed.
    fn power_off(&mut self, name: Machine, folder: &Path) -> Result<(), Trouble> {
        let at = self.members.iter().position(|member| member.name == name);
        let at = at.ok_or_else(|| Trouble::lab("it is off already"))?;
        let member = self.members.remove(at);
        member.console.gather(folder, &name.to_string())
    }

    /// Starts a machine that is off, on the cables that it had.
    fn power_on(
        &mut self,
        rig: &Rig,
        scenario: &Scenario,
        name: Machine,
        folder: &Path,
    ) -> Result<(), Trouble> {
        if self.members.iter().any(|member| member.name == name) {
            return Err(Trouble::lab("it is on already"));
        }
        let member = lab::plugged_in(self, rig, scenario, name, folder)?;
        self.members.push(member);
        Ok(())
    }
}
