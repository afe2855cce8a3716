//! Copies of one machine are not each other's twins.

mod rig;

use std::collections::HashSet;

use natrig_machines::gateway;
use natrig_scenario::Machine;
use rig::{boot, scenario, shell};

const ALL: [Machine; 5] = [Machine::NAT1, Machine::NAT2, Machine::PEER1, Machine::PEER2, Machine::RELAY];

/// What each machine says, all different.
fn differ(lab: &natrig_machines::Lab, what: &str, script: &str) {
    let said: Vec<String> = ALL.iter().map(|machine| shell(lab, *machine, script).0).collect();
    assert!(said.iter().all(|text| !text.is_empty()), "{what}: {said:?}");
    let different: HashSet<&String> = said.iter().collect();
    assert_eq!(different.len(), ALL.len(), "{what}: {said:?}");
}

#[test]
fn copies_differ_in_all_that_names_or_surprises() {
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(&scenario("symmetric", "symmetric"), folder.path());
    differ(&lab, "random bytes", "head -c 16 /dev/urandom | od -An -tx1");
    differ(&lab, "boot ID", "cat /proc/sys/kernel/random/boot_id");
    differ(&lab, "UUIDs", "cat /proc/sys/kernel/random/uuid");
    differ(&lab, "machine ID", "cat /etc/machine-id");
    differ(&lab, "host name", "hostname");
    differ(&lab, "hardware address", "cat /sys/class/net/*an/address | head -1");
}

#[test]
fn two_random_nats_draw_different_ports() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario("symmetric", "symmetric");
    let lab = boot(&scenario, folder.path());
    gateway::start_stun(&lab).unwrap();
    gateway::load(&lab, &scenario, folder.path()).unwrap();
    gateway::measure(&lab, &scenario).unwrap();
    // The first ports that each gateway gave, in order: twins would have drawn the same.
    let trace = lab.trace().unwrap();
    let ports = |link: &str| -> Vec<u16> {
        let link = trace.link(link).unwrap();
        let mut seen = Vec::new();
        for frame in trace.frames().iter().filter(|frame| frame.from == link) {
            let port = frame.packet().and_then(|packet| packet.udp()).map(|udp| udp.source.port());
            seen.extend(port.filter(|port| !seen.contains(port)));
        }
        seen
    };
    let (one, two) = (ports("nat1.wan"), ports("nat2.wan"));
    assert!(one.len() >= 3 && two.len() >= 3, "{one:?} {two:?}");
    // Two of 64,512 ports are the same by chance once in a while, three in a row never.
    assert_ne!(one[..3], two[..3]);
}
