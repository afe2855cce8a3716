//! Faults of a lab that is up, each seen in the lab: `fault`, `status`.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use natrig_capture::{Reader, Record, Transport, decode};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Place, Running, assert_code, scenario, stderr, stdout, until};

/// A lab that is up; taken down when dropped.
struct Lab(Place);

impl Lab {
    fn up(file: &str) -> Self {
        Self::up_with(file, &[])
    }

    fn up_with(file: &str, options: &[&str]) -> Self {
        let lab = Lab(Place::new());
        let mut up = lab.command("up", &["--out", "out"]);
        assert_code(&up.args(options).arg(scenario(file)).output().unwrap(), 0);
        lab
    }

    /// A command that names the lab.
    fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut command = self.0.natrig([command, "--lab", &self.0.lab()]);
        command.args(arguments);
        command
    }

    fn ask(&self, command: &str, arguments: &[&str]) -> Output {
        self.command(command, arguments).output().unwrap()
    }

    /// Does a fault, given as words; gives what was done.
    fn fault(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        let output = self.ask("fault", &words);
        assert_code(&output, 0);
        stdout(&output).trim_end().to_owned()
    }

    /// Fails unless a fault is refused with these phrases.
    fn refuse(&self, words: &str, phrases: &[&str]) {
        let words: Vec<&str> = words.split(' ').collect();
        let output = self.ask("fault", &words);
        assert_code(&output, 2);
        for phrase in phrases {
            assert!(stderr(&output).contains(phrase), "{words:?}: `{phrase}` is not in\n{}", stderr(&output));
        }
    }

    fn state(&self) -> Value {
        let status = self.ask("status", &["--json"]);
        assert_code(&status, 0);
        serde_json::from_str::<Value>(&stdout(&status)).unwrap()["state"].take()
    }

    fn status(&self) -> String {
        let status = self.ask("status", &[]);
        assert_code(&status, 0);
        stdout(&status)
    }

    /// What was done, as it is written down beside the captures.
    fn journal(&self) -> Vec<String> {
        let journal = fs::read_to_string(self.0.work().join("out/faults.log")).unwrap();
        journal.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    /// Whether a machine answers a peer's ping.
    fn answers(&self, peer: &str, address: &str) -> bool {
        let script = format!("ping -c 1 -W 2 {address}");
        self.ask("exec", &[peer, "--", "sh", "-c", &script]).status.success()
    }

    fn program(&self, machine: &str, script: &str) -> String {
        let output = self.ask("exec", &[machine, "--", "sh", "-c", script]);
        assert_code(&output, 0);
        stdout(&output).trim_end().to_owned()
    }

    /// Waits until the path from one peer to another is this one, by the word of the first.
    fn until_path(&self, from: &str, to: &str, path: &Value) {
        until(&format!("the path from {from} to {to} is {path}"), || {
            let state = self.state();
            let paths = state["paths"].as_array().unwrap();
            let found = paths.iter().find(|one| one["from"] == from && one["to"] == to);
            match found.filter(|one| one["path"] == *path) {
                Some(_) => Ok(()),
                None => Err(state["paths"].to_string()),
            }
        });
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.ask("down", &[]);
    }
}

const RELAY: &str = "192.168.100.3";

#[test]
fn a_path_is_lost_with_its_link_and_comes_back_with_it() {
    let lab = Lab::up("seed/scenario-direct.yaml");
    assert!(!lab.status().contains("path: peer1 to peer2"), "{}", lab.status());
    assert_eq!(lab.fault("connect peer1 to peer2"), "connect peer1 to peer2");
    let direct = json!("direct");
    lab.until_path("peer1", "peer2", &direct);

    assert_eq!(lab.fault("cut nat2.wan"), "cut nat2.wan");
    assert_eq!(lab.state()["cut"], json!(["nat2.wan"]));
    assert!(lab.status().contains("  cut: nat2.wan\n"), "{}", lab.status());
    assert!(!lab.answers("peer2", RELAY));
    lab.until_path("peer1", "peer2", &Value::Null);
    assert!(lab.status().contains("path: peer1 to peer2 none: "), "{}", lab.status());

    assert_eq!(lab.fault("heal nat2.wan"), "heal nat2.wan");
    assert_eq!(lab.state()["cut"], json!([]));
    until("the relay answers", || match lab.answers("peer2", RELAY) {
        true => Ok(()),
        false => Err(String::new()),
    });
    // A connection that is given up is asked for again by whoever wants it.
    lab.fault("connect peer1 to peer2");
    lab.until_path("peer1", "peer2", &direct);

    let connect = "connect peer1 to peer2";
    assert_eq!(lab.journal(), [connect, "cut nat2.wan", "heal nat2.wan", connect]);
}

