//! Relays: found, chosen, held, lost and replaced (T4.3, T1.2.4, T3.6). Nodes behind symmetric gateways need them for every word.

mod village;

use std::time::Duration;

use natrig_capture::Direction;
use natrig_nat::Preset;
use natrig_netmodel::Conditions;
use omerta_mesh_core::{Config, Event, Lie, PathKind, PeerId, Service};
use village::{Village, Villager};

const DELAY: Duration = Duration::from_millis(5);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Public relays, each the first one's acquaintance, that serve so many sessions.
fn relays(village: &mut Village, count: usize, sessions: usize) -> Vec<Villager> {
    let mut all: Vec<Villager> = Vec::new();
    for _ in 0..count {
        let first: Vec<Villager> = all.first().copied().into_iter().collect();
        let serve = |config: &mut Config| config.service = Service::Relay { sessions };
        all.push(village.settle(&first, None, serve));
    }
    all
}

/// Two nodes that only relays can bring together, and `count` relays that both begin with.
fn pair(seed: u64, count: usize) -> (Village, Vec<Villager>, [Villager; 2]) {
    let mut village = Village::new(seed, DELAY);
    let all = relays(&mut village, count, 50);
    village.run_for(seconds(2));
    let homes = [0, 1].map(|_| village.home(Preset::Symmetric, &all));
    village.run_for(seconds(10));
    (village, all, homes)
}

/// The same, connected and with a session to fall back on.
fn talking(seed: u64, count: usize) -> (Village, Vec<Villager>, [Villager; 2]) {
    let (mut village, all, [a, b]) = pair(seed, count);
    village.connect(a, b);
    village.run_for(seconds(20));
    for (one, other) in [(a, b), (b, a)] {
        let events = village.events(one);
        let settled = |event: &Event| matches!(event, Event::Settled { peer, path: PathKind::Relay, .. } if *peer == other.id);
        assert!(events.iter().any(|(_, event)| settled(event)), "{events:#?}");
    }
    (village, all, [a, b])
}

/// The relays of `of` with `peer`, the one in use first.
fn sessions(village: &Village, of: Villager, peer: Villager) -> Vec<PeerId> {
    village.sessions(of, peer)
}

fn whose(all: &[Villager], id: PeerId) -> Villager {
    *all.iter().find(|villager| villager.id == id).unwrap()
}

