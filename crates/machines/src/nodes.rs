//! The three nodes of a scenario, started.

use std::{
    path::Path,
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

use natrig_lab::Halt;
use natrig_record::What;
use natrig_scenario::{Machine, Scenario, Side};

use crate::{App, Lab, Trouble, gateway::each_side, lab::log, node::Node};

/// How long a node may take to start and to find its relay.
const READY: Duration = Duration::from_secs(30);

/// Takes what nodes report.
pub type Events = Sender<What>;

/// The public node and both peers, each peer known to the public node.
#[derive(Debug)]
pub struct Nodes {
    /// The public node.
    pub relay: Node,
    /// The initiator, then the responder.
    pub peers: [Node; 2],
    /// The peers' names on the mesh.
    pub ids: [String; 2],
}

impl Nodes {
    /// Starts the public node first, since the peers must know its name, then both peers; waits until each has found it.
    pub fn start(
        lab: &Lab,
        scenario: &Scenario,
        folder: &Path,
        halt: &Halt,
        events: &Events,
    ) -> Result<Self, Trouble> {
        let deadline = Instant::now() + READY;
        let start = |name: Machine, argv: Vec<String>| -> Result<Node, Trouble> {
            let events = events.clone();
            let log = log(folder, &format!("{name}.log"))?;
            Node::start(lab.agent(name)?, name, argv, log, move |what| {
                let _ = events.send(what);
            })
        };
        let relay = start(Machine::Relay, App.relay(scenario))?;
        let relay_id = identity(&relay, deadline, halt)?;
        let peer = |side: Side| -> Result<(Node, String), Trouble> {
            let name = side.peer();
            let node = start(name, App.peer(scenario, lab.topology(), name, &relay_id))?;
            let id = identity(&node, deadline, halt)?;
            node.wait_for("it had found its relay", deadline, halt, |event| event.is("bootstrapped"))?;
            Ok((node, id))
        };
        let [one, two] = each_side(peer)?;
        let (initiator, responder) = match scenario.initiator {
            Side::One => (one, two),
            Side::Two => (two, one),
        };
        Ok(Nodes { relay, peers: [initiator.0, responder.0], ids: [initiator.1, responder.1] })
    }
}

/// A node's name on the mesh, by its own event.
fn identity(node: &Node, deadline: Instant, halt: &Halt) -> Result<String, Trouble> {
    let started = node.wait_for("it had started", deadline, halt, |event| event.is("started"))?;
    let id = started.text("id");
    let id = id.ok_or_else(|| Trouble::node(format!("{}: `started` without an id", node.name())))?;
    Ok(id.to_owned())
}