/// What a capture's file holds so far.
fn caught(file: &Path) -> Vec<Record> {
    let reader = fs::File::open(file).ok().and_then(|file| Reader::new(file).ok());
    reader.map_or_else(Vec::new, |reader| reader.map_while(Result::ok).collect())
}

fn is_ping(record: &Record) -> bool {
    let ipv4 = decode(&record.data).and_then(|packet| packet.ipv4());
    ipv4.is_some_and(|ipv4| matches!(ipv4.transport, Transport::Icmp(_)))
}

#[test]
fn a_link_is_watched_while_something_passes() {
    let lab = Lab::up("seed/scenario-direct.yaml");
    let file = lab.0.work().join("watched.pcapng");
    let watch = lab.command("capture", &["nat1.wan", "-w", file.to_str().unwrap()]);
    let mut watching = Running::start(watch);
    watching.until("the ping is seen", || {
        lab.answers("peer1", RELAY);
        caught(&file).iter().any(is_ping)
    });
    watching.signal(Signal::INT);
    watching.wait();

    let some = lab.0.work().join("some.pcapng");
    let mut watch = lab.command("capture", &["nat1.wan", "--count", "4", "-w", some.to_str().unwrap()]);
    let mut watching = watch.spawn().unwrap();
    until("it has seen enough", || {
        lab.answers("peer1", RELAY);
        watching.try_wait().unwrap().ok_or_else(|| "it goes on".to_owned()).map(drop)
    });
    assert!(watching.wait().unwrap().success());
    let caught = caught(&some);
    assert_eq!(caught.len(), 4);

    let all = lab.0.work().join("all.pcapng");
    let output = lab.ask("capture", &["peer2.lan", "--from-start", "-c", "1", "-w", all.to_str().unwrap()]);
    assert_code(&output, 0);
    let first = Reader::new(fs::File::open(&all).unwrap()).unwrap().next().unwrap().unwrap();
    assert!(first.at_ns < caught[0].at_ns);

    let wrong = lab.ask("capture", &["nat3.wan", "-w", "-"]);
    assert_code(&wrong, 2);
    assert!(stderr(&wrong).contains("no link is called `nat3.wan`"), "{}", stderr(&wrong));
    assert!(stderr(&wrong).contains("hint: there are dropped, nat1.lan, nat1.wan"), "{}", stderr(&wrong));

    // It ends with the lab.
    let mut watching = lab.command("capture", &["relay.wan", "-w", "-"]);
    let mut watching = watching.stdout(Stdio::null()).spawn().unwrap();
    assert_code(&lab.ask("down", &[]), 0);
    assert!(watching.wait().unwrap().success());
}

/// More passes than is kept; who watches sees all of it, and what is kept can be read.
#[test]
#[ignore = "long: make test-full"]
fn a_lab_that_stays_up_keeps_the_newest_packets() {
    let lab = Lab::up_with("seed/scenario-direct.yaml", &["--ring", "1"]);
    let file = lab.0.work().join("watched.pcapng");
    let mut watching = Running::start(lab.command("capture", &["peer1.lan", "-w", file.to_str().unwrap()]));
    let pings = || caught(&file).iter().filter(|record| is_ping(record)).count();
    watching.until("the capture is watched", || {
        lab.answers("peer1", RELAY);
        pings() > 0
    });
    let before = pings();
    // Each is captured as it leaves and as its answer comes: 2.8 MB.
    let flood = ["peer1", "--", "sh", "-c", "ping -q -c 1000 -i 0.005 -s 1400 192.168.100.3"];
    assert_code(&lab.ask("exec", &flood), 0);
    watching.until("all of it has been seen", || pings() >= before + 1000);
    watching.signal(Signal::INT);
    watching.wait();

    let captures = lab.0.work().join("out/captures");
    let length = |path: &Path| fs::metadata(path).map_or(0, |there| there.len());
    let [newer, older] =
        ["peer1.lan.pcapng", "older/peer1.lan.pcapng"].map(|name| length(&captures.join(name)));
    assert!(older > 0 && newer + older < 1_300_000, "{newer} and {older} bytes");
    assert_code(&lab.ask("down", &[]), 0);
    let trace = natrig_capture::Trace::read_folder(&captures).unwrap();
    assert!(trace.frames().len() > 200, "{} frames", trace.frames().len());
}

