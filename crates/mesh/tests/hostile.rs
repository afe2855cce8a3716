//! Forged, damaged and repeated datagrams.

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use omerta_mesh_core::{Event, PathKind, Protocol};
use proptest::prelude::*;
use world::nat::{FULL, PUBLIC};
use world::talk::{connected, received};
use world::{A, At, B, RELAY, Setup, World};

fn attacker() -> SocketAddr {
    "198.18.0.9:666".parse().expect("an address")
}

/// A world in which two nodes have met, and every datagram that a node has taken.
fn recorded() -> (World, Vec<(At, SocketAddr, Vec<u8>)>) {
    let setup = Setup { keep_payloads: true, ..Setup::default() };
    let (mut world, _) = connected(&setup, PUBLIC, FULL);
    world.send(A, B, vec![1; 2000]);
    assert!(world.run_until(Duration::from_secs(1), |world| received(world, B).len() == 1));
    let payloads = std::mem::take(&mut world.payloads);
    assert!(payloads.len() > 40);
    (world, payloads)
}

/// The two still talk, directly, and nothing was lost or done twice.
fn assert_unharmed(world: &mut World) {
    let before = received(world, B).len();
    world.send(A, B, vec![2; 3000]);
    assert!(world.run_until(Duration::from_secs(3), |world| received(world, B).len() > before));
    assert_eq!(received(world, B)[before..], [(3000, PathKind::Direct)]);
    for at in [A, B] {
        let harmed = |event: &Event| {
            matches!(event, Event::Disconnected { .. } | Event::PathFailed { .. } | Event::SendFailed { .. })
        };
        assert_eq!(world.count(at, harmed), 0, "{:#?}", world.events);
    }
}

#[test]
fn repeats_are_refused_from_anywhere() {
    let (mut world, payloads) = recorded();
    for source in [None, Some(attacker())] {
        for (to, from, payload) in &payloads {
            world.inject(*to, source.unwrap_or(*from), payload);
        }
    }
    world.run_for(Duration::from_secs(1));
    assert_unharmed(&mut world);
    for at in [RELAY, A, B] {
        let rejected = |event: &Event| matches!(event, Event::Rejected { why, .. } if why == "a repeat");
        assert!(world.count(at, rejected) > 0, "{at:?} tells of repeats");
    }
}

#[test]
fn an_attacker_is_sent_no_more_than_it_spends() {
    let (mut world, payloads) = recorded();
    let before = world.sent_to(attacker());
    let mut spent = 0;
    for (to, _, payload) in &payloads {
        if Protocol::of(payload) != Some(Protocol::Stun) {
            spent += payload.len();
            world.inject(*to, attacker(), payload);
        }
    }
    world.run_for(Duration::from_secs(1));
    assert!(world.sent_to(attacker()) - before <= spent);
}

/// Probes that were never taken, from the address of somebody else: answered once each, and no path.
#[test]
fn a_member_that_forges_its_address_gains_nothing_by_it() {
    let setup = Setup { keep_payloads: true, ..Setup::default() };
    let mut world = World::new(&setup, PUBLIC, PUBLIC);
    world.bootstrap();
    world.blocked.push((A, B));
    world.connect(A, B);
    world.run_for(Duration::from_secs(2));
    let fresh: Vec<Vec<u8>> =
        world.stolen.iter().filter(|(to, _)| *to == B).map(|(_, payload)| payload.clone()).collect();
    assert!(fresh.len() >= 3, "dialled and punched");
    let spent: usize = fresh.iter().map(Vec::len).sum();
    for payload in &fresh {
        world.inject(B, attacker(), payload);
    }
    world.run_for(Duration::from_secs(10));
    let sent = world.sent_to(attacker());
    assert!((1..=3 * spent).contains(&sent), "{sent} bytes for {spent}");
    // Nobody there has echoed a nonce, so nothing but answers went there.
    assert!(sent <= 2 * spent, "each was answered once: {sent} bytes for {spent}");
    world.send(B, A, vec![3; 1000]);
    assert!(world.run_until(Duration::from_secs(3), |world| received(world, A) == [(1000, PathKind::Relay)]));
}

/// Whoever keeps an echo and brings it later from elsewhere proves nothing by it.
#[test]
fn an_echo_that_was_kept_does_not_move_a_path() {
    let setup = Setup { keep_payloads: true, ..Setup::default() };
    let (mut world, _) = connected(&setup, PUBLIC, FULL);
    let echoes: Vec<Vec<u8>> = world
        .payloads
        .iter()
        .filter(|(to, _, payload)| *to == B && payload.first() == Some(&6))
        .map(|(_, _, payload)| payload.clone())
        .collect();
    assert!(!echoes.is_empty());
    world.run_for(Duration::from_secs(30));
    for echo in &echoes {
        world.inject(B, attacker(), echo);
    }
    assert_unharmed(&mut world);
    assert_eq!(world.sent_to(attacker()), 0);
}

#[test]
fn datagrams_with_a_changed_byte_change_nothing() {
    let (mut world, payloads) = recorded();
    for (n, (to, from, payload)) in payloads.iter().enumerate() {
        for step in [0, 1, 40, 60] {
            let mut damaged = payload.clone();
            let at = (n * 7 + step) % damaged.len();
            damaged[at] ^= 1 << (n % 8);
            world.inject(*to, *from, &damaged);
        }
    }
    world.run_for(Duration::from_secs(1));
    assert_unharmed(&mut world);
}

#[test]
fn a_flood_of_made_up_senders_does_not_hinder_those_who_are_known() {
    let (mut world, payloads) = recorded();
    let probe = payloads
        .iter()
        .find(|(to, _, payload)| *to == B && payload.first() == Some(&4))
        .map(|(_, _, payload)| payload.clone())
        .expect("B was dialled");
    for n in 0..5000u32 {
        let mut forged = probe.clone();
        forged[2..6].copy_from_slice(&n.to_be_bytes());
        world.inject(B, attacker(), &forged);
    }
    assert_unharmed(&mut world);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_datagrams_never_panic_a_node(
        datagrams in proptest::collection::vec(
            (0usize..3, any::<bool>(), 0u8..=255, proptest::collection::vec(any::<u8>(), 0..120)),
            1..200,
        ),
    ) {
        let mut world = World::new(&Setup::default(), PUBLIC, FULL);
        world.bootstrap();
        for (to, known, first, mut rest) in datagrams {
            rest.insert(0, first);
            let source = if known { world.address(RELAY) } else { attacker() };
            world.inject(At(to), source, &rest);
        }
        world.run_for(Duration::from_millis(50));
        world.connect(A, B);
        let done = |world: &World| world.count(A, |event| matches!(event, Event::Settled { .. })) == 1;
        prop_assert!(world.run_until(Duration::from_secs(3), done));
    }
}
