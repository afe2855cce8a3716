//! How the node under test is started: omerta-mesh's command lines, the same on machines and in the simulator.

use std::collections::BTreeMap;

use natrig_scenario::{Machine, Scenario, Stun};

use crate::{NODE_PORT, Topology};

/// What its command lines begin with: the program, and what it is to do.
const RUN: [&str; 2] = ["/app/omerta-mesh", "run"];

/// Says where session keys go, to TLS libraries of many kinds (NSS's key log format).
const KEY_LOG: &str = "SSLKEYLOGFILE";

/// The node under test.
#[derive(Debug, Clone, Copy)]
pub struct App;

impl App {
    /// Where the node keeps its key, so that it is the same when it is started anew.
    pub const KEY: &str = "/run/omerta.key";

    /// Where the node writes the keys of its sessions, if it is to.
    const SESSION_KEYS: &str = "/run/session-keys.log";

    /// Where the node keeps what it received.
    pub const INBOX: &str = "/run/inbox";

    /// The options of a command line, without the program and what it is to do.
    pub fn options(argv: &[String]) -> &[String] {
        argv.get(RUN.len()..).unwrap_or_default()
    }

    /// The command of a public node, once those that start before it have said who they are.
    pub fn public(
        self,
        scenario: &Scenario,
        topology: &Topology,
        machine: Machine,
        ids: &BTreeMap<Machine, String>,
    ) -> Vec<String> {
        let mut argv = self.common(&["--relay"]);
        if !scenario.use_relay {
            argv.push("--coordinate-only".to_owned());
        }
        argv.extend(bootstrap(scenario, topology, machine, ids));
        argv.extend_from_slice(scenario.node.args(machine));
        argv
    }

    /// The command of a peer, once the public nodes have said who they are.
    pub fn peer(
        self,
        scenario: &Scenario,
        topology: &Topology,
        machine: Machine,
        ids: &BTreeMap<Machine, String>,
    ) -> Vec<String> {
        let mut argv = self.common(&["--no-peer-contact"]);
        argv.extend(bootstrap(scenario, topology, machine, ids));
        let servers = match &scenario.node.stun {
            Stun::Server | Stun::Silent => topology.stun().to_vec(),
            Stun::Nodes(nodes) => nodes.iter().map(|node| topology.node(*node)).collect(),
        };
        for server in servers {
            argv.extend(["--stun".to_owned(), server.to_string()]);
        }
        if !scenario.node.birthday {
            argv.push("--no-birthday".to_owned());
        }
        argv.extend_from_slice(scenario.node.args(machine));
        argv
    }

    /// What stands in its environment.
    pub fn environment(self, scenario: &Scenario) -> Vec<(String, String)> {
        let keys = scenario.node.session_keys.then(|| (KEY_LOG.to_owned(), Self::SESSION_KEYS.to_owned()));
        keys.into_iter().collect()
    }

    /// Where the keys of its sessions are, if it writes them.
    pub fn session_keys(self, scenario: &Scenario) -> Option<&'static str> {
        scenario.node.session_keys.then_some(Self::SESSION_KEYS)
    }

    fn common(self, more: &[&str]) -> Vec<String> {
        let listen = format!("0.0.0.0:{NODE_PORT}");
        let words = ["--json", "--commands", "--key", Self::KEY, "--inbox", Self::INBOX, "--listen", &listen];
        RUN.iter().chain(&words).chain(more).map(|&word| word.to_owned()).collect()
    }
}

/// Whom a node is told of.
fn bootstrap(
    scenario: &Scenario,
    topology: &Topology,
    machine: Machine,
    ids: &BTreeMap<Machine, String>,
) -> impl Iterator<Item = String> {
    let known = scenario.node.bootstrap(machine).iter().filter_map(|node| Some((node, ids.get(node)?)));
    known.flat_map(|(node, id)| ["--bootstrap".to_owned(), format!("{id}@{}", topology.node(*node))])
}
