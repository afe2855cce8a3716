//! How the node under test is started: omerta-mesh's command lines, the same on machines and in the simulator.

use natrig_scenario::{Machine, Scenario};

use crate::{NODE_PORT, Topology};

/// What its command lines begin with: the program, and what it is to do.
const RUN: [&str; 2] = ["/app/omerta-mesh", "run"];

/// The node under test.
#[derive(Debug, Clone, Copy)]
pub struct App;

impl App {
    /// Where the node keeps what it received.
    pub const INBOX: &str = "/run/inbox";

    /// The options of a command line, without the program and what it is to do.
    pub fn options(argv: &[String]) -> &[String] {
        argv.get(RUN.len()..).unwrap_or_default()
    }

    /// The command of the public node.
    pub fn relay(self, scenario: &Scenario) -> Vec<String> {
        let mut argv = self.common(&["--relay"]);
        if !scenario.use_relay {
            argv.push("--coordinate-only".to_owned());
        }
        argv.extend_from_slice(scenario.node.args(Machine::Relay));
        argv
    }

    /// The command of a peer, once the public node has said who it is.
    pub fn peer(
        self,
        scenario: &Scenario,
        topology: &Topology,
        machine: Machine,
        relay_id: &str,
    ) -> Vec<String> {
        let mut argv = self.common(&["--no-peer-contact"]);
        argv.extend(["--bootstrap".to_owned(), format!("{relay_id}@{}", topology.node(Machine::Relay))]);
        for server in topology.stun() {
            argv.extend(["--stun".to_owned(), server.to_string()]);
        }
        if !scenario.node.birthday {
            argv.push("--no-birthday".to_owned());
        }
        argv.extend_from_slice(scenario.node.args(machine));
        argv
    }

    fn common(self, more: &[&str]) -> Vec<String> {
        let listen = format!("0.0.0.0:{NODE_PORT}");
        let words = ["--json", "--commands", "--inbox", Self::INBOX, "--listen", &listen];
        RUN.iter().chain(&words).chain(more).map(|&word| word.to_owned()).collect()
    }
}
