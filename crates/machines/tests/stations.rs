//! Hosts that the lab plays stand on both sides of a real gateway.

mod rig;

use std::time::{Duration, Instant};

use natrig_capture::Transport;
use natrig_lab::{
    Halt,
    proof::{Depth, refuse},
    station::{Net, packet},
};
use natrig_machines::{Lab, gateway, proof};
use natrig_scenario::Machine;
use rig::{boot, rig, scenario, shell};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn packets_cross_a_machine_between_stations_until_they_are_unplugged() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario("port-restrict", "public");
    let only = |name| name == Machine::NAT1;
    let lab = Lab::boot_only(rig(), &scenario, only, folder.path(), &Halt::default()).unwrap();
    let nat = "add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }; \
               add rule ip nat post oifname wan masquerade";
    assert!(shell(&lab, Machine::NAT1, &format!("nft '{nat}'")).1.success());
    let place = &lab.topology().gateways()[0];
    let stands = lab.topology().stands(place);
    let (inside, outside) = (stands[0].endpoint(1, 5000), stands[1].endpoint(0, 6000));
    // Plugged in twice: the second pair starts anew.
    for _ in 0..2 {
        let mut net = lab.stations(&stands).unwrap();
        let until = net.now() + PATIENCE;
        net.send(0, packet::udp(inside, outside, b"there")).unwrap();
        let there = net.receive(until).unwrap().expect("a datagram out");
        let ipv4 = there.ipv4().unwrap();
        let Transport::Udp(udp) = ipv4.transport else { panic!("{ipv4:?}") };
        assert_eq!((there.at, udp.destination, udp.payload), (1, outside, &b"there"[..]));
        assert_eq!((*udp.source.ip(), ipv4.ttl), (place.addresses.outside[0], 63));
        net.send(1, packet::udp(outside, udp.source, b"back")).unwrap();
        let back = net.receive(until).unwrap().expect("a datagram in");
        let Transport::Udp(udp) = back.ipv4().unwrap().transport else { panic!("{back:?}") };
        assert_eq!((back.at, udp.source, udp.destination), (0, outside, inside));
    }
    let (before, _) = shell(&lab, Machine::NAT1, "ip neigh flush all; ping -c 1 -W 1 10.0.1.250; true");
    assert!(before.contains("100% packet loss"), "nobody is there any more: {before}");
}

#[test]
fn the_whole_list_holds_and_takes_little() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario("full-cone", "symmetric");
    let lab = boot(&scenario, folder.path());
    gateway::load(&lab, &scenario, folder.path()).unwrap();
    for depth in [Depth::Fast, Depth::Whole, Depth::Fast, Depth::Whole] {
        let began = Instant::now();
        let proofs = proof::measure(&lab, &scenario, |_| depth).unwrap();
        println!("{depth:?}: both gateways in {:?}", began.elapsed());
        refuse(&proofs).unwrap();
        for proof in &proofs {
            let hairpin = proof.measured.other.contains_key("hairpin");
            assert_eq!(hairpin, depth == Depth::Whole && proof.gateway == "nat1", "{proof:#?}");
        }
        gateway::flush(&lab, &scenario).unwrap();
    }
}
