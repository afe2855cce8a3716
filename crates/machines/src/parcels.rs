//! The lab's bytes on their way: handed to two nodes at once, and looked for at their other ends.

use std::time::Instant;

use natrig_lab::{
    App, Halt,
    cell::{BYTES, alike},
    node::NodeEvent,
};
use natrig_scenario::Machine;
use natrig_vmm::AgentClient;
use serde_json::json;

use crate::{Trouble, gateway::at_once, nodes::Nodes};

/// Where the lab's bytes lie before they are sent.
const OUTBOX: &str = "/run/natrig.bin";

/// Finds the agent of a machine, which may be another one after a while.
pub(crate) type Agents<'a> = dyn Fn(Machine) -> Result<AgentClient, Trouble> + Sync + 'a;

/// What two nodes carry to each other.
pub(crate) struct Parcels {
    pair: [Machine; 2],
    contents: [Vec<u8>; 2],
    since: Instant,
    /// What kept nodes from taking theirs.
    refused: Option<Trouble>,
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
        let since = Instant::now();
        for [from, to] in [pair, [pair[1], pair[0]]] {
            let send =
                || nodes.on(from)?.command(&json!({"do": "send", "peer": nodes.id(to)?, "file": OUTBOX}));
            refused = refused.or(send().err());
        }
        Parcels { pair, contents, since, refused }
    }

    /// Before the first byte was handed over.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Waits until all have arrived.
    pub fn arrived(&self, nodes: &Nodes, agents: &Agents<'_>, deadline: Instant, halt: &Halt) -> Arrived {
        let mut arrived = Arrived { missing: self.refused.clone(), ..Arrived::default() };
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
                    let bytes = alike(&received(agents, to, &event)?, content);
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

/// What a message brought to a machine.
fn received(agents: &Agents<'_>, machine: Machine, message: &NodeEvent) -> Result<Vec<u8>, Trouble> {
    let wrong = |what: String| Trouble::node(format!("{machine}: {what}"));
    let file = message.text("file").ok_or_else(|| wrong("a messageReceived without its file".to_owned()))?;
    if !file.starts_with(App::INBOX) {
        return Err(wrong(format!("`{file}` is not in its inbox")));
    }
    Ok(agents(machine)?.read_file(file, 2 * BYTES as u64)?)
}
