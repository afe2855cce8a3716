//! What captures must show beside the path: true of recorded runs, and not of the same runs with something changed.

mod recording;
mod wire;

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natrig_capture::{Sighting, Trace};
use natrig_lab::{
    assertions::{Life, Passage, gateways, nodes},
    judge::refuted,
    verdict::{Case, verdict},
};
use natrig_nat::{
    Filtering, Mapping, Profile,
    profile::{Allocation, Block, Named, Pool, Pooling, PortRange, Unsolicited},
};
use natrig_record::{About, Assertion};
use proptest::prelude::*;
use recording::{Recording, recorded};
use wire::{Forger, pair};

// Recorded runs.

#[test]
fn recorded_gateways_did_what_was_proven_of_them() {
    for name in ["direct", "punch", "birthday", "relay"] {
        let Recording { trace, case } = recorded(name);
        let shown = gateways(&trace, &case).unwrap();
        assert_eq!(shown.len(), 4, "ports and mapping of two gateways: {shown:#?}");
        assert!(shown.iter().all(|assertion| assertion.holds), "{name}: {shown:#?}");
    }
}

#[test]
fn recorded_nodes_did_what_their_path_says() {
    for (name, expected) in [
        ("direct", &[][..]),
        (
            "punch",
            &[
                "a coordinator was asked",
                "both peers sent probes and both received some",
                "both began to probe within 1000 ms of each other",
            ],
        ),
        ("birthday", &["a coordinator was asked", "both peers sent probes and both received some"]),
        (
            "relay",
            &[
                "both peers tried the direct way and none of it passed",
                "the lab's bytes went through the relay machine",
                "the relay adds less than 100 ms",
            ],
        ),
    ] {
        let shown = of_nodes(&recorded(name));
        assert_eq!(shown.iter().map(|one| one.what.as_str()).collect::<Vec<_>>(), expected);
        assert!(shown.iter().all(|assertion| assertion.holds), "{name}: {shown:#?}");
    }
}

fn of_nodes(Recording { trace, case }: &Recording) -> Vec<Assertion> {
    nodes(trace, case, &verdict(trace, case).unwrap()).unwrap()
}

/// A recorded run whose gateways are declared to be something else.
fn declared(name: &str, profile: &str) -> Vec<Assertion> {
    let Recording { trace, mut case } = recorded(name);
    for passage in &mut case.gateways {
        passage.lives[0].profile = Named::find(profile).unwrap().chain.remove(0);
    }
    gateways(&trace, &case).unwrap()
}

#[test]
fn a_recorded_gateway_is_not_taken_for_another() {
    for (name, other) in [
        ("direct", "symmetric"),
        ("direct", "public"),
        ("direct", "udp-blocked"),
        ("direct", "block-allocated"),
        ("punch", "symmetric-sequential"),
        ("relay", "port-restrict"),
        ("relay", "symmetric-sequential"),
        ("relay", "public"),
    ] {
        let shown = declared(name, other);
        let refused = shown.iter().filter(|assertion| !assertion.holds).count();
        assert!(refused >= 2, "{name} as {other}: {shown:#?}");
        println!("{name} as {other}: {}", refuted(&shown, About::Gateway).unwrap());
    }
}

#[test]
fn a_birthday_search_is_not_blamed_for_ports_that_met_by_chance() {
    let Recording { trace, case } = recorded("birthday");
    let shown = gateways(&trace, &case).unwrap();
    let many = shown.iter().find(|one| one.what.starts_with("nat2 gives out")).unwrap();
    assert!(many.detail.starts_with("26"), "256 sockets and a few: {many:?}");
}

#[test]
fn a_datagram_that_nobody_sent_is_the_gateways() {
    let recording = recorded("direct").without(|trace, sighting| {
        let link = trace.name(sighting.link);
        let packet = natrig_capture::decode(&sighting.data).and_then(|packet| packet.udp());
        link == "nat1.lan" && packet.is_some_and(|udp| udp.destination.port() == 3478)
    });
    let shown = gateways(&recording.trace, &recording.case).unwrap();
    let reason = refuted(&shown, About::Gateway).unwrap();
    assert!(reason.contains("nobody inside had sent"), "{reason}");
}

