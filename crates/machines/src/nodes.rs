//! The nodes of a scenario, started.

use std::{collections::BTreeMap, path::Path, sync::mpsc::Sender, time::Instant};

use natrig_lab::{
    App, Halt,
    cell::READY,
    node::{NodeEvent, missed},
};
use natrig_record::What;
use natrig_scenario::{Machine, Scenario, Seen};

use crate::{Lab, Trouble, Who, gateway::at_once, lab::log, node::Node};

/// Takes what nodes report.
pub type Events = Sender<What>;

/// The public nodes and the peers.
#[derive(Debug)]
pub struct Nodes {
    all: Vec<Node>,
    ids: BTreeMap<Machine, String>,
    peers: Vec<Machine>,
}

/// The public nodes, running.
#[derive(Debug)]
pub struct Public {
    nodes: Vec<Node>,
    ids: BTreeMap<Machine, String>,
}

/// Starts the public nodes, which need no gateway, each when the one before it has said who it is.
pub fn start_public(
    lab: &Lab,
    scenario: &Scenario,
    folder: &Path,
    halt: &Halt,
    events: &Events,
) -> Result<Public, Trouble> {
    let mut public = Public { nodes: Vec::new(), ids: BTreeMap::new() };
    for machine in scenario.layout().public() {
        let argv = App.public(scenario, lab.topology(), machine, &public.ids);
        let node = start(lab, machine, argv, folder, events)?;
        public.ids.insert(machine, identity(&node, Instant::now() + READY, halt)?);
        public.nodes.push(node);
    }
    Ok(public)
}

impl Nodes {
    /// Starts the peers and waits until they have said who they are.
    pub fn start(
        lab: &Lab,
        scenario: &Scenario,
        public: Public,
        folder: &Path,
        halt: &Halt,
        events: &Events,
    ) -> Result<Self, Trouble> {
        let deadline = Instant::now() + READY;
        let peer = |name: Machine| -> Result<(Node, String), Trouble> {
            let argv = App.peer(scenario, lab.topology(), name, &public.ids);
            let node = start(lab, name, argv, folder, events)?;
            let id = identity(&node, deadline, halt)?;
            Ok((node, id))
        };
        let peers: Vec<Machine> = scenario.layout().peers().collect();
        let started = at_once(peers.iter().copied(), peer)?;
        let Public { nodes: mut all, mut ids } = public;
        for (node, id) in started {
            ids.insert(node.name(), id);
            all.push(node);
        }
        Ok(Nodes { all, ids, peers })
    }

    /// What all nodes are called on the mesh.
    pub fn ids(&self) -> impl Iterator<Item = (Machine, &str)> {
        self.ids.iter().map(|(machine, id)| (*machine, id.as_str()))
    }

    /// What a machine's node is called on the mesh.
    pub fn id(&self, machine: Machine) -> Result<&str, Trouble> {
        let id = self.ids.get(&machine).map(String::as_str);
        id.ok_or_else(|| Trouble::lab(format!("no node has run on {machine}")))
    }

    /// Waits until each peer has found a public node.
    pub fn bootstrapped(&self, halt: &Halt) -> Result<(), Trouble> {
        let deadline = Instant::now() + READY;
        self.peers.iter().try_for_each(|peer| {
            let node = self.on(*peer)?;
            let found = |event: &NodeEvent| event.is("bootstrapped");
            node.wait_for("it had found its relay", deadline, halt, found).map(|_| ())
        })
    }

    /// The node on a machine.
    pub fn on(&self, machine: Machine) -> Result<&Node, Trouble> {
        let node = self.all.iter().find(|node| node.name() == machine);
        node.ok_or_else(|| Trouble::lab(format!("no node runs on {machine}")))
    }

    /// Waits for what a scenario expects a node to have reported since a time.
    pub fn expect(&self, seen: &Seen, since: Instant, halt: &Halt) -> Result<(), Trouble> {
        let id = |machine| self.ids.get(&machine).cloned();
        let node = self.on(seen.at)?;
        let mut count = 0;
        let until = Instant::now() + seen.within;
        let found = node.wait(&seen.to_string(), until, halt, |events| {
            let shown = events.iter().filter(|one| one.at >= since && one.event.shows(seen, id));
            count = shown.count();
            (count >= seen.times.max(1)).then_some(())
        });
        match found {
            Err(trouble) if trouble.who == Who::Lab => Err(trouble),
            found if found.is_ok() == (seen.times > 0) => Ok(()),
            _ => Err(missed(seen, count).lines(node.tail())),
        }
    }
}

fn start(
    lab: &Lab,
    name: Machine,
    argv: Vec<String>,
    folder: &Path,
    events: &Events,
) -> Result<Node, Trouble> {
    let events = events.clone();
    let log = log(folder, &format!("{name}.log"))?;
    Node::start(lab.agent(name)?, name, argv, log, move |what| {
        let _ = events.send(what);
    })
}

/// A node's name on the mesh, by its own event.
fn identity(node: &Node, deadline: Instant, halt: &Halt) -> Result<String, Trouble> {
    let started = node.wait_for("it had started", deadline, halt, |event| event.is("started"))?;
    let id = started.text("id");
    let id = id.ok_or_else(|| Trouble::node(format!("{}: `started` without an id", node.name())))?;
    Ok(id.to_owned())
}
