//! One population, as large and as long as is said: `cargo bench -p natrig-sim --bench population -- NODES SECONDS THREADS SEEDS`.
//!
//! Under `valgrind --tool=callgrind` it counts the instructions of a small fixed world; see scripts/bench.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use natrig_scenario::population::{Churn, Mix};
use natrig_sim::population::{Ended, RelaySettings, Settings, Traffic, many};

fn main() {
    // `cargo test --benches` asks every bench to show that it starts.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let words: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let word = |at: usize, otherwise| words.get(at).copied().unwrap_or(otherwise);
    let mixes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/populations");
    let settings = Settings {
        nodes: word(0, 1_000) as u32,
        mix: Mix::load(&mixes.join("nat-check-2005.yaml")).expect("a mix"),
        churn: Churn::default(),
        length: Duration::from_secs(word(1, 60)),
        seed: 7,
        threads: word(2, 1) as usize,
        traffic: Traffic::default(),
        relays: RelaySettings::default(),
    };
    let begun = Instant::now();
    let worlds = many(&settings, word(3, 1), settings.threads, |_| ()).expect("settings that can be");
    let wall = begun.elapsed().as_secs_f64();
    let mut events = 0;
    for world in worlds {
        match world {
            Ended::Whole(outcome) => {
                events += outcome.events;
                if std::env::var_os("SHOW").is_some() {
                    println!("{}", serde_json::to_string_pretty(&outcome).expect("it is JSON"));
                }
            }
            Ended::Failed(failed) => println!("{failed}"),
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim();
    println!("{wall:.2} s, {events} events, {:.0} events/s, peak {peak}", events as f64 / wall);
}