#[test]
fn probes_of_one_side_only_are_no_punch() {
    for site in ["nat1.wan", "nat2.wan"] {
        // All probes that came to this gateway are gone: the other peer's were not received.
        let recording = recorded("punch").without(|trace, sighting| {
            trace.name(sighting.link) == site
                && sighting.what == natrig_capture::What::Delivered
                && probe(sighting)
        });
        let reason = refuted(&of_nodes(&recording), About::Node).unwrap();
        assert!(reason.contains("both received"), "{reason}");
    }
}

#[test]
fn a_punch_without_its_coordinator_is_none() {
    let recording = recorded("punch").without(|_, sighting| first_byte(sighting) == Some(7));
    let reason = refuted(&of_nodes(&recording), About::Node).unwrap();
    assert!(reason.contains("a coordinator was asked"), "{reason}");
}

#[test]
fn peers_that_began_apart_were_not_coordinated() {
    // The coordinator's words come together, so that only a busy machine can have made one wait; or the responder's comes as
    // late as it then begins.
    for (far, by, holds) in
        [(false, 100, true), (false, 400, true), (false, 1200, false), (true, 200, true), (true, 400, false)]
    {
        let recording = recorded("punch");
        let punched = verdict(&recording.trace, &recording.case).unwrap();
        let to_responder = |trace: &Trace, sighting: &Sighting| {
            let frame = trace.frames().iter().find(|frame| frame.id == sighting.frame);
            let nat2 = trace.link("nat2.wan").unwrap();
            frame.is_some_and(|frame| frame.to.iter().any(|delivery| delivery.link == nat2))
        };
        // The responder's probes, as its gateway sent them.
        let Recording { trace, case } = recording.later(Duration::from_millis(by), |trace, sighting| {
            let word = far && first_byte(sighting) == Some(7) && to_responder(trace, sighting);
            trace.name(sighting.link) == "nat2.wan" && probe(sighting)
                || trace.name(sighting.link) == "relay.wan" && word
        });
        let shown = nodes(&trace, &case, &punched).unwrap();
        let together = shown.iter().find(|one| one.what.starts_with("both began"));
        let together = together.unwrap_or_else(|| panic!("nothing of when they began: {shown:#?}"));
        assert_eq!(together.holds, holds, "{by} ms later: {}", together.detail);
    }
}

#[test]
fn bytes_through_another_machine_did_not_go_through_the_relay() {
    let mut recording = recorded("relay");
    recording.case.relays = vec!["peer1.lan".to_owned()];
    let reason = refuted(&of_nodes(&recording), About::Node).unwrap();
    assert!(reason.contains("through the relay machine"), "{reason}");
}

#[test]
fn a_relay_that_is_slow_is_told() {
    let quick = of_nodes(&recorded("relay"));
    println!("{}", quick.last().unwrap().detail);
    let slow = recorded("relay")
        .later(Duration::from_millis(150), |trace, sighting| trace.name(sighting.link) == "relay.wan");
    let reason = refuted(&of_nodes(&slow), About::Node).unwrap();
    assert!(reason.contains("the relay adds less than 100 ms"), "{reason}");
}

#[test]
fn a_relay_without_attempts_is_not_enough() {
    let recording = recorded("relay").without(|_, sighting| {
        // Between the sites: the relay's own frames are from and to its two addresses.
        let udp = natrig_capture::decode(&sighting.data).and_then(|packet| packet.udp());
        udp.is_some_and(|udp| {
            [udp.source, udp.destination].iter().all(|end| ![3, 4].contains(&end.ip().octets()[3]))
                && probe(sighting)
        })
    });
    let reason = refuted(&of_nodes(&recording), About::Node).unwrap();
    assert!(reason.contains("tried the direct way"), "{reason}");
}