fn messages(events: &[(Duration, Event)]) -> Vec<(Duration, Vec<u8>)> {
    let of = |(at, event): &(Duration, Event)| match event {
        Event::MessageReceived { data, .. } => Some((*at, data.clone())),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn held(events: &[(Duration, Event)]) -> Vec<PeerId> {
    let mut held = Vec::new();
    for (_, event) in events {
        match event {
            Event::RelaySelected { relay } => held.push(*relay),
            Event::RelayLost { relay } => held.retain(|held| held != relay),
            _ => {}
        }
    }
    held
}

fn slow(village: &mut Village, whose: Villager, delay: Duration) {
    let port = village.world.port(&format!("node{}.wan", whose.number)).unwrap();
    let conditions = Conditions { delay, ..Conditions::default() };
    village.world.condition(port, Direction::Inbound, conditions);
    village.world.condition(port, Direction::Outbound, conditions);
}

/// T4.3.1: a node that was told of one relay holds three, which it has heard of there.
#[test]
fn a_node_behind_a_nat_holds_three_relays_of_those_that_are_announced() {
    let mut village = Village::new(1, DELAY);
    let all = relays(&mut village, 6, 50);
    village.run_for(seconds(3));
    let home = village.home(Preset::PortRestrict, &all[..1]);
    let frugal = village.settle(&all[..1], Some(Preset::Symmetric), |config| config.relays = 1);
    village.run_for(seconds(15));
    let events = village.events(home);
    assert_eq!(held(&events).len(), 3, "{events:#?}");
    let events = village.events(frugal);
    assert_eq!(held(&events), [all[0].id], "one is enough where one is wanted");
}

/// T4.3.4: of those at hand the near ones are taken.
#[test]
fn the_nearest_relays_are_held_and_used() {
    let mut village = Village::new(2, DELAY);
    let all = relays(&mut village, 5, 50);
    for far in [0, 3] {
        slow(&mut village, all[far], Duration::from_millis(60));
    }
    village.run_for(seconds(3));
    let [a, b] = [0, 1].map(|_| village.home(Preset::Symmetric, &all));
    village.run_for(seconds(60));
    for one in [a, b] {
        let mut chosen = held(&village.events(one));
        chosen.sort();
        let mut near = [all[1].id, all[2].id, all[4].id];
        near.sort();
        assert_eq!(chosen, near);
    }
    village.connect(a, b);
    village.run_for(seconds(10));
    assert!(![all[0].id, all[3].id].contains(&sessions(&village, a, b)[0]));
}

/// T4.3.2, T4.6.5: both ends hold a session to fall back on.
#[test]
fn both_ends_hold_a_standby_session() {
    let (village, _, [a, b]) = talking(3, 3);
    let (ours, theirs) = (sessions(&village, a, b), sessions(&village, b, a));
    assert_eq!(ours.len(), 2);
    assert_eq!(ours, theirs);
}

/// T1.2.4, T3.6.2: the relay in use is killed while messages are on their way.
#[test]
fn a_killed_relay_is_replaced_by_the_standby_within_two_seconds() {
    let mut worst = Duration::ZERO;
    for seed in 0..20 {
        let (mut village, all, [a, b]) = talking(seed, 3);
        let relay = whose(&all, sessions(&village, a, b)[0]);
        for one in [a, b] {
            village.events(one);
        }
        // Words both ways, all the time; the relay dies among them.
        let begin = village.world.now();
        let mut killed = None;
        for n in 0..60u32 {
            village.say(a, b, format!("a{n}").as_bytes());
            village.say(b, a, format!("b{n}").as_bytes());
            village.run_for(Duration::from_millis(103 + u64::from(n % 7)));
            if n == 20 {
                village.world.switch(relay.host, false);
                killed = Some(village.world.now());
            }
        }
        village.run_for(seconds(3));
        let killed = killed.unwrap();
        for (one, letter) in [(a, 'b'), (b, 'a')] {
            let events = village.events(one);
            let got = messages(&events);
            let mut words: Vec<String> =
                got.iter().map(|(_, data)| String::from_utf8_lossy(data).into_owned()).collect();
            words.sort();
            let mut all: Vec<String> = (0..60).map(|n| format!("{letter}{n}")).collect();
            all.sort();
            assert_eq!(words, all, "seed {seed}: each once");
            let lost = |event: &Event| matches!(event, Event::Disconnected { .. } | Event::SendFailed { .. });
            assert!(!events.iter().any(|(_, event)| lost(event)), "seed {seed}: {events:#?}");
            let next = got.iter().map(|(at, _)| *at).filter(|at| *at > killed + 4 * DELAY).min().unwrap();
            worst = worst.max(next - killed);
            assert!(next - killed < seconds(2), "seed {seed}: {:?} after the kill", next - killed);
        }
        assert!(village.world.now() > begin);
        assert_ne!(sessions(&village, a, b)[0], relay.id);
    }
    println!("longest silence after the kill: {worst:?}");
}

/// T4.3.4 health: a dead relay is replaced among those held, and so is the standby session.
#[test]
fn a_lost_relay_is_replaced_and_so_is_the_session_to_fall_back_on() {
    let mut village = Village::new(4, DELAY);
    let all = relays(&mut village, 6, 50);
    village.run_for(seconds(3));
    let [a, b] = [0, 1].map(|_| village.home(Preset::Symmetric, &all[..3]));
    village.run_for(seconds(10));
    village.connect(a, b);
    village.run_for(seconds(20));
    let relay = whose(&all, sessions(&village, a, b)[0]);
    village.world.switch(relay.host, false);
    village.say(a, b, b"still there?");
    village.run_for(seconds(10));
    let events = village.events(a);
    let held = held(&events);
    assert_eq!(held.len(), 3, "{events:#?}");
    assert!(!held.contains(&relay.id));
    village.run_for(seconds(40));
    let now = sessions(&village, a, b);
    assert_eq!(now.len(), 2, "a standby again");
    assert!(!now.contains(&relay.id));
    assert_eq!(messages(&village.events(b)).len(), 1);
}

/// T4.3.3: a relay without room says so, and the next one is asked.
#[test]
fn a_full_relay_sends_its_requesters_to_the_next() {
    let mut village = Village::new(5, DELAY);
    let small = relays(&mut village, 1, 2);
    let large = village.settle(&small, None, |config| config.service = Service::Relay { sessions: 50 });
    // The small one is the nearer.
    slow(&mut village, large, Duration::from_millis(30));
    village.run_for(seconds(2));
    let homes: Vec<Villager> = (0..8).map(|_| village.home(Preset::Symmetric, &[small[0], large])).collect();
    village.run_for(seconds(10));
    for pair in homes.chunks(2) {
        village.connect(pair[0], pair[1]);
        village.run_for(seconds(1));
    }
    village.run_for(seconds(20));
    for pair in homes.chunks(2) {
        village.say(pair[0], pair[1], b"hello");
    }
    village.run_for(seconds(2));
    for pair in homes.chunks(2) {
        let events = village.events(pair[1]);
        assert_eq!(messages(&events).len(), 1, "{events:#?}");
    }
    assert_eq!(village.served(small[0]), 2, "it serves as many as it can");
    assert!(village.served(large) >= 2);
}

/// T4.3.6: with more pairs than one relay carries well, all have some.
#[test]
fn sessions_are_spread_over_the_relays() {
    let mut village = Village::new(6, DELAY);
    let all = relays(&mut village, 3, 20);
    village.run_for(seconds(2));
    let homes: Vec<Villager> = (0..24).map(|_| village.home(Preset::Symmetric, &all)).collect();
    village.run_for(seconds(10));
    for pair in homes.chunks(2) {
        village.connect(pair[0], pair[1]);
        village.run_for(seconds(5));
    }
    village.run_for(seconds(30));
    let served: Vec<usize> = all.iter().map(|relay| village.served(*relay)).collect();
    assert_eq!(served.iter().sum::<usize>(), 24, "two for each pair: {served:?}");
    assert!(served.iter().all(|served| (4..=12).contains(served)), "{served:?}");
}

/// T4.3.5: one that has become much better is moved to, and the node does not go back and forth.
#[test]
fn a_clearly_better_relay_is_moved_to() {
    let mut village = Village::new(7, DELAY);
    let all = relays(&mut village, 2, 50);
    slow(&mut village, all[1], Duration::from_millis(80));
    village.run_for(seconds(2));
    let home = village.settle(&all, Some(Preset::Symmetric), |config| config.relays = 1);
    village.run_for(seconds(60));
    assert_eq!(held(&village.events(home)), [all[0].id]);
    slow(&mut village, all[0], Duration::from_millis(200));
    slow(&mut village, all[1], Duration::ZERO);
    village.run_for(seconds(300));
    let events = village.events(home);
    let moves = events.iter().filter(|(_, event)| matches!(event, Event::RelaySelected { .. })).count();
    let last = events.iter().rev().find_map(|(_, event)| match event {
        Event::RelaySelected { relay } => Some(*relay),
        _ => None,
    });
    assert_eq!((moves, last), (1, Some(all[1].id)), "{events:#?}");
}

/// Area 4: the one that calls has no relay in common with the other.
#[test]
fn a_peer_is_reached_through_a_relay_of_its_own() {
    let mut village = Village::new(8, DELAY);
    let all = relays(&mut village, 3, 50);
    village.run_for(seconds(3));
    let one = |config: &mut Config| config.relays = 1;
    let a = village.settle(&all[1..2], Some(Preset::Symmetric), one);
    let b = village.settle(&all[2..3], Some(Preset::Symmetric), one);
    village.run_for(seconds(15));
    village.connect(a, b);
    village.say(a, b, b"through yours");
    village.run_for(seconds(20));
    let events = village.events(b);
    assert_eq!(messages(&events).len(), 1, "{:#?}", village.events(a));
    assert_eq!(sessions(&village, a, b)[0], all[2].id);
}

/// T3.6.1: nobody speaks, and one of the two is gone.
#[test]
fn a_silent_dead_peer_is_noticed_within_30_seconds() {
    for seed in 0..5 {
        let (mut village, _, [a, b]) = talking(seed, 2);
        village.run_for(Duration::from_millis(1000 * seed + 300));
        village.events(a);
        village.world.switch(b.host, false);
        let killed = village.world.now();
        village.run_for(seconds(31));
        let events = village.events(a);
        let gone = events.iter().find(|(_, event)| matches!(event, Event::Disconnected { .. }));
        let at = gone.unwrap_or_else(|| panic!("{events:#?}")).0;
        assert!(at - killed < seconds(30), "{:?}", at - killed);
    }
}

/// Recovery: five seconds without a wire are no reason to begin anew.
#[test]
fn five_seconds_of_silence_on_the_wire_cost_no_connection() {
    let (mut village, _, [a, b]) = talking(9, 2);
    village.events(b);
    let port = village.world.port(&format!("nat{}.wan", b.number)).unwrap();
    village.world.cut(port, true);
    for n in 0..5 {
        village.say(a, b, format!("{n}").as_bytes());
        village.run_for(seconds(1));
    }
    village.world.cut(port, false);
    let healed = village.world.now();
    village.run_for(seconds(10));
    let events = village.events(b);
    let got = messages(&events);
    assert_eq!(got.len(), 5, "{events:#?}");
    assert!(got.iter().all(|(at, _)| *at - healed < seconds(5)), "{got:?}");
    assert!(!events.iter().any(|(_, event)| matches!(event, Event::Disconnected { .. })), "{events:#?}");
}

/// T3.6.4: the peer's program is started again, and knows nothing.
#[test]
fn a_restarted_peer_is_noticed_and_called_again() {
    let (mut village, _, [a, b]) = talking(10, 2);
    village.events(a);
    village.restart(b);
    village.run_for(seconds(5));
    village.say(a, b, b"do you know me?");
    village.run_for(seconds(15));
    let events = village.events(a);
    let lost = events.iter().find(|(_, event)| matches!(event, Event::Disconnected { .. }));
    assert!(lost.is_some(), "{events:#?}");
    assert!(events.iter().any(|(_, event)| matches!(event, Event::Connected { .. })), "{events:#?}");
    village.say(a, b, b"and now?");
    village.run_for(seconds(2));
    let got = messages(&village.events(b));
    assert_eq!(got.last().map(|(_, data)| &data[..]), Some(&b"and now?"[..]));
}

/// Recovery: all relays are gone for a minute, and one comes back.
#[test]
fn all_relays_are_killed_and_one_returns() {
    let (mut village, all, [a, b]) = talking(11, 3);
    for relay in &all {
        village.world.switch(relay.host, false);
    }
    village.run_for(seconds(50));
    village.restart(all[1]);
    village.world.switch(all[1].host, true);
    village.run_for(seconds(30));
    village.connect(a, b);
    village.say(a, b, b"by the one that is left");
    village.run_for(seconds(5));
    let got = messages(&village.events(b));
    assert_eq!(got.len(), 1, "{:#?}", village.events(a));
    assert_eq!(sessions(&village, a, b), [all[1].id]);
}

/// Hostile: the nearest relay takes every session and passes nothing on. It is seen through, and left.
#[test]
fn a_relay_that_drops_is_left() {
    let mut village = Village::new(12, DELAY);
    let honest = relays(&mut village, 2, 50);
    for relay in &honest {
        slow(&mut village, *relay, Duration::from_millis(20));
    }
    let thief = village.settle(&honest[..1], None, |config| {
        config.service = Service::Relay { sessions: 50 };
        config.lie = Some(Lie::DropFrames);
    });
    let all = [honest[0], honest[1], thief];
    village.run_for(seconds(3));
    let [a, b] = [0, 1].map(|_| village.home(Preset::Symmetric, &all));
    village.run_for(seconds(10));
    let asked = village.world.now();
    village.connect(a, b);
    village.say(a, b, b"first");
    village.run_for(seconds(30));
    let events = village.events(b);
    let got = messages(&events);
    assert_eq!(got.len(), 1, "{:#?}", village.events(a));
    assert!(got[0].0 - asked < seconds(5), "{:?}", got[0].0 - asked);
    village.run_for(seconds(60));
    for (one, other) in [(a, b), (b, a)] {
        let sessions = sessions(&village, one, other);
        assert!(sessions.len() == 2 && !sessions.contains(&thief.id), "{sessions:?}");
    }
}

/// Hostile: the relay in use begins to drop in the middle of a talk. (It is the same node with another mind.)
#[test]
fn a_relay_that_begins_to_drop_costs_two_seconds_and_no_message() {
    let (mut village, all, [a, b]) = talking(13, 3);
    village.events(b);
    let relay = whose(&all, sessions(&village, a, b)[0]);
    let [from, to] = [a, b].map(|one| village.world.port(&format!("nat{}.wan", one.number)).unwrap());
    let at = village.world.port(&format!("node{}.wan", relay.number)).unwrap();
    // One way only: what the relay sends to b is lost.
    village.world.block(at, to);
    assert_ne!(from, to);
    let begun = village.world.now();
    for n in 0..20u32 {
        village.say(a, b, format!("{n}").as_bytes());
        village.run_for(Duration::from_millis(150));
    }
    village.run_for(seconds(3));
    let events = village.events(b);
    let got = messages(&events);
    assert_eq!(got.len(), 20, "{events:#?}");
    assert!(got[0].0 - begun < seconds(2), "{:?}", got[0].0 - begun);
}
