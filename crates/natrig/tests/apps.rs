//! Nodes that are not omerta-mesh, on virtual machines.

mod support;

use std::{fs, path::PathBuf};

use natrig_record::{Cell, Kind, Outcome, Path as WirePath, Results, Step};
use support::{Place, assert_code, repository, scenario, stderr, stdout};

/// omerta-mesh as if nobody knew it.
const STRANGER: &str = r#"
name: a stranger
files: [{from: PROGRAMS/omerta-mesh, to: omerta-mesh, mode: 755}]
relay:
  command: [/app/omerta-mesh, run, --json, --commands, --key, /run/k, --listen, "0.0.0.0:{port}", --relay]
  started: {event: started}
peer:
  command: [/app/omerta-mesh, run, --json, --commands, --key, /run/k, --inbox, /run/inbox, --listen, "0.0.0.0:{port}",
            --no-peer-contact, --bootstrap, "{relay.id}@{relay.address}:{port}", --stun, "{stun}"]
  started: {event: started}
  bootstrapped: {event: bootstrapped}
  connect: {input: '{{"do": "connect", "peer": "{peer.id}"}}'}
  connected: {event: connected}
  failed: {event: connectFailed}
  settled: {event: settled}
  send: {input: '{{"do": "send", "peer": "{peer.id}", "file": "{file}"}}'}
  received: {event: messageReceived}
  stop: {within: 5s}
"#;

/// The same behind a script, without a way to have it carry anything.
const CHATTER: &str = r#"
name: a chatterbox
files: [{from: PROGRAMS/omerta-mesh, to: omerta-mesh, mode: 755}, {from: SCRIPTS/chatter.sh, to: chatter.sh, mode: 755}]
relay:
  command: [/app/omerta-mesh, run, --json, --commands, --key, /run/k, --listen, "0.0.0.0:{port}", --relay]
  started: {event: started}
peer:
  command: [/app/chatter.sh, run, --json, --commands, --key, /run/k, --inbox, /run/inbox, --listen, "0.0.0.0:{port}",
            --no-peer-contact, --bootstrap, "{relay.id}@{relay.address}:{port}", --stun, "{stun}"]
  started: {event: started}
  bootstrapped: {event: bootstrapped}
  connect: {input: '{{"do": "connect", "peer": "{peer.id}"}}'}
  connected: {event: connected}
  settled: {event: settled}
  delivered: {event: messageReceived}
"#;

/// A program that knows neither relays nor UDP.
const TCP: &str = r#"
name: TCP
files: [{from: SCRIPTS/tcp.sh, to: tcp.sh, mode: 755}]
peer:
  command: [/app/tcp.sh, wait]
  started: {port: tcp/7000}
  connect: {run: [/app/tcp.sh, dial, "{peer.address}"]}
  connected: {line: '^got'}
  delivered: {line: '^got'}
"#;

const WIREGUARD: &str = r#"
name: WireGuard
packages: [wireguard-tools, iproute2]
files: [{from: SCRIPTS/wireguard.sh, to: wireguard.sh, mode: 755}, 1.key, 2.key]
peer:
  command: [/app/wireguard.sh, "{number}"]
  started: {line: 'ready as (?P<id>\S+)'}
  connect: {input: "{peer.address}"}
  connected: {line: handshake}
  carry: "10.77.0.{peer.number}:7000"
"#;

struct Trial {
    place: Place,
}

impl Trial {
    fn new() -> Self {
        Trial { place: Place::new() }
    }

    /// Writes an app file and gives its name.
    fn app(&self, text: &str) -> String {
        let programs = std::env::var_os("NATRIG_PROGRAMS")
            .map_or_else(|| repository().join("target/release"), PathBuf::from);
        let scripts = repository().join("crates/natrig/tests/apps");
        let text = text
            .replace("PROGRAMS", programs.to_str().unwrap())
            .replace("SCRIPTS", scripts.to_str().unwrap());
        fs::write(self.place.work().join("app.yaml"), text).unwrap();
        "app.yaml".to_owned()
    }

    /// Runs cells with an app; gives the results and what was said.
    fn run(&self, app: &str, words: &[&str], code: i32) -> (Results, String) {
        let mut command = self.place.natrig([words[0], "--out", "out", "--app", &self.app(app)]);
        let output = command.args(&words[1..]).output().unwrap();
        assert_code(&output, code);
        let results = natrig_report::read(&self.place.work().join("out/results.json")).unwrap();
        (results, stdout(&output) + &stderr(&output))
    }

    /// Runs one cell.
    fn cell(&self, app: &str, words: &[&str], code: i32) -> (Cell, String) {
        let (mut results, said) = self.run(app, words, code);
        assert_eq!(results.cells.len(), 1, "{said}");
        (results.cells.remove(0), said)
    }
}

