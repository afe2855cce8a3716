//! The lab's bytes on their way: handed to two nodes at once, and looked for at their other ends.

use std::{
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use natrig_agent_proto::Start;
use natrig_lab::{
    App, Halt,
    cell::{BYTES, alike},
    node::NodeEvent,
};
use natrig_scenario::{AppProof, Machine};
use natrig_vmm::{AgentClient, Process, ProcessEvent};

use crate::{
    Trouble,
    gateway::{at_once, ready},
    lab::over,
    nodes::Nodes,
};

/// Where the lab's bytes lie before they are sent.
const OUTBOX: &str = "/run/natrig.bin";

/// Where the lab puts those that it carried by itself.
const ARRIVED: &str = "/run/natrig.arrived";

/// How often a wait looks whether the run is halted.
const LOOK: Duration = Duration::from_millis(100);

const KILL: i32 = 9;

/// Where nodes that are not omerta-mesh may keep it; the rest of what they see is read-only.
const FOREIGN: [&str; 2] = ["/run/", "/tmp/"];

/// Finds the agent of a machine, which may be another one after a while.
pub(crate) type Agents<'a> = dyn Fn(Machine) -> Result<AgentClient, Trouble> + Sync + 'a;

/// What two nodes carry to each other.
pub(crate) struct Parcels {
    pair: [Machine; 2],
    contents: [Vec<u8>; 2],
    since: Instant,
    /// What kept nodes from taking theirs.
    refused: Option<Trouble>,
    /// Whom the lab sends them to by itself, in the machines of the first and of the second one; none where nodes do.
    listeners: Vec<Running>,
    _senders: Vec<Running>,
}

/// A program of the lab's own, killed when dropped.
struct Running(Process, Receiver<ProcessEvent>);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.signal(KILL);
    }
}

/// What has come of it.
#[derive(Default)]
pub(crate) struct Arrived {
    /// How many bytes of each one's arrived.
    pub bytes: [u64; 2],
    /// The event that brought them to each one.
    pub brought: [Option<NodeEvent>; 2],
    /// Why not all of them did.
    pub missing: Option<Trouble>,
}

impl Parcels {
    /// Gives each node what it is to carry to the other one.
    pub fn hand_over(nodes: &Nodes, agents: &Agents<'_>, pair: [Machine; 2], contents: [Vec<u8>; 2]) -> Self {
        let outboxes = at_once(pair, |peer| {
            let content = if peer == pair[0] { &contents[0] } else { &contents[1] };
            Ok(agents(peer)?.write_file(OUTBOX, 0o644, content.clone())?)
        });
        let mut refused = outboxes.err();
        let carries =
            matches!(nodes.company().map(|company| &company.app.proof), Some(AppProof::Carry { .. }));
        if carries && refused.is_none() {
            return Self::by_the_lab(nodes, agents, pair, contents);
        }
        let since = Instant::now();
        for [from, to] in [pair, [pair[1], pair[0]]] {
            refused = refused.or(nodes.send(from, to, OUTBOX).err());
        }
        Parcels { pair, contents, since, refused, listeners: Vec::new(), _senders: Vec::new() }
    }

    /// Has the lab send them itself, to where nodes make a way to each other's machines.
    fn by_the_lab(nodes: &Nodes, agents: &Agents<'_>, pair: [Machine; 2], contents: [Vec<u8>; 2]) -> Self {
        let ways = [pair, [pair[1], pair[0]]].map(|[from, to]| {
            let carries = nodes.company().map(|company| company.carries(from, (to, nodes.id(to)?)));
            carries
                .transpose()?
                .flatten()
                .ok_or_else(|| Trouble::lab("the app does not say where the bytes go"))
        });
        let started = || {
            let [first, second] = ways;
            let [first, second] = [first?, second?];
            // Each listens where the other one's bytes are to come.
            let listeners = at_once(pair, |peer| {
                let [_, at] = if peer == pair[0] { &second } else { &first };
                let listener = run(&agents(peer)?, ["carry", "listen", at, ARRIVED])?;
                ready(&listener.1, "who is to listen for the lab's bytes")
                    .map_err(|trouble| trouble.at(peer))?;
                Ok(listener)
            })?;
            let since = Instant::now();
            let senders = at_once(pair, |peer| {
                let [to, _] = if peer == pair[0] { &first } else { &second };
                run(&agents(peer)?, ["carry", "send", to, OUTBOX])
            })?;
            Ok::<_, Trouble>((listeners, since, senders))
        };
        match started() {
            Ok((listeners, since, senders)) => {
                Parcels { pair, contents, since, refused: None, listeners, _senders: senders }
            }
            Err(trouble) => Parcels {
                pair,
                contents,
                since: Instant::now(),
                refused: Some(trouble),
                listeners: Vec::new(),
                _senders: Vec::new(),
            },
        }
    }

