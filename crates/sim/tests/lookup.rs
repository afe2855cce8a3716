//! Finding nodes that are in nobody's small view.

mod village;

use std::time::Duration;

use natrig_nat::Preset::{PortRestrict, Symmetric};
use omerta_mesh_core::{Config, Event};
use rand::{SeedableRng, rngs::StdRng};
use village::{Village, Villager};

const SECOND: Duration = Duration::from_secs(1);

/// `servers` public nodes, each begun with two others, and homes at two of them each; views of `view`.
fn scattered(seed: u64, servers: usize, homes: usize, view: usize) -> Village {
    let mut village = Village::new(seed, Duration::from_millis(20));
    let mut random = StdRng::seed_from_u64(seed);
    let small = |config: &mut Config| config.view = view;
    for _ in 0..servers {
        let some = pick(&village.all, 2, &mut random);
        village.settle(&some, None, |config| {
            config.service = omerta_mesh_core::Service::Relay { sessions: 500 };
            small(config);
        });
    }
    let public = village.all.clone();
    for n in 0..homes {
        let some = pick(&public, 2, &mut random);
        let preset = if n % 3 == 0 { Symmetric } else { PortRestrict };
        village.settle(&some, Some(preset), small);
    }
    village
}

fn pick(from: &[Villager], count: usize, random: &mut StdRng) -> Vec<Villager> {
    let count = count.min(from.len());
    rand::seq::index::sample(random, from.len(), count).into_iter().map(|at| from[at]).collect()
}

/// Everybody looks for `each` others; how many nodes were asked on average.
fn everybody_is_found(village: &mut Village, each: usize, random: &mut StdRng) -> f64 {
    let all = village.all.clone();
    let (mut asked, mut searches) = (0, 0);
    // Not all in one moment: nodes bound how many strangers they answer.
    for from in &all {
        let sought = pick(&all, each, random);
        village.run_for(Duration::from_millis(10));
        village.events(*from);
        for peer in sought.iter().filter(|peer| *peer != from) {
            village.tell(*from, |node, io| node.with(io, |node, now| node.find(now, peer.id)));
            searches += 1;
        }
    }
    village.run_for(8 * SECOND);
    let mut lost = Vec::new();
    let mut ended = 0;
    for from in &all {
        for (_, event) in village.events(*from) {
            if let Event::LookedUp { peer, found, asked: count } = event {
                ended += 1;
                asked += count;
                if !found {
                    lost.push((*from, all.iter().find(|one| one.id == peer).map(|one| one.number)));
                }
            }
        }
    }
    assert!(lost.is_empty(), "{} of {searches} not found: {lost:?}", lost.len());
    assert_eq!(ended, searches);
    asked as f64 / f64::from(searches)
}

#[test]
fn every_node_is_found_from_every_other_though_views_are_small() {
    let mut village = scattered(5, 40, 160, 32);
    village.run_for(40 * SECOND);
    let views: Vec<usize> = village.all.clone().iter().map(|one| village.known(*one)).collect();
    let mut random = StdRng::seed_from_u64(9);
    let asked = everybody_is_found(&mut village, 8, &mut random);
    println!("200 nodes, views of {:?}: {asked:.2} asked for each", views.iter().max());
    assert!(asked < 10.0, "{asked}");
}

#[test]
#[ignore = "long: make test-full"]
fn every_node_of_2000_is_found() {
    let mut village = scattered(6, 200, 1800, 64);
    village.run_for(90 * SECOND);
    let mut random = StdRng::seed_from_u64(9);
    let asked = everybody_is_found(&mut village, 4, &mut random);
    println!("2000 nodes: {asked:.2} asked for each");
}

#[test]
fn nodes_without_a_relay_in_common_connect_by_a_lookup() {
    let mut village = scattered(7, 30, 30, 16);
    village.run_for(40 * SECOND);
    let homes: Vec<Villager> = village.all[30..].to_vec();
    for pair in homes.chunks(2) {
        village.connect(pair[0], pair[1]);
    }
    village.run_for(20 * SECOND);
    for pair in homes.chunks(2) {
        let events = village.events(pair[0]);
        let settled = events.iter().any(|(_, event)| matches!(event, Event::Settled { .. }));
        assert!(settled, "{pair:?}: {events:#?}");
    }
}