#[test]
fn a_link_is_impaired_and_parted_as_it_is_told() {
    let lab = Lab::up("seed/scenario-direct.yaml");
    assert!(lab.answers("peer1", RELAY));
    assert_eq!(
        lab.fault("impair nat1.wan loss 100% direction out"),
        "impair nat1.wan, direction: out, loss: 100%"
    );
    assert!(!lab.answers("peer1", RELAY), "nothing is lost");
    assert_eq!(lab.state()["impaired"], json!(["nat1.wan, direction: out, loss: 100%"]));
    // What a status says can be given back as a fault.
    let again = lab.ask("fault", &["impair: nat1.wan, direction: out, loss: 100%", "--json"]);
    assert_code(&again, 0);
    let again: Value = serde_json::from_str(&stdout(&again)).unwrap();
    assert_eq!(again["done"], "impair nat1.wan, direction: out, loss: 100%");
    assert_eq!(again["state"]["impaired"], lab.state()["impaired"]);
    lab.fault("mend nat1.wan");
    assert_eq!(lab.state()["impaired"], json!([]));
    assert!(lab.answers("peer1", RELAY));

    assert_code(&lab.ask("fault", &["{partition: [[nat1.wan], [relay.wan]], one_way: true}"]), 0);
    assert_eq!(lab.state()["parted"], json!([["nat1.wan", "relay.wan"]]));
    assert!(!lab.answers("peer1", RELAY), "nothing is parted");
    assert!(lab.answers("peer2", RELAY));
    lab.fault("rejoin internet");
    assert!(lab.answers("peer1", RELAY));
    assert_eq!(lab.state()["parted"], json!([]));

    // What takes its time ends with the one who waits for it, and leaves the link whole.
    let mut flap =
        Running::start(lab.command("fault", &["flap", "nat1.wan", "times", "1000", "every", "5m"]));
    flap.until("the link is cut", || lab.state()["cut"] == json!(["nat1.wan"]));
    assert_eq!(lab.state()["doing"], json!(["flap nat1.wan 1000 times, every 300s"]));
    // Meanwhile others may do something.
    lab.fault("impair peer2.lan delay 10ms");
    flap.signal(Signal::INT);
    flap.wait();
    until("the link is healed", || match lab.state() {
        state if state["cut"] == json!([]) && state["doing"] == json!([]) => Ok(()),
        state => Err(state.to_string()),
    });
    assert!(lab.answers("peer1", RELAY));
}

#[test]
fn nodes_and_machines_fail_and_come_back() {
    let lab = Lab::up("seed/scenario-direct.yaml");
    let node = |machine: &str| lab.program(machine, "pidof omerta-mesh || true");
    let first = node("peer1");
    lab.fault("kill peer1");
    assert_eq!((node("peer1").as_str(), &lab.state()["ended"]), ("", &json!(["peer1"])));
    lab.refuse("pause peer1", &["peer1 has no node that runs", "hint: natrig fault restart peer1"]);
    lab.fault("restart peer1");
    assert_eq!(lab.state()["ended"], json!([]));
    assert!(![String::new(), first].contains(&node("peer1")));

    lab.fault("pause peer1");
    assert_eq!(lab.state()["paused"], json!(["peer1"]));
    assert!(lab.program("peer1", "cat /proc/$(pidof omerta-mesh)/stat").contains(") T "));
    lab.refuse("stop peer1", &["stands still", "natrig fault resume peer1"]);
    lab.fault("resume peer1");
    assert_eq!(lab.state()["paused"], json!([]));
    lab.fault("stop peer2");
    lab.fault("restart peer2");

    lab.fault("freeze peer2");
    assert_eq!(lab.state()["frozen"], json!(["peer2"]));
    lab.refuse("kill peer2", &["peer2 is frozen", "hint: natrig fault thaw peer2"]);
    lab.fault("thaw peer2");
    lab.refuse("thaw peer2", &["peer2 is not frozen"]);
    assert_eq!(lab.program("peer2", "hostname"), "peer2");

    let machines = lab.0.machines();
    let id = lab.program("relay", "cat /etc/machine-id");
    lab.fault("power_off relay");
    assert_eq!((lab.0.machines(), &lab.state()["off"]), (machines - 1, &json!(["relay"])));
    assert!(!lab.answers("peer1", RELAY));
    for command in [&["power_off", "relay"][..], &["restart", "relay"]] {
        lab.refuse(&command.join(" "), &["relay is off", "hint: natrig fault power_on relay"]);
    }
    let exec = lab.ask("exec", &["relay", "--", "true"]);
    assert_code(&exec, 2);
    assert!(stderr(&exec).contains("relay is off"), "{}", stderr(&exec));
    lab.fault("power_on relay");
    assert_eq!((lab.0.machines(), &lab.state()["off"]), (machines, &json!([])));
    lab.refuse("power_on relay", &["it is on already"]);
    assert!(lab.answers("peer1", RELAY));
    assert_ne!(lab.program("relay", "cat /etc/machine-id"), id);

    let clock = || lab.program("peer1", "date +%s").parse::<i64>().unwrap();
    let before = clock();
    assert_code(&lab.ask("fault", &["{clock: peer1, by: -1000s}"]), 0);
    assert!(clock() < before - 900, "the clock is where it was");

    lab.fault("roam peer1 to lan2");
    assert_eq!(lab.state()["moved"]["peer1"], json!("lan2, 10.0.2.40"));
    assert!(lab.program("peer1", "ip -4 -o addr show dev lan").contains("10.0.2.40/24"));
    lab.refuse("power_off peer1", &["peer1 has moved to lan2", "natrig fault roam peer1 to lan1"]);
    lab.fault("roam peer1 to lan1");
    assert_eq!(lab.state()["moved"], json!({}));

    assert_code(&lab.ask("down", &[]), 0);
    lab.0.assert_clean(&["out"]);
}

