//! The project's own engine in a gateway machine.

mod rig;

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natrig_lab::{
    Backend, Halt,
    proof::Depth,
    station::{Arrival, Net, packet},
};
use natrig_machines::{Lab, gateway, model, proof, station::Stations};
use natrig_nat::{bytes::control::Command, engine::TcpFlags};
use natrig_record::Outcome;
use natrig_scenario::{Engine, Machine, Scenario};
use rig::{boot, rig, scenario};

/// A scenario whose gateways are made by these engines.
fn modelled(nats: [&str; 2], engines: [Engine; 2]) -> Scenario {
    let mut scenario = scenario(nats[0], nats[1]);
    for (nat, engine) in scenario.nats.iter_mut().zip(engines) {
        nat.gateways[0].engine = engine;
    }
    scenario
}

#[test]
fn the_model_is_proven_like_any_gateway() {
    for nats in [["public", "full-cone"], ["addr-restrict", "port-restrict"], ["symmetric", "symmetric"]] {
        let folder = tempfile::tempdir().unwrap();
        let scenario = modelled(nats, [Engine::Model; 2]);
        let lab = boot(&scenario, folder.path());
        gateway::load(&lab, &scenario, folder.path()).unwrap();
        for proof in gateway::measure(&lab, &scenario).unwrap() {
            assert!(proof.holds, "{proof:#?}");
        }
        if nats[0] != "public" {
            let state = model::command(&lab, Machine::NAT1, &Command::State).unwrap();
            assert_ne!(state.flows, 0, "the proof must have left something to flush");
        }
        let listing = gateway::flush(&lab, &scenario).unwrap();
        gateway::gather(&lab, &scenario, Some(&listing), folder.path()).unwrap();
        // A model that became another is not what was proven.
        let mut other = scenario.nats[1].gateways[0].profile.clone();
        other.timers.stream = Duration::from_secs(33);
        model::command(&lab, Machine::NAT2, &Command::Reconfigure { profile: other }).unwrap();
        let changed = gateway::gather(&lab, &scenario, Some(&listing), folder.path()).unwrap_err();
        assert_eq!(changed.message, "nat2: the rules are not those that were proven");
    }
}

/// What stock nftables does not reach falls to the model; the first profile of two is loaded, the other one declared.
fn proofs(loaded: [&str; 2], declared: [&str; 2], depth: Depth) -> Vec<natrig_record::Proof> {
    let [loaded, declared] = [loaded, declared].map(|[nat1, nat2]| scenario(nat1, nat2));
    for nat in &loaded.nats {
        assert_eq!(nat.gateways[0].engine, Engine::Model, "the kernel can be {nat}");
    }
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(&loaded, folder.path());
    gateway::load(&lab, &loaded, folder.path()).unwrap();
    proof::measure(&lab, &declared, |_| depth).unwrap()
}

#[test]
fn what_the_kernel_cannot_do_is_proven_wholly() {
    let parity =
        "{like: addr-restrict, ports: {allocation: random, parity: true}, timers: {stream-after: 0s}}";
    let random =
        "{like: addr-restrict, ports: {allocation: random, parity: false}, timers: {stream-after: 0s}}";
    let proofs = proofs([parity, random], [parity, parity], Depth::Whole);
    assert!(proofs[0].holds, "{:#?}", proofs[0]);
    assert!(!proofs[1].holds, "ports without parity pass for ports with it: {:#?}", proofs[1]);
}

#[test]
#[ignore = "long: make test-full"]
fn timers_that_the_kernel_does_not_have_are_proven() {
    let outbound = "{like: full-cone, refresh: outbound, timers: {unreplied: 3s, stream: 5s}}";
    let mortal = "{like: port-restrict, timers: {unreplied: 3s, stream: 5s, lifetime: 8s}}";
    for proof in proofs([outbound, mortal], [outbound, mortal], Depth::Timed) {
        assert!(proof.holds, "{proof:#?}");
    }
    // Each with what the other one lacks.
    let both = "{like: port-restrict, refresh: outbound, timers: {unreplied: 3s, stream: 5s}}";
    for proof in proofs([mortal, outbound], [both, mortal], Depth::Timed) {
        assert!(!proof.holds, "{proof:#?}");
    }
}

/// Stations behind and before the first gateway, which is the model's.
struct Bench {
    stations: Stations,
    inside: SocketAddrV4,
    outside: SocketAddrV4,
    stranger: SocketAddrV4,
}

const BEHIND: usize = 0;
const BEFORE: usize = 1;
const WAN: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 1);
const LAN: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

impl Bench {
    fn new(lab: &Lab) -> Self {
        let stands = lab.topology().stands(&lab.topology().gateways()[0]);
        let [behind, before] = &stands;
        Bench {
            stations: lab.stations(&stands).unwrap(),
            inside: behind.endpoint(0, 7000),
            outside: before.endpoint(0, 7001),
            stranger: before.endpoint(1, 7002),
        }
    }

    /// Sends a packet from one station; what comes to any until the last of them has come.
    fn pass(&mut self, from: usize, packets: &[Vec<u8>], count: usize) -> Vec<Arrival> {
        for packet in packets {
            self.stations.send(from, packet.clone()).unwrap();
        }
        let until = self.stations.now() + Duration::from_secs(10);
        let next = || self.stations.receive(until).unwrap();
        let arrived: Vec<_> = std::iter::from_fn(next).take(count).collect();
        assert_eq!(arrived.len(), count);
        arrived
    }
}

/// What a gateway must leave as it is: identification, flags and offset; type of service; payload.
fn kept(packet: &[u8]) -> (&[u8], u8, &[u8]) {
    let payload = if packet[6] & 0x1f == 0 && packet[7] == 0 { 28 } else { 20 };
    (&packet[4..8], packet[1], &packet[payload..])
}

