//! A machine sees its own segment and nothing else.

mod rig;

use natrig_agent_proto::Exit;
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
    assert!(reaches(&lab, Machine::Peer1, "10.0.1.1"), "peer1 must reach its gateway");
    assert!(reaches(&lab, Machine::Peer1, "192.168.100.3"), "peer1 must reach the relay");
    // The other LAN, by its addresses and with a route to it set by hand.
    assert!(!reaches(&lab, Machine::Peer1, "10.0.2.1"));
    assert!(!reaches(&lab, Machine::Peer1, "10.0.2.2"));
    let (_, routed) = shell(&lab, Machine::Peer1, "ip route add 10.0.2.0/24 via 10.0.1.1");
    assert_eq!(routed, Exit::Code(0));
    assert!(!reaches(&lab, Machine::Peer1, "10.0.2.2"));
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
    let (links, _) = shell(&lab, Machine::Peer1, "ls /sys/class/net | sort | tr '\\n' ' '");
    let used = links.split_whitespace().filter(|name| *name != "lo").count();
    assert!(links.contains("lan") && used <= 2, "interfaces: {links}");
    let (up, _) = shell(&lab, Machine::Peer1, "ip -br link show up | grep -vc '^lo '");
    assert_eq!(up, "1", "only the cable to its segment is up");
    let (mounts, _) = shell(&lab, Machine::Peer1, "grep -cE ' (9p|virtiofs|nfs|cifs) ' /proc/mounts");
    assert_eq!(mounts, "0");
    let (vsock, _) = shell(&lab, Machine::Peer1, "ls /dev/vsock 2>/dev/null");
    assert_eq!(vsock, "");
    // QEMU's usual address of the host, were there a user network.
    let (_, host) = shell(&lab, Machine::Peer1, "ip addr add 10.0.2.15/24 dev lan; ping -c 1 -W 1 10.0.2.2");
    assert!(!host.success());
}

#[test]
fn the_control_channel_is_the_agents_alone() {
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(&scenario("full-cone", "full-cone"), folder.path());
    // A port opens once, and the agent has it: a program that could write there could feign results.
    let (said, status) = shell(
        &lab,
        Machine::Peer1,
        "for port in /dev/vport* /dev/virtio-ports/*; do [ -e $port ] && echo forged > $port && exit 0; done; exit 1",
    );
    assert_ne!(status, Exit::Code(0), "{said}");
    // And it still works.
    assert_eq!(shell(&lab, Machine::Peer1, "echo here").0, "here");
}