fn first_byte(sighting: &Sighting) -> Option<u8> {
    natrig_capture::decode(&sighting.data)?.udp()?.payload.first().copied()
}

fn probe(sighting: &Sighting) -> bool {
    first_byte(sighting).is_some_and(|byte| (4..=6).contains(&byte))
}

// Forged gateways.

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 1);

/// One datagram: inside port, destination, outside port.
type Sent = (u16, SocketAddrV4, u16);

fn server(host: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 168, 100, host), port)
}

fn inside(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 2), port)
}

/// What nat1 has to show, were it of a profile, for datagrams that left it.
fn shown(profile: Profile, forge: impl FnOnce(&mut Forger)) -> Vec<Assertion> {
    let mut forger = Forger::default();
    forge(&mut forger);
    gateways(&forger.trace(), &case(vec![life(profile)])).unwrap()
}

fn life(profile: Profile) -> Life {
    Life {
        from_ns: 0,
        to_ns: None,
        profile,
        draws_in_bursts: false,
        rebound: false,
        addresses: vec![GATEWAY],
    }
}

fn case(lives: Vec<Life>) -> Case {
    Case {
        pair: pair(),
        initiator_filtering: Filtering::AddressAndPortDependent,
        connect_ns: 0,
        window: None,
        foreign: false,
        intervention: None,
        coordination: Vec::new(),
        probes: Vec::new(),
        relayed: Vec::new(),
        relays: Vec::new(),
        pair_blocked: false,
        conditions: Vec::new(),
        tallies: Vec::new(),
        gateways: vec![Passage {
            gateway: "nat1".to_owned(),
            lan: "nat1.lan".to_owned(),
            wan: "nat1.wan".to_owned(),
            lives,
        }],
    }
}

fn translated(profile: Profile, sent: &[Sent]) -> Vec<Assertion> {
    shown(profile, |forger| {
        for (port, to, outside) in sent {
            forger.translated(inside(*port), *to, SocketAddrV4::new(GATEWAY, *outside));
        }
    })
}

fn holds(shown: &[Assertion]) -> bool {
    assert!(!shown.is_empty());
    shown.iter().all(|assertion| assertion.holds)
}

fn of(mapping: Mapping, allocation: Allocation) -> Profile {
    let mut profile = Profile { mapping: Some(mapping), ..Profile::default() };
    profile.ports.allocation = allocation;
    profile
}

const EIM: Mapping = Mapping::EndpointIndependent;
const ADM: Mapping = Mapping::AddressDependent;
const APDM: Mapping = Mapping::AddressAndPortDependent;

/// Three destinations: two ports of one address, and another address.
fn to_three(ports: [u16; 3]) -> Vec<Sent> {
    let [a, b, c] = ports;
    vec![(4400, server(3, 3478), a), (4400, server(3, 3479), b), (4400, server(4, 3478), c)]
}

#[test]
fn each_mapping_is_told_from_the_others() {
    let cone = [20_001, 20_001, 20_001];
    let by_address = [20_001, 20_001, 20_007];
    let symmetric = [20_001, 20_777, 20_007];
    for (mapping, right) in [(EIM, cone), (ADM, by_address), (APDM, symmetric)] {
        for ports in [cone, by_address, symmetric] {
            // Two destinations of three that share a port may do so by chance, and nobody can tell.
            let lucky = mapping == APDM && ports == by_address;
            let expected = ports == right || lucky;
            let shown = translated(of(mapping, Allocation::Random), &to_three(ports));
            assert_eq!(holds(&shown), expected, "{mapping} {ports:?}: {shown:#?}");
        }
    }
}

