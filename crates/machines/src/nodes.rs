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
    foreign::Speech,
    node::{BROADCAST, NodeEvent, missed},
    talk::Conversation,
};
use natrig_record::{About, Assertion, What};
use natrig_scenario::{Action, AppProof, Errand, Machine, MachineFault, Scenario, Seen, Sign, Stop};
use serde_json::json;

use crate::{
    Lab, Trouble, Who,
    faults::idle,
    foreign::{self, Company, Words},
    gateway::at_once,
    lab::{lock, log},
    node::{Foreign, Listener, Node, Reported, Voice},
};

/// Takes what nodes report.
pub type Events = Sender<What>;

/// The public nodes and the peers.
#[derive(Debug)]
pub struct Nodes {
    all: Mutex<BTreeMap<Machine, Arc<Node>>>,
    parts: BTreeMap<Machine, Part>,
    /// Where they are not omerta-mesh.
    company: Option<Company>,
    /// What runs on public machines beside their nodes.
    _beside: Vec<Node>,
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
    voice: Voice,
    /// What shows that it has started, where it is not omerta-mesh.
    sign: Option<Sign>,
    id: String,
    /// Kept where its machine may lose it.
    key: Option<Vec<u8>>,
}

/// The public nodes, running.
#[derive(Debug)]
pub struct Public {
    nodes: Vec<(Node, Part)>,
    beside: Vec<Node>,
    company: Option<Company>,
}

