//! The agent in a running guest.

mod support;

use std::{
    io::Write,
    net::Ipv4Addr,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use natrig_agent_proto::{Exit, Network, Nic, Request, Route, Start, Stream};
use natrig_vmm::{AgentError, AppDisk, CloneSpec, ProcessEvent};
use support::{PATIENCE, ask, machine, run, slots, spec, store, template};

fn start(argv: &[&str]) -> Start {
    Start { argv: argv.iter().map(|&word| word.to_owned()).collect(), ..Start::default() }
}

fn next(events: &Receiver<ProcessEvent>) -> ProcessEvent {
    events.recv_timeout(PATIENCE).expect("the process says something")
}

/// Waits until a process has written `wanted`, and returns all that it wrote before.
fn read_until(events: &Receiver<ProcessEvent>, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        match next(events) {
            ProcessEvent::Output { data, .. } => text.push_str(&String::from_utf8_lossy(&data)),
            other => panic!("{other:?} after {text:?}"),
        }
    }
    text
}

fn read_to_end(events: &Receiver<ProcessEvent>) -> (usize, Exit) {
    let mut bytes = 0;
    loop {
        match next(events) {
            ProcessEvent::Output { data, .. } => bytes += data.len(),
            ProcessEvent::Exited { status, .. } => return (bytes, status),
            ProcessEvent::Lost { reason, .. } => panic!("{reason}"),
        }
    }
}

#[test]
fn programs_run_with_input_output_and_exit_codes() {
    let _slots = slots(1);
    let machine = machine(&template(), "runner");
    let output =
        machine.agent().run(&["sh", "-c", "cat; echo oops >&2; exit 7"], b"hello", PATIENCE).unwrap();
    assert_eq!(output.stdout, b"hello");
    assert_eq!(output.stderr, b"oops\n");
    assert_eq!(output.status, Exit::Code(7));
    let killed = run(&machine, &["sh", "-c", "kill -TERM $$"]);
    assert_eq!(killed.status, Exit::Signal(15));
    let error = machine.agent().run(&["no-such-program"], b"", PATIENCE).unwrap_err();
    assert!(error.to_string().contains("cannot start no-such-program"), "{error}");
    assert!(matches!(error, AgentError::Refused(_)));
    for (tool, asking) in [
        ("nft", "--version"),
        ("tc", "-V"),
        ("ip", "-V"),
        ("conntrack", "--version"),
        ("tcpdump", "--version"),
    ] {
        assert!(!ask(&machine, &[tool, asking]).is_empty(), "{tool}");
    }
}

#[test]
fn files_go_in_and_out() {
    let _slots = slots(1);
    let machine = machine(&template(), "files");
    let agent = machine.agent();
    let content: Vec<u8> = (0..1_000_000u32).map(|number| (number % 251) as u8).collect();
    agent.write_file("/tmp/deep/down/file", 0o640, content.clone()).unwrap();
    assert_eq!(agent.read_file("/tmp/deep/down/file", 2_000_000).unwrap(), content);
    assert_eq!(ask(&machine, &["stat", "-c", "%a", "/tmp/deep/down/file"]), "640");
    let error = agent.read_file("/tmp/deep/down/file", 999_999).unwrap_err();
    assert!(error.to_string().contains("more than 999999 bytes"), "{error}");
    assert!(agent.read_file("/nowhere", 10).is_err());
    assert!(agent.write_file("/proc/nowhere", 0o600, vec![1]).is_err());
}

#[test]
fn a_terminal_is_one() {
    let _slots = slots(1);
    let machine = machine(&template(), "terminal");
    let (shell, events) =
        machine.agent().start(Start { terminal: Some((24, 80)), ..start(&["sh"]) }).unwrap();
    read_until(&events, "#");
    shell.input(b"stty size; tty\n").unwrap();
    let text = read_until(&events, "/dev/pts/");
    assert!(text.contains("24 80"), "{text}");
    shell.resize((50, 132)).unwrap();
    shell.input(b"stty size\n").unwrap();
    read_until(&events, "50 132");
    // The interrupt character reaches what runs in the foreground.
    shell.input(b"tcpdump -i lo 2>/dev/null\n").unwrap();
    wait_for(&machine, "tcpdump", true);
    shell.input(b"\x03").unwrap();
    wait_for(&machine, "tcpdump", false);
    shell.input(b"echo last words; exit 3\n").unwrap();
    read_until(&events, "last words\r\n");
    assert_eq!(read_to_end(&events).1, Exit::Code(3));
}

/// Waits until a program runs, or until it does not.
fn wait_for(machine: &natrig_vmm::Machine, name: &str, running: bool) {
    let deadline = Instant::now() + PATIENCE;
    while run(machine, &["pidof", name]).status.success() != running {
        assert!(Instant::now() < deadline, "waiting for {name} to be running={running}");
    }
}