#[test]
fn gateways_start_anew_move_and_become_others() {
    let lab = Lab::up("seed/scenario-direct.yaml");
    let said = lab.fault("reboot nat1");
    assert!(said.starts_with("reboot nat1: machine "), "{said}");
    let said = lab.fault("rebind nat1");
    assert!(said.contains("its table is empty"), "{said}");
    // The proof keeps the gateway to itself, and gives back what was parted before as it was.
    assert_code(&lab.ask("fault", &["partition: [[nat1.wan], [relay.wan]]"]), 0);
    let said = lab.fault("become nat1 nat symmetric");
    assert!(said.contains("`full-cone` is now `symmetric`, as it was proven"), "{said}");
    assert!(lab.status().contains("changed: nat1 is now symmetric"), "{}", lab.status());
    assert!(!lab.answers("peer1", RELAY), "it is parted no more");
    lab.fault("rejoin internet");
    // The gateway is one again that everybody reaches, and is what it says.
    let probe = lab.ask("probe", &["peer1", "--fast"]);
    assert_code(&probe, 0);
    assert!(stdout(&probe).contains("peer1 is behind symmetric, as it should be"), "{}", stdout(&probe));
    lab.fault("become nat1 nat full-cone");
    assert_eq!(lab.state()["gateways"], json!({}));
    let said = lab.fault("renumber nat2");
    let (_, now) = said.rsplit_once(" is now ").unwrap();
    assert!(lab.program("nat2", "ip -4 -o addr show dev wan").contains(&format!("{now}/")), "{said}");
    assert!(lab.state()["gateways"]["nat2"].as_str().unwrap().contains(now));
    assert!(lab.answers("peer2", RELAY));
    lab.refuse("become nat2 nat symmetric", &["it was proven with other addresses"]);
    let said = lab.fault("fill nat1");
    assert!(said.starts_with("fill nat1: "), "{said}");
}

#[test]
fn what_cannot_be_done_is_an_error_with_its_remedy() {
    let lab = Lab::up("seed/scenario-direct.yaml");
    lab.refuse("cut nat1-wan", &["that is no fault of this lab", "`nat1-wan` is no link", "nat1.wan"]);
    lab.refuse("cut nat3.wan", &["there is no nat3.wan here"]);
    lab.refuse("kill peer3", &["there is no peer3 here"]);
    lab.refuse("break nat1.wan", &["a fault has no key `break`", "cut"]);
    lab.refuse("cut", &["the link must be text"]);
    assert_eq!(lab.state()["cut"], json!([]));
    let none = lab.ask("fault", &[]);
    assert_code(&none, 2);

    // What nodes are expected to report.
    lab.fault("kill peer2");
    let unmet = lab.ask("fault", &["expect", "connected", "at", "peer1", "within", "100ms"]);
    assert_code(&unmet, 1);
    assert!(stderr(&unmet).contains("expected within 0.1 s"), "{}", stderr(&unmet));
    lab.fault("restart peer2");
    lab.fault("connect peer1 to peer2");
    assert_code(&lab.ask("fault", &["expect", "connected", "at", "peer1", "within", "60s"]), 0);

    assert_code(&lab.ask("down", &[]), 0);
    let down = lab.ask("fault", &["cut", "nat1.wan"]);
    assert_code(&down, 2);
    let phrase = format!("no lab called `{}` is up", lab.0.lab());
    assert!(stderr(&down).contains(&phrase), "{}", stderr(&down));
    assert!(stderr(&down).contains("hint: natrig up FILE"), "{}", stderr(&down));
    // Only what was done is written down.
    assert_eq!(lab.journal().len(), 4, "{:?}", lab.journal());
    assert!(lab.journal()[3].starts_with("peer1 reports connected"), "{:?}", lab.journal());
}
