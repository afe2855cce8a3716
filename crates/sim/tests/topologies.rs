//! Stars and full meshes, and what goes over their relay (T1.2, T1.4, T1.S, T2.4).

mod village;

use std::time::Duration;

use natrig_nat::Preset;
use omerta_mesh_core::{Event, PathKind};
use village::{Village, Villager};

const SECOND: Duration = Duration::from_secs(1);
/// From anybody to anybody.
const DELAY: Duration = Duration::from_millis(20);

/// A relay, and homes that know nobody else.
fn star(seed: u64, homes: &[Preset]) -> (Village, Villager, Vec<Villager>) {
    let mut village = Village::new(seed, DELAY);
    let relay = village.public(&[]);
    let homes = homes.iter().map(|preset| village.home(*preset, &[relay])).collect();
    (village, relay, homes)
}

/// Connects all pairs, and counts those with a direct path on both sides.
fn direct_pairs(village: &mut Village, homes: &[Villager]) -> usize {
    for (number, from) in homes.iter().enumerate() {
        for to in &homes[number + 1..] {
            village.connect(*from, *to);
        }
    }
    village.run_for(10 * SECOND);
    let settled: Vec<Vec<_>> = homes
        .iter()
        .map(|home| {
            let direct = |(_, event)| match event {
                Event::Settled { peer, path: PathKind::Direct, .. } => Some(peer),
                _ => None,
            };
            village.events(*home).into_iter().filter_map(direct).collect()
        })
        .collect();
    let pairs = (0..homes.len()).flat_map(|a| (a + 1..homes.len()).map(move |b| (a, b)));
    pairs.filter(|(a, b)| settled[*a].contains(&homes[*b].id) && settled[*b].contains(&homes[*a].id)).count()
}

/// How long each of `count` messages takes from one to the other, a tenth of a second apart.
fn times(village: &mut Village, from: Villager, to: Villager, count: u8) -> Vec<(Duration, PathKind)> {
    village.events(to);
    let mut sent = Vec::new();
    for number in 0..count {
        sent.push(village.world.now());
        village.say(from, to, &[number]);
        village.run_for(SECOND / 10);
    }
    village.run_for(SECOND);
    let got = village.events(to).into_iter().filter_map(|(at, event)| match event {
        Event::MessageReceived { data, path, .. } => Some((at - sent[usize::from(data[0])], path)),
        _ => None,
    });
    got.collect()
}

#[test]
fn t1_s_1_a_star_of_50_is_together_within_5_s() {
    let (mut village, _, homes) = star(1, &[Preset::PortRestrict; 50]);
    village.run_for(5 * SECOND);
    for home in homes {
        assert_eq!(village.known(home), 50, "{home:?}");
    }
}

#[test]
fn t1_4_1_a_full_mesh_of_4_has_6_direct_connections() {
    use Preset::{AddrRestrict, FullCone, PortRestrict};
    let (mut village, _, homes) = star(2, &[PortRestrict, FullCone, AddrRestrict, PortRestrict]);
    village.run_for(5 * SECOND);
    assert_eq!(direct_pairs(&mut village, &homes), 6);
}

#[test]
fn t1_s_3_a_mesh_of_20_has_190_direct_connections() {
    let (mut village, _, homes) = star(3, &[Preset::PortRestrict; 20]);
    village.run_for(5 * SECOND);
    assert_eq!(direct_pairs(&mut village, &homes), 190);
}

#[test]
fn t1_4_1_two_symmetric_homes_of_a_mesh_are_not_counted() {
    use Preset::{PortRestrict, Symmetric};
    let (mut village, _, homes) = star(4, &[Symmetric, Symmetric, PortRestrict]);
    village.run_for(5 * SECOND);
    let direct = direct_pairs(&mut village, &homes);
    assert!(direct < 3, "{direct}");
}

/// T1.2.2 and T2.4.4: where each way takes 20 ms, all that is over 40 ms is the relay's and the nodes'.
#[test]
fn t1_2_2_a_message_over_the_relay_takes_less_than_100_ms() {
    let (mut village, _, homes) = star(5, &[Preset::Symmetric; 2]);
    village.run_for(5 * SECOND);
    village.connect(homes[0], homes[1]);
    village.run_for(10 * SECOND);
    let times = times(&mut village, homes[0], homes[1], 100);
    assert_eq!(times.len(), 100);
    for (took, path) in times {
        assert_eq!(path, PathKind::Relay);
        assert!(took >= 2 * DELAY && took < Duration::from_millis(100), "{took:?}");
    }
}

/// T2.4.4: the same between homes that are connected directly shows what the relay adds beside its own way of 20 ms.
#[test]
fn t2_4_4_the_relay_adds_its_way_and_nothing_that_could_be_seen() {
    let mut took = [Preset::PortRestrict, Preset::Symmetric].map(|preset| {
        let (mut village, _, homes) = star(6, &[preset; 2]);
        village.run_for(5 * SECOND);
        village.connect(homes[0], homes[1]);
        village.run_for(10 * SECOND);
        times(&mut village, homes[0], homes[1], 100)
    });
    let median = took.each_mut().map(|times| {
        times.sort_by_key(|(took, _)| *took);
        times[times.len() / 2]
    });
    assert_eq!(median.map(|(_, path)| path), [PathKind::Direct, PathKind::Relay]);
    let added = median[1].0 - median[0].0;
    assert!(added >= DELAY && added < DELAY + Duration::from_millis(5), "{added:?}");
}
