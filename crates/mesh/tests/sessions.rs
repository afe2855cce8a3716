//! What a relay takes and from whom: sessions are bound to their members' addresses, which move by proof alone.

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use omerta_mesh_core::{DatagramKind, Event, Kind, PathKind, Protocol};
use world::nat::SYMMETRIC;
use world::talk::{connected, received};
use world::{A, B, RELAY, Setup, World};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn attacker() -> SocketAddr {
    "198.18.0.9:666".parse().expect("an address")
}

/// Two nodes that talk through the relay, and all that the relay was sent.
fn relayed() -> (World, Vec<(SocketAddr, Vec<u8>)>) {
    let setup = Setup { keep_payloads: true, ..Setup::default() };
    let (mut world, kind) = connected(&setup, SYMMETRIC, SYMMETRIC);
    assert_eq!(kind, Kind::Relay);
    world.send(A, B, vec![1; 2000]);
    assert!(world.run_until(seconds(1), |world| received(world, B).len() == 1));
    world.run_for(seconds(1));
    let payloads = std::mem::take(&mut world.payloads);
    let to_relay = payloads.into_iter().filter(|(to, _, _)| *to == RELAY);
    (world, to_relay.map(|(_, from, payload)| (from, payload)).collect())
}

fn is(payload: &[u8], kind: DatagramKind) -> bool {
    Protocol::of(payload) == Some(Protocol::Mesh(kind))
}

/// T4.3.2, hostile: a frame with the right session from somebody else's address goes nowhere.
#[test]
fn frames_from_elsewhere_are_dropped() {
    let (mut world, payloads) = relayed();
    let frames: Vec<_> =
        payloads.iter().filter(|(_, payload)| is(payload, DatagramKind::RelayData)).collect();
    assert!(frames.len() > 5);
    let before = world.relayed(RELAY);
    for (_, frame) in &frames {
        world.inject(RELAY, attacker(), frame);
    }
    world.run_for(Duration::from_millis(20));
    assert_eq!(world.relayed(RELAY), before);
    // The same frames from where they came from are passed on: nothing else is wrong with them.
    for (from, frame) in &frames {
        world.inject(RELAY, *from, frame);
    }
    world.run_for(Duration::from_millis(20));
    assert!(world.relayed(RELAY) >= before + frames.len() as u64);
}

/// Hostile: nobody moves a session by repeating what a member has sent, from another address or the member's own.
#[test]
fn a_session_does_not_move_for_a_repeat() {
    let (mut world, payloads) = relayed();
    for (_, payload) in &payloads {
        world.inject(RELAY, attacker(), payload);
    }
    let sent = world.sent_to(attacker());
    world.run_for(seconds(1));
    world.send(A, B, vec![2; 3000]);
    world.send(B, A, vec![2; 3000]);
    let done = |world: &World| received(world, B).len() == 2 && received(world, A).len() == 1;
    assert!(world.run_until(seconds(1), done), "{:#?}", world.events);
    let spent: usize = payloads.iter().map(|(_, payload)| payload.len()).sum();
    assert!(world.sent_to(attacker()) <= spent, "{sent} bytes to the attacker");
    let quic_or_frames = world.frames.iter().filter(|frame| {
        frame.target == attacker() && frame.protocol == Some(Protocol::Mesh(DatagramKind::RelayData))
    });
    assert_eq!(quic_or_frames.count(), 0);
    assert_eq!(world.node(RELAY).sessions(), 1);
}

/// A member that has moved shows where to: a fresh probe and its echo, and the session is there.
#[test]
fn a_session_moves_with_its_member() {
    let (mut world, _) = relayed();
    let sessions = world.node(RELAY).sessions();
    world.rebind(A);
    let moved = world.elapsed();
    world.send(A, B, vec![3; 1000]);
    assert!(world.run_until(seconds(3), |world| received(world, B).len() == 2), "{:#?}", world.events);
    assert!(world.elapsed() - moved < Duration::from_millis(1500), "{:?}", world.elapsed() - moved);
    assert_eq!(received(&world, B)[1], (1000, PathKind::Relay));
    assert_eq!(world.node(RELAY).sessions(), sessions, "the same session");
    assert_eq!(
        world.count(B, |event| matches!(event, Event::PathFailed { .. } | Event::Disconnected { .. })),
        0
    );
}

/// Area 7: a session ends when its members part.
#[test]
fn a_session_ends_with_the_connection() {
    let (mut world, _) = relayed();
    assert_eq!(world.node(RELAY).sessions(), 1);
    world.shutdown(A);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.node(RELAY).sessions(), 0);
}

/// Area 7: a session that nothing goes through ends after 300 s, and is there again when the direct path fails.
#[test]
fn an_idle_session_ends_and_comes_back_when_it_is_needed() {
    let (mut world, kind) = connected(&Setup::default(), world::nat::PORT, world::nat::PORT);
    assert_eq!(kind, Kind::Punch);
    assert_eq!(world.node(RELAY).sessions(), 1);
    world.run_for(seconds(250));
    assert_eq!(world.node(RELAY).sessions(), 1);
    world.run_for(seconds(60));
    assert_eq!(world.node(RELAY).sessions(), 0);
    world.blocked.push((A, B));
    world.send(A, B, vec![4; 1000]);
    assert!(world.run_until(seconds(3), |world| received(world, B).len() == 1), "{:#?}", world.events);
    assert_eq!(received(&world, B), [(1000, PathKind::Relay)]);
}