#[test]
fn packets_pass_as_they_are_and_the_kernel_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = modelled(["port-restrict", "port-restrict"], [Engine::Model, Engine::Kernel]);
    let lab = boot(&scenario, folder.path());
    gateway::load(&lab, &scenario, folder.path()).unwrap();
    let mut bench = Bench::new(&lab);
    let (inside, outside, stranger) = (bench.inside, bench.outside, bench.stranger);
    let mapped = SocketAddrV4::new(WAN, inside.port());

    // DF or not, with any identification, 0 as well.
    for (df, identification) in [(0x40, 0u16), (0, 0), (0, 7), (0x40, 0xffff)] {
        let mut sent = packet::udp(inside, outside, b"marked");
        sent[4..6].copy_from_slice(&identification.to_be_bytes());
        (sent[1], sent[6]) = (0xb8, df);
        let sent = packet::with_ttl(&sent, 9);
        let arrived = bench.pass(BEHIND, std::slice::from_ref(&sent), 1).remove(0);
        assert_eq!((arrived.at, kept(&arrived.packet)), (BEFORE, kept(&sent)));
        let ip = arrived.ipv4().unwrap();
        assert_eq!((ip.source, ip.ttl), (WAN, 8));
    }

    // Fragments, in either order and either direction.
    let payload: Vec<u8> = (0..2_000u16).map(|n| n as u8).collect();
    for (from, source, to, identification) in [
        (BEHIND, inside, outside, 0),
        (BEHIND, inside, outside, 8),
        (BEFORE, outside, mapped, 0),
        (BEFORE, outside, mapped, 9),
    ] {
        let sent = packet::fragments(&packet::udp(source, to, &payload), 1000, identification).unwrap();
        for order in [[0, 1], [1, 0]] {
            let in_order = order.map(|at: usize| sent[at].clone());
            let mut arrived = bench.pass(from, &in_order, 2);
            arrived.sort_by_key(|arrived| arrived.packet[6] & 0x20 == 0);
            for (arrived, sent) in arrived.iter().zip(&sent) {
                assert_eq!((arrived.at, kept(&arrived.packet)), (1 - from, kept(sent)));
            }
        }
    }

    // Nothing comes back from strangers' packets, nor from those to closed ports of the gateway itself; what is allowed
    // and sent later proves the silence.
    let unsolicited = [
        packet::udp(stranger, mapped, b"?"),
        packet::udp(stranger, SocketAddrV4::new(WAN, 9), b"?"),
        packet::tcp(stranger, SocketAddrV4::new(WAN, 9), TcpFlags::ACK, [5, 5], b""),
        packet::echo(*stranger.ip(), WAN, false, [1, 1], b"?"),
        packet::raw(*stranger.ip(), WAN, 47, b"GRE"),
        packet::udp(outside, mapped, b"allowed"),
    ];
    let arrived = bench.pass(BEFORE, &unsolicited, 1).remove(0);
    assert_eq!((arrived.at, kept(&arrived.packet).2), (BEHIND, b"allowed".as_slice()));
    // On the LAN it says once that it is there, and nothing else.
    let asked = [
        packet::udp(inside, SocketAddrV4::new(LAN, 9), b"?"),
        packet::tcp(inside, SocketAddrV4::new(LAN, 9), TcpFlags::SYN, [5, 0], b""),
        packet::echo(*inside.ip(), LAN, false, [3, 4], b"there?"),
        packet::udp(inside, outside, b"last"),
    ];
    let arrived = bench.pass(BEHIND, &asked, 2);
    let answer = arrived.iter().find(|arrived| arrived.at == BEHIND).unwrap();
    assert_eq!((answer.ipv4().unwrap().source, answer.packet[20]), (LAN, 0));
    // Out of hops: the gateway says so, from its address there.
    let arrived =
        bench.pass(BEHIND, &[packet::with_ttl(&packet::udp(inside, outside, b"far"), 1)], 1).remove(0);
    let ip = arrived.ipv4().unwrap();
    assert_eq!((arrived.at, ip.source, arrived.packet[20]), (BEHIND, LAN, 11));

    let state = model::command(&lab, Machine::NAT1, &Command::Table).unwrap();
    let flows = state.table.unwrap();
    assert_eq!(flows.len(), 1, "{flows:?}");
    assert_eq!((flows[0].inside, flows[0].outside, flows[0].remote), (inside, mapped, outside));
    assert!(flows[0].sent && flows[0].answered);
}

#[test]
fn a_cell_runs_between_a_model_and_a_kernel() {
    run_cell(["port-restrict", "addr-restrict"], [Engine::Model, Engine::Kernel]);
}

#[test]
#[ignore = "long: make test-full"]
fn a_cell_runs_between_two_models() {
    run_cell(["symmetric", "port-restrict"], [Engine::Model; 2]);
}

fn run_cell(nats: [&str; 2], engines: [Engine; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let scenario = modelled(nats, engines);
    let cell = rig().run(&scenario, 1, folder.path(), &|_| (), &Halt::default());
    assert_eq!(cell.outcome, Outcome::AsExpected, "{cell:#?}");
    let table = std::fs::read(folder.path().join("nat1.model.json")).unwrap();
    let state: natrig_nat::bytes::control::State = serde_json::from_slice(&table).unwrap();
    assert_eq!(state.profile, scenario.nats[0].gateways[0].profile);
    assert!(state.table.is_some_and(|flows| !flows.is_empty()), "{:?}", state.packets);
    assert!(cell.evidence.gateways.contains(&"nat1.model.json".to_owned()));
}
