//! All pairs of the five presets, from bootstrap to 256 KiB each way.

mod world;

use std::time::Duration;

use omerta_mesh_core::{DatagramKind, Event, Kind, PathKind, Protocol};
use world::nat::{PRESETS, Profile};
use world::talk::{both_settled, settled};
use world::{A, B, RELAY, Setup, World};

const BYTES: usize = 256 << 10;

/// Runs a cell; the kind that both sides claim and that the taps agree with.
fn cell(a: Profile, b: Profile, seed: u64) -> Kind {
    let setup = Setup { seed, ..Setup::default() };
    let mut world = World::new(&setup, a, b);
    world.bootstrap();
    assert!(world.elapsed() < Duration::from_millis(600), "ready after {:?}", world.elapsed());
    assert_eq!(world.between(A, B).count(), 0, "a frame before the command");

    world.connect(A, B);
    assert!(
        world.run_until(Duration::from_secs(12), both_settled),
        "{} to {} does not settle: {:#?}",
        a.name,
        b.name,
        world.events
    );
    let (path, kind, elapsed) = settled(&world, A).expect("settled");
    let (path_b, kind_b, _) = settled(&world, B).expect("settled");
    assert_eq!((path, kind), (path_b, kind_b), "both claim the same");
    assert_eq!(path == PathKind::Relay, kind == Kind::Relay);
    let limit = match kind {
        Kind::Direct | Kind::Reversal | Kind::Punch => Duration::from_millis(600),
        Kind::Birthday => Duration::from_secs(9),
        Kind::Relay => Duration::from_millis(1500),
    };
    assert!(elapsed < limit, "{} to {} took {elapsed:?}", a.name, b.name);
    check_claim_against_frames(&world, a, kind);

    let before = world.frames.len();
    let pattern = |salt: u8| (0..BYTES).map(|n| (n as u8).wrapping_mul(31) ^ salt).collect::<Vec<u8>>();
    world.send(A, B, pattern(1));
    world.send(B, A, pattern(2));
    let message = |world: &World, at| {
        world.find(at, |event| match event {
            Event::MessageReceived { data, path, .. } => Some((data.clone(), *path)),
            _ => None,
        })
    };
    let sent = |world: &World, at| world.count(at, |event| matches!(event, Event::Sent { .. }));
    let done = |world: &World| [A, B].iter().all(|&at| message(world, at).is_some() && sent(world, at) == 1);
    assert!(world.run_until(Duration::from_secs(10), done), "data arrives");
    assert_eq!(message(&world, B), Some((pattern(1), path)));
    assert_eq!(message(&world, A), Some((pattern(2), path)));
    for (from, to) in [(A, B), (B, A)] {
        let carried = |from, to| -> usize {
            let frames = &world.frames[before..];
            frames.iter().filter(|f| (f.from, f.to) == (from, to)).map(|f| f.length).sum()
        };
        let (direct, relayed) = (carried(from, to), carried(from, RELAY).min(carried(RELAY, to)));
        let (used, unused) = match path {
            PathKind::Direct => (direct, relayed),
            PathKind::Relay => (relayed, direct),
        };
        assert!(used >= BYTES && unused < BYTES / 20, "direct {direct}, relayed {relayed}");
    }
    for at in [A, B] {
        assert!(world.open_sockets(at) <= 2, "all but a winner are closed");
        assert_eq!(world.count(at, |event| matches!(event, Event::Rejected { .. })), 0);
    }
    kind
}

/// What the taps say of how the path came to be.
fn check_claim_against_frames(world: &World, initiator: Profile, kind: Kind) {
    let frames: Vec<_> = world.between(A, B).collect();
    let asked = world
        .frames
        .iter()
        .any(|frame| frame.to == RELAY && frame.protocol == Some(Protocol::Mesh(DatagramKind::Coordinate)));
    assert_eq!(
        asked,
        kind != Kind::Direct,
        "{} claims {kind:?}: asked if and only if the dial fails",
        initiator.name
    );
    let first = frames.iter().position(|frame| frame.passed);
    let Some(first) = first else {
        assert_eq!(kind, Kind::Relay);
        for from in [A, B] {
            let probes: Vec<_> = frames.iter().filter(|frame| frame.from == from).collect();
            assert!((1..=20).contains(&probes.len()), "{} probes", probes.len());
            let (first, last) = (probes[0].at, probes[probes.len() - 1].at);
            assert!(last - first <= Duration::from_secs(1));
        }
        return;
    };
    let ports: std::collections::HashSet<_> = frames.iter().map(|frame| frame.target).collect();
    let computed = if ports.len() > 4 {
        Kind::Birthday
    } else if frames[first].from == A
        && frames.iter().all(|frame| frame.from != B || frame.sent >= frames[first].at)
    {
        Kind::Direct
    } else if frames[first].from == B && initiator.filtering == world::nat::Rule::Independent {
        Kind::Reversal
    } else {
        Kind::Punch
    };
    assert_eq!(kind, computed, "claim and taps");
}

/// One letter for each cell: direct, reversal, punch, birthday, relay.
fn grid(seed: u64) -> String {
    let letter = |a, b| match cell(a, b, seed) {
        Kind::Direct => 'd',
        Kind::Reversal => 'r',
        Kind::Punch => 'p',
        Kind::Birthday => 'b',
        Kind::Relay => 'R',
    };
    let row = |a: Profile| {
        let cells: String = PRESETS.iter().map(|&b| letter(a, b)).collect();
        format!("{:10}{cells}\n", a.name)
    };
    PRESETS.iter().map(|&a| row(a)).collect()
}

#[test]
fn every_pair_of_presets_gets_as_far_as_its_nats_allow() {
    let expected = "\
public    ddrrr
full      ddrrr
addr      ddppp
port      ddppb
symmetric ddpbR
";
    for seed in [1, 2] {
        assert_eq!(grid(seed), expected, "seed {seed}");
    }
}
