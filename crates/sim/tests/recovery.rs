//! What befalls two who are connected, and how they come together again: NATs that forget, addresses that change, restarts (T3.6,
//! T3.7, T4.6 and the seed's "Connection Recovery").

mod village;

use std::time::Duration;

use natrig_nat::{Engine, Preset};
use omerta_mesh_core::{Config, Event, PathKind, Service};
use proptest::prelude::*;
use proptest::sample::select;
use village::{Village, Villager};

const DELAY: Duration = Duration::from_millis(10);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Relays that everybody begins with, and homes behind these gateways.
fn place(seed: u64, relays: usize, presets: &[Preset]) -> (Village, Vec<Villager>, Vec<Villager>) {
    let mut village = Village::new(seed, DELAY);
    let mut all: Vec<Villager> = Vec::new();
    for _ in 0..relays {
        let first: Vec<Villager> = all.first().copied().into_iter().collect();
        let serve = |config: &mut Config| config.service = Service::Relay { sessions: 50 };
        all.push(village.settle(&first, None, serve));
    }
    village.run_for(seconds(2));
    let homes = presets.iter().map(|preset| village.home(*preset, &all)).collect();
    village.run_for(seconds(8));
    (village, all, homes)
}

fn connected(seed: u64, presets: [Preset; 2]) -> (Village, Vec<Villager>, [Villager; 2]) {
    let (mut village, relays, homes) = place(seed, 2, &presets);
    let [a, b] = [homes[0], homes[1]];
    village.connect(a, b);
    village.run_for(seconds(25));
    for one in [a, b] {
        let events = village.events(one);
        assert!(events.iter().any(|(_, event)| matches!(event, Event::Settled { .. })), "{events:#?}");
    }
    (village, relays, [a, b])
}

fn gateway(village: &mut Village, of: Villager, what: impl FnOnce(&mut Engine, Duration)) {
    let gateway = village.world.find(&format!("nat{}", of.number)).unwrap();
    village.world.with_gateway(gateway, |gateway, now| what(gateway.engine(), now)).unwrap();
}

fn count(events: &[(Duration, Event)], is: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|(_, event)| is(event)).count()
}

fn got(events: &[(Duration, Event)], what: &str) -> Option<(Duration, PathKind)> {
    events.iter().find_map(|(at, event)| match event {
        Event::MessageReceived { data, path, .. } if data == what.as_bytes() => Some((*at, *path)),
        _ => None,
    })
}

/// Says something both ways after `fault`, and tells how long it took to arrive; the connection must be the same.
fn outlives(presets: [Preset; 2], fault: impl Fn(&mut Village, [Villager; 2])) -> Duration {
    let mut worst = Duration::ZERO;
    for seed in 0..5 {
        let (mut village, _, [a, b]) = connected(seed, presets);
        village.run_for(Duration::from_millis(700 * seed));
        fault(&mut village, [a, b]);
        let begun = village.world.now();
        village.say(a, b, b"to b");
        village.say(b, a, b"to a");
        village.run_for(seconds(20));
        for (one, text) in [(a, "to a"), (b, "to b")] {
            let events = village.events(one);
            let (at, _) = got(&events, text).unwrap_or_else(|| panic!("seed {seed}: {events:#?}"));
            worst = worst.max(at - begun);
            let ended =
                |event: &Event| matches!(event, Event::Disconnected { .. } | Event::SendFailed { .. });
            assert_eq!(count(&events, ended), 0, "seed {seed}: {events:#?}");
        }
    }
    println!("at most {worst:?}");
    worst
}

#[test]
fn a_rebind_of_a_relayed_side_costs_two_seconds_at_most() {
    let worst = outlives([Preset::Symmetric, Preset::Symmetric], |village, [a, _]| {
        gateway(village, a, |engine, now| engine.rebind(now));
    });
    assert!(worst < seconds(2), "{worst:?}");
}

#[test]
fn a_rebind_of_a_direct_path_costs_two_seconds_at_most() {
    let worst = outlives([Preset::PortRestrict, Preset::FullCone], |village, [a, _]| {
        gateway(village, a, |engine, now| engine.rebind(now));
    });
    assert!(worst < seconds(2), "{worst:?}");
}

#[test]
fn a_gateway_that_is_started_again_costs_three_seconds_at_most() {
    for presets in [[Preset::Symmetric, Preset::Symmetric], [Preset::PortRestrict, Preset::PortRestrict]] {
        let worst = outlives(presets, |village, [a, _]| {
            gateway(village, a, |engine, now| engine.reboot(now));
        });
        assert!(worst < seconds(3), "{worst:?}");
    }
}

