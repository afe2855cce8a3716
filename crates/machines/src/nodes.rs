//! The nodes of a scenario, started.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, mpsc::Sender},
    time::Instant,
};

use natrig_lab::{
    App, Halt,
    cell::READY,
    node::{BROADCAST, NodeEvent, missed},
    talk::Conversation,
};
use natrig_record::What;
use natrig_scenario::{Action, Errand, Machine, MachineFault, Scenario, Seen};
use serde_json::json;

use crate::{
    Lab, Trouble, Who,
    gateway::at_once,
    lab::{lock, log},
    node::{Listener, Node},
};

/// Takes what nodes report.
pub type Events = Sender<What>;

/// The public nodes and the peers.
#[derive(Debug)]
pub struct Nodes {
    all: Mutex<BTreeMap<Machine, Arc<Node>>>,
    parts: BTreeMap<Machine, Part>,
    /// What they say to each other while things are broken.
    pub(crate) conversations: Mutex<Vec<Conversation>>,
    /// What times in them count from.
    pub(crate) talking_since: Mutex<Option<Instant>>,
    listener: Mutex<Option<Listener>>,
}

/// What a machine's node is, whenever it is started.
#[derive(Debug)]
struct Part {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    id: String,
    /// Kept where its machine may lose it.
    key: Option<Vec<u8>>,
}

/// The public nodes, running.
#[derive(Debug)]
pub struct Public(Vec<(Node, Part)>);

impl Public {
    fn ids(&self) -> BTreeMap<Machine, String> {
        self.0.iter().map(|(node, part)| (node.name(), part.id.clone())).collect()
    }
}

