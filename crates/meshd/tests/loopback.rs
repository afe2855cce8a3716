//! The program on real sockets: a relay and two peers on 127.0.0.1.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running node; it dies with the test.
struct Node {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<Value>,
}

impl Node {
    fn start(options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_omerta-mesh"))
            .args(["run", "--listen", "127.0.0.1:0", "--json", "--commands"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { stdin: child.stdin.take(), child, lines, seen: Vec::new() }
    }

    fn command(&mut self, command: Value) {
        let stdin = self.stdin.as_mut().expect("open");
        writeln!(stdin, "{command}").expect("the node reads");
    }

    /// Waits for an event that has not been waited for yet.
    fn event(&mut self, name: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no {name} event; seen: {:#?}", self.seen));
            let event: Value = serde_json::from_str(&line).expect("each line is JSON");
            assert!(event["ms"].is_u64(), "{event}");
            self.seen.push(event.clone());
            if event["event"] == name {
                return event;
            }
        }
    }

    fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "the node does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn start_relay(options: &[&str]) -> (Node, String, String) {
    let mut relay = Node::start(&[&["--relay"], options].concat());
    let started = relay.event("started");
    let at = text(&started["listen"]).to_owned();
    let bootstrap = format!("{}@{at}", text(&started["id"]));
    (relay, bootstrap, at)
}

fn file(folder: &Path, name: &str, salt: u8) -> PathBuf {
    let path = folder.join(name);
    let content: Vec<u8> =
        (0..256 << 10).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ salt).collect();
    std::fs::write(&path, content).expect("written");
    path
}

fn hash(path: &Path) -> Vec<u8> {
    Sha256::digest(std::fs::read(path).expect("readable")).to_vec()
}

#[test]
fn two_peers_meet_through_a_relay_and_exchange_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_relay, bootstrap, stun) = start_relay(&[]);
    let start_peer = |name: &str| {
        let inbox = folder.path().join(name);
        let inbox = inbox.to_str().expect("plain");
        let mut node = Node::start(&["--bootstrap", &bootstrap, "--stun", &stun, "--inbox", inbox]);
        let id = text(&node.event("started")["id"]).to_owned();
        let nat = node.event("natDetected");
        assert!(text(&nat["observed"]).starts_with("127.0.0.1:"), "{nat}");
        node.event("bootstrapped");
        (node, id)
    };
    let (mut a, a_id) = start_peer("a");
    let (mut b, b_id) = start_peer("b");

    a.command(json!({"do": "connect", "peer": b_id}));
    for (node, peer) in [(&mut a, &b_id), (&mut b, &a_id)] {
        let settled = node.event("settled");
        assert_eq!((&settled["path"], &settled["kind"]), (&json!("direct"), &json!("direct")));
        assert_eq!(text(&settled["peer"]), peer);
    }
    let files = [file(folder.path(), "to-b", 1), file(folder.path(), "to-a", 2)];
    a.command(json!({"do": "send", "peer": b_id, "file": files[0]}));
    b.command(json!({"do": "send", "peer": a_id, "file": files[1]}));
    for (node, sent, received) in [(&mut a, &files[0], &files[1]), (&mut b, &files[1], &files[0])] {
        let events: Vec<Value> = (0..2)
            .map(|_| {
                loop {
                    let line = node.lines.recv_timeout(PATIENCE).expect("an event");
                    let event: Value = serde_json::from_str(&line).expect("JSON");
                    if ["sent", "messageReceived"].contains(&text(&event["event"])) {
                        break event;
                    }
                }
            })
            .collect();
        let of = |name: &str| events.iter().find(|event| event["event"] == name).expect("both come");
        assert_eq!(text(&of("sent")["file"]), sent.to_str().expect("plain"));
        let message = of("messageReceived");
        assert_eq!(message["bytes"], 256 << 10);
        assert_eq!(message["path"], "direct");
        assert_eq!(hash(Path::new(text(&message["file"]))), hash(received));
    }

    a.command(json!({"do": "quit"}));
    assert!(a.wait_for_exit().success());
    b.event("disconnected");
    let pid = b.child.id().to_string();
    let kill = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
    assert!(kill.success());
    assert!(b.wait_for_exit().success(), "graceful on SIGTERM");
}

#[test]
fn the_end_of_input_stops_nothing_and_bad_commands_are_told() {
    let (mut relay, _, _) = start_relay(&["--coordinate-only"]);
    relay.command(json!({"do": "dance"}));
    assert!(text(&relay.event("error")["message"]).contains("dance"));
    relay.command(json!({"do": "connect", "peer": "ab".repeat(32)}));
    drop(relay.stdin.take());
    let failed = relay.event("connectFailed");
    assert_eq!(text(&failed["peer"]), "ab".repeat(32));
    assert!(relay.child.try_wait().expect("a child of ours").is_none(), "still running");
}

#[test]
fn an_id_is_kept_in_its_key_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    let id = || {
        let output = Command::new(env!("CARGO_BIN_EXE_omerta-mesh"))
            .args(["id", "--key", key.to_str().expect("plain")])
            .output()
            .expect("the program runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    let first = id();
    assert_eq!(first.trim().len(), 64);
    assert_eq!(first, id());
    std::fs::write(&key, b"not a key").expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_omerta-mesh"))
        .args(["id", "--key", key.to_str().expect("plain")])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no key file"));
}