/// T4.6.4: the gateway of a side has another address outside.
#[test]
fn a_gateway_with_another_address_costs_three_seconds_at_most() {
    for presets in [[Preset::Symmetric, Preset::Symmetric], [Preset::PortRestrict, Preset::FullCone]] {
        let worst = outlives(presets, |village, [a, _]| village.renumber(a));
        assert!(worst < seconds(3), "{worst:?}");
    }
}

/// Both begin to send much while nothing comes through: neither waits for the other longer than for the way.
#[test]
fn transfers_both_ways_outlive_a_gateway_with_another_address() {
    for seed in 0..3 {
        let (mut village, _, [a, b]) = connected(seed, [Preset::FullCone, Preset::PortRestrict]);
        village.renumber(a);
        let begun = village.world.now();
        for (from, to, fill) in [(a, b, b'b'), (b, a, b'a')] {
            village.say(from, to, &vec![fill; 300_000]);
        }
        village.run_for(seconds(30));
        for (one, fill) in [(a, "a"), (b, "b")] {
            let events = village.events(one);
            let came = got(&events, &fill.repeat(300_000));
            let took = came.unwrap_or_else(|| panic!("seed {seed}: {events:#?}")).0 - begun;
            println!("seed {seed}: {took:?}");
            assert!(took < seconds(6), "seed {seed}: {took:?}");
        }
    }
}

/// The host itself moves: other addresses, another gateway's port.
#[test]
fn a_host_that_changes_networks_keeps_its_connections() {
    for presets in [[Preset::Symmetric, Preset::Symmetric], [Preset::PortRestrict, Preset::FullCone]] {
        let worst = outlives(presets, |village, [a, _]| village.move_host(a));
        assert!(worst < seconds(3), "{worst:?}");
    }
}

/// T4.2.4, "Path re-discovery": a direct path that was lost is found again.
#[test]
fn a_lost_direct_path_is_found_again() {
    for fault in [Engine::rebind as fn(&mut Engine, Duration), Engine::reboot] {
        let (mut village, _, [a, b]) = connected(7, [Preset::PortRestrict, Preset::PortRestrict]);
        gateway(&mut village, a, fault);
        for n in 0..40 {
            village.say(a, b, format!("{n}").as_bytes());
            village.say(b, a, format!("{n}").as_bytes());
            village.run_for(seconds(1));
        }
        let events = village.events(b);
        let (_, path) = got(&events, "39").unwrap();
        assert_eq!(path, PathKind::Direct, "{events:#?}");
        assert_eq!(count(&events, |event| matches!(event, Event::MessageReceived { .. })), 40);
    }
}

/// T3.7.1: who says goodbye is gone at once, and its relay sessions with it.
#[test]
fn a_goodbye_ends_sessions_at_once() {
    let (mut village, relays, [a, b]) = connected(8, [Preset::Symmetric, Preset::Symmetric]);
    assert!(relays.iter().any(|relay| village.served(*relay) > 0));
    village.events(b);
    village.tell(a, |node, io| node.shutdown(io));
    village.run_for(seconds(1));
    assert_eq!(count(&village.events(b), |event| matches!(event, Event::Disconnected { .. })), 1);
    assert!(relays.iter().all(|relay| village.served(*relay) == 0), "no session is left");
}

/// T3.7.2: a relay that says goodbye is left before anything is lost.
#[test]
fn a_relay_that_leaves_is_left_at_once() {
    let (mut village, relays, [a, b]) = connected(9, [Preset::Symmetric, Preset::Symmetric]);
    let relay = *relays.iter().find(|relay| relay.id == village.sessions(a, b)[0]).unwrap();
    village.tell(relay, |node, io| node.shutdown(io));
    village.world.switch(relay.host, false);
    village.run_for(2 * DELAY);
    let begun = village.world.now();
    village.say(a, b, b"at once");
    village.run_for(seconds(2));
    let events = village.events(b);
    let (at, _) = got(&events, "at once").unwrap_or_else(|| panic!("{events:#?}"));
    assert!(at - begun < 10 * DELAY, "{:?}", at - begun);
    assert_eq!(count(&events, |event| matches!(event, Event::Disconnected { .. })), 0);
}

