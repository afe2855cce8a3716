//! What is to be seen of a lab that is kept up.

use std::{collections::BTreeMap, fmt};

use natrig_lab::{
    life,
    paths::{Paths, Way},
};
use natrig_netmodel::Conditions;
use natrig_scenario::{Flow, Impairment, Link, Machine, Nat, Scenario, Site, Where};
use natrig_vmm::AgentClient;
use serde::Serialize;

use super::Held;
use crate::{lab::lock, nodes::Nodes};

/// What is seen of a lab without waiting for whoever does something to it.
#[derive(Debug)]
pub(super) struct Seen {
    pub state: State,
    pub agents: BTreeMap<Machine, AgentClient>,
    pub nats: Vec<Nat>,
    pub sites: BTreeMap<Machine, Site>,
}

/// What is broken in a lab, and which way its nodes reach each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// Links that nothing passes.
    pub cut: Vec<&'static str>,
    /// Links that are not perfect, as a fault says it behind `impair:`.
    pub impaired: Vec<String>,
    /// From which link to which other one of its segment nothing passes.
    pub parted: Vec<[&'static str; 2]>,
    /// Gateways that are not what they were at first, and what they are.
    pub gateways: BTreeMap<&'static str, String>,
    /// Machines without power.
    pub off: Vec<&'static str>,
    /// Machines whose processor stands still.
    pub frozen: Vec<&'static str>,
    /// Machines that are on and whose node does not run.
    pub ended: Vec<&'static str>,
    /// Machines whose node stands still.
    pub paused: Vec<&'static str>,
    /// Peers that have moved, and to which LAN.
    pub moved: BTreeMap<&'static str, String>,
    /// What is being done.
    pub doing: Vec<String>,
    /// Which way nodes reach each other, by their own word.
    pub paths: Vec<PathOf>,
}

/// The way of a node to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathOf {
    /// Whose word it is.
    pub from: &'static str,
    /// To whom.
    pub to: &'static str,
    /// The way.
    #[serde(flatten)]
    pub way: Way,
}

impl State {
    /// The same with what is seen of nodes.
    pub(super) fn with(self, doing: Vec<String>, nodes: &Nodes, paths: &Paths) -> Self {
        let runs = |machine| nodes.on(machine).is_ok_and(|node| node.runs());
        let ended = nodes.ids().map(|(machine, _)| machine).filter(|machine| !runs(*machine));
        let ended = ended.map(Machine::name).filter(|name| !self.off.contains(name)).collect();
        let paths = paths
            .iter()
            .filter(|(from, ..)| runs(*from))
            .map(|(from, to, way)| PathOf { from: from.name(), to: to.name(), way: way.clone() })
            .collect();
        State { doing, ended, paths, ..self }
    }
}

impl Held {
    pub(super) fn seen(&self, scenario: &Scenario) -> Seen {
        let on = |machine: &Machine| self.lab.member(*machine).is_ok();
        let gateways = self.lab.topology().gateways().iter().zip(self.listing.standing());
        let parted = lock(&self.lab.parted).iter().map(|pair| pair.map(|link| link.name())).collect();
        let state = State {
            cut: lock(&self.lab.cut).iter().map(|link| link.name()).collect(),
            impaired: self.conditions.iter().flat_map(impaired).map(|one| one.to_string()).collect(),
            parted,
            gateways: gateways
                .filter(|(first, now)| **first != now.place)
                .map(|(first, now)| {
                    let profile = &now.place.gateway.profile;
                    let ports = match first.gateway.profile.ports.range == profile.ports.range {
                        true => String::new(),
                        false => format!(", ports from {}", profile.ports.range),
                    };
                    (first.machine.name(), format!("{}, {}{ports}", profile.name, life::list(&now.place)))
                })
                .collect(),
            off: self
                .lab
                .topology()
                .hosts()
                .iter()
                .map(|host| host.machine)
                .filter(|machine| !on(machine))
                .map(Machine::name)
                .collect(),
            frozen: self.frozen.iter().map(|machine| machine.name()).collect(),
            paused: self.paused.iter().map(|machine| machine.name()).collect(),
            moved: self
                .sites
                .iter()
                .filter(|(machine, site)| machine.site() != Some(**site))
                .map(|(machine, site)| {
                    let (segment, (address, _), _) = self.lab.topology().roamed(*machine, *site);
                    (machine.name(), format!("{segment}, {address}"))
                })
                .collect(),
            ..State::default()
        };
        let agents = self.lab.members().iter().map(|member| (member.name, member.agent().clone()));
        Seen { state, agents: agents.collect(), nats: self.nats(scenario), sites: self.sites.clone() }
    }

    /// What stands before each site.
    fn nats(&self, scenario: &Scenario) -> Vec<Nat> {
        let mut now = scenario.clone();
        for standing in self.listing.standing() {
            if let Ok(another) = life::with(&now, standing.place.machine, &standing.place.gateway) {
                now = another;
            }
        }
        for (nat, first) in now.nats.iter_mut().zip(&scenario.nats) {
            let names = |nat: &Nat| -> Vec<String> {
                nat.gateways.iter().map(|gateway| gateway.profile.name.clone()).collect()
            };
            if names(nat) != names(first) {
                nat.name = names(nat).join(" behind ");
            }
        }
        now.nats
    }
}

/// What a link is like each way, as one where that is the same.
fn impaired((&(link, at), [into, out]): (&(Link, Where), &[Conditions; 2])) -> Vec<Impairment> {
    let one = |flow, conditions: &Conditions| Impairment { link, flow, conditions: *conditions, at };
    let each = match into == out {
        true => vec![one(Flow::Both, into)],
        false => vec![one(Flow::In, into), one(Flow::Out, out)],
    };
    each.into_iter().filter(|one| !one.conditions.is_perfect()).collect()
}

/// A line for each thing that is not as it was at first, and for each path.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { cut, impaired, parted, gateways, off, frozen, ended, paused, moved, doing, paths } = self;
        cut.iter().try_for_each(|link| writeln!(f, "cut: {link}"))?;
        impaired.iter().try_for_each(|one| writeln!(f, "impaired: {one}"))?;
        parted.iter().try_for_each(|[from, to]| writeln!(f, "parted: nothing from {from} to {to}"))?;
        gateways.iter().try_for_each(|(gateway, now)| writeln!(f, "changed: {gateway} is now {now}"))?;
        off.iter().try_for_each(|machine| writeln!(f, "off: {machine}"))?;
        frozen.iter().try_for_each(|machine| writeln!(f, "frozen: {machine}"))?;
        ended.iter().try_for_each(|machine| writeln!(f, "ended: the node in {machine}"))?;
        paused.iter().try_for_each(|machine| writeln!(f, "paused: the node in {machine}"))?;
        moved.iter().try_for_each(|(machine, lan)| writeln!(f, "moved: {machine} to {lan}"))?;
        doing.iter().try_for_each(|what| writeln!(f, "being done: {what}"))?;
        paths.iter().try_for_each(|path| writeln!(f, "path: {path}"))
    }
}

impl fmt::Display for PathOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PathOf { from, to, way: Way { path, kind, why } } = self;
        write!(f, "{from} to {to} {}", path.as_deref().unwrap_or("none"))?;
        if let Some(kind) = kind.as_ref().filter(|kind| Some(*kind) != path.as_ref()) {
            write!(f, " ({kind})")?;
        }
        why.iter().try_for_each(|why| write!(f, ": {why}"))
    }
}