    /// Waits for what the lab sent by itself.
    fn arrived_by_the_lab(&self, agents: &Agents<'_>, deadline: Instant, halt: &Halt) -> Arrived {
        let mut arrived = Arrived::default();
        for (sender, content) in self.contents.iter().enumerate() {
            let to = self.pair[1 - sender];
            let waited = ended(&self.listeners[1 - sender], deadline, halt).and_then(|in_time| {
                // How much came is told in any case.
                let got = agents(to)?.read_file(ARRIVED, 2 * BYTES as u64).unwrap_or_default();
                arrived.bytes[sender] = alike(&got, content);
                let all = arrived.bytes[sender] == content.len() as u64;
                let message = format!("{to}: time was up before the lab's bytes had come to it");
                (in_time || all).then_some(()).ok_or_else(|| Trouble::node(message))
            });
            arrived.missing = arrived.missing.or(waited.err());
        }
        arrived
    }

    /// Before the first byte was handed over.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Waits until all have arrived.
    pub fn arrived(&self, nodes: &Nodes, agents: &Agents<'_>, deadline: Instant, halt: &Halt) -> Arrived {
        if !self.listeners.is_empty() {
            return self.arrived_by_the_lab(agents, deadline, halt);
        }
        let mut arrived = Arrived { missing: self.refused.clone(), ..Arrived::default() };
        if nodes.company().is_some() && arrived.missing.is_some() {
            return arrived;
        }
        for (sender, content) in self.contents.iter().enumerate() {
            let [from, to] = [self.pair[sender], self.pair[1 - sender]];
            let waited = nodes.on(to).and_then(|receiver| {
                let from = nodes.id(from)?;
                let mut seen = 0;
                // What was carried before may come late.
                while arrived.bytes[sender] < content.len() as u64 {
                    let event =
                        receiver.wait("it had received the lab's bytes", deadline, halt, |events| {
                            let mut brings =
                                events.iter().filter(|one| one.at >= self.since && one.brings_bytes_of(from));
                            brings.nth(seen).cloned()
                        })?;
                    seen += 1;
                    let folders: &[&str] = if nodes.company().is_some() { &FOREIGN } else { &[App::INBOX] };
                    let bytes = alike(&received(agents, to, &event, folders)?, content);
                    arrived.bytes[sender] = arrived.bytes[sender].max(bytes);
                    arrived.brought[1 - sender] = Some(event.event);
                }
                Ok(())
            });
            arrived.missing = arrived.missing.or(waited.err());
        }
        arrived
    }
}

fn run<const N: usize>(agent: &AgentClient, argv: [&str; N]) -> Result<Running, Trouble> {
    let argv = argv.map(str::to_owned).into();
    let (process, events) = agent.start(Start { argv, ..Start::default() })?;
    Ok(Running(process, events))
}

/// Waits until a program has ended; says whether it has in time.
fn ended(Running(_, events): &Running, deadline: Instant, halt: &Halt) -> Result<bool, Trouble> {
    loop {
        match events.recv_timeout(LOOK) {
            Ok(ProcessEvent::Exited { .. }) => return Ok(true),
            Ok(ProcessEvent::Lost { reason, .. }) => return Err(Trouble::lab(reason)),
            Ok(ProcessEvent::Output { .. }) => {}
            Err(_) if over(deadline, halt) => return Ok(false),
            Err(_) => {}
        }
    }
}

/// What a message brought to a machine.
fn received(
    agents: &Agents<'_>,
    machine: Machine,
    message: &NodeEvent,
    folders: &[&str],
) -> Result<Vec<u8>, Trouble> {
    let wrong = |what: String| Trouble::node(format!("{machine}: {what}"));
    let file = message.text("file").ok_or_else(|| wrong("a messageReceived without its file".to_owned()))?;
    if !folders.iter().any(|folder| file.starts_with(folder)) {
        return Err(wrong(format!("`{file}` is not in {}", folders.join(" or "))));
    }
    Ok(agents(machine)?.read_file(file, 2 * BYTES as u64)?)
}
