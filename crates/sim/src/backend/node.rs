//! The node under test on a host of a world: its events, its log, what it received.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use natrig_lab::{App, Trouble, node::NodeEvent};
use natrig_record::What;
use natrig_scenario::Machine;
use omerta_mesh_core::{
    Config, Event, Identity, Line, MessageId, PeerId, StandInCrypto,
    options::{Lie, RunOptions},
};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::{agenda::MachineId, clock::START_NS, node::MeshNode, program::Ended, world::World};

/// How many lines of a log a failure shows.
const TAIL: usize = 8;

/// A node on a host.
#[derive(Debug)]
pub struct Node {
    /// Which machine it runs on.
    pub name: Machine,
    pub id: PeerId,
    pub reported: Vec<Reported>,
    /// The messages it got, and from whom.
    pub inbox: Vec<(PeerId, Vec<u8>)>,
    /// Whether its process runs.
    pub runs: bool,
    host: MachineId,
    slot: usize,
    started: Duration,
    lives: u32,
    options: RunOptions,
    /// Messages that it was given to send, and what they are called.
    tags: BTreeMap<MessageId, u64>,
    lines: Vec<String>,
    log: BufWriter<File>,
}

/// What a node reported, and when in the world's time.
#[derive(Debug, Clone)]
pub struct Reported {
    pub at: Duration,
    pub event: NodeEvent,
}

impl Node {
    /// Starts one on a host by the command line that it would have on a machine; it reports that it has started.
    pub fn start(
        world: &mut World,
        (name, host): (Machine, MachineId),
        argv: &[String],
        folder: &Path,
    ) -> Result<Self, Trouble> {
        let logs = folder.join("logs");
        fs::create_dir_all(&logs)?;
        let mut log = BufWriter::new(File::create(logs.join(format!("{name}.log")))?);
        writeln!(log, "$ {}", argv.join(" "))?;
        let options = RunOptions::parse(App::options(argv)).map_err(|wrong| {
            // The daemon prints it and ends.
            let said: Vec<String> = wrong.to_string().lines().map(str::to_owned).collect();
            Trouble::node(format!("{name} ended before it had started: its options are wrong")).lines(said)
        })?;
        let (id, program) = program(world, (name, host), &options, 0);
        let started = world.now();
        let slot = world.start(host, program);
        let slot = slot.ok_or_else(|| Trouble::lab(format!("{name} is no host")))?;
        let mut node = Node {
            name,
            id,
            reported: Vec::new(),
            inbox: Vec::new(),
            runs: true,
            host,
            slot,
            started,
            lives: 0,
            options,
            tags: BTreeMap::new(),
            lines: Vec::new(),
            log,
        };
        node.report(started, &Line::started(id, node.options.listen, Duration::ZERO))?;
        Ok(node)
    }

    /// Ends its process: at once, or with a goodbye.
    pub fn end(&mut self, world: &mut World, goodbye: bool) -> Result<(), Trouble> {
        if !self.runs {
            return Err(Trouble::lab(format!("the node of {} has ended before", self.name)));
        }
        if goodbye {
            self.tell(world, |node, io| node.shutdown(io))?;
            self.hear(world)?;
        }
        world.restart(self.host, self.slot, Ended);
        self.runs = false;
        Ok(())
    }

    /// Starts it anew, with the same key and nothing else of its earlier life.
    pub fn begin_anew(&mut self, world: &mut World) -> Result<(), Trouble> {
        self.lives += 1;
        let (_, program) = program(world, (self.name, self.host), &self.options, self.lives);
        world.restart(self.host, self.slot, program);
        (self.started, self.runs) = (world.now(), true);
        self.tags.clear();
        let listen = self.options.listen;
        self.report(self.started, &Line::started(self.id, listen, Duration::ZERO))
    }

    /// Whether there is something to [`hear`](Self::hear).
    pub fn has_news(&self, world: &World) -> bool {
        world.program::<MeshNode>(self.host, self.slot).is_some_and(MeshNode::has_events)
    }

