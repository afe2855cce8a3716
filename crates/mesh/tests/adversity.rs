//! What goes wrong, and what the nodes make of it.

mod world;

use std::time::Duration;

use omerta_mesh_core::{Event, Kind, PathKind, Protocol, Service, Strategy};
use world::nat::{ADDR, FULL, PORT, PRESETS, PUBLIC, SYMMETRIC};
use world::talk::{both_settled, connected, failed, received, settled};
use world::{A, B, RELAY, Setup, World};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn no_relay() -> Setup {
    Setup { service: Service::Coordinator, ..Setup::default() }
}

#[test]
fn without_a_relay_two_symmetric_nats_end_in_failure_soon() {
    let mut world = World::new(&no_relay(), SYMMETRIC, SYMMETRIC);
    world.bootstrap();
    world.connect(A, B);
    assert!(world.run_until(Duration::from_millis(1500), |world| failed(world, A).is_some()));
    assert_eq!(world.count(A, |event| matches!(event, Event::Connected { .. })), 0);
    assert_eq!(world.count(B, |event| matches!(event, Event::Connected { .. })), 0);
    let result = world.find(A, |event| match event {
        Event::PunchResult { success, probes, .. } => Some((*success, *probes)),
        _ => None,
    });
    assert!(matches!(result, Some((false, 4..=20))), "{result:?}");
}

#[test]
fn a_peer_that_is_silent_for_two_seconds_is_reached_when_it_speaks_again() {
    for setup in [no_relay(), Setup::default()] {
        let mut world = World::new(&setup, PORT, PORT);
        world.bootstrap();
        world.kill(B);
        world.connect(A, B);
        world.run_for(seconds(2));
        world.revive(B);
        assert!(world.run_until(seconds(8), both_settled), "{:#?}", world.events);
        assert_eq!(settled(&world, A).map(|(_, kind, _)| kind), Some(Kind::Punch));
        assert_eq!(failed(&world, A), None);
    }
}

#[test]
fn a_peer_that_never_speaks_again_is_given_up_within_eleven_seconds() {
    let mut world = World::new(&no_relay(), PORT, PORT);
    world.bootstrap();
    world.kill(B);
    world.connect(A, B);
    assert!(world.run_until(seconds(11), |world| failed(world, A).is_some()), "{:#?}", world.events);
    assert_eq!(failed(&world, A).as_deref(), Some("no direct path was found and no relay carries it"));
    let probes = world.count(A, |event| matches!(event, Event::PunchStarted { .. }));
    assert!((2..=8).contains(&probes), "{probes} attempts");
}

#[test]
fn without_a_relay_all_that_can_be_punched_still_is() {
    for (a, b) in [(PUBLIC, SYMMETRIC), (ADDR, PORT), (PORT, SYMMETRIC), (SYMMETRIC, ADDR)] {
        let (world, _) = connected(&no_relay(), a, b);
        let first = world.find(A, |event| match event {
            Event::Connected { kind, .. } => Some(*kind),
            _ => None,
        });
        assert_eq!(first, Some(PathKind::Direct), "{} {}", a.name, b.name);
        assert_eq!(world.count(A, |event| matches!(event, Event::PathChanged { .. })), 0);
    }
}

#[test]
fn a_pair_that_is_kept_apart_stays_on_the_relay() {
    let mut world = World::new(&Setup::default(), ADDR, PORT);
    world.blocked.push((A, B));
    world.bootstrap();
    world.connect(A, B);
    assert!(world.run_until(seconds(12), both_settled), "{:#?}", world.events);
    assert_eq!(settled(&world, A).map(|(path, kind, _)| (path, kind)), Some((PathKind::Relay, Kind::Relay)));
    world.send(A, B, vec![1; 1000]);
    assert!(world.run_until(seconds(1), |world| received(world, B) == [(1000, PathKind::Relay)]));
}

#[test]
fn when_the_only_relay_dies_a_relayed_connection_ends_within_30_seconds() {
    let (mut world, kind) = connected(&Setup::default(), SYMMETRIC, SYMMETRIC);
    assert_eq!(kind, Kind::Relay);
    world.kill(RELAY);
    let lost = |world: &World| {
        [A, B].iter().all(|&at| world.count(at, |event| matches!(event, Event::Disconnected { .. })) == 1)
    };
    world.send(A, B, vec![1; 1000]);
    assert!(world.run_until(seconds(35), lost), "{:#?}", world.events);
    // The message waits for the connection to be begun anew, and not for ever.
    let given_up = |world: &World| world.count(A, |event| matches!(event, Event::SendFailed { .. })) == 1;
    assert!(!given_up(&world));
    assert!(world.run_until(seconds(80), given_up), "{:#?}", world.events);
}

