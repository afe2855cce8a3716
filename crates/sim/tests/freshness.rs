//! Who was heard of lately, and ways that fail.

mod village;

use std::time::Duration;

use natrig_nat::Preset::PortRestrict;
use omerta_mesh_core::{Event, Lie, PeerId, Service};
use village::{Village, Villager};

const SECOND: Duration = Duration::from_secs(1);

/// A line of public nodes, 10 ms from one to the next.
fn line(seed: u64, length: usize) -> (Village, Vec<Villager>) {
    let mut village = Village::new(seed, Duration::from_millis(10));
    let mut nodes: Vec<Villager> = Vec::new();
    for _ in 0..length {
        nodes.push(village.public(&nodes[nodes.len().saturating_sub(1)..]));
    }
    (village, nodes)
}

/// A home that keeps to the one relay that it begins with.
fn home(village: &mut Village, relay: Villager) -> Villager {
    village.settle(&[relay], Some(PortRestrict), |config| config.relays = 1)
}

/// The answer to a question, and how long it took.
fn recent(
    village: &mut Village,
    asker: Villager,
    peer: PeerId,
) -> (Option<Duration>, Option<PeerId>, Duration) {
    village.events(asker);
    let start = village.world.now();
    village.tell(asker, |node, io| node.with(io, |node, now| node.who_has_recent(now, peer)));
    village.run_for(6 * SECOND);
    let told = village.events(asker).into_iter().find_map(|(at, event)| match event {
        Event::RecentContact { peer: about, age, by } if about == peer => Some((age, by, at - start)),
        _ => None,
    });
    told.expect("an answer within 5 s")
}

#[test]
fn t4_5_4_a_question_goes_three_nodes_far_and_the_answer_comes_back() {
    let (mut village, nodes) = line(1, 4);
    let asker = home(&mut village, nodes[0]);
    let near = home(&mut village, nodes[2]);
    let far = home(&mut village, nodes[3]);
    village.run_for(20 * SECOND);
    let (age, by, took) = recent(&mut village, asker, near.id);
    assert!(age.is_some_and(|age| age < 20 * SECOND), "{age:?}");
    assert_eq!(by, Some(nodes[2].id));
    assert!(took < SECOND, "{took:?}");
    let (age, _, _) = recent(&mut village, asker, far.id);
    assert_eq!(age, None, "four nodes are too far");
}

#[test]
fn t4_5_4_who_does_not_answer_is_not_waited_for_longer_than_5_s() {
    let (mut village, nodes) = line(2, 3);
    let asker = home(&mut village, nodes[0]);
    let peer = home(&mut village, nodes[2]);
    village.run_for(10 * SECOND);
    village.switch(nodes[1], false);
    let (age, _, took) = recent(&mut village, asker, peer.id);
    assert!(age.is_none() && took <= 5 * SECOND, "{age:?} after {took:?}");
}

#[test]
fn t4_5_3_a_peer_that_dies_is_forgotten_by_those_around_it() {
    let (mut village, nodes) = line(3, 3);
    let dies = home(&mut village, nodes[1]);
    let stays = home(&mut village, nodes[1]);
    village.run_for(10 * SECOND);
    assert_eq!(village.known(nodes[0]), 4);
    village.switch(dies, false);
    village.run_for(40 * SECOND);
    for node in [nodes[0], nodes[2], stays] {
        assert_eq!(village.known(node), 3, "{node:?}");
    }
}

#[test]
fn t4_5_2_a_peer_that_has_moved_to_another_relay_is_found_there() {
    let (mut village, nodes) = line(4, 4);
    let asker = home(&mut village, nodes[0]);
    let moves = village.settle(&[nodes[2], nodes[3]], Some(PortRestrict), |config| config.relays = 1);
    village.run_for(10 * SECOND);
    village.switch(nodes[2], false);
    village.run_for(60 * SECOND);
    village.connect(asker, moves);
    village.run_for(10 * SECOND);
    let events = village.events(asker);
    assert!(events.iter().any(|(_, event)| matches!(event, Event::Settled { .. })), "{events:#?}");
}

#[test]
fn reports_that_are_not_so_are_looked_into_and_not_believed() {
    let (mut village, nodes) = line(5, 3);
    let homes: Vec<Villager> = (0..5).map(|_| home(&mut village, nodes[1])).collect();
    village.settle(&[nodes[1]], None, |config| {
        config.service = Service::Coordinator;
        config.lie = Some(Lie::FalseReports);
    });
    for _ in 0..6 {
        village.run_for(20 * SECOND);
        for node in nodes.iter().chain(&homes) {
            assert_eq!(village.known(*node), 8, "{node:?}");
        }
    }
}
