//! A machine sees its own segment and nothing else.

mod rig;

use natrig_agent_proto::Exit;
use natrig_lab::Halt;
use natrig_machines::gateway;
use natrig_scenario::Machine;
use rig::{boot, scenario, shell};

/// Whether a machine gets an answer from an address. Only pings inside the lab: every address is one of the lab's own
/// segments, and frames cannot leave the switch.
fn reaches(lab: &natrig_machines::Lab, from: Machine, to: &str) -> bool {
    shell(lab, from, &format!("ping -c 2 -i 0.3 -W 1 {to}")).1.success()
}

#[test]
fn a_peer_reaches_its_gateway_and_the_internet_and_not_the_other_lan() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario("port-restrict", "symmetric");
    let lab = boot(&scenario, folder.path());
    gateway::load(&lab, &scenario, folder.path()).unwrap();
    // The means work: what shall be reached is.
    assert!(reaches(&lab, Machine::PEER1, "10.0.1.1"), "peer1 must reach its gateway");
    assert!(reaches(&lab, Machine::PEER1, "192.168.100.3"), "peer1 must reach the relay");
    // The other LAN, by its addresses and with a route to it set by hand.
    assert!(!reaches(&lab, Machine::PEER1, "10.0.2.1"));
    assert!(!reaches(&lab, Machine::PEER1, "10.0.2.2"));
    let (_, routed) = shell(&lab, Machine::PEER1, "ip route add 10.0.2.0/24 via 10.0.1.1");
    assert_eq!(routed, Exit::Code(0));
    assert!(!reaches(&lab, Machine::PEER1, "10.0.2.2"));
    let trace = lab.trace().unwrap();
    let lan2 = ["nat2.lan", "peer2.lan"].map(|name| trace.link(name).unwrap());
    let peer1 = trace.link("peer1.lan").unwrap();
    let leaked = trace
        .frames()
        .iter()
        .filter(|frame| frame.from == peer1)
        .any(|frame| lan2.iter().any(|link| frame.delivery(*link).is_some()));
    assert!(!leaked, "a frame of peer1 came to the other LAN");
}

#[test]
fn a_peer_finds_no_way_to_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(&scenario("full-cone", "full-cone"), folder.path());
    // One interface of ours beside the loopback, no file system and no socket of the host.
    let (links, _) = shell(&lab, Machine::PEER1, "ls /sys/class/net | sort | tr '\\n' ' '");
    let used = links.split_whitespace().filter(|name| *name != "lo").count();
    assert!(links.contains("lan") && used <= 2, "interfaces: {links}");
    let (up, _) = shell(&lab, Machine::PEER1, "ip -br link show up | grep -vc '^lo '");
    assert_eq!(up, "1", "only the cable to its segment is up");
    let (mounts, _) = shell(&lab, Machine::PEER1, "grep -cE ' (9p|virtiofs|nfs|cifs) ' /proc/mounts");
    assert_eq!(mounts, "0");
    let (vsock, _) = shell(&lab, Machine::PEER1, "ls /dev/vsock 2>/dev/null");
    assert_eq!(vsock, "");
    // QEMU's usual address of the host, were there a user network.
    let (_, host) = shell(&lab, Machine::PEER1, "ip addr add 10.0.2.15/24 dev lan; ping -c 1 -W 1 10.0.2.2");
    assert!(!host.success());
}

#[test]
fn the_control_channel_is_the_agents_alone() {
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(&scenario("full-cone", "full-cone"), folder.path());
    // A port opens once, and the agent has it: a program that could write there could feign results.
    let (said, status) = shell(
        &lab,
        Machine::PEER1,
        "for port in /dev/vport* /dev/virtio-ports/*; do [ -e $port ] && echo forged > $port && exit 0; done; exit 1",
    );
    assert_ne!(status, Exit::Code(0), "{said}");
    // And it still works.
    assert_eq!(shell(&lab, Machine::PEER1, "echo here").0, "here");
}