#[test]
fn each_way_to_give_out_ports_is_told_from_the_others() {
    let kept = [4400, 4400, 4400];
    let one = [20_001, 20_001, 20_001];
    for (allocation, ports, expected) in [
        (Allocation::Preserving, kept, true),
        (Allocation::Preserving, one, false),
        (Allocation::PreservingUntilCollision, kept, true),
        (Allocation::PreservingUntilCollision, one, false),
        (Allocation::Random, one, true),
        (Allocation::Random, kept, false),
    ] {
        let shown = translated(of(EIM, allocation), &to_three(ports));
        assert_eq!(holds(&shown), expected, "{allocation:?} {ports:?}: {shown:#?}");
    }
    for (delta, ports, expected) in [
        (1, [20_001, 20_002, 20_003], true),
        (2, [20_001, 20_003, 20_005], true),
        // A taken port is passed over; the range begins again at its end.
        (1, [20_001, 20_003, 20_004], true),
        (1, [65_535, 1024, 1025], true),
        (1, [20_001, 20_900, 20_901], false),
        (2, [20_001, 20_002, 20_003], false),
        (1, [20_003, 20_002, 20_001], false),
    ] {
        let shown = translated(of(APDM, Allocation::Sequential { delta }), &to_three(ports));
        assert_eq!(holds(&shown), expected, "delta {delta} {ports:?}: {shown:#?}");
    }
}

#[test]
fn a_port_that_another_socket_has_need_not_be_kept() {
    let collision = [(5000, server(3, 1), 4400), (4400, server(3, 1), 33_000)];
    let mut profile = of(EIM, Allocation::PreservingUntilCollision);
    // The first one is only right where 5000 cannot be kept.
    profile.ports.range = PortRange::new(1024, 4999).unwrap();
    assert!(!holds(&translated(profile.clone(), &collision)), "33000 is not in the range");
    profile.ports.range = PortRange::new(1024, 65_535).unwrap();
    assert!(!holds(&translated(profile, &collision)), "5000 was free");
    let other_host = |forger: &mut Forger| {
        let second = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 3), 4400);
        forger.translated(inside(4400), server(3, 1), SocketAddrV4::new(GATEWAY, 4400));
        forger.translated(second, server(3, 1), SocketAddrV4::new(GATEWAY, 33_000));
    };
    assert!(holds(&shown(of(EIM, Allocation::PreservingUntilCollision), other_host)));
    assert!(!holds(&shown(of(EIM, Allocation::Preserving), other_host)));
}

#[test]
fn ranges_blocks_parity_pools_and_addresses_are_seen() {
    let mut ranged = of(EIM, Allocation::Random);
    ranged.ports.range = PortRange::new(40_000, 40_999).unwrap();
    assert!(holds(&translated(ranged.clone(), &to_three([40_500; 3]))));
    assert!(!holds(&translated(ranged, &to_three([41_000; 3]))));

    let mut blocks = of(APDM, Allocation::Random);
    blocks.ports.block = Some(Block { size: 512, most: 1 });
    assert!(holds(&translated(blocks.clone(), &to_three([1030, 1040, 1050]))));
    assert!(!holds(&translated(blocks, &to_three([1030, 1040, 1540]))));

    let mut parity = of(EIM, Allocation::Random);
    parity.ports.parity = true;
    assert!(holds(&translated(parity.clone(), &to_three([30_002; 3]))));
    assert!(!holds(&translated(parity, &to_three([30_001; 3]))));

    let elsewhere = |forger: &mut Forger| {
        forger.translated(
            inside(4400),
            server(3, 1),
            SocketAddrV4::new(Ipv4Addr::new(192, 168, 100, 9), 4400),
        );
    };
    assert!(!holds(&shown(Profile::default(), elsewhere)));

    let pooled = |pooling| {
        let pool = Pool { addresses: 2, pooling };
        let addresses = vec![GATEWAY, Ipv4Addr::new(192, 168, 100, 17)];
        let mut forger = Forger::default();
        forger.translated(inside(4400), server(3, 1), SocketAddrV4::new(addresses[0], 4400));
        forger.translated(inside(4401), server(3, 1), SocketAddrV4::new(addresses[1], 4401));
        let life = Life { addresses, ..life(Profile { pool, ..Profile::default() }) };
        gateways(&forger.trace(), &case(vec![life])).unwrap()
    };
    assert!(holds(&pooled(Pooling::Arbitrary)));
    assert!(!holds(&pooled(Pooling::Paired)));
}

