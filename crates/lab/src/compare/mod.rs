//! Machines and simulator side by side: what may differ, by how much, and what may not.
//!
//! Path, kind, claims, strategies, what NATs nodes saw and who was asked must be the same; where chance decides, their shares
//! must be compatible. The order of a node's events must not contradict itself. Counts and times have bands.

mod numbers;
mod order;

use std::collections::{BTreeMap, BTreeSet};

use natrig_record::{Agreement, Aspect, Cell, Comparison, Kind, Outcome};
use serde_json::Value;

pub use numbers::{COUNTS, TIMES};

/// One run of a cell on one backend.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// Its record.
    pub cell: Cell,
    /// What its nodes reported, in order: the machine and the event.
    pub events: Vec<(String, Value)>,
}

/// A difference that is known: its number on the page of differences between the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explained {
    /// Its heading there.
    pub number: &'static str,
    /// The aspect it is about.
    pub aspect: &'static str,
    /// Why, in a sentence.
    pub reason: &'static str,
}

/// All differences that are explained in `docs/compare.md`.
pub const EXPLAINED: &[Explained] = &[];

/// Holds what came of a cell in the simulator against what came of it on machines.
pub fn compare(id: &str, machines: &[Run], sim: &[Run]) -> Comparison {
    let both = [machines, sim];
    let mut aspects = Vec::new();
    if let Some(failed) = failed(both) {
        aspects.push(failed);
        return Comparison { id: id.to_owned(), runs: both.map(<[Run]>::len), aspects };
    }
    for (name, of) in CATEGORIES {
        aspects.push(categories(name, both.map(|runs| runs.iter().map(of).collect())));
    }
    aspects.push(strategies(both));
    aspects.push(order::compare(both));
    let chance = both.iter().any(|runs| runs.iter().any(by_chance));
    let settled = |run: &Run| run.cell.settle_ms.or(run.cell.connect_ms);
    let later = numbers::later(both.map(|runs| runs.iter().filter_map(settled).collect()));
    for (name, of) in COUNTED {
        aspects.push(numbers::counts(name, both.map(|runs| runs.iter().map(of).collect()), chance, later));
    }
    let (name, of) = EVENTS;
    aspects.push(numbers::counts(name, both.map(|runs| runs.iter().map(of).collect()), false, 0.0));
    for (name, of) in TIMED {
        aspects.extend(numbers::times(name, both.map(|runs| runs.iter().filter_map(of).collect()), chance));
    }
    for aspect in &mut aspects {
        let known = EXPLAINED.iter().find(|known| known.aspect == aspect.name);
        if let Some(known) = known.filter(|_| aspect.agreement == Agreement::Differs) {
            aspect.agreement = Agreement::Explained;
            aspect.note = Some(format!("{}: {}", known.number, known.reason));
        }
    }
    Comparison { id: id.to_owned(), runs: both.map(<[Run]>::len), aspects }
}

type Of<T> = fn(&Run) -> T;

/// What is compared by its value.
const CATEGORIES: [(&str, Of<String>); 6] = [
    ("outcome", |run| run.cell.outcome.to_string()),
    ("path", |run| run.cell.verdict.as_ref().map_or("none".to_owned(), |verdict| verdict.path.to_string())),
    ("kind", kind),
    ("claims", |run| {
        let claim = |claim: &natrig_record::Claim| {
            format!("{} {}", claim.path, claim.kind.as_deref().unwrap_or("unnamed"))
        };
        run.cell.claims.iter().map(claim).collect::<Vec<_>>().join(", ")
    }),
    ("NATs seen", |run| per_node(run, "natDetected", "name")),
    ("coordinator asked", |run| {
        run.cell.verdict.as_ref().is_some_and(|verdict| verdict.coordinator_asked).to_string()
    }),
];

/// What is counted.
const COUNTED: [(&str, Of<f64>); 3] = [
    ("probes", |run| values(run, "punchResult", "probes").filter_map(Value::as_f64).sum()),
    ("ports tried", |run| run.cell.verdict.as_ref().map_or(0.0, |verdict| verdict.ports_tried.into())),
    ("attempts that arrived", |run| {
        run.cell.verdict.as_ref().map_or(0.0, |verdict| verdict.attempts_arrived.iter().sum::<u32>().into())
    }),
];

/// What is counted that chance has no part in.
const EVENTS: (&str, Of<f64>) = ("events of nodes", |run| run.events.len() as f64);

/// What takes time.
const TIMED: [(&str, Of<Option<f64>>); 2] =
    [("time to connect", |run| run.cell.connect_ms), ("time to settle", |run| run.cell.settle_ms)];

fn kind(run: &Run) -> String {
    let kind = run.cell.verdict.as_ref().and_then(|verdict| verdict.kind);
    kind.map_or("none".to_owned(), |kind| kind.to_string())
}

/// Whether chance decides how much a run takes.
fn by_chance(run: &Run) -> bool {
    run.cell.verdict.as_ref().is_some_and(|verdict| verdict.kind == Some(Kind::Birthday))
        || values(run, "punchStarted", "strategy").any(|strategy| strategy == "birthday")
}