    /// Takes what it has reported since this was last called.
    pub fn hear(&mut self, world: &mut World) -> Result<(), Trouble> {
        let now = world.now();
        let events: Vec<Event> = self.tell(world, |node, _| {
            std::iter::from_fn(|| node.poll_event()).map(|(_, event)| event).collect()
        })?;
        for mut event in events {
            if self.options.hostile == Some(Lie::LiePath) {
                event = event.claiming_direct();
            }
            let tag = match &event {
                Event::Sent { message, .. } | Event::SendFailed { message, .. } => self.tags.remove(message),
                _ => None,
            };
            self.report(now, &Line::event(&event, now.saturating_sub(self.started)).with_tag(tag))?;
            if let Event::MessageReceived { peer, data, .. } = event {
                self.inbox.push((peer, data));
            }
        }
        Ok(())
    }

    /// Asks it for a connection.
    pub fn connect(&self, world: &mut World, peer: PeerId) -> Result<(), Trouble> {
        self.tell(world, |node, io| node.connect(io, peer))
    }

    /// Has it look a peer up.
    pub fn find(&self, world: &mut World, peer: PeerId) -> Result<(), Trouble> {
        self.tell(world, |node, io| node.with(io, |node, now| node.find(now, peer))).map(|_| ())
    }

    /// Has it ask who has heard of a peer lately.
    pub fn who_has_recent(&self, world: &mut World, peer: PeerId) -> Result<(), Trouble> {
        self.tell(world, |node, io| node.with(io, |node, now| node.who_has_recent(now, peer))).map(|_| ())
    }

    /// Has it tell all members something.
    pub fn broadcast(&self, world: &mut World, text: &str) -> Result<(), Trouble> {
        self.tell(world, |node, io| node.with(io, |node, now| node.broadcast(now, text.as_bytes())))
            .map(|_| ())
    }

    /// Has it send a message.
    pub fn send(&self, world: &mut World, peer: PeerId, data: Vec<u8>) -> Result<(), Trouble> {
        self.tell(world, |node, io| node.send(io, peer, data)).map(|_| ())
    }

    /// Has it send a text; what it reports of that bears a tag.
    pub fn say(&mut self, world: &mut World, peer: PeerId, text: String, tag: u64) -> Result<(), Trouble> {
        let message = self.tell(world, |node, io| node.send(io, peer, text.into_bytes()))?;
        self.tags.extend(message.map(|message| (message, tag)));
        Ok(())
    }

    /// The last lines of its log.
    pub fn tail(&self) -> Vec<String> {
        self.lines.iter().rev().take(TAIL).rev().cloned().collect()
    }

    /// What it reported from a number on, for those who look on.
    pub fn told(&self, from: usize) -> impl Iterator<Item = What> + '_ {
        let machine = self.name.name().to_owned();
        let events = self.reported.iter().skip(from);
        events.map(move |one| What::Node { machine: machine.clone(), event: one.event.0.clone() })
    }

    /// Hands its log on to the file.
    pub fn flush(&mut self) -> Result<(), Trouble> {
        Ok(self.log.flush()?)
    }

    fn tell<T>(
        &self,
        world: &mut World,
        work: impl FnOnce(&mut MeshNode, &mut crate::Io<'_>) -> T,
    ) -> Result<T, Trouble> {
        world
            .tell(self.host, self.slot, work)
            .ok_or_else(|| Trouble::node(format!("the node of {} has ended", self.name)))
    }

    fn report(&mut self, at: Duration, line: &Line<'_>) -> Result<(), Trouble> {
        let text = serde_json::to_string(line)?;
        writeln!(self.log, "{text}")?;
        self.reported.push(Reported { at, event: NodeEvent(serde_json::to_value(line)?) });
        self.lines.push(text);
        Ok(())
    }
}

/// A host's node for its n-th life (from 0), and its name: the key is always the same, nothing else that is drawn is.
fn program(
    world: &World,
    (name, host): (Machine, MachineId),
    options: &RunOptions,
    life: u32,
) -> (PeerId, MeshNode) {
    let drawn = |what: &str| Pcg64Mcg::seed_from_u64(world.seed_of(&format!("{name} {what}")));
    let mut random = drawn("node");
    let identity = Identity::from_seed(&random.random());
    let id = identity.id();
    if life > 0 {
        random = drawn(&format!("node {life}"));
    }
    let addresses = world.sources(host, options.destinations());
    let now_us = START_NS / 1000 + u64::try_from(world.now().as_micros()).unwrap_or(u64::MAX >> 1);
    let config = options.config(Config::new(random.random(), now_us), addresses);
    let crypto = Arc::new(StandInCrypto::new(id, &config.seed));
    (id, MeshNode::new(identity, config, crypto))
}
