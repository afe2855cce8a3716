//! Nodes behind gateways in virtual time.

mod town;

use std::time::Duration;

use natrig_nat::Preset::{self, *};
use omerta_mesh_core::{Event, PathKind};
use town::Town;

fn settled(a: Preset, b: Preset) -> (Duration, PathKind) {
    let mut town = Town::new(7, 1);
    let [a, b] = [a, b].map(|preset| town.add(preset));
    town.run_for(Duration::from_secs(3));
    town.connect(a, b);
    town.run_for(Duration::from_secs(20));
    let events = town.events(a);
    let settled = events.iter().find_map(|(at, event)| match event {
        Event::Settled { path, .. } => Some((*at, *path)),
        _ => None,
    });
    settled.unwrap_or_else(|| panic!("{events:#?}"))
}

#[test]
fn nodes_find_each_other_as_on_machines() {
    assert_eq!(settled(FullCone, PortRestrict).1, PathKind::Direct);
    assert_eq!(settled(PortRestrict, PortRestrict).1, PathKind::Direct);
    assert_eq!(settled(Symmetric, Symmetric).1, PathKind::Relay);
}
