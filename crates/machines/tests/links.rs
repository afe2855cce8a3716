//! What a scenario says of a link is so, between real machines.

mod rig;

use natrig_machines::{Lab, gateway};
use natrig_scenario::{Link, Machine, Scenario};
use rig::{boot, shell};

/// The least of several round trips from a peer to the relay, in milliseconds; none if no answer came.
fn round_trip(lab: &Lab, peer: Machine) -> Option<f64> {
    let (said, _) = shell(lab, peer, "ping -c 5 -i 0.2 -W 2 192.168.100.3");
    let times = said.lines().filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok());
    times.min_by(f64::total_cmp)
}

#[test]
fn a_delay_is_there_on_its_link_and_on_no_other() {
    let text = "name: delay\nnat1: port-restrict\nnat2: port-restrict\nexpected: punch\n\
                links:\n  - {link: nat1.wan, delay: 100ms}\n";
    let scenario = Scenario::parse("delay.yaml", text).unwrap().remove(0);
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(&scenario, folder.path());
    gateway::load(&lab, &scenario, folder.path()).unwrap();
    let (slow, fast) = (round_trip(&lab, Machine::PEER1), round_trip(&lab, Machine::PEER2));
    // Both directions; the other link is as fast as an emulated machine can answer.
    assert!(slow.is_some_and(|ms| ms >= 200.0), "{slow:?}");
    assert!(fast.is_some_and(|ms| ms < 200.0), "{fast:?}");
}

#[test]
fn a_link_is_cut_and_healed_while_machines_run() {
    let scenario = rig::scenario("full-cone", "full-cone");
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(&scenario, folder.path());
    gateway::load(&lab, &scenario, folder.path()).unwrap();
    assert!(round_trip(&lab, Machine::PEER1).is_some());
    lab.cut(Link::RELAY_WAN).unwrap();
    assert_eq!(round_trip(&lab, Machine::PEER1), None);
    lab.heal(Link::RELAY_WAN).unwrap();
    assert!(round_trip(&lab, Machine::PEER1).is_some());
}
