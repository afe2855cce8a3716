//! Getting through: who helps, what is tried, what it costs, and what becomes of it later.

mod estate;

use std::time::Duration;

use estate::{Estate, Host, Meeting};
use natrig_nat::Engine;
use omerta_mesh_core::{Event, Kind, PathKind, Strategy};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn meeting(a: &str, b: &str) -> Meeting {
    let mut estate = Estate::new(1);
    let (a, b) = (estate.home(a), estate.home(b));
    estate.meet(a, b)
}

/// The strategy table, cell by cell (rows initiator): what is tried after the dial, and that it works.
#[test]
fn every_pair_goes_by_the_table_and_gets_as_far_as_it_says() {
    use Strategy::*;
    let names =
        ["public", "full-cone", "addr-restrict", "port-restrict", "symmetric", "symmetric-sequential"];
    let table = [
        [Dial, Dial, ResponderFirst, ResponderFirst, ResponderFirst, ResponderFirst],
        [Dial, Dial, ResponderFirst, ResponderFirst, ResponderFirst, ResponderFirst],
        [Dial, Dial, Simultaneous, Simultaneous, Simultaneous, Simultaneous],
        [Dial, Dial, Simultaneous, Simultaneous, Birthday, PortPrediction],
        [Dial, Dial, Simultaneous, Birthday, Impossible, Impossible],
        [Dial, Dial, Simultaneous, PortPrediction, Impossible, Impossible],
    ];
    for (a, row) in names.iter().zip(table) {
        for (b, strategy) in names.iter().zip(row) {
            let meeting = meeting(a, b);
            let mut tried = vec![Dial];
            tried.extend((strategy != Dial).then_some(strategy));
            assert_eq!(meeting.strategies()[..tried.len()], tried, "{a} to {b}");
            let wanted = match strategy {
                Dial => (PathKind::Direct, Kind::Direct),
                ResponderFirst => (PathKind::Direct, Kind::Reversal),
                Birthday => (PathKind::Direct, Kind::Birthday),
                Impossible => (PathKind::Relay, Kind::Relay),
                _ => (PathKind::Direct, Kind::Punch),
            };
            assert_eq!(meeting.path(), Some(wanted), "{a} to {b}: {:#?}", meeting.told);
        }
    }
}

/// T4.2.3, T2.4.3: nothing helps, so it is the relay, after an attempt that was made and was short.
#[test]
fn two_symmetric_sides_try_in_vain_and_stay_on_the_relay() {
    let meeting = meeting("symmetric", "symmetric");
    let (success, probes) = meeting.result().expect("a result");
    assert!(!success && (4..=20).contains(&probes), "{probes} probes");
}

/// T2.4.2: ports in a row are foretold, from either side, in a handful of probes; and nothing is searched for.
#[test]
fn a_port_that_follows_a_rule_is_foretold() {
    for (a, b) in [("symmetric-sequential", "port-restrict"), ("port-restrict", "symmetric-sequential")] {
        let meeting = meeting(a, b);
        assert_eq!(meeting.strategies(), [Strategy::Dial, Strategy::PortPrediction], "{a} to {b}");
        let (success, probes) = meeting.result().expect("a result");
        assert!(success && probes <= 12, "{a} to {b}: {probes} probes");
    }
}

/// Where one side has no part in predictions, the search is what is left.
#[test]
fn prediction_can_be_switched_off() {
    let mut estate = Estate::new(1);
    let a = estate.home_with("port-restrict", |config| config.prediction = false);
    let b = estate.home("symmetric-sequential");
    let meeting = estate.meet(a, b);
    assert_eq!(meeting.strategies(), [Strategy::Dial, Strategy::Birthday]);
    assert_eq!(meeting.path(), Some((PathKind::Direct, Kind::Birthday)));
}

/// Others behind the same NAT take ports in between, so that the prediction misses: the search follows.
#[test]
fn a_prediction_that_fails_gives_way_to_the_search() {
    let mut estate = Estate::new(1);
    let a = estate.home("port-restrict");
    // Measured as sequential, and then it is not any more.
    let b = estate.home("symmetric-sequential");
    estate.run_for(seconds(3));
    let symmetric = natrig_nat::Profile::of(natrig_nat::Preset::Symmetric);
    estate.gateway(1, |engine: &mut Engine, now| engine.reconfigure(now, symmetric).unwrap());
    // Its way to the relay is another one now, too.
    estate.run_for(seconds(60));
    let meeting = estate.meet(a, b);
    assert_eq!(
        meeting.strategies(),
        [Strategy::Dial, Strategy::PortPrediction, Strategy::Birthday],
        "{:#?}",
        meeting.told
    );
    assert_eq!(meeting.path().map(|(path, _)| path), Some(PathKind::Direct));
}

fn asked(estate: &mut Estate, coordinator: Host) -> u64 {
    estate.look(coordinator, |node| node.counters().received.coordination.datagrams)
}

/// T4.2.5: of those that are connected to both, the one with the shortest way by it is asked, wherever it stands in the list.
#[test]
fn the_coordinator_is_the_one_through_which_the_way_is_shortest() {
    for nearest in 0..3 {
        let mut estate = Estate::without_relay(2);
        let relays: Vec<Host> = (0..3).map(|_| estate.relay()).collect();
        for (number, relay) in relays.iter().enumerate() {
            let delay = if number == nearest { 1 } else { 30 };
            estate.slow(relay.wan, Duration::from_millis(delay));
        }
        let (a, b) = (estate.home("port-restrict"), estate.home("addr-restrict"));
        let meeting = estate.meet(a, b);
        assert_eq!(meeting.path(), Some((PathKind::Direct, Kind::Punch)), "{:#?}", meeting.told);
        for (number, relay) in relays.iter().enumerate() {
            let was_asked = asked(&mut estate, *relay) > 0;
            assert_eq!(was_asked, number == nearest, "relay {number}, the nearest is {nearest}");
        }
    }
}