#[test]
fn two_sockets_with_one_outside_endpoint_are_refused_unless_it_may_be_shared() {
    let overload = |forger: &mut Forger| {
        let second = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 3), 4400);
        forger.translated(inside(4400), server(3, 1), SocketAddrV4::new(GATEWAY, 4400));
        forger.translated(second, server(4, 1), SocketAddrV4::new(GATEWAY, 4400));
    };
    let mut profile = of(EIM, Allocation::PreservingUntilCollision);
    assert!(!holds(&shown(profile.clone(), overload)));
    profile.ports.overload = true;
    assert!(holds(&shown(profile, overload)));
}

#[test]
fn a_router_without_nat_leaves_endpoints_alone() {
    let routed = Named::find("public").unwrap().chain.remove(0);
    let left_alone = |forger: &mut Forger| forger.translated(inside(4400), server(3, 1), inside(4400));
    assert!(holds(&shown(routed.clone(), left_alone)));
    assert!(!holds(&translated(routed, &[(4400, server(3, 1), 4400)])));
}

#[test]
fn a_poisoned_port_is_refused_where_the_gateway_should_not_be_poisoned() {
    let moved = |forger: &mut Forger| {
        forger.translated(inside(4400), server(3, 1), SocketAddrV4::new(GATEWAY, 4400));
        forger.outsider(server(2, 4400), SocketAddrV4::new(GATEWAY, 4400));
        forger.translated(inside(4400), server(2, 4400), SocketAddrV4::new(GATEWAY, 36_129));
    };
    let reason = refuted(&shown(Profile::default(), moved), About::Gateway).unwrap();
    assert!(reason.contains("36129"), "{reason}");
    assert!(holds(&shown(Profile { unsolicited: Unsolicited::Poison, ..Profile::default() }, moved)));
}

#[test]
fn a_mapping_may_change_only_after_it_could_end() {
    let after = |seconds: u64| {
        shown(of(EIM, Allocation::Random), |forger| {
            forger.translated(inside(4400), server(3, 1), SocketAddrV4::new(GATEWAY, 20_001));
            forger.wait(seconds * 1000);
            forger.translated(inside(4400), server(3, 1), SocketAddrV4::new(GATEWAY, 30_001));
        })
    };
    assert!(!holds(&after(29)));
    assert!(holds(&after(30)));
}

/// Linux looks at all datagrams of a burst before the first of them has left: each of a new flow has a port drawn.
#[test]
fn a_burst_may_have_ports_of_its_own_in_a_kernel() {
    let burst = |draws_in_bursts, apart| {
        let mut forger = Forger::default();
        let sent =
            [20_001, 30_001].map(|port| (inside(4400), server(3, 1), SocketAddrV4::new(GATEWAY, port)));
        forger.burst(&sent, apart);
        forger.translated(inside(4400), server(3, 1), SocketAddrV4::new(GATEWAY, 20_001));
        let life = Life { draws_in_bursts, ..life(of(APDM, Allocation::Random)) };
        gateways(&forger.trace(), &case(vec![life])).unwrap()
    };
    assert!(holds(&burst(true, false)));
    assert!(!holds(&burst(false, false)));
    assert!(!holds(&burst(true, true)), "the second came after the first had left");
}