#[test]
fn a_flood_of_output_is_held_back_and_arrives_whole() {
    const BYTES: usize = 200 << 20;
    let _slots = slots(1);
    let machine = machine(&template(), "flood");
    // More than the guest's memory, while nobody here reads for a while.
    let (gate, open) = std::sync::mpsc::channel::<()>();
    let (sender, events) = std::sync::mpsc::channel();
    let mut waited = false;
    machine
        .agent()
        .start_with(
            start(&["sh", "-c", &format!("head -c {BYTES} /dev/zero; echo -n end >&2")]),
            move |event| {
                if !waited {
                    waited = true;
                    let _ = open.recv();
                }
                let _ = sender.send(event);
            },
        )
        .unwrap();
    let second = Duration::from_secs(1);
    assert!(events.recv_timeout(second).is_err(), "the reader stands still");
    gate.send(()).unwrap();
    let (bytes, status) = read_to_end(&events);
    assert_eq!((bytes, status), (BYTES + 3, Exit::Code(0)));
}

#[test]
fn a_flood_does_not_keep_requests_from_being_served() {
    let _slots = slots(1);
    let machine = machine(&template(), "busy");
    let (flood, events) = machine.agent().start(start(&["cat", "/dev/zero"])).unwrap();
    next(&events);
    machine.agent().ping().unwrap();
    flood.signal(9).unwrap();
    assert_eq!(read_to_end(&events).1, Exit::Signal(9));
}

#[test]
fn a_signal_reaches_what_a_process_started() {
    let _slots = slots(1);
    let machine = machine(&template(), "group");
    let (process, events) =
        machine.agent().start(start(&["sh", "-c", "tcpdump -i lo & echo started; wait"])).unwrap();
    wait_for(&machine, "tcpdump", true);
    process.signal(9).unwrap();
    assert_eq!(read_to_end(&events).1, Exit::Signal(9));
    wait_for(&machine, "tcpdump", false);
    assert!(process.signal(9).is_err());
    // PID 1 has taken its orphan.
    assert!(!ask(&machine, &["ps", "-o", "stat"]).contains('Z'));
}

#[test]
fn output_is_marked_with_its_stream_and_times_that_do_not_run_backwards() {
    let _slots = slots(1);
    let machine = machine(&template(), "times");
    let (_, events) = machine
        .agent()
        .start(start(&["sh", "-c", "echo 1; usleep 20000; echo 2 >&2; usleep 20000; echo 3"]))
        .unwrap();
    let mut seen = Vec::new();
    let mut last = 0;
    loop {
        let (told, stream) = match next(&events) {
            ProcessEvent::Output { boottime_ns, stream, .. } => (boottime_ns, Some(stream)),
            ProcessEvent::Exited { boottime_ns, .. } => (boottime_ns, None),
            other => panic!("{other:?}"),
        };
        assert!(told > last);
        last = told;
        match stream {
            Some(stream) => seen.push(stream),
            None => break,
        }
    }
    assert_eq!(seen, [Stream::Out, Stream::Err, Stream::Out]);
}

#[test]
fn a_network_is_as_it_was_asked_for() {
    let _slots = slots(1);
    let machine = machine(&template(), "gateway");
    let nic =
        |name: &str, last, addresses| Nic { name: name.to_owned(), mac: [2, 0, 0, 0, 0, last], addresses };
    let network = Network {
        nics: vec![
            nic("wan", 1, vec![(Ipv4Addr::new(192, 168, 100, 2), 24), (Ipv4Addr::new(192, 168, 100, 9), 24)]),
            nic("lan", 2, vec![(Ipv4Addr::new(10, 0, 1, 1), 24)]),
        ],
        routes: vec![
            Route { to: (Ipv4Addr::UNSPECIFIED, 0), via: Ipv4Addr::new(192, 168, 100, 1) },
            Route { to: (Ipv4Addr::new(10, 9, 0, 0), 16), via: Ipv4Addr::new(10, 0, 1, 7) },
        ],
        forward: true,
        sysctls: vec![("net/netfilter/nf_conntrack_max".to_owned(), "4711".to_owned())],
    };
    machine.agent().done(Request::Network(network.clone())).unwrap();
    let wan = ask(&machine, &["ip", "-o", "addr", "show", "wan"]);
    assert!(wan.contains("192.168.100.2/24 brd 192.168.100.255"), "{wan}");
    assert!(wan.contains("192.168.100.9/24"), "{wan}");
    let link = ask(&machine, &["ip", "link", "show", "lan"]);
    assert!(link.contains("02:00:00:00:00:02") && link.contains(",UP"), "{link}");
    let routes = ask(&machine, &["ip", "route"]);
    assert!(routes.contains("default via 192.168.100.1 dev wan"), "{routes}");
    assert!(routes.contains("10.9.0.0/16 via 10.0.1.7 dev lan"), "{routes}");
    assert_eq!(ask(&machine, &["cat", "/proc/sys/net/ipv4/ip_forward"]), "1");
    assert_eq!(ask(&machine, &["cat", "/proc/sys/net/netfilter/nf_conntrack_max"]), "4711");

    let refused = |network: Network| machine.agent().done(Request::Network(network)).unwrap_err().to_string();
    let unreachable = Network {
        routes: vec![Route { to: (Ipv4Addr::new(1, 1, 1, 1), 32), via: Ipv4Addr::new(9, 9, 9, 9) }],
        ..Network::default()
    };
    let error = refused(unreachable);
    assert!(error.contains("the route to 1.1.1.1/32"), "{error}");
    let error = refused(Network {
        sysctls: vec![("../../etc/passwd".to_owned(), "x".to_owned())],
        ..Network::default()
    });
    assert!(error.contains("no name under /proc/sys"), "{error}");
    let error = refused(Network {
        nics: vec![nic("a", 1, vec![]), nic("b", 2, vec![]), nic("c", 3, vec![])],
        ..Network::default()
    });
    assert!(error.contains("3 NICs"), "{error}");
}