/// What a program could leave in a machine: how it is planted, and how it is looked for.
const LEFTOVERS: [(&str, &str); 12] = [
    ("echo x > /run/left", "ls /run"),
    ("echo x > /tmp/left", "ls /tmp"),
    ("mkdir -p /root/deep/er && echo x > /root/deep/er/left", "ls /root"),
    ("echo x > /dev/left", "ls /dev | grep left"),
    ("sleep 1000 & setsid sleep 1001 &", "ps | grep '[s]leep'"),
    ("ping -c 1 -W 1 192.168.100.3", "cat /proc/net/nf_conntrack"),
    ("ping -c 1 -W 1 192.168.100.3", "ip neigh"),
    ("ip addr add 10.9.9.9/24 dev wan", "ip addr | grep 10.9.9.9"),
    ("ip route add 10.8.8.0/24 via 192.168.100.3", "ip route | grep 10.8.8"),
    ("ip rule add from 10.9.9.9 table 9", "ip rule | grep 10.9.9.9"),
    ("echo 7 > /proc/sys/net/ipv4/ip_default_ttl", "grep 7 /proc/sys/net/ipv4/ip_default_ttl"),
    ("nft add table ip left", "nft list ruleset"),
];

#[test]
fn the_next_cell_in_the_same_machines_finds_nothing_of_the_one_before() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let scenarios = [scenario("port-restrict", "symmetric"), scenario("public", "full-cone")];
    let lab = boot(&scenarios[0], folders[0].path());
    gateway::load(&lab, &scenarios[0], folders[0].path()).unwrap();
    assert!(reaches(&lab, Machine::PEER1, "192.168.100.3"));
    for (plant, look) in LEFTOVERS {
        shell(&lab, Machine::NAT1, &format!("({plant}) >/dev/null 2>&1"));
        assert_ne!(shell(&lab, Machine::NAT1, look).0, "", "`{look}` does not see `{plant}`");
    }
    let about = "hostname; cat /etc/machine-id; head -c 16 /dev/urandom | od -An -tx1";
    let before: Vec<String> = lab.members().iter().map(|member| shell(&lab, member.name, about).0).collect();
    lab.retire(folders[0].path()).unwrap();
    let first = natrig_capture::Trace::read_folder(&folders[0].path().join("captures")).unwrap();
    assert!(!first.frames().is_empty());

    let spare = lab.clean().unwrap();
    assert!(spare.fits(rig::rig(), &scenarios[1]));
    let lab = spare.renew(rig::rig(), &scenarios[1], folders[1].path(), &Halt::default()).unwrap();
    assert_eq!(lab.served(), 1);
    // Looked at first: nothing but what the machines sent since may be there.
    assert_eq!(lab.trace().unwrap().frames(), []);
    for machine in [Machine::NAT1, Machine::PEER1, Machine::RELAY] {
        for (plant, look) in LEFTOVERS {
            assert_eq!(shell(&lab, machine, look).0, "", "{machine}: `{look}` sees `{plant}`");
        }
        // Kernel threads have no program; what is left are the agent and the shell that looks.
        let programs = "for p in /proc/[0-9]*; do [ -e $p/exe ] && echo $p; done";
        let (found, _) = shell(&lab, machine, programs);
        assert_eq!(found.lines().count(), 2, "processes in {machine}: {found}");
    }
    for (member, before) in lab.members().iter().zip(before) {
        let now = shell(&lab, member.name, about).0;
        let [name, id, random] = now.lines().collect::<Vec<_>>()[..] else { panic!("{now}") };
        assert_eq!(name, member.name.name());
        assert!(!before.contains(id) && !before.contains(random), "{before} and {now}");
    }
    // And they work, with the routes of the new topology: a site without NAT is reached from outside.
    gateway::load(&lab, &scenarios[1], folders[1].path()).unwrap();
    assert!(reaches(&lab, Machine::RELAY, "10.0.1.2"));
    // What the first cell's captures hold did not grow.
    let again = natrig_capture::Trace::read_folder(&folders[0].path().join("captures")).unwrap();
    assert_eq!(first, again);
}

#[test]
fn machines_that_cannot_be_shown_to_be_clean_serve_no_other_cell() {
    for (plant, complaint) in [
        ("echo x >> /etc/natrig/modules", "/etc/natrig/modules was changed"),
        ("mount -t tmpfs none /root", "file systems were mounted"),
        ("ip link add left type ifb", "interfaces were added"),
        ("tc qdisc add dev wan root netem delay 100ms; tc qdisc add dev lo root netem delay 1ms", "queueing"),
        ("nc -w 1 127.0.0.1 9", "TCP was used"),
        ("ip link set wan down", "does not answer"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let scenario = scenario("full-cone", "full-cone");
        let lab = boot(&scenario, folder.path());
        shell(&lab, Machine::NAT1, plant);
        lab.retire(folder.path()).unwrap();
        let said = lab.clean().err().unwrap_or_else(|| panic!("`{plant}` goes unseen")).message;
        assert!(said.starts_with("nat1: ") && said.contains(complaint), "`{plant}`: {said}");
    }
}