/// Lab errors: there is nothing to compare.
fn failed(both: [&[Run]; 2]) -> Option<Aspect> {
    let why = both.map(|runs| match runs.iter().find(|run| run.cell.outcome == Outcome::LabError) {
        Some(run) => Some(run.cell.failure.as_ref().map_or("lab error".to_owned(), |it| it.message.clone())),
        None if runs.is_empty() => Some("it did not run".to_owned()),
        None => None,
    });
    if why.iter().all(Option::is_none) {
        return None;
    }
    let values = why.map(|why| why.unwrap_or_else(|| "ran".to_owned()));
    Some(Aspect { name: "outcome".to_owned(), values, agreement: Agreement::Unknown, note: None })
}

/// A field of the events with a name.
fn values<'a>(run: &'a Run, event: &'a str, field: &'a str) -> impl Iterator<Item = &'a Value> {
    run.events.iter().filter(move |(_, it)| it["event"] == event).map(move |(_, it)| &it[field])
}

/// What each node said, in order, without what is said twice in a row.
type Said<'a> = BTreeMap<&'a str, Vec<&'a str>>;

fn said<'a>(run: &'a Run, event: &str, field: &str) -> Said<'a> {
    let mut nodes = Said::new();
    for (machine, it) in run.events.iter().filter(|(_, it)| it["event"] == event) {
        let said = nodes.entry(machine).or_default();
        let value = it[field].as_str().unwrap_or("?");
        if said.last() != Some(&value) {
            said.push(value);
        }
    }
    nodes
}

/// Strategies, which may be told by one node only where both come to the same: one that is reached begins nothing more.
fn strategies(both: [&[Run]; 2]) -> Aspect {
    const EVENT: [&str; 2] = ["punchStarted", "strategy"];
    let told = both.map(|runs| runs.iter().map(|run| per_node(run, EVENT[0], EVENT[1])).collect());
    let exactly = categories("strategies", told);
    let all: Vec<Said<'_>> =
        both.iter().flat_map(|runs| runs.iter()).map(|run| said(run, EVENT[0], EVENT[1])).collect();
    let reached = all.iter().all(|one| all.iter().all(|other| differ_by_who_was_reached(one, other)));
    match exactly.agreement {
        Agreement::Differs if reached => Aspect {
            agreement: Agreement::Within,
            note: Some("a node that is reached begins nothing more".to_owned()),
            ..exactly
        },
        _ => exactly,
    }
}

fn differ_by_who_was_reached(one: &Said<'_>, other: &Said<'_>) -> bool {
    let begun =
        |said: &Said<'_>| said.values().flatten().map(|&word| word.to_owned()).collect::<BTreeSet<_>>();
    begun(one) == begun(other)
        && one.keys().chain(other.keys()).all(|node| {
            let [one, other] = [one, other].map(|said| said.get(node).map_or(&[][..], Vec::as_slice));
            one.starts_with(other) || other.starts_with(one)
        })
}

fn per_node(run: &Run, event: &str, field: &str) -> String {
    let nodes = said(run, event, field);
    nodes.iter().map(|(node, said)| format!("{node} {}", said.join(" then "))).collect::<Vec<_>>().join(", ")
}

/// Values whose shares must be compatible: the same one always, or several whose intervals of confidence overlap.
fn categories(name: &str, values: [Vec<String>; 2]) -> Aspect {
    let shares = values.each_ref().map(|values| {
        let mut shares: BTreeMap<&str, u32> = BTreeMap::new();
        values.iter().for_each(|value| *shares.entry(value).or_default() += 1);
        shares
    });
    let of = |side: usize, value: &str| {
        let count = shares[side].get(value).copied().unwrap_or(0);
        natrig_record::wilson(count, values[side].len() as u32)
    };
    let all = shares.iter().flat_map(BTreeMap::keys);
    let compatible = all.clone().all(|value| {
        let ([low, high], [other_low, other_high]) = (of(0, value), of(1, value));
        low <= other_high && other_low <= high
    });
    let sets = shares.each_ref().map(|shares| shares.keys().copied().collect::<Vec<_>>());
    let agreement = match (sets[0] == sets[1] && sets[0].len() <= 1, compatible) {
        (true, _) => Agreement::Same,
        // One run of each that differ would be compatible with anything.
        (false, true) if values.iter().all(|values| values.len() >= FEW) => Agreement::Within,
        _ => Agreement::Differs,
    };
    let told = shares.each_ref().map(|shares| match shares.len() {
        0 | 1 => shares.keys().copied().collect(),
        _ => shares
            .iter()
            .map(|(value, count)| format!("{count} times {value}"))
            .collect::<Vec<_>>()
            .join("; "),
    });
    let note = (agreement == Agreement::Within).then(|| "shares are compatible at 95 %".to_owned());
    Aspect { name: name.to_owned(), values: told, agreement, note }
}

/// With fewer runs nothing is said of chance.
const FEW: usize = 5;

#[cfg(test)]
mod tests {
    use natrig_record::{Claim, Path, Verdict};
    use serde_json::json;

    use super::*;

