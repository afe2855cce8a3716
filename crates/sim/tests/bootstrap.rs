//! Beginning: one node or several to begin with, offline, slow and hostile ones, and those of an earlier run.

mod village;

use std::time::Duration;

use natrig_capture::Direction;
use natrig_nat::Preset::PortRestrict;
use natrig_netmodel::Conditions;
use omerta_mesh_core::{Bootstrap, Event, Lie, Service};
use village::{Village, Villager};

const SECOND: Duration = Duration::from_secs(1);
const RELAY: Service = Service::Relay { sessions: 500 };

fn village(seed: u64) -> Village {
    Village::new(seed, Duration::from_millis(20))
}

fn errors(events: &[(Duration, Event)]) -> Vec<Duration> {
    events.iter().filter(|(_, event)| matches!(event, Event::Error { .. })).map(|(at, _)| *at).collect()
}

fn bootstrapped(events: &[(Duration, Event)]) -> Vec<Duration> {
    events
        .iter()
        .filter(|(_, event)| matches!(event, Event::Bootstrapped { .. }))
        .map(|(at, _)| *at)
        .collect()
}

#[test]
fn t4_1_1_one_bootstrap_node_is_enough_to_know_the_whole_network() {
    let mut village = village(1);
    let first = village.public(&[]);
    let second = village.public(&[first]);
    let far: Vec<Villager> = (0..10).map(|_| village.home(PortRestrict, &[second])).collect();
    village.run_for(5 * SECOND);
    let newcomer = village.home(PortRestrict, &[first]);
    village.run_for(5 * SECOND);
    assert_eq!(village.known(newcomer), far.len() + 2);
}

#[test]
fn t4_1_2_of_several_bootstrap_nodes_the_fastest_is_the_first_and_all_are_kept() {
    let mut village = village(2);
    let nodes: Vec<Villager> = (0..3).map(|_| village.public(&[])).collect();
    for (node, delay) in nodes.iter().zip([300, 0, 150]) {
        let port = village.world.port(&format!("node{}.wan", node.number)).unwrap();
        let conditions = Conditions { delay: Duration::from_millis(delay), ..Conditions::default() };
        village.world.condition(port, Direction::Inbound, conditions);
    }
    let newcomer = village.home(PortRestrict, &nodes);
    let start = village.world.now();
    village.run_for(10 * SECOND);
    let times = bootstrapped(&village.events(newcomer));
    assert_eq!(times.len(), 3, "all are kept");
    assert!(
        times[0] - start < Duration::from_millis(300),
        "the fastest does not wait for the others: {times:?}"
    );
}

#[test]
fn t4_1_3_an_offline_bootstrap_node_holds_nothing_up() {
    let mut village = village(3);
    let (off, on) = (village.public(&[]), village.public(&[]));
    village.switch(off, false);
    let newcomer = village.home(PortRestrict, &[off, on]);
    village.run_for(SECOND);
    let events = village.events(newcomer);
    assert_eq!(bootstrapped(&events).len(), 1);
    assert!(errors(&events).is_empty(), "one is enough: {events:?}");
}

#[test]
fn t4_1_4_when_all_are_offline_that_is_an_error_and_they_are_tried_again() {
    let mut village = village(4);
    let nodes: Vec<Villager> = (0..2).map(|_| village.public(&[])).collect();
    nodes.iter().for_each(|node| village.switch(*node, false));
    let newcomer = village.home(PortRestrict, &nodes);
    village.run_for(100 * SECOND);
    let events = village.events(newcomer);
    let told = errors(&events);
    assert!(told.len() >= 3, "{events:?}");
    let gaps: Vec<Duration> =
        told.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > SECOND).collect();
    assert!(gaps.last() > gaps.first(), "further and further apart: {gaps:?}");
    village.switch(nodes[1], true);
    village.run_for(30 * SECOND);
    assert_eq!(bootstrapped(&village.events(newcomer)).len(), 1);
}

/// T4.1.5: a newcomer begins with a liar and an honest node.
fn beside_a_liar(seed: u64, lie: Lie) -> (Village, Villager, Villager) {
    let mut village = village(seed);
    let honest = village.public(&[]);
    for _ in 0..20 {
        village.home(PortRestrict, &[honest]);
    }
    let liar = village.settle(&[honest], None, |config| {
        config.service = RELAY;
        config.lie = Some(lie);
    });
    village.run_for(2 * SECOND);
    let newcomer = village.home(PortRestrict, &[liar, honest]);
    village.run_for(20 * SECOND);
    (village, liar, newcomer)
}

fn refused(village: &mut Village, by: Villager) -> Vec<String> {
    let why = |(_, event)| match event {
        Event::Rejected { why, .. } => Some(why),
        _ => None,
    };
    village.events(by).into_iter().filter_map(why).collect()
}

