//! Messages over several members.

mod village;

use std::{collections::BTreeMap, time::Duration};

use omerta_mesh_core::{Event, Service};
use village::{Village, Villager};

const SECOND: Duration = Duration::from_secs(1);

/// Public nodes, 10 ms apart, each begun with those of the ones before it that are given.
fn mesh(seed: u64, links: &[&[usize]]) -> (Village, Vec<Villager>) {
    let mut village = Village::new(seed, Duration::from_millis(10));
    let mut nodes: Vec<Villager> = Vec::new();
    for begins_with in links {
        let some: Vec<Villager> = begins_with.iter().map(|at| nodes[*at]).collect();
        // They coordinate and do not relay: what goes farther than a link goes over members.
        let node = village.settle(&some, None, |config| config.service = Service::Coordinator);
        nodes.push(node);
    }
    village.run_for(10 * SECOND);
    (village, nodes)
}

fn send(village: &mut Village, from: Villager, to: Villager, hops: Option<u8>) -> bool {
    village
        .tell(from, |node, io| node.with(io, |node, now| node.send_routed(now, to.id, b"a secret", hops)))
        .unwrap()
}

/// What came over others: when, from whom, and over how many.
fn received(village: &mut Village, by: Villager) -> Vec<(Duration, u8)> {
    let routed = |(at, event)| match event {
        Event::RoutedReceived { data, hops, for_all: false, .. } => {
            assert_eq!(data, b"a secret");
            Some((at, hops))
        }
        _ => None,
    };
    village.events(by).into_iter().filter_map(routed).collect()
}

#[test]
fn t1_3_1_a_message_goes_over_a_chain() {
    let (mut village, nodes) = mesh(1, &[&[], &[0], &[1], &[2]]);
    let start = village.world.now();
    assert!(send(&mut village, nodes[0], nodes[3], None));
    village.run_for(SECOND);
    let got = received(&mut village, nodes[3]);
    assert_eq!(got.len(), 1);
    assert!(got[0].0 - start < Duration::from_millis(500) && got[0].1 == 2, "{got:?}");
    assert!(received(&mut village, nodes[1]).is_empty(), "who passes it on cannot read it");
}

#[test]
fn t1_3_2_hops_are_bounded() {
    let (mut village, nodes) = mesh(2, &[&[], &[0], &[1], &[2], &[3]]);
    send(&mut village, nodes[0], nodes[4], Some(2));
    village.run_for(SECOND);
    assert!(received(&mut village, nodes[4]).is_empty());
    send(&mut village, nodes[0], nodes[4], Some(3));
    village.run_for(SECOND);
    assert_eq!(received(&mut village, nodes[4]).len(), 1);
}

#[test]
fn t1_3_3_a_spare_link_replaces_a_node_that_fails() {
    // 0-1-2-3, and 0-4-5-3 beside it.
    let (mut village, nodes) = mesh(3, &[&[], &[0], &[1], &[2], &[0], &[4, 3]]);
    send(&mut village, nodes[0], nodes[3], None);
    village.run_for(SECOND);
    assert_eq!(received(&mut village, nodes[3]).len(), 1);
    village.switch(nodes[1], false);
    village.run_for(40 * SECOND);
    send(&mut village, nodes[0], nodes[3], None);
    village.run_for(SECOND);
    assert_eq!(received(&mut village, nodes[3]).iter().map(|(_, hops)| *hops).collect::<Vec<_>>(), [2]);
}

#[test]
fn t1_3_4_loops_make_no_duplicates() {
    let (mut village, nodes) = mesh(4, &[&[], &[0], &[1], &[2, 0], &[3, 0, 1]]);
    for _ in 0..20 {
        send(&mut village, nodes[0], nodes[2], None);
    }
    village.run_for(5 * SECOND);
    assert_eq!(received(&mut village, nodes[2]).len(), 20);
}

#[test]
fn t1_5_2_the_shortest_way_is_taken() {
    // A ring of six.
    let (mut village, nodes) = mesh(5, &[&[], &[0], &[1], &[2], &[3], &[4, 0]]);
    for (to, passed) in [(2, 1), (4, 1), (3, 2)] {
        send(&mut village, nodes[0], nodes[to], None);
        village.run_for(SECOND);
        let hops: Vec<u8> = received(&mut village, nodes[to]).iter().map(|(_, hops)| *hops).collect();
        assert_eq!(hops, [passed], "to {to}");
    }
}

#[test]
fn t1_4_4_a_broadcast_reaches_each_once() {
    // Six that are all linked, and a tail of two.
    let (mut village, nodes) =
        mesh(6, &[&[], &[0], &[0, 1], &[0, 1, 2], &[0, 1, 2, 3], &[0, 1, 2, 3, 4], &[5], &[6]]);
    let before = village.world.counts().events;
    village.tell(nodes[0], |node, io| node.with(io, |node, now| node.broadcast(now, b"to all")));
    village.run_for(SECOND);
    let used = village.world.counts().events - before;
    let mut got: BTreeMap<usize, usize> = BTreeMap::new();
    for node in &nodes {
        let for_all = |(_, event): &(_, Event)| matches!(event, Event::RoutedReceived { for_all: true, .. });
        got.insert(node.number, village.events(*node).iter().filter(|event| for_all(event)).count());
    }
    assert_eq!(got.values().copied().collect::<Vec<_>>(), [0, 1, 1, 1, 1, 1, 1, 1], "{got:?}");
    assert!(used < 600, "no flood: {used} things happened");
}
