//! Labs that stay up: `up`, `status`, `fault`, `exec`, `probe`, `shell`, `logs`, `down`.

mod support;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Output, Stdio},
};

use rustix::{
    process::{Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcgetattr, tcsetwinsize},
};
use support::{Place, Running, assert_code, pid, scenario, stderr, stdout, until};

/// A lab that is up; taken down when dropped.
struct Lab {
    place: Place,
    said: String,
}

impl Lab {
    fn up() -> Self {
        let mut lab = Lab { place: Place::new(), said: String::new() };
        let output = lab.up_again();
        assert_code(&output, 0);
        lab.said = stdout(&output);
        lab
    }

    fn up_again(&self) -> Output {
        let mut command = self.place.natrig(["up", "--lab", &self.place.lab(), "--out"]);
        let out = if self.said.is_empty() { "out" } else { "other" };
        command.arg(out).arg(scenario("seed/scenario-relay-fallback.yaml")).output().unwrap()
    }

    /// A command that names the lab.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.natrig([arguments[0], "--lab", &self.place.lab()]);
        command.args(&arguments[1..]);
        command
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Whether a program of this name runs in peer1.
    fn runs(&self, program: &str) -> bool {
        self.ask(&["exec", "peer1", "--", "pidof", program]).status.success()
    }

    fn until_runs(&self, program: &str, runs: bool) {
        until(&format!("{program} runs: {runs}"), || match self.runs(program) == runs {
            true => Ok(()),
            false => Err(String::new()),
        });
    }

    fn keeper(&self) -> u32 {
        let processes = self.place.processes();
        let (number, _) = processes.iter().find(|(_, command)| command.contains(" keep ")).unwrap();
        number.unsigned_abs()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.ask(&["down"]);
    }
}

#[test]
fn a_node_tells_what_it_is_behind() {
    let lab = Lab::up();
    let whole = lab.ask(&["probe", "peer1"]);
    assert_code(&whole, 0);
    for phrase in ["peer1 is behind symmetric, as it should be", "APDM", "APDF", "icmp_errors"] {
        assert!(stdout(&whole).contains(phrase), "{}", stdout(&whole));
    }
    let addresses = lab.ask(&["exec", "peer1", "--", "ip", "-4", "-br", "addr", "show", "dev", "lan"]);
    assert!(!stdout(&addresses).contains("10.0.1.3"), "{}", stdout(&addresses));

    let chain = "add chain ip natrig srcnat { type nat hook postrouting priority srcnat; }";
    let rule = "add rule ip natrig srcnat oifname wan masquerade";
    let script = format!("nft 'flush ruleset; add table ip natrig; {chain}; {rule}' && conntrack -F");
    assert_code(&lab.ask(&["exec", "nat1", "--", "sh", "-c", &script]), 0);
    let changed = lab.ask(&["probe", "peer1", "--fast", "--json"]);
    assert_code(&changed, 2);
    let all: serde_json::Value = serde_json::from_str(&stdout(&changed)).unwrap();
    assert_eq!(all["proof"]["holds"], false);
    assert_eq!(all["proof"]["measured"]["mapping"], "EIM");

    let nowhere = lab.ask(&["probe", "relay"]);
    assert_code(&nowhere, 2);
    assert!(stderr(&nowhere).contains("hint: ask peer1 or peer2"), "{}", stderr(&nowhere));
}

