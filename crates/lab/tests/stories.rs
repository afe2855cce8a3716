//! Stories of real runs, and of the same with something changed.

mod recording;

use std::time::Duration;

use natrig_capture::{Sighting, Trace, What};
use natrig_lab::{
    node::NodeEvent,
    story::{Cast, Change, Diary, Entry, Tables, Told, tell},
};
use natrig_record::{Basis, End, Journey, MomentKind, Step};
use natrig_scenario::Scenario;
use recording::{Recording, recorded};
use serde_json::json;

fn told_of(recording: &Recording) -> Told {
    told_with(recording, &Tables::default())
}

fn told_with(recording: &Recording, tables: &Tables) -> Told {
    let [a, b] = [0, 1].map(|at| recording.case.gateways[at].lives[0].profile.name.clone());
    let text = format!("{{name: x, nat1: {a}, nat2: {b}, expected: any}}");
    let scenario = Scenario::parse("x.yaml", &text).unwrap().remove(0);
    tell(&recording.trace, &recording.case, &Cast::of(&scenario), &Diary::default(), tables)
}

/// Between the machines, one line a journey.
fn drawn(journeys: &[Journey]) -> String {
    let mut lines = String::new();
    for journey in journeys.iter().filter(|journey| journey.at_ms >= 0.0) {
        let first = &journey.legs[0];
        lines.push_str(&format!("{} x{}, {}", journey.what, journey.count, first.from));
        for leg in &journey.legs {
            let to = leg.to.as_deref().unwrap_or("?");
            lines.push_str(&format!(" -> {to} ({} to {})", leg.source, leg.destination));
        }
        if let End::Dropped { at, why, basis } = &journey.end {
            lines.push_str(&format!("; {basis:?} at {at}: {why}"));
        }
        lines.push('\n');
    }
    lines
}

#[test]
fn a_punch_is_told_from_both_sides() {
    insta::assert_snapshot!(drawn(&told_of(&recorded("punch")).story.journeys));
}

#[test]
fn a_relayed_run_is_told_with_its_vain_attempts() {
    insta::assert_snapshot!(drawn(&told_of(&recorded("relay")).story.journeys));
}

#[test]
fn a_search_is_told_in_a_few_lines() {
    let recording = recorded("birthday");
    let Told { story, notes, causes } = told_of(&recording);
    assert_eq!(causes[0], "256 x probe of peer2, not passed by nat1: APDF, no entry [inferred]");
    assert!(story.journeys.len() < 100, "{}", drawn(&story.journeys));
    let probes: u32 = story.journeys.iter().filter(|one| one.what == "probe").map(|one| one.count).sum();
    assert!(probes > 200, "{probes}");
    assert!(notes.len() > 200, "each frame has its own note");
    assert!(notes.values().any(|note| note.contains("APDF, no entry: ") && note.ends_with("[inferred]")));
    assert!(notes.values().any(|note| note.contains("nat2 made 10.0.2.2:") && note.ends_with("[observed]")));
}

#[test]
fn what_the_switch_took_is_observed_and_what_a_gateway_kept_is_inferred() {
    let ends = |story: &natrig_record::Story| -> Vec<(String, Basis)> {
        let mut ends: Vec<_> = story
            .journeys
            .iter()
            .filter_map(|one| match &one.end {
                End::Dropped { at, basis, .. } if one.at_ms >= 0.0 => Some((at.clone(), *basis)),
                _ => None,
            })
            .collect();
        ends.dedup();
        ends
    };
    let before = ends(&told_of(&recorded("direct")).story);
    assert!(before.is_empty(), "{before:?}");
    // The far gateway's LAN does not see what the gateway had.
    let kept = recorded("direct")
        .without(|trace, one| trace.name(one.link) == "nat2.lan" && one.what == What::Entered);
    let after = ends(&told_of(&kept).story);
    assert!(after.contains(&("nat2".to_owned(), Basis::Inferred)), "{after:?}");
    // A link has lost what it delivered.
    let recording = recorded("direct");
    let lost = recording.trace.sightings().map(|one: Sighting| match one.what {
        What::Delivered if recording.trace.name(one.link) == "nat2.wan" => Sighting {
            what: What::Dropped(natrig_capture::Direction::Outbound, natrig_capture::DropReason::Loss),
            ..one
        },
        _ => one,
    });
    let trace = Trace::join(recording.trace.links().to_vec(), lost.collect::<Vec<_>>()).unwrap();
    let after = ends(&told_of(&Recording { trace, case: recorded("direct").case }).story);
    assert!(after.contains(&("nat2.wan".to_owned(), Basis::Observed)), "{after:?}");
}