    fn run(kind: Kind, connect_ms: f64) -> Run {
        let path = if kind == Kind::Relay { Path::Relay } else { Path::Direct };
        let verdict = Verdict {
            path,
            kind: Some(kind),
            directions: Default::default(),
            coordinator_asked: kind != Kind::Direct,
            ports_tried: 1,
            ports_probed: [1, 1],
            attempts_arrived: [2, 2],
            attempts_passed: [1, 1],
            because: Vec::new(),
        };
        let claim = |machine: &str| Claim { machine: machine.into(), path, kind: Some(kind.to_string()) };
        let cell = Cell {
            outcome: Outcome::AsExpected,
            verdict: Some(verdict),
            claims: vec![claim("peer1"), claim("peer2")],
            connect_ms: Some(connect_ms),
            ..Cell::default()
        };
        let event = |node: &str, event| (node.to_owned(), event);
        let events = vec![
            event("peer1", json!({"event": "natDetected", "name": "portRestrict"})),
            event("peer1", json!({"event": "punchStarted", "strategy": "simultaneous"})),
            event("peer1", json!({"event": "punchResult", "probes": 4})),
        ];
        Run { cell, events }
    }

    fn differing(machines: &[Run], sim: &[Run]) -> Vec<String> {
        let comparison = compare("x", machines, sim);
        let differs = |aspect: &&Aspect| aspect.agreement >= Agreement::Differs;
        comparison.aspects.iter().filter(differs).map(|aspect| aspect.name.clone()).collect()
    }

    #[test]
    fn alike_is_alike() {
        assert_eq!(differing(&[run(Kind::Punch, 100.0)], &[run(Kind::Punch, 90.0)]), [""; 0]);
    }

    #[test]
    fn another_path_differs() {
        let found = differing(&[run(Kind::Punch, 100.0)], &[run(Kind::Relay, 100.0)]);
        assert_eq!(found, ["path", "kind", "claims"]);
    }

    #[test]
    fn what_one_side_always_does_and_the_other_never_differs_however_often_it_ran() {
        let many = |kind| vec![run(kind, 100.0); 20];
        assert_eq!(differing(&many(Kind::Punch), &many(Kind::Reversal)), ["kind", "claims"]);
    }

    #[test]
    fn shares_that_chance_explains_are_no_difference() {
        let mixed = |relays: usize| {
            let relay = std::iter::repeat_n(run(Kind::Relay, 100.0), relays);
            relay.chain(std::iter::repeat_n(run(Kind::Birthday, 100.0), 20 - relays)).collect::<Vec<_>>()
        };
        assert_eq!(differing(&mixed(2), &mixed(4)), [""; 0]);
        assert!(differing(&mixed(2), &mixed(18)).contains(&"path".to_owned()));
    }

    #[test]
    fn a_time_beyond_its_band_differs() {
        assert_eq!(differing(&[run(Kind::Punch, 100.0)], &[run(Kind::Punch, 5_000.0)]), ["time to connect"]);
    }

    #[test]
    fn one_lucky_search_is_no_difference() {
        assert_eq!(differing(&[run(Kind::Birthday, 100.0)], &[run(Kind::Birthday, 5_000.0)]), [""; 0]);
        let many = |connect_ms| vec![run(Kind::Birthday, connect_ms); 20];
        assert_eq!(differing(&many(100.0), &many(5_000.0)), ["time to connect"]);
    }

    #[test]
    fn a_node_that_is_reached_may_have_begun_less() {
        let begun = |first: &[&str], second: &[&str]| {
            let of = |node: &str, words: &[&str]| -> Vec<(String, Value)> {
                let started = |word| (node.to_owned(), json!({"event": "punchStarted", "strategy": word}));
                words.iter().map(started).collect()
            };
            Run { events: [of("peer1", first), of("peer2", second)].concat(), ..run(Kind::Reversal, 100.0) }
        };
        let whole = begun(&["dial", "responderFirst"], &["responderFirst"]);
        let aspect = strategies([&[begun(&["dial"], &["responderFirst"])], std::slice::from_ref(&whole)]);
        assert_eq!(aspect.agreement, Agreement::Within, "{aspect:?}");
        for other in [
            begun(&["dial"], &["simultaneous"]),
            begun(&["responderFirst", "dial"], &["responderFirst"]),
            begun(&["dial"], &[]),
        ] {
            let aspect = strategies([&[other], std::slice::from_ref(&whole)]);
            assert_eq!(aspect.agreement, Agreement::Differs, "{aspect:?}");
        }
    }

    #[test]
    fn a_lab_error_is_no_agreement() {
        let broken = Run::default();
        let comparison = compare("x", &[broken], &[run(Kind::Punch, 1.0)]);
        assert_eq!(comparison.agreement(), Agreement::Unknown);
        assert_eq!(Comparison::exit_code(&[comparison]), 2);
    }

    #[test]
    fn events_that_always_come_the_other_way_round_differ() {
        let mut other = run(Kind::Punch, 100.0);
        other.events.swap(1, 2);
        assert_eq!(differing(&[run(Kind::Punch, 100.0)], &[other]), ["order of events"]);
    }
}
