//! How many probes a birthday search takes, read from the wire, beside the theory: `scripts/bench birthday`.
//!
//! Runs T2.M.20 and T2.M.24 with the release program, in the simulator or with `machines` on machines, against the kernel's
//! random ports.

use std::process::Command;

use natrig_record::{Outcome, Results};

/// Runs of each pair.
const RUNS: u32 = 100;

/// The pairs, and which peer probes: the one whose NAT is easy.
const PAIRS: [(&str, usize); 2] = [("T2.M.20", 0), ("T2.M.24", 1)];

/// Ports that the probing side chooses from, and those of them that the other side has open.
const PORTS: f64 = 64_512.0;
const OPEN: f64 = 256.0;

fn main() {
    // `cargo test --benches` asks every bench to show that it starts.
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--test") {
        return;
    }
    let backend = if words.iter().any(|word| word == "machines") { "vm" } else { "sim" };
    let results = run(backend);
    println!("{:8} {:>5} {:>9} {:>6} {:>6} {:>6} {:>6}", "cell", "met", "p10", "p50", "p90", "p95", "most");
    for (id, side) in PAIRS {
        let cells: Vec<_> = results.cells.iter().filter(|cell| cell.id == id).collect();
        let met = cells.iter().filter(|cell| cell.outcome == Outcome::AsExpected).count();
        let mut probed: Vec<u32> =
            cells.iter().filter_map(|cell| Some(cell.verdict.as_ref()?.ports_probed[side])).collect();
        probed.sort_unstable();
        let of = |share: f64| probed.get((probed.len() as f64 * share).ceil() as usize - 1).copied();
        let told =
            [0.1, 0.5, 0.9, 0.95, 1.0].map(|share| of(share).map_or("-".to_owned(), |n| n.to_string()));
        print_row(id, &format!("{met}/{}", cells.len()), told);
    }
    print_row(
        "theory",
        "",
        [0.1, 0.5, 0.9, 0.95, 1.0 - 1.0 / f64::from(RUNS)].map(|share| theory(share).to_string()),
    );
}

fn print_row(name: &str, met: &str, [p10, p50, p90, p95, most]: [String; 5]) {
    println!("{name:8} {met:>7} {p10:>7} {p50:>6} {p90:>6} {p95:>6} {most:>6}");
}

/// How many different ports, drawn evenly, must be tried to hit one that is open with such a chance.
fn theory(share: f64) -> u32 {
    let mut miss = 1.0;
    let mut probes = 0;
    while 1.0 - miss < share {
        miss *= 1.0 - OPEN / (PORTS - f64::from(probes));
        probes += 1;
    }
    probes
}

fn run(backend: &str) -> Results {
    let work = tempfile::tempdir().expect("a folder for the runs");
    let out = work.path().join("out");
    let only = PAIRS.map(|(id, _)| id).join(",");
    let output = Command::new(env!("CARGO_BIN_EXE_natrig"))
        .args(["matrix", "--backend", backend, "--only", &only, "--repeat", &RUNS.to_string()])
        .args(["--keep", "failed", "--out"])
        .arg(&out)
        .output()
        .expect("natrig runs");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    natrig_report::read(&out.join("results.json")).expect("results")
}