fn kind(cell: &Cell) -> Option<Kind> {
    cell.verdict.as_ref().and_then(|verdict| verdict.kind)
}

fn because(cell: &Cell) -> String {
    cell.verdict.as_ref().unwrap().because.join("\n")
}

#[test]
fn a_stranger_is_judged_by_the_labs_bytes() {
    let trial = Trial::new();
    let (results, said) = trial.run(STRANGER, &["matrix", "--only", "T2.M.1,T2.M.13,T2.M.25"], 0);
    let kinds: Vec<_> = results.cells.iter().map(kind).collect();
    assert_eq!(kinds, [Some(Kind::Direct), Some(Kind::Punch), Some(Kind::Relay)], "{said}");
    for cell in &results.cells {
        assert_eq!(cell.claims.len(), 2);
        let ends = cell.assertions.iter().filter(|one| one.what.contains("ends within 5.0 s of signal 15"));
        assert_eq!(ends.filter(|one| one.holds).count(), 2, "{:#?}", cell.assertions);
        for direction in cell.verdict.as_ref().unwrap().directions {
            assert_eq!(direction.sent, direction.arrived);
        }
    }
}

#[test]
fn a_stranger_that_lies_is_caught() {
    let trial = Trial::new();
    let liar = STRANGER
        .replace("mode: 755}]", "mode: 755}, {from: SCRIPTS/liar.sh, to: liar.sh, mode: 755}]")
        .replacen("peer:\n  command: [/app/omerta-mesh", "peer:\n  command: [/app/liar.sh", 1)
        .replace("settled: {event: settled}", "settled: {line: 'settled, path: (?P<path>direct)'}")
        .replace("  stop: {within: 5s}\n", "");
    let (cell, said) = trial.cell(&liar, &["matrix", "--only", "T2.M.25"], 1);
    assert_eq!(cell.outcome, Outcome::Disagree, "{said}");
    assert!(said.contains("says direct, the wire says relay"), "{said}");
}

/// What a scenario does to nodes and links, it does to strangers.
#[test]
#[ignore = "long: make test-full"]
fn a_stranger_is_killed_and_started_anew() {
    let trial = Trial::new();
    let text = r"
name: A peer starts anew
nat1: port-restrict
nat2: port-restrict
expected: punch
faults:
  - {after: bootstrapped, restart: peer2}
  - {after: bootstrapped, expect: bootstrapped, at: peer2}
  - {after: connected, expect: connected, at: peer2}
";
    fs::write(trial.place.work().join("anew.yaml"), text).unwrap();
    let (cell, said) = trial.cell(STRANGER, &["run", "anew.yaml"], 0);
    assert_eq!(kind(&cell), Some(Kind::Punch), "{said}");
}

#[test]
#[ignore = "long: make test-full"]
fn who_cannot_carry_is_judged_by_intervention() {
    let trial = Trial::new();
    let (cell, said) = trial.cell(CHATTER, &["matrix", "--only", "T2.M.25"], 0);
    assert_eq!(kind(&cell), Some(Kind::Relay), "{said}");
    assert!(because(&cell).contains("found by intervention"), "{}", because(&cell));

    // Nobody takes its place here when the direct way is gone.
    let trial = Trial::new();
    let alone = CHATTER.replace("--relay]", "--relay, --coordinate-only]");
    let (cell, said) = trial.cell(&alone, &["matrix", "--only", "T2.M.13"], 0);
    assert_eq!(kind(&cell), Some(Kind::Punch), "{said}");
    assert!(because(&cell).contains("0 without the way between the sites"), "{}", because(&cell));

    // Here the relay does, so that it is neither one nor the other.
    let trial = Trial::new();
    let (cell, _) = trial.cell(CHATTER, &["matrix", "--only", "T2.M.13"], 1);
    assert_eq!(cell.verdict.as_ref().unwrap().path, WirePath::Mixed);
}

#[test]
#[ignore = "long: make test-full"]
fn the_lab_sends_its_bytes_through_a_network_that_a_node_makes() {
    let trial = Trial::new();
    for (name, key) in [
        ("1.key", "QGeXYv1v3p0DgJvTQYtXk2kQ0pC2kXb1dT4lqkqgGkk=\n"),
        ("2.key", "mH2tq9d4kq0n0QyqkVbq0bVJ8mJd6z6rKQ5bq1v8wXI=\n"),
    ] {
        fs::write(trial.place.work().join(name), key).unwrap();
    }
    let text = "{name: WireGuard, nat1: port-restrict, nat2: public, expected: direct}";
    fs::write(trial.place.work().join("wg.yaml"), text).unwrap();
    let (cell, said) = trial.cell(WIREGUARD, &["run", "wg.yaml"], 0);
    assert_eq!(kind(&cell), Some(Kind::Direct), "{said}");
    let verdict = cell.verdict.as_ref().unwrap();
    assert!(verdict.directions.iter().all(|one| one.arrived == one.sent && one.direct_bytes > one.sent));
    assert!(cell.claims.is_empty(), "{:?}", cell.claims);
}

