//! Nodes that lead others astray: what they say of where somebody is, and whom they would have probed.

mod estate;

use std::time::Duration;

use estate::{Estate, Host, VICTIM};
use omerta_mesh_core::{Event, Kind, Lie, Mapping, PathKind, Service};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn liar(estate: &mut Estate, lie: Lie) -> Host {
    estate.public(|config| {
        config.service = Service::Relay { sessions: 50 };
        config.lie = Some(lie);
    })
}

#[test]
fn the_victim_is_who_the_lies_are_about() {
    assert_eq!(Lie::VICTIM.ip(), VICTIM);
}

/// One of five observers lies: what the others see holds, on either kind of NAT.
#[test]
fn a_liar_among_observers_turns_nothing() {
    for (profile, mapping) in
        [("port-restrict", Mapping::EndpointIndependent), ("symmetric", Mapping::AddressAndPortDependent)]
    {
        let mut estate = Estate::without_relay(1);
        liar(&mut estate, Lie::FalseObservations);
        for _ in 0..4 {
            estate.relay();
        }
        let host = estate.home_with(profile, |config| config.stun.clear());
        estate.run_for(seconds(10));
        let found = estate.detection(host).expect("a detection");
        assert_eq!(found.mapping, mapping, "{profile}: {found:?}");
        if mapping == Mapping::EndpointIndependent {
            assert!(found.observed.is_some_and(|observed| observed.ip() != VICTIM), "{found:?}");
        }
    }
}

/// What STUN has told is not turned by peers who lie, be they many.
#[test]
fn liars_do_not_turn_what_was_measured() {
    let mut estate = Estate::new(2);
    for _ in 0..5 {
        liar(&mut estate, Lie::FalseObservations);
    }
    let host = estate.home("port-restrict");
    estate.run_for(seconds(10));
    let found = estate.detection(host).expect("a detection");
    assert_eq!(found.mapping, Mapping::EndpointIndependent);
    assert!(found.observed.is_some_and(|observed| observed.ip() != VICTIM), "{found:?}");
}

/// A coordinator that says where they are not: somebody gets the few probes of an attempt, and data goes by the relay.
#[test]
fn a_lying_coordinator_costs_an_attempt_and_no_connection() {
    let mut estate = Estate::without_relay(3);
    liar(&mut estate, Lie::FalseObservations);
    let (a, b) = (estate.home("port-restrict"), estate.home("port-restrict"));
    let meeting = estate.meet(a, b);
    assert_eq!(meeting.path(), Some((PathKind::Relay, Kind::Relay)), "{:#?}", meeting.told);
    let probes = estate.sent_to_victim();
    assert!((1..=90).contains(&probes), "{probes} probes of two nodes");
}

/// A peer that claims to be where somebody else is: those who are to punch do not go there.
#[test]
fn a_peer_cannot_have_others_punch_at_a_victim() {
    let mut estate = Estate::new(4);
    let hostile = estate.home_with("symmetric", |config| config.lie = Some(Lie::PunchVictim));
    let profiles = ["port-restrict", "symmetric", "addr-restrict", "full-cone", "public"];
    let others: Vec<Host> = profiles.iter().cycle().take(20).map(|profile| estate.home(profile)).collect();
    estate.run_for(seconds(5));
    for (number, other) in others.iter().enumerate() {
        let (from, to) = if number % 2 == 0 { (hostile, *other) } else { (*other, hostile) };
        estate.connect(from, to);
        estate.run_for(seconds(12));
    }
    assert_eq!(estate.sent_to_victim(), 0, "it was never seen there");
}

/// A coordinator that calls a node again and again to search at a victim's: the budgets for one address hold.
#[test]
fn a_coordinator_that_calls_without_end_has_little_sent() {
    let mut estate = Estate::without_relay(5);
    liar(&mut estate, Lie::PunchVictim);
    let b = estate.home("port-restrict");
    let askers: Vec<Host> = (0..20).map(|_| estate.home("port-restrict")).collect();
    estate.run_for(seconds(3));
    let begin = estate.world.now();
    for asker in askers {
        estate.connect(asker, b);
        estate.run_for(seconds(3));
    }
    let passed = (estate.world.now() - begin).as_secs() as usize;
    let probes = estate.sent_to_victim();
    // The called node's two budgets, full at the beginning; the rates of both beside.
    assert!(probes > 1_000, "it does call: {probes} probes in {passed} s");
    assert!(probes <= 4_500 + 200 + 17 * passed, "{probes} probes in {passed} s");
    let rejected = |event: &Event| matches!(event, Event::Rejected { why, .. } if why == "too often");
    assert!(estate.events(b).iter().any(|(_, event)| rejected(event)));
}