#[test]
fn the_ruleset_of_a_nat_loads() {
    let _slots = slots(1);
    let machine = machine(&template(), "nat");
    let rules = br#"table ip nat {
        set seen { type ipv4_addr . inet_service . ipv4_addr; flags dynamic,timeout; timeout 30s; }
        map m { type inet_service : ipv4_addr . inet_service; }
        chain pre {
            type nat hook prerouting priority dstnat;
            dnat ip to udp dport map @m
        }
        chain post {
            type nat hook postrouting priority srcnat;
            oifname "wan" meta l4proto udp masquerade to :1024-65535 fully-random
        }
        chain forwarded {
            type filter hook forward priority filter; policy drop;
            ct state established,related accept
            update @seen { ip saddr . udp sport . ip daddr }
            limit rate 10/second log prefix "x" counter
            ip saddr . udp sport . ip daddr @seen accept
            numgen inc mod 2 0 reject with icmp type port-unreachable
            fib saddr type local drop
            ct count over 5 drop
            jhash ip saddr mod 2 1 accept
        }
    }
    "#;
    let output = machine.agent().run(&["nft", "-f", "-"], rules, PATIENCE).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(ask(&machine, &["nft", "list", "ruleset"]).contains("fully-random"));
    ask(&machine, &["ip", "link", "set", "eth0", "up"]);
    ask(
        &machine,
        &[
            "tc",
            "qdisc",
            "add",
            "dev",
            "eth0",
            "root",
            "netem",
            "delay",
            "10ms",
            "2ms",
            "distribution",
            "normal",
        ],
    );
    ask(&machine, &["conntrack", "-F"]);
}

#[test]
fn the_app_comes_on_its_disk() {
    let _slots = slots(1);
    let template = template();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    let mut disks = Vec::new();
    for word in ["first", "second"] {
        let mut file = std::fs::File::create(&script).unwrap();
        write!(file, "#!/bin/sh\necho the {word} app\n").unwrap();
        drop(file);
        disks.push((word, AppDisk::build(&store(), [("bin/node", &*script, 0o755)]).unwrap()));
    }
    for (word, disk) in disks {
        let machine = template.spawn(CloneSpec { disk: Some(disk.path().to_owned()), ..spec() }).unwrap();
        machine.agent().done(Request::Identify(support::identity("app"))).unwrap();
        machine.agent().done(Request::MountApp).unwrap();
        assert_eq!(ask(&machine, &["node"]), format!("the {word} app"));
        assert!(!run(&machine, &["touch", "/app/new"]).status.success());
    }
}

#[test]
fn without_an_app_there_is_nothing_to_mount() {
    let _slots = slots(1);
    let machine = machine(&template(), "empty");
    let error = machine.agent().done(Request::MountApp).unwrap_err();
    assert!(error.to_string().contains("cannot mount /dev/vda"), "{error}");
}

#[test]
fn a_machine_powers_off_when_asked() {
    let _slots = slots(1);
    let machine = machine(&template(), "done");
    assert!(machine.agent().request(Request::PowerOff).is_err());
    assert!(machine.wait(PATIENCE).unwrap().is_some(), "it runs on");
}

#[test]
fn a_machine_powers_off_when_the_host_goes_away() {
    let _slots = slots(1);
    let machine = machine(&template(), "orphan");
    machine.agent().start(start(&["cat", "/dev/zero"])).unwrap();
    machine.agent().close();
    assert!(machine.wait(PATIENCE).unwrap().is_some(), "it runs on");
}

#[test]
fn a_bad_identity_is_refused() {
    let _slots = slots(1);
    let machine = template().spawn(spec()).unwrap();
    let refused = |identity| machine.agent().done(Request::Identify(identity)).unwrap_err().to_string();
    let good = support::identity("good");
    let error = refused(natrig_agent_proto::Identity { entropy: vec![1; 31], ..good.clone() });
    assert!(error.contains("31 bytes of entropy"), "{error}");
    let error = refused(natrig_agent_proto::Identity { machine_id: "?".to_owned(), ..good.clone() });
    assert!(error.contains("machine ID"), "{error}");
    machine.agent().done(Request::Identify(good)).unwrap();
}