impl Public {
    fn ids(&self) -> BTreeMap<Machine, String> {
        self.nodes.iter().map(|(node, part)| (node.name(), part.id.clone())).collect()
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
    let company = Company::of(scenario, lab.topology());
    let mut public = Public { nodes: Vec::new(), beside: Vec::new(), company };
    for machine in scenario.layout().public() {
        match &mut public.company {
            Some(company) => {
                let app = Arc::clone(&company.app);
                for (at, (role, part)) in app.public.iter().enumerate() {
                    let is_main = at + 1 == app.public.len();
                    let log = if is_main { machine.to_string() } else { format!("{machine}.{role}") };
                    let (node, part) = company.begin(lab, machine, (part, &log), (folder, halt, events))?;
                    company.ids.entry(*role).or_insert_with(|| part.id.clone());
                    if is_main {
                        public.nodes.push((node, part));
                    } else {
                        public.beside.push(node);
                    }
                }
            }
            None => {
                let argv = App.public(scenario, lab.topology(), machine, &public.ids());
                public.nodes.push(begin(lab, scenario, machine, argv, (folder, halt, events))?);
            }
        }
    }
    Ok(public)
}

impl Company {
    /// Starts a program and waits until it shows that it has started.
    fn begin(
        &self,
        lab: &Lab,
        machine: Machine,
        (part, log): (&natrig_scenario::Part, &str),
        (folder, halt, events): (&Path, &Halt, &Events),
    ) -> Result<(Node, Part), Trouble> {
        let (argv, env) = self.command(machine, part)?;
        let voice = Voice::Foreign(Arc::new(Foreign::new(Speech::of(part), self.partner(machine))));
        let node = start(lab, machine, (argv.clone(), env.clone()), voice.clone(), (folder, log), events)?;
        let id = foreign::started(&node, lab.agent(machine)?, part.started.as_ref(), halt)?;
        Ok((node, Part { argv, env, voice, sign: part.started.clone(), id, key: None }))
    }
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
        let Public { nodes: public, beside, company } = public;
        let started = at_once(scenario.layout().peers(), |name| match &company {
            Some(company) => {
                let log = name.to_string();
                company.begin(lab, name, (&company.app.peer, &log), (folder, halt, events))
            }
            None => {
                let argv = App.peer(scenario, lab.topology(), name, &ids);
                begin(lab, scenario, name, argv, (folder, halt, events))
            }
        })?;
        let (mut all, mut parts) = (BTreeMap::new(), BTreeMap::new());
        for (node, part) in public.into_iter().chain(started) {
            parts.insert(node.name(), part);
            all.insert(node.name(), Arc::new(node));
        }
        introduce(&parts, scenario.pair());
        Ok(Nodes {
            all: Mutex::new(all),
            parts,
            company,
            _beside: beside,
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
        if self.company.is_some() {
            return Ok(());
        }
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
        let silent = |machine| match self.parts.get(machine).map(|part| &part.voice) {
            Some(Voice::Foreign(foreign)) => !foreign.says("bootstrapped"),
            _ => false,
        };
        let peers = self.parts.keys().filter(|machine| machine.public().is_none() && !silent(machine));
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
        let (node, id) = (self.on(from)?, self.id(to)?);
        match &self.company {
            Some(company) => company.tell(&node, &company.app.connect, (to, id), None),
            None => node.command(&json!({"do": "connect", "peer": id})),
        }
    }

    /// Tells a node to send a file to another one.
    pub(crate) fn send(&self, from: Machine, to: Machine, file: &str) -> Result<(), Trouble> {
        let (node, id) = (self.on(from)?, self.id(to)?);
        match self.company.as_ref().map(|company| (company, &company.app.proof)) {
            Some((company, AppProof::Send(deed))) => company.tell(&node, deed, (to, id), Some(file)),
            Some(_) => Err(Trouble::lab("the node cannot be told to send a file")),
            None => node.command(&json!({"do": "send", "peer": id, "file": file})),
        }
    }

    /// Where they are not omerta-mesh: their app, and what is known of it.
    pub(crate) fn company(&self) -> Option<&Company> {
        self.company.as_ref()
    }

    /// Waits for the last that a node has to say of its way to another one: which way, or that there is none.
    pub(crate) fn last_word(
        &self,
        on: Machine,
        about: Machine,
        deadline: Instant,
        halt: &Halt,
    ) -> Result<Reported, Trouble> {
        let (node, peer) = (self.on(on)?, self.id(about)?);
        let what = "it reported its final path";
        let after = self.company.as_ref().and_then(|company| company.app.peer.settles_after);
        let Some(after) = after else {
            return node.wait_for(what, deadline, halt, |event| event.is_final(peer));
        };
        let connected = |event: &NodeEvent| event.tells_of_connection(peer);
        let first = node.wait_for(what, deadline, halt, connected)?;
        idle((first.at + after).saturating_duration_since(Instant::now()), halt)?;
        Ok(node.last(|one| connected(&one.event)).unwrap_or(first))
    }

    /// Waits until a node has said which way it will go to another one.
    pub(crate) fn settled(
        &self,
        on: Machine,
        with: Machine,
        deadline: Instant,
        halt: &Halt,
    ) -> Result<Reported, Trouble> {
        if self.company.as_ref().is_some_and(|company| company.app.peer.settles_after.is_some()) {
            return self.last_word(on, with, deadline, halt);
        }
        let (node, peer) = (self.on(on)?, self.id(with)?);
        node.wait_for("it reported its final path", deadline, halt, |event| event.about("settled", peer))
    }

    /// Asks nodes to end whose app says how, and tells whether they did in time.
    pub(crate) fn stopped(&self, halt: &Halt) -> Result<Vec<Assertion>, Trouble> {
        let Some(company) = &self.company else { return Ok(Vec::new()) };
        let of = |machine: &Machine| match machine.public() {
            Some(_) => company.app.main().and_then(|(_, part)| part.stop),
            None => company.app.peer.stop,
        };
        let asked = self.parts.keys().filter_map(|machine| Some((*machine, of(machine)?)));
        let asked: BTreeMap<Machine, Stop> = asked.collect();
        let ended = at_once(asked.keys().copied(), |machine| {
            let node = self.on(machine)?;
            let stop = asked[&machine];
            if !node.runs() {
                return Ok(None);
            }
            node.signal(stop.signal)?;
            let in_time = node.wait_for_end(Instant::now() + stop.within, halt).is_ok();
            Ok(Some(Assertion {
                about: About::Node,
                what: format!(
                    "the node on {machine} ends within {:.1} s of signal {}",
                    stop.within.as_secs_f64(),
                    stop.signal
                ),
                holds: in_time,
                detail: if in_time { "it ended" } else { "it still runs" }.to_owned(),
            }))
        })?;
        Ok(ended.into_iter().flatten().collect())
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
        let words = (part.argv.clone(), part.env.clone());
        let log = machine.to_string();
        let node = start(lab, machine, words, part.voice.clone(), (folder, &log), events)?;
        let listener = lock(&self.listener).clone();
        listener.into_iter().for_each(|listener| node.listen(listener));
        let id = match &part.voice {
            Voice::Ours => identity(&node, Instant::now() + READY, halt)?,
            Voice::Foreign(_) => foreign::started(&node, lab.agent(machine)?, part.sign.as_ref(), halt)?,
        };
        match &self.company {
            _ if id == part.id => {}
            None => return Err(Trouble::lab(format!("{machine} has another key than before"))),
            Some(_) => {
                let message = format!("{machine} is called {id}, and was {} before it started anew", part.id);
                return Err(Trouble::node(message).hint("have it keep its key in /run"));
            }
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

/// Tells those of a pair what the other one is called; what they say without naming anybody is about that one.
fn introduce(parts: &BTreeMap<Machine, Part>, pair: [Machine; 2]) {
    for [one, other] in [pair, [pair[1], pair[0]]] {
        if let Some((Part { voice: Voice::Foreign(foreign), .. }, other)) =
            parts.get(&one).zip(parts.get(&other))
        {
            foreign.know(&other.id);
        }
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
    let argv = lab.member(machine)?.kind.command(argv);
    let log = machine.to_string();
    let node = start(lab, machine, (argv.clone(), env.clone()), Voice::Ours, (folder, &log), events)?;
    let id = identity(&node, Instant::now() + READY, halt)?;
    let comes_back =
        scenario.faults.iter().any(|fault| fault.action == Action::Machine(machine, MachineFault::PowerOn));
    let key = match comes_back {
        true => Some(lab.agent(machine)?.read_file(App::KEY, 4096)?),
        false => None,
    };
    Ok((node, Part { argv, env, voice: Voice::Ours, sign: None, id, key }))
}

fn start(
    lab: &Lab,
    name: Machine,
    words: Words,
    voice: Voice,
    (folder, log_name): (&Path, &str),
    events: &Events,
) -> Result<Node, Trouble> {
    let events = events.clone();
    let log = log(folder, &format!("{log_name}.log"))?;
    Node::start(lab.agent(name)?, name, words, voice, log, move |what| {
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
