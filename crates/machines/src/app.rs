//! How the node under test is started: omerta-mesh's command lines.

use natrig_lab::{NODE_PORT, Topology};
use natrig_scenario::{Machine, Scenario};

/// Where the node keeps what it received.
pub const INBOX: &str = "/run/inbox";

/// The node under test.
#[derive(Debug, Clone, Copy)]
pub struct App;

impl App {
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
        let words =
            ["/app/omerta-mesh", "run", "--json", "--commands", "--inbox", INBOX, "--listen", &listen];
        words.iter().chain(more).map(|&word| word.to_owned()).collect()
    }
}
