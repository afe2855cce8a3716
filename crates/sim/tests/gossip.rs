//! How news spread, on meshes of many nodes.

mod village;

use std::time::Duration;

use natrig_nat::Preset::PortRestrict;
use village::{Village, Villager};

const SECOND: Duration = Duration::from_secs(1);

/// T4.5.5, and the figure of the plan: a line of 20 nodes, 50 ms from one to the next.
#[test]
fn t4_5_5_news_from_one_end_of_a_line_of_20_are_at_the_other_within_5_s() {
    let mut village = Village::new(1, Duration::from_millis(50));
    let mut before: Vec<Villager> = Vec::new();
    for _ in 0..19 {
        let next = village.public(&before[before.len().saturating_sub(1)..]);
        before.push(next);
    }
    village.run_for(30 * SECOND);
    let start = village.world.now();
    let last = village.public(&before[18..]);
    village.run_for(5 * SECOND);
    let heard = village.heard_of(last);
    let far = heard[0].unwrap_or_else(|| panic!("the first has not heard: {heard:?}")) - start;
    println!("over 19 links of 50 ms: {far:?}");
    assert!(heard[..19].iter().all(Option::is_some), "{heard:?}");
    assert!(far > Duration::from_millis(19 * 50), "only neighbours talk: {far:?}");
    assert_eq!(village.known(last), 19, "and the newcomer knows of all");
}

/// T1.S.2.
#[test]
fn t1_s_2_a_star_of_100_is_together_within_10_s() {
    let mut village = Village::new(2, Duration::from_millis(20));
    let relay = village.public(&[]);
    let peers: Vec<Villager> = (0..100).map(|_| village.home(PortRestrict, &[relay])).collect();
    village.run_for(10 * SECOND);
    for peer in peers {
        assert_eq!(village.known(peer), 100, "{peer:?}");
    }
}

/// T1.S.4, with fewer: five relays that know of one another by a sixth, and peers at each.
#[test]
fn t1_s_4_a_hierarchy_knows_itself() {
    hierarchy(50);
}

/// T1.S.4.
#[test]
#[ignore = "long: make test-full"]
fn t1_s_4_a_hierarchy_of_500_knows_itself() {
    hierarchy(500);
}

fn hierarchy(size: usize) {
    let mut village = Village::new(3, Duration::from_millis(20));
    let top = village.public(&[]);
    let relays: Vec<Villager> = (0..5).map(|_| village.public(&[top])).collect();
    let peers: Vec<Villager> = (0..size).map(|n| village.home(PortRestrict, &[relays[n % 5]])).collect();
    village.run_for(30 * SECOND);
    let known: Vec<usize> = peers.iter().map(|peer| village.known(*peer)).collect();
    assert!(known.iter().all(|known| *known == size + 5), "{known:?}");
}