#[test]
#[ignore = "long: make test-full"]
fn a_node_may_speak_tcp() {
    let trial = Trial::new();
    let text = "{name: TCP, nat1: port-restrict, nat2: public, expected: direct}";
    fs::write(trial.place.work().join("tcp.yaml"), text).unwrap();
    let (cell, said) = trial.cell(TCP, &["run", "tcp.yaml"], 0);
    assert_eq!(kind(&cell), Some(Kind::Direct), "{said}");
    assert!(because(&cell).contains("0 without the way between the sites"), "{}", because(&cell));
}

/// Each way that a node can fail in its machine is told as the node's, with the step and its last lines.
#[test]
#[ignore = "long: make test-full"]
fn a_stranger_that_fails_says_where() {
    let node = |peer: &str| {
        let connect = if peer.contains("connect: ") { "" } else { "connect: {input: go}, " };
        format!("{{name: x, peer: {{{connect}delivered: {{line: got}}, {peer}}}}}")
    };
    let connected = "connected: {line: up}";
    for (peer, step, message) in [
        (
            format!("command: [sh, -c, 'echo no license; exit 3'], started: {{line: ready}}, {connected}"),
            Step::Nodes,
            "peer1 ended before it had started: exit code 3",
        ),
        (
            format!("command: [sh, -c, 'exec sleep 99'], started: {{port: udp/4400}}, {connected}"),
            Step::Nodes,
            "nobody listens at udp port 4400",
        ),
        (
            format!("command: [sh, -c, 'read -r go; exit 4'], {connected}"),
            Step::Connect,
            "ended before it was connected: exit code 4",
        ),
        (
            "command: [sh, -c, 'read -r go; echo gave up: no route; exec sleep 99'], connected: {line: up}, failed: {line: 'gave up: (?P<reason>.*)'}"
                .to_owned(),
            Step::Connect,
            "peer1 could not connect: no route",
        ),
        (
            "command: [sh, -c, 'exec sleep 99'], connect: {run: [sh, -c, 'exit 7']}, connected: {exit: 0}, failed: {exit: 7}"
                .to_owned(),
            Step::Connect,
            "peer1 could not connect: it did not say why",
        ),
        (
            "command: [sh, -c, 'read -r go; echo up; exec sleep 99'], connected: {line: up}".to_owned(),
            Step::Verdict,
            "no message of the nodes' own arrived",
        ),
    ] {
        let trial = Trial::new();
        let text = "{name: x, nat1: public, nat2: public, expected: direct, timeout: 60s}";
        fs::write(trial.place.work().join("x.yaml"), text).unwrap();
        let (cell, said) = trial.cell(&node(&peer), &["run", "x.yaml"], 1);
        let failure = cell.failure.as_ref().unwrap();
        assert_eq!(failure.step, step, "{said}");
        assert!(failure.message.contains(message), "`{message}` is not in:\n{said}");
    }
}

/// Each of these is said before anything boots, with what to do.
#[test]
fn what_cannot_be_a_node_is_refused() {
    let node = "{name: x, peer: {command: [COMMAND], connect: {input: go}, connected: {line: up}, delivered: {line: got}}}";
    for (app, words, phrases) in [
        (
            node.replace("COMMAND", "/app/node"),
            vec!["matrix"],
            vec!["the app x (app.yaml)", "/app/node, which is not there", "hint:"],
        ),
        (
            node.replace("COMMAND", "turnserver"),
            vec!["matrix"],
            vec!["no package has such a program", "hint:"],
        ),
        ("{name: x}".to_owned(), vec!["matrix"], vec!["app.yaml:1", "lacks `peer`"]),
        (
            node.replace("COMMAND", "sh"),
            vec!["matrix", "--backend", "sim", "--only", "T2.M.1"],
            vec!["the simulator knows no other node", "--backend vm"],
        ),
    ] {
        let trial = Trial::new();
        let mut command = trial.place.natrig([words[0], "--out", "out", "--app", &trial.app(&app)]);
        let output = command.args(&words[1..]).output().unwrap();
        let said = stdout(&output) + &stderr(&output);
        assert_code(&output, 2);
        for phrase in phrases {
            assert!(said.contains(phrase), "`{phrase}` is not in:\n{said}");
        }
        trial.place.assert_clean(&["app.yaml"]);
    }
    let trial = Trial::new();
    let mut command = trial.place.natrig(["run", "--app", &trial.app(&node.replace("COMMAND", "sh"))]);
    let output = command.arg(scenario("mesh/messages.yaml")).output().unwrap();
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("omerta-mesh's, and another app is the node here"),
        "{}",
        stderr(&output)
    );
}
