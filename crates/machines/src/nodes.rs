//! The three nodes of a scenario, started.

use std::{path::Path, sync::mpsc::Sender, time::Instant};

use natrig_lab::{App, Halt, cell::READY};
use natrig_record::What;
use natrig_scenario::{Machine, Scenario, Side};

use crate::{Lab, Trouble, gateway::each_side, lab::log, node::Node};

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

/// The public node, running.
#[derive(Debug)]
pub struct Public {
    node: Node,
    id: String,
}

/// Starts the public node, which needs no gateway, and waits until it has said who it is.
pub fn start_public(
    lab: &Lab,
    scenario: &Scenario,
    folder: &Path,
    halt: &Halt,
    events: &Events,
) -> Result<Public, Trouble> {
    let node = start(lab, Machine::Relay, App.relay(scenario), folder, events)?;
    let id = identity(&node, Instant::now() + READY, halt)?;
    Ok(Public { node, id })
}

impl Nodes {
    /// Starts both peers and waits until each has found the public node.
    pub fn start(
        lab: &Lab,
        scenario: &Scenario,
        public: Public,
        folder: &Path,
        halt: &Halt,
        events: &Events,
    ) -> Result<Self, Trouble> {
        let deadline = Instant::now() + READY;
        let peer = |side: Side| -> Result<(Node, String), Trouble> {
            let name = side.peer();
            let argv = App.peer(scenario, lab.topology(), name, &public.id);
            let node = start(lab, name, argv, folder, events)?;
            let id = identity(&node, deadline, halt)?;
            node.wait_for("it had found its relay", deadline, halt, |event| event.is("bootstrapped"))?;
            Ok((node, id))
        };
        let [one, two] = each_side(peer)?;
        let (initiator, responder) = match scenario.initiator {
            Side::One => (one, two),
            Side::Two => (two, one),
        };
        Ok(Nodes { relay: public.node, peers: [initiator.0, responder.0], ids: [initiator.1, responder.1] })
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
