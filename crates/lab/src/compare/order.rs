//! The order of a node's events, up to concurrency.

use std::collections::{BTreeMap, BTreeSet};

use natrig_record::{Agreement, Aspect};

use super::Run;

/// Events of one node of which either may come first: neither waits for the other. What the NAT is, is learnt while the way to
/// the mesh is found; messages come when the other side sends them.
const CONCURRENT: [(&str, &str); 11] = [
    ("natDetected", "relaySelected"),
    ("natDetected", "bootstrapped"),
    ("natDetected", "peerDiscovered"),
    ("relaySelected", "bootstrapped"),
    ("peerDiscovered", "bootstrapped"),
    ("peerDiscovered", "relaySelected"),
    ("messageReceived", "sent"),
    ("messageReceived", "settled"),
    ("punchResult", "pathChanged"),
    ("connected", "punchStarted"),
    ("connected", "punchResult"),
];

/// What others say of themselves comes when it comes.
const ANYTIME: &str = "announced";

/// A node's event comes before another of it.
type Before = (String, String, String);

/// The first occurrences of each node's events: pairs that always come this way on one backend and always the other way
/// on the other contradict each other.
pub(super) fn compare(both: [&[Run]; 2]) -> Aspect {
    let [machines, sim] = both.map(always);
    let contradictions: Vec<&Before> = machines
        .iter()
        .filter(|(node, first, then)| sim.contains(&(node.clone(), then.clone(), first.clone())))
        .filter(|(_, first, then)| !concurrent(first, then))
        .collect();
    let told = |swapped: bool| {
        let one = |(node, first, then): &&Before| match swapped {
            false => format!("{node}: {first} before {then}"),
            true => format!("{node}: {then} before {first}"),
        };
        contradictions.iter().map(one).collect::<Vec<_>>().join("; ")
    };
    let (agreement, values) = match contradictions.is_empty() {
        true => (Agreement::Same, [format!("{} pairs", machines.len()), format!("{} pairs", sim.len())]),
        false => (Agreement::Differs, [told(false), told(true)]),
    };
    Aspect { name: "order of events".to_owned(), values, agreement, note: None }
}

/// The pairs that come this way in all runs in which both come.
fn always(runs: &[Run]) -> BTreeSet<Before> {
    let mut seen: BTreeSet<Before> = BTreeSet::new();
    for run in runs {
        let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (node, event) in &run.events {
            let name = event["event"].as_str().unwrap_or("?");
            let events = nodes.entry(node).or_default();
            if !events.contains(&name) {
                events.push(name);
            }
        }
        for (node, events) in nodes {
            for (at, first) in events.iter().enumerate() {
                let later = events.iter().skip(at + 1);
                seen.extend(later.map(|then| (node.to_owned(), (*first).to_owned(), (*then).to_owned())));
            }
        }
    }
    let swapped = |(node, first, then): &Before| (node.clone(), then.clone(), first.clone());
    seen.iter().filter(|pair| !seen.contains(&swapped(pair))).cloned().collect()
}

fn concurrent(first: &str, then: &str) -> bool {
    [first, then].contains(&ANYTIME)
        || CONCURRENT.iter().any(|pair| *pair == (first, then) || *pair == (then, first))
}
