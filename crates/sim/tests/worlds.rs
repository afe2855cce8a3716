//! Nodes behind gateways in virtual time.

mod town;

use std::time::Duration;

use natrig_nat::Preset::{self, *};
use natrig_sim::Clock;
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

/// What comes to whom and when, of six sites whose nodes connect in pairs.
fn digest(seed: u64, parts: usize) -> u64 {
    let mut town = Town::new(seed, parts);
    town.world.fold();
    let presets = [FullCone, AddrRestrict, PortRestrict, PortRestrict, Symmetric, Symmetric];
    let all = presets.map(|preset| town.add(preset));
    town.run_for(Duration::from_secs(3));
    for pair in all.chunks(2) {
        town.connect(pair[0], pair[1]);
    }
    // While packets are on their way between the parts.
    for cut in [true, false].into_iter().cycle().take(40) {
        town.run_for(Duration::from_millis(7));
        for port in ["nat2.wan", "nat5.wan"].map(|link| town.world.port(link).unwrap()) {
            town.world.cut(port, cut);
        }
    }
    town.run_for(Duration::from_secs(30));
    assert!(town.world.counts().delivered > 500, "{:?}", town.world.counts());
    town.world.digest()
}

#[test]
fn a_world_is_the_same_on_any_number_of_threads() {
    let one = digest(1, 1);
    for parts in [2, 3, 8] {
        assert_eq!(digest(1, parts), one, "{parts} parts");
    }
    assert_ne!(digest(2, 1), one);
}

#[test]
fn a_cut_cable_and_a_machine_that_is_off_lose_what_comes() {
    let mut town = Town::new(3, 1);
    let [a, b] = [FullCone, FullCone].map(|preset| town.add(preset));
    town.run_for(Duration::from_secs(3));
    let wan = town.world.port("nat1.wan").unwrap();
    town.world.cut(wan, true);
    let before = town.world.counts();
    town.connect(a, b);
    town.run_for(Duration::from_secs(1));
    assert!(town.world.counts().lost > before.lost);
    town.world.cut(wan, false);
    town.world.switch(b.host, false);
    town.run_for(Duration::from_secs(30));
    assert!(!connected(&mut town, a), "with a machine that is off");
    town.world.switch(b.host, true);
    town.connect(a, b);
    town.run_for(Duration::from_secs(60));
    assert!(connected(&mut town, a));
}

fn connected(town: &mut Town, of: town::Resident) -> bool {
    town.events(of).iter().any(|(_, event)| matches!(event, Event::Connected { .. }))
}

#[test]
fn a_clock_that_goes_wrong_changes_when_a_node_acts_and_not_what_comes_of_it() {
    let run = |drift_ppb| {
        let mut town = Town::new(5, 1);
        let [a, b] = [PortRestrict, PortRestrict].map(|preset| town.add(preset));
        town.world.set_clock(a.host, Clock { offset_ns: -3_600_000_000_000, drift_ppb });
        town.world.fold();
        town.run_for(Duration::from_secs(3));
        town.connect(a, b);
        town.run_for(Duration::from_secs(20));
        (town.world.digest(), connected(&mut town, a))
    };
    let (right, fast) = (run(0), run(500_000));
    assert!(right.1 && fast.1);
    assert_ne!(right.0, fast.0);
}