#[test]
fn data_on_a_direct_path_that_breaks_goes_on_over_the_relay() {
    let (mut world, kind) = connected(&Setup::default(), PORT, PORT);
    assert_eq!(kind, Kind::Punch);
    world.run_for(seconds(1));
    world.blocked.push((A, B));
    let cut = world.elapsed();
    world.send(A, B, vec![1; 100_000]);
    let arrived = |world: &World| received(world, B) == [(100_000, PathKind::Relay)];
    assert!(world.run_until(seconds(6), arrived), "{:#?}", world.events);
    assert!(world.elapsed() - cut < seconds(5), "took {:?}", world.elapsed() - cut);
    // Packets go both ways while the direct one is suspect; the verdict comes later.
    world.run_for(seconds(1));
    assert_eq!(world.count(A, |event| matches!(event, Event::PathFailed { path: PathKind::Direct, .. })), 1);
    assert_eq!(world.count(A, |event| matches!(event, Event::Disconnected { .. })), 0);
}

#[test]
fn a_working_path_in_silence_is_kept_alive_and_not_probed() {
    let (mut world, _) = connected(&Setup::default(), PORT, PORT);
    world.send(A, B, vec![1; 1000]);
    world.run_for(seconds(5));
    let before = world.frames.len();
    world.run_for(seconds(60));
    let frames = &world.frames[before..];
    assert!(frames.iter().all(|frame| frame.protocol == Some(Protocol::Quic)), "{frames:#?}");
    let kept = frames.iter().filter(|frame| (frame.from, frame.to) == (A, B)).count();
    assert!((4..=24).contains(&kept), "{kept} frames in a minute");
}

#[test]
fn a_nat_that_forgets_its_ports_costs_seconds_not_the_connection() {
    let (mut world, _) = connected(&Setup::default(), FULL, PUBLIC);
    world.run_for(seconds(1));
    world.rebind(A);
    world.send(A, B, vec![1; 50_000]);
    let done = |world: &World| received(world, B).len() == 1;
    assert!(world.run_until(seconds(6), done), "{:#?}", world.events);
    assert_eq!(received(&world, B), [(50_000, PathKind::Direct)]);
    assert_eq!(world.count(B, |event| matches!(event, Event::Disconnected { .. })), 0);
}

#[test]
fn a_node_finds_its_way_back_to_its_bootstrap_node_after_a_rebind() {
    let mut world = World::new(&Setup::default(), FULL, PORT);
    world.bootstrap();
    world.rebind(A);
    world.connect(A, B);
    assert!(world.run_until(seconds(10), both_settled), "{:#?}", world.events);
}

#[test]
fn lost_datagrams_slow_things_down_but_stop_nothing() {
    for (a, b) in [(PUBLIC, PUBLIC), (FULL, ADDR), (PORT, PORT), (SYMMETRIC, SYMMETRIC)] {
        for seed in 1..=3 {
            let setup = Setup { seed, ..Setup::default() };
            let mut world = World::new(&setup, a, b);
            world.loss = 0.1;
            world.bootstrap();
            world.connect(A, B);
            assert!(world.run_until(seconds(20), both_settled), "{} {} {:#?}", a.name, b.name, world.events);
            world.send(A, B, vec![1; 50_000]);
            world.send(B, A, vec![1; 50_000]);
            let done = |world: &World| received(world, A).len() == 1 && received(world, B).len() == 1;
            assert!(world.run_until(seconds(20), done), "{} {}", a.name, b.name);
        }
    }
}

#[test]
fn two_who_call_each_other_at_once_share_one_connection() {
    for a in PRESETS {
        for b in PRESETS {
            let mut world = World::new(&Setup::default(), a, b);
            world.bootstrap();
            world.connect(A, B);
            world.connect(B, A);
            let case = format!("{} {}", a.name, b.name);
            assert!(world.run_until(seconds(12), both_settled), "{case} {:#?}", world.events);
            world.run_for(seconds(2));
            let path = |at| settled(&world, at).map(|(path, _, _)| path);
            assert_eq!(path(A), path(B), "{case}");
            for at in [A, B] {
                let count = |pick: fn(&Event) -> bool| world.count(at, pick);
                assert_eq!(count(|event| matches!(event, Event::Connected { .. })), 1, "{case}");
                assert_eq!(count(|event| matches!(event, Event::Disconnected { .. })), 0, "{case}");
            }
            world.send(A, B, vec![1; 1000]);
            world.send(B, A, vec![1; 1000]);
            let done = |world: &World| received(world, A).len() == 1 && received(world, B).len() == 1;
            assert!(world.run_until(seconds(2), done), "{case}");
        }
    }
}

#[test]
fn who_takes_no_part_in_birthday_searches_is_not_searched_for() {
    let setup = Setup { birthday: false, ..Setup::default() };
    let (world, kind) = connected(&setup, PORT, SYMMETRIC);
    assert_eq!(kind, Kind::Relay);
    assert!(world.between(A, B).count() <= 40);
    let tried = |event: &Event| matches!(event, Event::PunchStarted { strategy: Strategy::Impossible, .. });
    assert_eq!(world.count(A, tried), 1);
    assert_eq!(world.count(B, tried), 1);
}

