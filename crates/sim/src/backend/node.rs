//! The node under test on a host of a world: its events, its log, what it received.

use std::{
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
    Config, Event, Identity, Line, PeerId, StandInCrypto,
    options::{Lie, RunOptions},
};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::{agenda::MachineId, clock::START_NS, node::MeshNode, world::World};

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
    host: MachineId,
    slot: usize,
    started: Duration,
    lies: bool,
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
        let mut random = Pcg64Mcg::seed_from_u64(world.seed_of(&format!("{name} node")));
        let identity = Identity::from_seed(&random.random());
        let id = identity.id();
        let addresses = world.sources(host, options.destinations());
        let config = options.config(Config::new(random.random(), START_NS / 1000), addresses);
        let crypto = Arc::new(StandInCrypto::new(id, &config.seed));
        let started = world.now();
        let slot = world.start(host, MeshNode::new(identity, config, crypto));
        let slot = slot.ok_or_else(|| Trouble::lab(format!("{name} is no host")))?;
        let mut node = Node {
            name,
            id,
            reported: Vec::new(),
            inbox: Vec::new(),
            host,
            slot,
            started,
            lies: options.hostile == Some(Lie::LiePath),
            lines: Vec::new(),
            log,
        };
        node.report(started, &Line::started(id, options.listen, Duration::ZERO))?;
        Ok(node)
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
            if self.lies {
                event = event.claiming_direct();
            }
            self.report(now, &Line::event(&event, now.saturating_sub(self.started)))?;
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

    /// Has it send a message.
    pub fn send(&self, world: &mut World, peer: PeerId, data: Vec<u8>) -> Result<(), Trouble> {
        self.tell(world, |node, io| node.send(io, peer, data)).map(|_| ())
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
            .ok_or_else(|| Trouble::lab(format!("{} has lost its node", self.name)))
    }

    fn report(&mut self, at: Duration, line: &Line<'_>) -> Result<(), Trouble> {
        let text = serde_json::to_string(line)?;
        writeln!(self.log, "{text}")?;
        self.reported.push(Reported { at, event: NodeEvent(serde_json::to_value(line)?) });
        self.lines.push(text);
        Ok(())
    }
}
