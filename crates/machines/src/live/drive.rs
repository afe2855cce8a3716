//! What nodes of a lab that is kept up are told by hand, and what the wires show of it.

use std::time::{Duration, Instant};

use natrig_capture::Trace;
use natrig_lab::{
    Halt,
    cell::{BYTES, bytes},
    verdict::{Carried, Window, carried},
};
use natrig_scenario::{Action, Machine};

use super::Live;
use crate::{
    Trouble, Who,
    lab::lock,
    node::{Node, Reported},
    parcels::Parcels,
};

/// What nodes say of whether there is a way to a peer.
const WORDS: [&str; 4] = ["connected", "settled", "connectFailed", "disconnected"];

impl Live {
    /// Tells a node to connect to another one, and waits until both have reported their final path. It takes no more than there
    /// was already.
    pub fn connect(&self, pair: [Machine; 2], within: Duration, halt: &Halt) -> Result<(), Trouble> {
        let since = Instant::now();
        self.befall(&Action::Connect(pair[0], pair[1]), halt)?;
        for [at, to] in [pair, [pair[1], pair[0]]] {
            let node = self.nodes.on(at)?;
            settled(&node, self.nodes.id(to)?, since, since + within, halt)?;
        }
        Ok(())
    }

    /// Has two nodes carry bytes of the lab to each other at once, and reads from the captures which way these went; beside it,
    /// why they did not all arrive in time.
    pub fn carry(
        &self,
        pair: [Machine; 2],
        within: Duration,
        halt: &Halt,
    ) -> Result<(Carried, Option<Trouble>), Trouble> {
        let agents = |machine| self.agent(machine);
        // Others each time, so that what comes late of an earlier time is not taken for these.
        let seed = rand::random();
        let contents = pair.map(|peer| bytes(seed, &self.scenario, peer));
        let parcels = Parcels::hand_over(&self.nodes, &agents, pair, contents);
        let arrived = parcels.arrived(&self.nodes, &agents, parcels.since() + within, halt);
        let until = Instant::now();
        let missing = match arrived.missing {
            Some(trouble) if trouble.who == Who::Lab => return Err(trouble),
            missing => missing,
        };
        let held = lock(&self.held);
        let [from_ns, to_ns] = [parcels.since(), until].map(|moment| held.lab.switch().time_of(moment));
        let window = Window { from_ns, to_ns, sent: [BYTES as u64; 2], arrived: arrived.bytes };
        let sites = self.topology.pair_at(pair.map(|peer| (peer, self.site_of(peer))));
        Ok((carried(&held.lab.trace()?, &sites, window)?, missing))
    }

    /// All that the wires have seen so far, read back from the capture files.
    pub fn trace(&self) -> Result<Trace, Trouble> {
        lock(&self.held).lab.trace()
    }
}

/// Waits until the last that a node has said of a peer is that its path is final.
fn settled(node: &Node, peer: &str, since: Instant, until: Instant, halt: &Halt) -> Result<(), Trouble> {
    let last = node.wait("it reported its final path", until, halt, |events: &[Reported]| {
        let of_peer = |one: &&Reported| WORDS.iter().any(|word| one.about(word, peer));
        let last = events.iter().rev().find(of_peer)?;
        (last.is("settled") || last.is("connectFailed") && last.at >= since).then(|| last.clone())
    })?;
    if last.is("settled") {
        return Ok(());
    }
    let why = last.text("reason").unwrap_or("it did not say why");
    Err(Trouble::node(format!("{} could not connect: {why}", node.name())).lines(node.tail()))
}
