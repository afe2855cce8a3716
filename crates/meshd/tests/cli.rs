//! The commands as people use them: nodes with homes of their own on 127.0.0.1.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_omerta-mesh"));
    command.env("OMERTA_HOME", home).env_remove("OMERTA_LOG");
    command
}

/// What a command says and how it ends.
fn omerta(home: &Path, words: &[&str]) -> Output {
    program(home).args(words).stdin(Stdio::null()).output().expect("the program runs")
}

fn done(home: &Path, words: &[&str]) -> String {
    let output = omerta(home, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn json(home: &Path, words: &[&str]) -> Value {
    serde_json::from_str(&done(home, &[words, &["--json"]].concat())).expect("JSON")
}

/// The exit status and the complaint of a command that fails.
fn fails(home: &Path, words: &[&str]) -> (i32, String) {
    let output = omerta(home, words);
    (output.status.code().expect("ended by itself"), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A node at home; it dies with the test.
struct Node {
    home: TempDir,
    child: Child,
    id: String,
}

impl Node {
    fn start(home: TempDir, options: &[&str]) -> Self {
        let mut child = program(home.path())
            .args(["run", "--listen", "127.0.0.1:0", "--json"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let started: Value = serde_json::from_str(&line).expect("JSON");
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let id = started["id"].as_str().expect("an ID").to_owned();
        Self { home, child, id }
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn stop(&mut self, signal: &str) -> i32 {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status.code().unwrap_or(-1);
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

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

/// A relay with an echo in a private network, and its link.
fn mesh() -> (Node, String) {
    let home = folder();
    let key = "5a".repeat(32);
    std::fs::write(home.path().join("config.yaml"), format!("network: '{key}'\n")).expect("written");
    let relay = Node::start(home, &["--relay", "--echo", "--metrics", "127.0.0.1:0"]);
    let link = done(relay.home(), &["invite"]).trim().to_owned();
    assert!(link.starts_with(&format!("omerta:?key={key}&node={}@127.0.0.1:", relay.id)), "{link}");
    (relay, link)
}

fn member(link: &str) -> Node {
    let home = folder();
    assert!(done(home.path(), &["join", link]).contains("omerta-mesh run"));
    Node::start(home, &[])
}

#[test]
fn two_who_were_invited_talk() {
    let (relay, link) = mesh();
    let (mut a, b) = (member(&link), member(&link));
    assert_eq!(done(a.home(), &["id"]).trim(), a.id);

    // To a peer that nobody has connected to yet.
    let sent = json(a.home(), &["send", &b.id, "good morning"]);
    assert_eq!((&sent["bytes"], &sent["path"]), (&12.into(), &"direct".into()));
    assert_eq!(done(b.home(), &["recv"]), "good morning");
    // Of any bytes, by a file and by standard input; taken by sender and in their order.
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = a.home().join("content");
    std::fs::write(&file, &content).expect("written");
    done(a.home(), &["send", &b.id, "--file", file.to_str().expect("plain")]);
    let mut sending = program(a.home())
        .args(["send", &b.id])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("runs");
    sending.stdin.take().expect("piped").write_all(&[0, 255, 10]).expect("written");
    assert!(sending.wait().expect("ends").success());
    assert!(omerta(b.home(), &["recv", "--from", &a.id]).stdout == content);
    let message = json(b.home(), &["recv"]);
    assert_eq!((&message["hex"], &message["peer"]), (&"00ff0a".into(), &a.id.as_str().into()));
    // One that waits is told as soon as something comes.
    let waiting =
        program(a.home()).args(["recv", "--json"]).stdout(Stdio::piped()).spawn().expect("the program runs");
    done(b.home(), &["send", &a.id, "back"]);
    let waited = waiting.wait_with_output().expect("ends");
    assert_eq!(serde_json::from_slice::<Value>(&waited.stdout).expect("JSON")["text"], "back");

    let pong = json(a.home(), &["ping", &b.id, "--count", "1"]);
    assert!(pong["microseconds"].as_u64().is_some_and(|took| took < 1_000_000), "{pong}");
    assert!(done(a.home(), &["ping", &b.id, "-c", "2", "-i", "0"]).lines().count() == 2);
    let peers = json(a.home(), &["peers"]);
    let listed = |id: &str| peers.as_array().expect("a list").iter().any(|peer| peer["peer"] == id);
    assert!(listed(&b.id) && listed(&relay.id), "{peers}");
    assert!(done(a.home(), &["peers"]).contains(&format!("[direct] {} at 127.0.0.1:", b.id)));
    let status = json(a.home(), &["status"]);
    assert_eq!((&status["bootstrapped"], &status["contacts"]), (&true.into(), &1.into()), "{status}");
    assert_ne!(status["network"], "open");
    assert!(done(a.home(), &["status"]).contains(&a.id));
    done(a.home(), &["nat"]);
    assert_eq!(json(relay.home(), &["status"])["service"]["relay"]["sessions"], 50);

    // What is secret is the owner's.
    for name in ["key", "control.sock", "config.yaml"] {
        assert_eq!(mode(&a.home().join(name)), 0o600, "{name}");
    }
    assert_eq!(a.stop("-INT"), 0);
    assert!(!a.home().join("control.sock").exists(), "put away");
    let known = std::fs::read_to_string(a.home().join("known")).unwrap_or_default();
    assert!(!known.contains(&relay.id), "what the configuration says is not said twice");
}

#[test]
fn metrics_are_served_to_prometheus() {
    let (relay, _) = mesh();
    let at = json(relay.home(), &["status"])["metrics"].as_str().expect("an address").to_owned();
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(&at).expect("connects");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    };
    let answer = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for figure in [
        "omerta_mesh_datagrams_total{direction=\"sent\",kind=\"quic\"} ",
        "omerta_mesh_relay_sessions 0\n",
        "omerta_mesh_contacts{path=\"direct\"} 0\n",
        "omerta_mesh_messages_waiting 0\n",
        "# TYPE omerta_mesh_uptime_seconds gauge\n",
    ] {
        assert!(answer.contains(figure), "{figure}: {answer}");
    }
    assert!(answer.ends_with("# EOF\n"));
    assert!(ask("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(ask("rubbish\r\n\r\n").starts_with("HTTP/1.1 405"));
    let (code, why) = fails(folder().path(), &["run", "--metrics", "0.0.0.0:0", "--listen", "127.0.0.1:0"]);
    assert!(code == 2 && why.contains("loopback"), "{why}");
}

#[test]
fn a_test_ends_with_0_only_when_its_message_came_back() {
    let (relay, link) = mesh();
    let home = folder();
    done(home.path(), &["join", &link]);
    let listen = ["run", "--listen", "127.0.0.1:0", "--test"];
    let output = omerta(home.path(), &[&listen[..], &[&relay.id]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("[direct] received"));

    // A peer that does not answer, one that is not there, and a wrong network.
    let silent = member(&link);
    let (code, why) = fails(home.path(), &[&listen[..], &[&silent.id, "--timeout", "0.5"]].concat());
    assert!(code == 1 && why.contains("did not come back"), "{code}: {why}");
    let (code, why) = fails(home.path(), &[&listen[..], &[&"ab".repeat(32), "--timeout", "1"]].concat());
    assert!(code == 1 && why.contains("test failed"), "{code}: {why}");
    let text = std::fs::read_to_string(home.path().join("config.yaml")).expect("read");
    std::fs::write(home.path().join("config.yaml"), text.replace("5a5a", "5b5b")).expect("written");
    let output = omerta(home.path(), &[&listen[..], &[&relay.id, "--timeout", "1"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("of another network; check the network key"));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_remedy() {
    let home = folder();
    let at = home.path();
    for command in [&["status"][..], &["peers"], &["nat"], &["invite"], &["recv"]] {
        let (code, why) = fails(at, command);
        assert!(code == 2 && why.contains("no node runs in") && why.contains("omerta-mesh run"), "{why}");
    }
    let (code, why) = fails(at, &["join", "omerta:?node=1&sum=00000000"]);
    assert!(code == 2 && why.contains("not whole"), "{why}");
    let (code, why) = fails(at, &["send", "12", "x"]);
    assert!(code == 2 && why.contains("64 hexadecimal digits"), "{why}");
    std::fs::write(at.join("config.yaml"), "relay: true\nsesions: 3\n").expect("written");
    let (code, why) = fails(at, &["run"]);
    assert!(
        code == 2 && why.contains("config.yaml") && why.contains("line 2") && why.contains("sesions"),
        "{why}"
    );
    let (code, why) = fails(at, &["run", "--config", "/nowhere.yaml"]);
    assert!(code == 2 && why.contains("/nowhere.yaml"), "{why}");
    let long = at.join("x".repeat(120));
    let (code, why) = fails(&long, &["run", "--listen", "127.0.0.1:0"]);
    assert!(code == 2 && why.contains("shorter --home"), "{why}");

    let (relay, link) = mesh();
    let (code, why) = fails(relay.home(), &["run", "--listen", "127.0.0.1:0"]);
    assert!(code == 2 && why.contains("runs in") && why.contains("already"), "{why}");
    let (code, why) = fails(relay.home(), &["recv", "--timeout", "0"]);
    assert!(code == 1 && why.contains("in time"), "{why}");
    let nobody = "ab".repeat(32);
    let (code, why) = fails(relay.home(), &["ping", &nobody, "-c", "1", "--timeout", "5"]);
    assert!(code == 1 && !why.is_empty(), "{why}");

    // Another mesh is not left by accident.
    std::fs::write(at.join("config.yaml"), format!("network: '{}'\nsessions: 9\n", "01".repeat(32)))
        .expect("written");
    let (code, why) = fails(at, &["join", &link]);
    assert!(code == 2 && why.contains("--replace"), "{why}");
    done(at, &["join", &link, "--replace"]);
    let text = std::fs::read_to_string(at.join("config.yaml")).expect("read");
    assert!(text.contains("sessions: 9") && text.contains(&relay.id), "{text}");
}

#[test]
fn a_node_that_was_killed_leaves_nothing_in_the_way() {
    let mut node = Node::start(folder(), &[]);
    node.child.kill().expect("killed");
    node.child.wait().expect("a child of ours");
    assert!(node.home().join("control.sock").exists());
    let home = std::mem::replace(&mut node.home, folder());
    let mut again = Node::start(home, &[]);
    assert_eq!(again.id, node.id);
    assert_eq!(json(again.home(), &["id"])["id"], again.id.as_str());
    assert_eq!(again.stop("-TERM"), 0);
}

#[test]
fn rubbish_on_the_control_socket_is_answered_and_harms_nobody() {
    let node = Node::start(folder(), &[]);
    for rubbish in
        [&b"\n"[..], b"{}\n", b"{\"do\":\"dance\"}\n", &[0xff; 100], b"{\"do\":\"send\",\"peer\":\"x\"}\n"]
    {
        let mut stream =
            std::os::unix::net::UnixStream::connect(node.home().join("control.sock")).expect("connects");
        stream.write_all(rubbish).expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("ended");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.contains("not understood"), "{answer}");
    }
    let huge = format!("{{\"do\":\"send\",\"peer\":\"{}\",\"bytes\":{},\"timeout\":1}}\n", node.id, u64::MAX);
    let mut stream =
        std::os::unix::net::UnixStream::connect(node.home().join("control.sock")).expect("connects");
    stream.write_all(huge.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.contains("at most"), "{answer}");
    json(node.home(), &["status"]);
}