/// T4.2.6, T3.6.3: the coordinator dies while the two are being brought together; the next one does it.
#[test]
fn another_coordinator_takes_over_when_one_dies() {
    let mut estate = Estate::without_relay(3);
    let near = estate.relay();
    let far = estate.relay();
    estate.slow(far.wan, Duration::from_millis(40));
    let (a, b) = (estate.home("port-restrict"), estate.home("port-restrict"));
    estate.run_for(seconds(3));
    estate.events(a);
    estate.connect(a, b);
    // It has said that it knows both, and is dead before it is asked.
    estate.run_for(Duration::from_millis(250));
    estate.world.switch(near.machine, false);
    estate.run_for(seconds(15));
    let meeting = Meeting { told: estate.events(a) };
    assert_eq!(meeting.path(), Some((PathKind::Direct, Kind::Punch)), "{:#?}", meeting.told);
    assert!(asked(&mut estate, far) > 0);
}

/// T4.2.4: what failed is tried again, later each time, and when it works the connection moves from the relay.
#[test]
fn failed_attempts_are_repeated_ever_later_and_improve_the_path_in_the_end() {
    let mut estate = Estate::new(4);
    let (a, b) = (estate.home("addr-restrict"), estate.home("port-restrict"));
    let [a_wan, b_wan] = [a.wan, b.wan];
    estate.part(a_wan, b_wan);
    let first = estate.meet(a, b);
    assert_eq!(first.path(), Some((PathKind::Relay, Kind::Relay)));
    estate.run_for(seconds(260));
    let later = estate.events(a);
    let begun: Vec<Duration> = later
        .iter()
        .filter(|(_, event)| matches!(event, Event::PunchStarted { strategy: Strategy::Dial, .. }))
        .map(|(at, _)| *at)
        .collect();
    assert!((2..=4).contains(&begun.len()), "{begun:?}");
    for rest in begun.windows(3) {
        assert!(rest[2] - rest[1] > (rest[1] - rest[0]).mul_f64(1.2), "{begun:?}");
    }
    estate.world.unblock(a_wan, b_wan);
    estate.world.unblock(b_wan, a_wan);
    estate.run_for(seconds(600));
    let moved = |event: &Event| {
        matches!(event, Event::PathChanged { from: PathKind::Relay, to: PathKind::Direct, .. })
    };
    assert!(estate.events(a).iter().any(|(_, event)| moved(event)));
    estate.say(b, a, b"straight");
    estate.run_for(seconds(1));
    let straight = |event: &Event| matches!(event, Event::MessageReceived { path: PathKind::Direct, .. });
    assert!(estate.events(a).iter().any(|(_, event)| straight(event)));
}

/// T1.1.1: two hosts in one LAN, whose gateway does not turn packets back, meet inside; whatever it does outside.
#[test]
fn two_in_one_lan_meet_inside() {
    for profile in ["port-restrict", "symmetric", "full-cone"] {
        let mut estate = Estate::new(5);
        let site = estate.site(profile);
        let (a, b) = (estate.host(site), estate.host(site));
        let meeting = estate.meet(a, b);
        let (path, kind) = meeting.path().expect("settled");
        assert_eq!(path, PathKind::Direct, "{profile}: {:#?}", meeting.told);
        assert!(matches!(kind, Kind::Direct | Kind::Reversal), "{profile}: {kind:?}");
        let (_, probes) = meeting.result().expect("a result");
        assert!(probes <= 20, "{probes} probes");
        let begun = estate.world.now();
        estate.say(a, b, b"there");
        estate.run_for(seconds(1));
        estate.say(b, a, b"and back");
        estate.run_for(seconds(1));
        for (whom, said) in [(b, begun), (a, begun + seconds(1))] {
            let events = estate.events(whom);
            let came = events.iter().find(|(_, event)| matches!(event, Event::MessageReceived { .. }));
            let took = came.unwrap_or_else(|| panic!("{profile}: {events:#?}")).0 - said;
            assert!(took < Duration::from_millis(5), "{profile}: {took:?}");
        }
    }
}

/// Behind a NAT that turns packets back the known endpoint does.
#[test]
fn two_behind_a_nat_that_turns_packets_back_meet_at_its_door() {
    let mut profile = natrig_nat::Profile::of(natrig_nat::Preset::FullCone);
    profile.hairpin = natrig_nat::profile::Hairpin::ExternalSource;
    let mut estate = Estate::new(6);
    let site = estate.site_behind(profile);
    let [a, b] = [0, 1].map(|_| estate.host_with(site, |config| config.candidates = 0));
    assert_eq!(estate.meet(a, b).path(), Some((PathKind::Direct, Kind::Direct)));
}

/// Addresses inside a LAN are told to nobody who is elsewhere: not one packet is sent to the like of them.
#[test]
fn private_addresses_do_not_leave_their_site() {
    let mut estate = Estate::new(7);
    let (a, b) = (estate.home("symmetric"), estate.home("symmetric"));
    let meeting = estate.meet(a, b);
    assert_eq!(meeting.path(), Some((PathKind::Relay, Kind::Relay)));
    let (_, probes) = meeting.result().expect("a result");
    assert!(probes <= 20, "none for candidates: {probes}");
}
