//! The node under test on a host of a world: its events, its log, what it received.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use natrig_lab::{Trouble, node::NodeEvent};
use natrig_record::What;
use natrig_scenario::Machine;
use omerta_mesh_core::{Event, Identity, Kind, PathKind, PeerId, StandInCrypto};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

use super::settings::Settings;
use crate::{agenda::MachineId, node::MeshNode, world::World};

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

/// What a machine's node draws its own randomness from.
pub fn chance(world: &World, name: Machine) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(world.seed_of(&format!("{name} node")))
}

impl Node {
    /// Starts one on a host; it reports that it has started.
    pub fn start(
        world: &mut World,
        (name, host): (Machine, MachineId),
        settings: Settings,
        mut random: Pcg64Mcg,
        folder: &Path,
    ) -> Result<Self, Trouble> {
        let Settings { config, lies } = settings;
        let identity = Identity::from_seed(&random.random());
        let id = identity.id();
        let port = config.port;
        let crypto = Arc::new(StandInCrypto::new(id, &config.seed));
        let started = world.now();
        let logs = folder.join("logs");
        fs::create_dir_all(&logs)?;
        let log = BufWriter::new(File::create(logs.join(format!("{name}.log")))?);
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
            lies,
            lines: Vec::new(),
            log,
        };
        node.report(started, json!({ "event": "started", "id": id, "listen": format!("0.0.0.0:{port}") }))?;
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
                event = lie(event);
            }
            let mut value = serde_json::to_value(&event)?;
            if let Event::MessageReceived { peer, data, .. } = event {
                value["bytes"] = data.len().into();
                self.inbox.push((peer, data));
            }
            self.report(now, value)?;
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

    fn report(&mut self, at: Duration, mut value: Value) -> Result<(), Trouble> {
        let since = at.saturating_sub(self.started).as_millis();
        value["ms"] = u64::try_from(since).unwrap_or(u64::MAX).into();
        let line = value.to_string();
        writeln!(self.log, "{line}")?;
        self.lines.push(line);
        self.reported.push(Reported { at, event: NodeEvent(value) });
        Ok(())
    }
}

/// The same event from a node that claims every path to be direct, as `omerta-mesh --hostile lie-path` prints it.
fn lie(mut event: Event) -> Event {
    match &mut event {
        Event::Connected { kind: path, .. }
        | Event::Sent { path, .. }
        | Event::MessageReceived { path, .. } => *path = PathKind::Direct,
        Event::Settled { path, kind, .. } => {
            *path = PathKind::Direct;
            if *kind == Kind::Relay {
                *kind = Kind::Direct;
            }
        }
        _ => {}
    }
    event
}
