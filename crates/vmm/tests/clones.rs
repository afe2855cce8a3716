//! Copies of one template.

mod support;

use std::{
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use natrig_agent_proto::{Network, Nic, Request};
use natrig_vmm::{CloneSpec, Error, Machine, Template};
use support::{PATIENCE, ask, identity, machine, slots, spec, template};

/// Two copies at once, with an identity of their own or without.
fn two(template: &Template, identified: bool) -> [Machine; 2] {
    std::thread::scope(|scope| {
        ["one", "two"]
            .map(|name| {
                scope.spawn(move || {
                    if identified { machine(template, name) } else { template.spawn(spec()).unwrap() }
                })
            })
            .map(|thread| thread.join().unwrap())
    })
}

/// What a machine draws from its kernel, and numbers that a NAT would choose by it.
fn secrets(machine: &Machine) -> Vec<String> {
    [
        "head -c 8 /dev/urandom | xxd -p",
        "cat /proc/sys/kernel/random/boot_id",
        "cat /proc/sys/kernel/random/uuid",
    ]
    .map(|script| ask(machine, &["sh", "-c", script]))
    .to_vec()
}

/// What no two machines have in common: what they draw, then what they are called.
fn marks(machine: &Machine) -> Vec<String> {
    let mut marks = secrets(machine);
    // A file that is not there is a mark as well.
    marks.push(ask(machine, &["sh", "-c", "cat /etc/machine-id 2>/dev/null || echo none"]));
    marks.push(ask(machine, &["hostname"]));
    marks
}

#[test]
fn copies_with_an_identity_differ_in_all_that_must_differ() {
    let _slots = slots(2);
    let template = template();
    for round in 0..6 {
        let [one, two] = two(&template, true).each_ref().map(marks);
        for (one, two) in one.iter().zip(&two) {
            assert_ne!(one, two, "round {round}: twins");
        }
    }
}

/// The control to the test above: without an identity the same comparison finds twins. What copies are called is then
/// always the same; what they draw only while the kernel has not mixed in what it gathered since the template, which
/// depends on how long ago that did so last, and is no more than told here.
#[test]
fn copies_without_an_identity_are_twins() {
    let _slots = slots(2);
    let template = template();
    let [one, two] = two(&template, false).each_ref().map(marks);
    let alike = one.iter().zip(&two).filter(|(one, two)| one == two).count();
    eprintln!("{alike} of {} marks are the same", one.len());
    assert_eq!(one[3..], two[3..], "machine ID and host name");
}

#[test]
fn the_clock_is_the_hosts() {
    let _slots = slots(1);
    let machine = machine(&template(), "clock");
    let now = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_secs()
    };
    let before = now();
    let guest: u64 = ask(&machine, &["date", "+%s"]).parse().unwrap();
    assert!((before - 2..=now() + 2).contains(&guest), "{guest}");
}

#[test]
fn two_copies_talk_over_the_cable_between_them() {
    let _slots = slots(2);
    let template = template();
    let (one, two) = UnixStream::pair().unwrap();
    let machines: Vec<Machine> = [one, two]
        .into_iter()
        .enumerate()
        .map(|(index, cable)| {
            let machine = template.spawn(CloneSpec { nics: vec![OwnedFd::from(cable)], ..spec() }).unwrap();
            let last = u8::try_from(index).unwrap() + 1;
            machine.agent().done(Request::Identify(identity("talker"))).unwrap();
            let network = Network {
                nics: vec![Nic {
                    name: "eth0".to_owned(),
                    mac: [2, 0, 0, 0, 0, last],
                    addresses: vec![(Ipv4Addr::new(10, 0, 0, last), 24)],
                }],
                ..Network::default()
            };
            machine.agent().done(Request::Network(network)).unwrap();
            machine
        })
        .collect();
    ask(&machines[0], &["ping", "-c", "1", "-W", "20", "10.0.0.2"]);
    let neighbour = ask(&machines[0], &["ip", "neigh", "show", "10.0.0.2"]);
    assert!(neighbour.contains("02:00:00:00:00:02"), "{neighbour}");
}

#[test]
fn a_paused_machine_answers_when_it_goes_on() {
    let _slots = slots(1);
    let machine = machine(&template(), "sleeper");
    machine.pause().unwrap();
    let short = Duration::from_millis(300);
    assert!(machine.agent().request_within(Request::Ping, short).is_err());
    machine.resume().unwrap();
    machine.agent().ping().unwrap();
}

#[test]
fn a_dropped_machine_is_gone() {
    let _slots = slots(1);
    let machine = machine(&template(), "dropped");
    let pid = machine.pid();
    assert!(runs(pid));
    drop(machine);
    assert!(!runs(pid));
}

#[test]
fn a_machine_ends_when_qemu_is_killed_and_says_so() {
    let _slots = slots(1);
    let machine = machine(&template(), "killed");
    assert_eq!(machine.wait(Duration::ZERO).unwrap(), None);
    let agent = machine.agent().clone();
    machine.kill().unwrap();
    assert!(machine.wait(PATIENCE).unwrap().is_some());
    assert!(agent.ping().is_err());
    assert!(machine.pause().is_err());
}

#[test]
fn more_cables_than_nics_are_refused() {
    let template = template();
    let cables: Vec<OwnedFd> = (0..3).map(|_| UnixStream::pair().unwrap().0.into()).collect();
    let error = template.spawn(CloneSpec { nics: cables, ..spec() }).unwrap_err();
    assert!(error.to_string().contains("3 NICs, where its template has 2"), "{error}");
}

#[test]
fn a_missing_disk_is_an_error_that_names_it() {
    let disk = Some("/no/such/disk".into());
    let error = template().spawn(CloneSpec { disk, ..spec() }).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(error.to_string().contains("/no/such/disk"), "{error}");
}

const PARENT: &str = "NATRIG_TEST_IS_THE_PARENT";

#[test]
fn a_parent_that_is_killed_leaves_no_qemu() {
    if std::env::var_os(PARENT).is_some() {
        be_a_parent();
    }
    let _slots = slots(2);
    template();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_parent_that_is_killed_leaves_no_qemu", "--nocapture"])
        .env(PARENT, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let children: Vec<u32> = lines
        .map(|line| line.unwrap())
        .find_map(|line| {
            let (_, pids) = line.split_once("children:")?;
            Some(pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
        })
        .expect("the parent tells its children");
    assert_eq!(children.len(), 2);
    assert!(children.iter().all(|&pid| runs(pid)));
    parent.kill().unwrap();
    parent.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while children.iter().any(|&pid| runs(pid)) {
        assert!(Instant::now() < deadline, "a QEMU outlived its parent");
        std::thread::yield_now();
    }
}

fn be_a_parent() -> ! {
    let template = template();
    // From threads that end, as a pool's would: that must not end the machines.
    let machines = two(&template, true);
    machines[0].agent().ping().unwrap();
    println!("children: {} {}", machines[0].pid(), machines[1].pid());
    loop {
        std::thread::park();
    }
}

/// Whether a process is there and no zombie.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