#[test]
fn t4_1_5_forged_expired_and_unroutable_lists_leave_no_trace() {
    let lies = [
        (Lie::ForgedLists, "signature"),
        (Lie::ExpiredLists, "dated ahead"),
        (Lie::UnroutableLists, "nobody"),
    ];
    for (lie, word) in lies {
        let (mut village, liar, newcomer) = beside_a_liar(5, lie);
        assert_eq!(village.known(newcomer), 22, "{lie:?}: all of the mesh and nothing else");
        let why = refused(&mut village, newcomer);
        assert!(why.iter().any(|why| why.contains(word)), "{lie:?}: {why:?}");
        let honest = village.all[0];
        assert_eq!(village.known(honest), 22, "{lie:?}");
        let counted = village.tell(newcomer, |node, _| node.as_node().unwrap().rejected_from(&liar.id));
        assert!(counted >= 8, "{lie:?}: {counted} counted against the liar");
        // Who lies about others may still be spoken with, and so may everybody else.
        let peer = village.all[3];
        village.connect(newcomer, peer);
        village.run_for(10 * SECOND);
        let settled = |(_, event): &(_, Event)| matches!(event, Event::Settled { .. });
        assert!(village.events(newcomer).iter().any(settled), "{lie:?}");
    }
}

#[test]
fn t4_1_5_endless_lists_are_cut_off_and_everybody_is_still_found() {
    let (mut village, liar, newcomer) = beside_a_liar(6, Lie::EndlessLists);
    let why = refused(&mut village, newcomer);
    assert!(why.iter().any(|why| why.contains("too long")), "{why:?}");
    village.run_for(20 * SECOND);
    let before = village.known(newcomer);
    assert!(before <= 1100, "the view is bounded: {before}");
    village.run_for(20 * SECOND);
    assert!(village.known(newcomer) <= before + 50, "nobody listens to it any more");
    let counted = village.tell(newcomer, |node, _| node.as_node().unwrap().rejected_from(&liar.id));
    assert!(counted >= 32, "{counted}");
    let homes: Vec<Villager> = village.all[1..21].to_vec();
    for peer in homes {
        village.connect(newcomer, peer);
    }
    village.run_for(20 * SECOND);
    let settled = |(_, event): &(_, Event)| matches!(event, Event::Settled { .. });
    assert_eq!(village.events(newcomer).iter().filter(|event| settled(event)).count(), 20);
}

#[test]
fn t4_1_6_what_is_repeated_stays_known_and_what_is_gone_expires() {
    let mut village = village(7);
    let relay = village.public(&[]);
    let [stays, goes, looks] = [0, 1, 2].map(|_| village.home(PortRestrict, &[relay]));
    village.run_for(10 * SECOND);
    assert_eq!(village.known(looks), 3);
    village.switch(goes, false);
    village.run_for(7200 * SECOND);
    assert_eq!(village.known(looks), 2, "the relay and {stays:?}");
    village.switch(goes, true);
    village.run_for(60 * SECOND);
    assert_eq!(village.known(looks), 3, "who comes back is known again");
}

#[test]
fn nodes_of_an_earlier_run_replace_bootstrap_nodes_that_are_gone() {
    let mut village = village(8);
    let gone = village.public(&[]);
    let other = village.public(&[gone]);
    let before = village.home(PortRestrict, &[gone]);
    village.run_for(10 * SECOND);
    let known: Vec<Bootstrap> = village.tell(before, |node, _| node.as_node().unwrap().known());
    assert!(known.contains(&other.bootstrap()), "{known:?}");
    village.switch(gone, false);
    let after = village.settle(&[gone], Some(PortRestrict), |config| config.known = known);
    village.run_for(10 * SECOND);
    let events = village.events(after);
    assert_eq!(bootstrapped(&events).len(), 1);
    assert!(errors(&events).is_empty(), "{events:?}");
    village.run_for(60 * SECOND);
    assert!(village.known(after) >= 2);
}

/// All public nodes are away for two minutes, and the one that it was told of does not come back.
#[test]
fn who_was_cut_off_for_long_finds_back_by_those_it_had_met() {
    let mut village = village(9);
    let gone = village.public(&[]);
    let other = village.public(&[gone]);
    let home = village.home(PortRestrict, &[gone]);
    village.run_for(30 * SECOND);
    assert!(village.known(home) >= 2);
    village.switch(gone, false);
    village.switch(other, false);
    village.run_for(120 * SECOND);
    assert_eq!(village.known(home), 0, "whoever is away for so long is known no more");
    village.switch(other, true);
    village.run_for(60 * SECOND);
    assert_eq!(village.known(home), 1, "{:?}", village.events(home));
}