#[test]
fn a_goodbye_is_heard_at_once() {
    let (mut world, _) = connected(&Setup::default(), ADDR, ADDR);
    world.shutdown(A);
    let gone = |world: &World| world.count(B, |event| matches!(event, Event::Disconnected { .. })) == 1;
    assert!(world.run_until(Duration::from_millis(100), gone));
}

#[test]
fn messages_wait_for_the_connection_they_were_meant_for() {
    let mut world = World::new(&Setup::default(), PORT, ADDR);
    world.bootstrap();
    world.send(A, B, vec![0; 10]);
    assert_eq!(
        world.count(A, |event| matches!(event, Event::SendFailed { .. })),
        1,
        "nobody asked to connect"
    );
    world.connect(A, B);
    world.send(A, B, vec![1; 20]);
    assert!(world.run_until(seconds(1), |world| received(world, B).iter().any(|&(bytes, _)| bytes == 20)));
}

#[test]
fn a_peer_that_nobody_knows_is_given_up() {
    let mut world = World::new(&Setup { stun: false, ..Setup::default() }, PORT, ADDR);
    world.kill(B);
    world.run_for(seconds(1));
    world.connect(A, B);
    // B was up for a moment only: its announcement never came.
    assert!(world.run_until(seconds(12), |world| failed(world, A).is_some()), "{:#?}", world.events);
}

#[test]
fn a_peer_that_is_gone_is_given_up_and_can_be_called_again() {
    let mut world = World::new(&Setup::default(), PORT, ADDR);
    world.bootstrap();
    world.kill(B);
    world.connect(A, B);
    assert!(world.run_until(seconds(30), |world| failed(world, A).is_some()), "{:#?}", world.events);
    world.revive(B);
    world.run_for(seconds(70));
    world.connect(A, B);
    assert!(world.run_until(seconds(12), |world| settled(world, A).is_some()), "{:#?}", world.events);
}

#[test]
fn a_bootstrap_node_that_comes_late_is_found() {
    let mut world = World::new(&Setup::default(), PORT, ADDR);
    world.kill(RELAY);
    world.run_for(seconds(5));
    assert!(world.count(A, |event| matches!(event, Event::Error { .. })) >= 1, "the lack is told");
    world.revive(RELAY);
    world.bootstrap();
}

#[test]
fn without_stun_the_class_is_unknown_and_easy_nats_are_still_crossed() {
    let setup = Setup { stun: false, ..Setup::default() };
    let (_, kind) = connected(&setup, PORT, PORT);
    assert_eq!(kind, Kind::Punch);
}

/// T4.2.1: wherever the two are and whoever asks, both begin to punch at the same moment.
#[test]
fn both_sides_begin_to_punch_at_once() {
    let ms = Duration::from_millis;
    for [far_a, far_b, far_relay] in [[0, 0, 0], [60, 5, 0], [5, 60, 0], [20, 20, 40]] {
        let mut world = World::new(&Setup::default(), ADDR, PORT);
        world.farther = [(A, ms(far_a)), (B, ms(far_b)), (RELAY, ms(far_relay))].into();
        world.bootstrap();
        world.connect(A, B);
        assert!(world.run_until(seconds(12), both_settled), "{:#?}", world.events);
        let probes = |from, to| {
            let sent = |frame: &&world::Frame| (frame.from, frame.to) == (from, to);
            world.frames.iter().filter(sent).map(|frame| frame.sent).collect::<Vec<Duration>>()
        };
        // The first three are the dial, which had no answer.
        let first_a = probes(A, B)[3];
        let first_b = probes(B, A)[0];
        let apart = first_a.abs_diff(first_b);
        let one_way = world::DELAY + ms(far_a + far_b);
        assert!(apart < ms(4).max(one_way / 5), "{apart:?} apart, {one_way:?} from one to the other");
    }
}

/// A port that the gateway has opened is told to the peer, and leads through where nothing else does.
#[test]
fn a_mapped_port_makes_a_symmetric_side_reachable() {
    for mapped in [A, B] {
        let mut world = World::new(&Setup::default(), SYMMETRIC, SYMMETRIC);
        world.bootstrap();
        world.open_port(mapped, 6000);
        world.connect(A, B);
        assert!(world.run_until(seconds(12), both_settled), "{:#?}", world.events);
        assert_eq!(settled(&world, A).map(|(path, ..)| path), Some(PathKind::Direct), "{mapped:?}");
        world.send(A, B, vec![1; 100_000]);
        assert!(world.run_until(seconds(3), |world| received(world, B) == [(100_000, PathKind::Direct)]));
    }
}