#[test]
fn a_lab_is_up_until_it_is_taken_down() {
    let lab = Lab::up();
    for phrase in [lab.place.lab().as_str(), "nat1 (symmetric)", "10.0.1.2/24", "192.168.100.3/24"] {
        assert!(lab.said.contains(phrase), "{}", lab.said);
    }
    assert_eq!(lab.place.machines(), 5);

    let status = lab.ask(&["status"]);
    assert_code(&status, 0);
    assert!(lab.said.contains(&stdout(&status)), "{}", stdout(&status));

    let again = lab.up_again();
    assert_code(&again, 2);
    assert!(stderr(&again).contains("is up already"), "{}", stderr(&again));
    assert!(stderr(&again).contains("natrig down --lab"), "{}", stderr(&again));

    let logs = lab.ask(&["logs", "peer1"]);
    assert_code(&logs, 0);
    assert!(stdout(&logs).contains(r#""event":"bootstrapped""#), "{}", stdout(&logs));
    let nobody = lab.ask(&["logs", "peer3"]);
    assert_code(&nobody, 2);
    assert!(stderr(&nobody).contains("peer1, peer2, relay"), "{}", stderr(&nobody));

    let (seen, mark) = ("ping -c 3 -W 5 192.168.100.3", "3 packets received");
    let ping = lab.ask(&["exec", "peer1", "--", "sh", "-c", seen]);
    assert_code(&ping, 0);
    assert!(stdout(&ping).contains(mark), "{}", stdout(&ping));

    assert_code(&lab.ask(&["down"]), 0);
    assert_code(&lab.ask(&["status"]), 2);
    assert_code(&lab.up_again(), 0);
    assert_code(&lab.ask(&["down"]), 0);
    lab.place.assert_clean(&["other", "out"]);
    let captures = lab.place.work().join("out/captures");
    let trace = natrig_capture::Trace::read_folder(&captures).unwrap();
    let echo = |frame: &natrig_capture::Frame| {
        frame.packet().is_some_and(|packet| {
            packet.ipv4().is_some_and(|ip| matches!(ip.transport, natrig_capture::Transport::Icmp(_)))
        })
    };
    assert!(trace.frames().iter().any(echo), "the pings are not in the captures");
}

#[test]
fn exec_ends_as_the_program_ends() {
    let lab = Lab::up();
    let shell = |script: &str| lab.ask(&["exec", "relay", "--", "sh", "-c", script]);
    let output = shell("echo to out; echo to err >&2; exit 7");
    assert_code(&output, 7);
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("to out\n", "to err\n"));
    assert_code(&shell("kill -9 $$"), 128 + 9);
    assert_code(&shell("hostname; exit 0"), 0);

    let unknown = lab.ask(&["exec", "relay", "--", "no-such-program"]);
    assert_code(&unknown, 2);
    assert!(stderr(&unknown).contains("cannot start no-such-program"), "{}", stderr(&unknown));
    let nobody = lab.ask(&["exec", "relay2", "--", "true"]);
    assert_code(&nobody, 2);
    assert!(stderr(&nobody).contains("no machine is called `relay2`"), "{}", stderr(&nobody));
    assert!(stderr(&nobody).contains("nat1"), "{}", stderr(&nobody));
}

#[test]
fn exec_carries_standard_input_and_output_whole() {
    let lab = Lab::up();
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let mut child: Child = lab
        .command(&["exec", "peer2", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(received == bytes, "{} of {} bytes, or others", received.len(), bytes.len());
}

#[test]
fn a_program_ends_with_the_exec_that_started_it() {
    let lab = Lab::up();
    let interrupt = |arguments: &[&str], program: &str, signal| {
        let mut exec = Running::start(lab.command(arguments));
        exec.until(&format!("{program} runs"), || lab.runs(program));
        exec.signal(signal);
        exec.wait();
        lab.until_runs(program, false);
    };
    interrupt(&["exec", "peer1", "--", "sleep", "1000"], "sleep", Signal::INT);
    interrupt(&["exec", "peer1", "--", "sleep", "1000"], "sleep", Signal::KILL);
    let stubborn = "trap '' TERM INT HUP; while :; do top -b >/dev/null; done";
    interrupt(&["exec", "peer1", "--", "sh", "-c", stubborn], "top", Signal::INT);

    // As `natrig exec peer1 -- yes | head -1`.
    let mut exec = lab.command(&["exec", "peer1", "--", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(exec.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "y\n");
    assert_eq!(exec.wait().unwrap().code(), Some(128 + 13));
    lab.until_runs("yes", false);
}

#[test]
fn a_shell_has_the_users_terminal_and_gives_it_back() {
    let lab = Lab::up();
    let (mut keys, terminal) = terminal();
    let mut screen = keys.try_clone().unwrap();
    let before = format!("{:?}", tcgetattr(&terminal).unwrap());
    let mut shell = lab
        .command(&["shell", "peer1"])
        .stdin(terminal.try_clone().unwrap())
        .stdout(terminal.try_clone().unwrap())
        .stderr(terminal.try_clone().unwrap())
        .spawn()
        .unwrap();
    let (sender, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = screen.read(&mut chunk) {
            if sender.send(chunk[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut seen = String::new();
    let mut expect = |phrase: &str| {
        while !seen.contains(phrase) {
            match shown.recv_timeout(support::PATIENCE) {
                Ok(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("`{phrase}` was never shown:\n{seen}"),
            }
        }
        seen.clear();
    };
    keys.write_all(b"stty size; hostname; echo $((6 * 7))\n").unwrap();
    expect("30 100\r\npeer1\r\n42\r\n");
    // Ctrl-C is a key like others: it ends what runs in the machine, not the shell.
    keys.write_all(b"sleep 1000\n").unwrap();
    lab.until_runs("sleep", true);
    keys.write_all(b"\x03").unwrap();
    lab.until_runs("sleep", false);
    keys.write_all(b"echo still $((40 + 2)) here\n").unwrap();
    expect("still 42 here");
    keys.write_all(b"exit 3\n").unwrap();
    assert_eq!(shell.wait().unwrap().code(), Some(3));
    assert_eq!(format!("{:?}", tcgetattr(&terminal).unwrap()), before);
}

/// A terminal of 30 rows and 100 columns: the user's end, and the program's.
fn terminal() -> (File, OwnedFd) {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let name = ptsname(&user, Vec::new()).unwrap();
    let terminal = rustix::fs::open(
        &name,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    tcsetwinsize(&user, Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (File::from(user), terminal)
}

#[test]
fn logs_can_be_followed_to_the_labs_end() {
    let lab = Lab::up();
    let mut logs = lab.command(&["logs", "peer1", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("bootstrapped")));
    assert_code(&lab.ask(&["down"]), 0);
    assert_eq!(logs.wait().unwrap().code(), Some(0));
}

#[test]
fn a_lab_whose_keeper_is_killed_leaves_nothing_and_its_name_is_free() {
    let mut lab = Lab::up();
    kill_process(pid(lab.keeper()), Signal::KILL).unwrap();
    lab.place.assert_clean(&["out"]);
    let status = lab.ask(&["status"]);
    assert_code(&status, 2);
    lab.said = "up before".to_owned();
    assert_code(&lab.up_again(), 0);
    kill_process(pid(lab.keeper()), Signal::TERM).unwrap();
    lab.place.assert_clean(&["other", "out"]);
}

#[test]
fn a_lab_nobody_waits_for_any_more_does_not_stay() {
    let lab = Lab { place: Place::new(), said: String::new() };
    let mut up = lab.command(&["up", "--out", "out"]);
    up.arg(scenario("seed/scenario-relay-fallback.yaml"));
    let mut up = Running::start(up);
    up.until("machines come up", || lab.place.machines() >= 2);
    up.signal(Signal::INT);
    up.wait();
    lab.place.assert_clean(&["out"]);
}

#[test]
fn a_log_of_another_folder_is_no_log() {
    let lab = Lab::up();
    fs::write(lab.place.work().join("secret.log"), "secret").unwrap();
    let output = lab.ask(&["logs", "../../secret"]);
    assert_code(&output, 2);
    assert_eq!(stdout(&output), "");
}