/// T3.6.4: both programs are started again; their owners ask anew.
#[test]
fn both_are_restarted_and_meet_again() {
    let (mut village, _, [a, b]) = connected(10, [Preset::Symmetric, Preset::PortRestrict]);
    village.restart(a);
    village.restart(b);
    village.run_for(seconds(10));
    village.connect(a, b);
    village.say(a, b, b"again");
    village.run_for(seconds(10));
    let events = village.events(b);
    assert!(got(&events, "again").is_some(), "{events:#?}");
    assert_eq!(count(&events, |event| matches!(event, Event::Connected { .. })), 1, "{events:#?}");
}

/// Something that befalls a site, a relay or a host; sites and relays are counted round.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Rebind(usize),
    Reboot(usize),
    Renumber(usize),
    Move(usize),
    Cut(usize, Duration),
    Restart(usize),
    /// A relay is off for so long.
    Kill(usize, Duration),
}

#[derive(Debug, Clone)]
struct Plot {
    seed: u64,
    presets: Vec<Preset>,
    pairs: Vec<(usize, usize)>,
    faults: Vec<(Duration, Fault)>,
}

const RELAYS: usize = 3;

fn plots() -> impl Strategy<Value = Plot> {
    let presets = [Preset::FullCone, Preset::AddrRestrict, Preset::PortRestrict, Preset::Symmetric];
    let sites = prop::collection::vec(select(presets.to_vec()), 2..=4);
    let pairs = prop::collection::vec((0..4usize, 0..4usize), 1..=3);
    let time = || (100u64..12_000).prop_map(Duration::from_millis);
    let fault = prop_oneof![
        2 => (0..4usize).prop_map(Fault::Rebind),
        2 => (0..4usize).prop_map(Fault::Reboot),
        2 => (0..4usize).prop_map(Fault::Renumber),
        2 => (0..4usize).prop_map(Fault::Move),
        2 => (0..4usize, time()).prop_map(|(site, time)| Fault::Cut(site, time)),
        1 => (0..4usize).prop_map(Fault::Restart),
        2 => (0..RELAYS, time()).prop_map(|(relay, time)| Fault::Kill(relay, time)),
    ];
    let faults = prop::collection::vec(((0u64..20_000).prop_map(Duration::from_millis), fault), 1..=6);
    (any::<u64>(), sites, pairs, faults).prop_map(|(seed, presets, pairs, mut faults)| {
        faults.sort_by_key(|(at, _)| *at);
        let count = presets.len();
        let pairs = pairs.into_iter().map(|(a, b)| (a % count, b % count));
        let pairs = pairs.map(|(a, b)| if a == b { (a, (a + 1) % count) } else { (a, b) }).collect();
        Plot { seed, presets, pairs, faults }
    })
}

