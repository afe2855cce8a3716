//! How long nothing arrives after a fault, by fault and by the path that two gateways come to: `scripts/bench recovery`.
//!
//! Runs the release program on scenario files that it writes, and reads the talks in its results: all 25 pairs of gateways in the
//! simulator, 20 seeds each; with `machines`, three pairs on machines, 20 runs each.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use natrig_record::{Outcome, Results};

/// Runs of each fault with each pair.
const RUNS: u32 = 20;

/// What befalls them, by its name, and how.
const FAULTS: [(&str, &str); 7] = [
    (
        "5 s without a cable",
        "{after: settled, cut: nat1.wan}, {after: settled, idle: 5s}, {after: settled, heal: nat1.wan}",
    ),
    ("direct way blocked", "{after: settled, partition: [[nat1.wan], [nat2.wan]]}"),
    ("relay killed", "{after: settled, power_off: relay}"),
    ("NAT forgets its mappings", "{after: settled, rebind: nat1}"),
    ("NAT gets another address", "{after: settled, renumber: nat1}"),
    ("peer killed and started anew", "{after: settled, restart: peer2}"),
    ("peer moves to another network", "{after: settled, roam: peer1, to: lan3}"),
];

/// Gateways that translate: what forgets its mappings, or moves, has some.
const NATS: [&str; 4] = ["full-cone", "addr-restrict", "port-restrict", "symmetric"];

/// The pairs on machines: one that is punched, one that is searched, one that stays on the relay.
const PAIRS: [[&str; 2]; 3] =
    [["port-restrict", "port-restrict"], ["port-restrict", "symmetric"], ["symmetric", "symmetric"]];

fn main() {
    // `cargo test --benches` asks every bench to show that it starts.
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--test") {
        return;
    }
    let machines = words.iter().any(|word| word == "machines");
    let work = tempfile::tempdir().expect("a folder for the runs");
    println!("{:32} {:10} {:>8} {:>8} {:>8}  runs, failed", "fault", "path", "p50", "p95", "worst");
    for (number, (name, deeds)) in FAULTS.into_iter().enumerate() {
        let file = work.path().join(format!("{number}.yaml"));
        fs::write(&file, scenario(name, deeds, machines)).expect("a scenario");
        let results = run(&file, &work.path().join(number.to_string()), machines);
        let mut by_path: BTreeMap<String, (Vec<f64>, u32)> = BTreeMap::new();
        for cell in &results.cells {
            let kind = cell.verdict.as_ref().and_then(|verdict| verdict.kind);
            let (silences, failed) =
                by_path.entry(kind.map_or("-".to_owned(), |kind| kind.to_string())).or_default();
            *failed += u32::from(cell.outcome != Outcome::AsExpected);
            silences.extend(cell.talks.iter().map(|talk| talk.silence_ms / 1000.0).reduce(f64::max));
        }
        for (path, (mut silences, failed)) in by_path {
            silences.sort_by(f64::total_cmp);
            let of = |share: f64| silences.get((silences.len() as f64 * share).ceil() as usize - 1).copied();
            let seconds = |share| of(share).map_or("-".to_owned(), |time| format!("{time:.2} s"));
            println!(
                "{name:32} {path:10} {:>8} {:>8} {:>8}  {}, {failed}",
                seconds(0.5),
                seconds(0.95),
                seconds(1.0),
                silences.len()
            );
        }
    }
}

/// All pairs of gateways with one fault, and a message each way every 50 ms for as long as it takes.
fn scenario(name: &str, deeds: &str, machines: bool) -> String {
    let rows: Vec<String> = match machines {
        true => PAIRS.map(|[one, two]| format!("  - {{id: {one}_{two}, nat1: {one}, nat2: {two}}}\n")).into(),
        false => NATS
            .iter()
            .flat_map(|one| NATS.map(|two| format!("  - {{id: {one}_{two}, nat1: {one}, nat2: {two}}}\n")))
            .collect(),
    };
    // On machines nobody is there who is not needed, and nothing takes longer than it must.
    let third = if machines && !deeds.contains("lan3") { "" } else { "nat3: port-restrict\n" };
    let (relays, calm) = if machines { (2, "15s") } else { (3, "40s") };
    format!(
        "name: \"{name}\"\n{third}expected: any\nrelays: {relays}\nnode: {{bootstrap: [relay, relay2]}}\n\
         talks: [{{from: peer1, to: peer2, every: 50ms, lost: 100%}}]\n\
         faults: [{{after: bootstrapped, expect: relaySelected, at: peer1, times: 2}}, \
         {{after: bootstrapped, expect: relaySelected, at: peer2, times: 2}}, {{after: settled, idle: 3s}}, {deeds}, \
         {{after: settled, idle: {calm}}}]\ncells:\n{}",
        rows.concat()
    )
}

fn run(file: &Path, out: &Path, machines: bool) -> Results {
    let backend = if machines { "vm" } else { "sim" };
    let output = Command::new(env!("CARGO_BIN_EXE_natrig"))
        .args([
            "run",
            "--backend",
            backend,
            "--seed",
            "1",
            "--repeat",
            &RUNS.to_string(),
            "--keep",
            "failed",
            "--out",
        ])
        .args(machines.then_some(["--jobs", "5"]).into_iter().flatten())
        .arg(out)
        .arg(file)
        .output()
        .expect("natrig runs");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    natrig_report::read(&out.join("results.json")).expect("results")
}