#[test]
fn what_a_kernel_says_of_its_table_is_observed() {
    let why = |tables: &Tables| -> Vec<(String, Basis)> {
        let story = told_with(&recorded("punch"), tables).story;
        let ends = story.journeys.into_iter().filter(|one| one.what == "probe").map(|one| one.end);
        ends.filter_map(|end| match end {
            End::Dropped { at, why, basis } if at == "nat2" => Some((why, basis)),
            _ => None,
        })
        .collect()
    };
    assert!(why(&Tables::default()).iter().all(|(_, basis)| *basis == Basis::Inferred));
    let mut tables = Tables::default();
    tables.add("nat2", []);
    let told = why(&tables);
    assert!(!told.is_empty() && told.iter().all(|(_, basis)| *basis == Basis::Observed), "{told:?}");
    // An entry that is there contradicts what the wire shows: then nothing is claimed to be known.
    let endpoint = |text: &str| text.parse().unwrap();
    let entry = Entry {
        inside: endpoint("10.0.2.2:4400"),
        destination: endpoint("192.168.100.1:4400"),
        outside: endpoint("192.168.100.2:4400"),
    };
    tables.add("nat2", [(0, Change::Made, entry)]);
    assert!(why(&tables).iter().all(|(_, basis)| *basis == Basis::Inferred));
}

#[test]
fn bytes_and_delays_are_those_of_the_wire() {
    let direct = told_of(&recorded("direct")).story;
    let third: u64 = direct.throughput.third.iter().sum();
    let across: u64 = direct.throughput.direct_there.iter().sum();
    assert!(across > 10 * third, "{across} {third}");
    assert!(!direct.latencies_ms.is_empty());
    assert!(direct.latencies_ms.iter().all(|[_, took]| *took > 0.0));
    let relayed = told_of(&recorded("relay")).story;
    let third: u64 = relayed.throughput.third.iter().sum();
    assert!(third > relayed.throughput.direct_there.iter().sum::<u64>());
}

#[test]
fn a_diary_calls_nodes_by_their_machines() {
    let mut diary = Diary::default();
    let at = Duration::from_millis;
    diary.fault(at(30), "cut nat1.wan");
    diary.step(at(10), Step::Connect);
    diary.node(at(5), "peer2", &NodeEvent(json!({"event": "started", "id": "bb", "ms": 0})));
    diary.node(
        at(20),
        "peer1",
        &NodeEvent(json!({"event": "settled", "peer": "bb", "path": "direct", "ms": 7, "via": []})),
    );
    diary.node(at(40), "peer1", &NodeEvent(json!({"event": "x", "text": "y".repeat(500)})));
    let moments = diary.began(1_000_000_000).moments(1_010_000_000);
    let told: Vec<_> = moments.iter().map(|one| (one.at_ms, one.kind, one.what.as_str())).collect();
    assert_eq!(told[0], (-5.0, MomentKind::Node, "started, id peer2"));
    assert_eq!(told[1], (0.0, MomentKind::Step, "connect"));
    assert_eq!(told[2], (10.0, MomentKind::Path, "settled, path direct, peer peer2, via none"));
    assert_eq!(told[3], (20.0, MomentKind::Fault, "cut nat1.wan"));
    assert!(told[4].2.len() < 200 && told[4].2.ends_with("..."));
}