/// Starts the public nodes, which need no gateway, each when the one before it has said who it is.
pub fn start_public(
    lab: &Lab,
    scenario: &Scenario,
    folder: &Path,
    halt: &Halt,
    events: &Events,
) -> Result<Public, Trouble> {
    let mut public = Public(Vec::new());
    for machine in scenario.layout().public() {
        let argv = App.public(scenario, lab.topology(), machine, &public.ids());
        public.0.push(begin(lab, scenario, machine, argv, (folder, halt, events))?);
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
        let ids = public.ids();
        let started = at_once(scenario.layout().peers(), |name| {
            let argv = App.peer(scenario, lab.topology(), name, &ids);
            begin(lab, scenario, name, argv, (folder, halt, events))
        })?;
        let (mut all, mut parts) = (BTreeMap::new(), BTreeMap::new());
        for (node, part) in public.0.into_iter().chain(started) {
            parts.insert(node.name(), part);
            all.insert(node.name(), Arc::new(node));
        }
        Ok(Nodes {
            all: Mutex::new(all),
            parts,
            conversations: Mutex::default(),
            talking_since: Mutex::default(),
            listener: Mutex::default(),
        })
    }

    /// What all nodes are called on the mesh.
    pub fn ids(&self) -> impl Iterator<Item = (Machine, &str)> {
        self.parts.iter().map(|(machine, part)| (*machine, part.id.as_str()))
    }

    /// What a machine's node is called on the mesh.
    pub fn id(&self, machine: Machine) -> Result<&str, Trouble> {
        Ok(&self.part(machine)?.id)
    }

    /// Keeps the keys of all nodes where their machines may lose them.
    pub(crate) fn keep_keys(&mut self, lab: &Lab) -> Result<(), Trouble> {
        let keys = at_once(self.parts.keys().copied(), |machine| {
            Ok((machine, lab.agent(machine)?.read_file(App::KEY, 4096)?))
        })?;
        for (machine, key) in keys {
            self.parts.entry(machine).and_modify(|part| part.key = Some(key));
        }
        Ok(())
    }

    /// Waits until each peer has found a public node.
    pub fn bootstrapped(&self, halt: &Halt) -> Result<(), Trouble> {
        let deadline = Instant::now() + READY;
        let peers = self.parts.keys().filter(|machine| machine.public().is_none());
        peers.into_iter().try_for_each(|peer| {
            let found = |event: &NodeEvent| event.is("bootstrapped");
            self.on(*peer)?.wait_for("it had found its relay", deadline, halt, found).map(|_| ())
        })
    }

    /// The node on a machine.
    pub fn on(&self, machine: Machine) -> Result<Arc<Node>, Trouble> {
        let node = lock(&self.all).get(&machine).cloned();
        node.ok_or_else(|| Trouble::lab(format!("no node runs on {machine}")))
    }

    /// Tells a node to connect to another one.
    pub fn connect(&self, from: Machine, to: Machine) -> Result<(), Trouble> {
        self.on(from)?.command(&json!({"do": "connect", "peer": self.id(to)?}))
    }

    /// Asks a node for something.
    pub fn ask(&self, name: Machine, errand: Errand) -> Result<(), Trouble> {
        let command = match errand {
            Errand::Find(whom) => json!({"do": "find", "peer": self.id(whom)?}),
            Errand::WhoHasRecent(whom) => json!({"do": "whoHasRecent", "peer": self.id(whom)?}),
            Errand::Broadcast => json!({"do": "broadcast", "text": BROADCAST}),
        };
        self.on(name)?.command(&command)
    }

    /// Waits for what a scenario expects a node to have reported since a time.
    pub fn expect(&self, seen: &Seen, since: Instant, halt: &Halt) -> Result<(), Trouble> {
        let id = |machine| self.id(machine).ok().map(str::to_owned);
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

    /// Has all that nodes report from now on be told to somebody, also those that are started anew.
    pub(crate) fn listen(&self, listener: Listener) {
        lock(&self.all).values().for_each(|node| node.listen(listener.clone()));
        *lock(&self.listener) = Some(listener);
    }

    /// Something was done to nodes, links or machines.
    pub(crate) fn disturbed(&self) {
        let mut conversations = lock(&self.conversations);
        if let Some(began) = *lock(&self.talking_since) {
            conversations.iter_mut().for_each(|one| one.disturbed(began.elapsed()));
        }
    }

    /// A machine's node has lost all that it knew.
    pub(crate) fn forgets(&self, machine: Machine) {
        lock(&self.conversations).iter_mut().for_each(|one| one.forgets(machine));
    }

    /// Starts the node of a machine anew, with its key. As its application would have it do, it connects to those whom it
    /// talks to.
    pub(crate) fn start_anew(
        &self,
        lab: &Lab,
        machine: Machine,
        folder: &Path,
        halt: &Halt,
        events: &Events,
    ) -> Result<(), Trouble> {
        let part = self.part(machine)?;
        if let Some(key) = &part.key {
            lab.agent(machine)?.write_file(App::KEY, 0o600, key.clone())?;
        }
        let node = start(lab, machine, (part.argv.clone(), part.env.clone()), folder, events)?;
        let listener = lock(&self.listener).clone();
        listener.into_iter().for_each(|listener| node.listen(listener));
        let id = identity(&node, Instant::now() + READY, halt)?;
        if id != part.id {
            return Err(Trouble::lab(format!("{machine} has another key than before")));
        }
        lock(&self.all).insert(machine, Arc::new(node));
        let partners: Vec<Machine> = lock(&self.conversations)
            .iter()
            .filter(|one| one.from() == machine)
            .map(Conversation::to)
            .collect();
        partners.into_iter().try_for_each(|partner| self.connect(machine, partner))
    }

    fn part(&self, machine: Machine) -> Result<&Part, Trouble> {
        self.parts.get(&machine).ok_or_else(|| Trouble::lab(format!("no node has run on {machine}")))
    }
}

/// Starts a node and waits until it has said who it is.
fn begin(
    lab: &Lab,
    scenario: &Scenario,
    machine: Machine,
    argv: Vec<String>,
    (folder, halt, events): (&Path, &Halt, &Events),
) -> Result<(Node, Part), Trouble> {
    let env = App.environment(scenario);
    let node = start(lab, machine, (argv.clone(), env.clone()), folder, events)?;
    let id = identity(&node, Instant::now() + READY, halt)?;
    let comes_back =
        scenario.faults.iter().any(|fault| fault.action == Action::Machine(machine, MachineFault::PowerOn));
    let key = match comes_back {
        true => Some(lab.agent(machine)?.read_file(App::KEY, 4096)?),
        false => None,
    };
    Ok((node, Part { argv, env, id, key }))
}

fn start(
    lab: &Lab,
    name: Machine,
    (argv, env): (Vec<String>, Vec<(String, String)>),
    folder: &Path,
    events: &Events,
) -> Result<Node, Trouble> {
    let events = events.clone();
    let log = log(folder, &format!("{name}.log"))?;
    Node::start(lab.agent(name)?, name, (argv, env), log, move |what| {
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
