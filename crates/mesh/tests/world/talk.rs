//! What tests of two nodes have in common.

use std::time::Duration;

use omerta_mesh_core::{Event, Kind, PathKind};

use super::nat::Profile;
use super::{A, At, B, Setup, World};

pub fn settled(world: &World, at: At) -> Option<(PathKind, Kind, Duration)> {
    world.find(at, |event| match event {
        Event::Settled { path, kind, elapsed, .. } => Some((*path, *kind, *elapsed)),
        _ => None,
    })
}

pub fn both_settled(world: &World) -> bool {
    [A, B].iter().all(|&at| settled(world, at).is_some())
}

pub fn failed(world: &World, at: At) -> Option<String> {
    world.find(at, |event| match event {
        Event::ConnectFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

pub fn received(world: &World, at: At) -> Vec<(usize, PathKind)> {
    let events = world.events.get(&at).map_or(&[][..], |events| &events[..]);
    events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::MessageReceived { data, path, .. } => Some((data.len(), *path)),
            _ => None,
        })
        .collect()
}

/// Two bootstrapped nodes, connected; how the path came to be.
pub fn connected(setup: &Setup, a: Profile, b: Profile) -> (World, Kind) {
    let mut world = World::new(setup, a, b);
    world.bootstrap();
    world.connect(A, B);
    assert!(world.run_until(Duration::from_secs(15), both_settled), "{:#?}", world.events);
    let (_, kind, _) = settled(&world, A).expect("settled");
    (world, kind)
}