/// Sent again, it is the same datagram: which of the two left cannot be told, but that the first one left first.
#[test]
fn what_is_sent_again_may_have_been_in_a_burst() {
    let sent = |again: bool| {
        let mut forger = Forger::default();
        let outside = |port| SocketAddrV4::new(GATEWAY, port);
        if !again {
            forger.enters(inside(4400), server(3, 1), 1);
            forger.leaves(outside(20_001), server(3, 1), 1);
        }
        forger.enters(inside(4400), server(3, 1), 2);
        if again {
            forger.enters(inside(4400), server(3, 1), 1);
            forger.leaves(outside(20_001), server(3, 1), 1);
            forger.enters(inside(4400), server(3, 1), 2);
        }
        forger.leaves(outside(30_001), server(3, 1), 2);
        forger.leaves(outside(20_001), server(3, 1), 2);
        let life = Life { draws_in_bursts: true, ..life(of(APDM, Allocation::Random)) };
        gateways(&forger.trace(), &case(vec![life])).unwrap()
    };
    assert!(holds(&sent(true)));
    assert!(!holds(&sent(false)), "neither came before the first had left");
}

/// What a gateway is slow with has been its since it came: the timer of its mapping runs before it leaves.
#[test]
fn a_mappings_time_begins_when_its_datagram_comes() {
    let slow = |milliseconds: u64| {
        let mut forger = Forger::default();
        let outside = |port| SocketAddrV4::new(GATEWAY, port);
        forger.enters(inside(4400), server(3, 1), 1);
        forger.wait(milliseconds);
        forger.leaves(outside(20_001), server(3, 1), 1);
        forger.wait(29_950);
        forger.enters(inside(4400), server(3, 1), 2);
        forger.leaves(outside(30_001), server(3, 1), 2);
        gateways(&forger.trace(), &case(vec![life(of(EIM, Allocation::Random))])).unwrap()
    };
    assert!(holds(&slow(100)));
    assert!(!holds(&slow(10)));
}

#[test]
fn a_gateway_that_lost_its_state_lives_again() {
    let mut forger = Forger::default();
    forger.translated(inside(4400), server(3, 1), SocketAddrV4::new(GATEWAY, 20_001));
    let died = forger.now() + 1;
    forger.wait(100);
    let reborn = forger.now();
    forger.translated(inside(4400), server(3, 1), SocketAddrV4::new(GATEWAY, 30_001));
    let trace = forger.trace();
    let life = |from_ns, to_ns| Life { from_ns, to_ns, ..life(of(EIM, Allocation::Random)) };
    assert!(!holds(&gateways(&trace, &case(vec![life(0, None)])).unwrap()));
    let two = case(vec![life(0, Some(died)), life(reborn, None)]);
    assert!(holds(&gateways(&trace, &two).unwrap()));
}

#[test]
fn a_gateway_that_nothing_passed_shows_nothing() {
    assert_eq!(shown(Profile::default(), |_| ()), []);
    let blocked = Named::find("udp-blocked").unwrap().chain.remove(0);
    assert!(holds(&shown(blocked.clone(), |_| ())));
    assert!(!holds(&translated(blocked, &[(4400, server(3, 1), 4400)])));
}

proptest! {
    /// A gateway that draws ports, or counts them, is never blamed for what it drew.
    #[test]
    fn the_engines_own_translations_hold(
        seed: u64,
        mapping in prop::sample::select(vec![EIM, ADM, APDM]),
        allocation in prop::sample::select(vec![
            Allocation::PreservingUntilCollision,
            Allocation::Random,
            Allocation::Sequential { delta: 1 },
            Allocation::Sequential { delta: 3 },
        ]),
        flows in prop::collection::vec((4000u16..4040, 1u8..5, 1u16..5), 1..120),
    ) {
        let profile = of(mapping, allocation);
        let mut engine = wire::Nat::new(&profile, seed);
        let shown = shown(profile, |forger| {
            for (port, host, to) in flows {
                let to = server(10 + host, to);
                let outside = engine.outside(inside(port), to, forger.now());
                forger.translated(inside(port), to, outside);
            }
        });
        prop_assert!(holds(&shown), "{:#?}", shown);
    }
}