/// What must be true, whatever befalls nodes that are connected: half a minute after the last of it everybody reaches whom
/// they were connected with, no message has come twice, and none was acknowledged that did not come.
fn check(plot: &Plot) -> Result<(), TestCaseError> {
    let (mut village, relays, homes) = place(plot.seed, RELAYS, &plot.presets);
    for &(a, b) in &plot.pairs {
        village.connect(homes[a], homes[b]);
    }
    village.run_for(seconds(25));
    let begin = village.world.now();
    let mut restarted = vec![false; homes.len()];
    let mut mends: Vec<(Duration, Fault)> = Vec::new();
    let mut told: Vec<Vec<Event>> = vec![Vec::new(); homes.len()];
    let mut said = 0;
    let mut steps: Vec<(Duration, Option<Fault>)> =
        plot.faults.iter().map(|(at, fault)| (begin + *at, Some(*fault))).collect();
    steps.extend((0..20).map(|n| (begin + seconds(1) * n, None)));
    steps.sort_by_key(|(at, _)| *at);
    let collect = |village: &mut Village, told: &mut Vec<Vec<Event>>| {
        for (home, told) in homes.iter().zip(told) {
            told.extend(village.events(*home).into_iter().map(|(_, event)| event));
        }
    };
    for (at, step) in steps {
        mend(&mut village, &homes, &relays, &mut mends, at);
        village.world.run(at);
        match step {
            None => {
                for &(a, b) in &plot.pairs {
                    said += 1;
                    village.say(homes[a], homes[b], format!("word {said}").as_bytes());
                }
            }
            Some(fault) => {
                if let Fault::Restart(site) = fault {
                    collect(&mut village, &mut told);
                    restarted[site % homes.len()] = true;
                }
                befall(&mut village, &homes, &relays, fault);
                if let Fault::Cut(_, time) | Fault::Kill(_, time) = fault {
                    mends.push((at + time, fault));
                }
            }
        }
    }
    mend(&mut village, &homes, &relays, &mut mends, Duration::MAX);
    village.run_for(seconds(30));
    for (n, &(a, b)) in plot.pairs.iter().enumerate() {
        // A restarted node's owner asks again; of others the node knows what they want.
        if restarted[a] {
            village.connect(homes[a], homes[b]);
        }
        village.say(homes[a], homes[b], format!("calm {n}").as_bytes());
    }
    village.run_for(seconds(30));
    collect(&mut village, &mut told);
    for (n, &(a, b)) in plot.pairs.iter().enumerate() {
        let text = format!("calm {n}").into_bytes();
        let came =
            told[b].iter().any(|event| matches!(event, Event::MessageReceived { data, .. } if *data == text));
        prop_assert!(came, "{a} does not reach {b}: {:#?}\n{:#?}", told[a], told[b]);
    }
    // What was said before and among the faults has come, too, unless a side was started again.
    for n in 0..said {
        let (a, b) = plot.pairs[n % plot.pairs.len()];
        let text = format!("word {}", n + 1).into_bytes();
        let came =
            told[b].iter().any(|event| matches!(event, Event::MessageReceived { data, .. } if *data == text));
        let is_told = told[a].iter().any(|event| matches!(event, Event::SendFailed { .. }));
        prop_assert!(
            came || is_told || restarted[a] || restarted[b],
            "word {} of {a} did not come to {b}: {:#?}\n{:#?}",
            n + 1,
            told[a],
            told[b]
        );
    }
    for (number, events) in told.iter().enumerate() {
        let mut words: Vec<Vec<u8>> = events
            .iter()
            .filter_map(|event| match event {
                Event::MessageReceived { data, .. } => Some(data.clone()),
                _ => None,
            })
            .collect();
        let count = words.len();
        words.sort();
        words.dedup();
        // What came to a node before it was started again it may be given once more.
        prop_assert!(count == words.len() || restarted[number], "{number} got a message twice: {events:#?}");
    }
    let received: usize =
        told.iter().flatten().filter(|event| matches!(event, Event::MessageReceived { .. })).count();
    let sent: usize = told.iter().flatten().filter(|event| matches!(event, Event::Sent { .. })).count();
    prop_assert!(sent <= received, "{sent} were acknowledged and {received} came");
    Ok(())
}

fn befall(village: &mut Village, homes: &[Villager], relays: &[Villager], fault: Fault) {
    let home = |site: usize| homes[site % homes.len()];
    match fault {
        Fault::Rebind(site) => gateway(village, home(site), |engine, now| engine.rebind(now)),
        Fault::Reboot(site) => gateway(village, home(site), |engine, now| engine.reboot(now)),
        Fault::Renumber(site) => village.renumber(home(site)),
        Fault::Move(site) => village.move_host(home(site)),
        Fault::Restart(site) => village.restart(home(site)),
        Fault::Cut(site, _) => village.cut(home(site), true),
        Fault::Kill(relay, _) => village.world.switch(relays[relay].host, false),
    }
}

fn mend(
    village: &mut Village,
    homes: &[Villager],
    relays: &[Villager],
    mends: &mut Vec<(Duration, Fault)>,
    until: Duration,
) {
    mends.sort_by_key(|(at, _)| *at);
    while let Some((at, fault)) = mends.first().copied().filter(|(at, _)| *at <= until) {
        village.world.run(at);
        match fault {
            Fault::Cut(site, _) => village.cut(homes[site % homes.len()], false),
            Fault::Kill(relay, _) => {
                village.restart(relays[relay]);
                village.world.switch(relays[relay].host, true);
            }
            _ => {}
        }
        mends.remove(0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_befalls_them_nodes_come_together_again(plot in plots()) {
        check(&plot)?;
    }
}

/// Found by the property above.
#[test]
fn a_side_that_is_started_again_twice_is_reached() {
    let plot = Plot {
        seed: 0,
        presets: vec![Preset::PortRestrict, Preset::PortRestrict, Preset::Symmetric],
        pairs: vec![(2, 0)],
        faults: vec![(Duration::ZERO, Fault::Restart(3)), (Duration::from_millis(14_081), Fault::Restart(3))],
    };
    check(&plot).unwrap();
}
