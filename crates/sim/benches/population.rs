//! What populations cost, each figure beside its goal: `scripts/bench population`.
//!
//! `growth` shows what more hosts cost, and draws docs/pictures/growth.svg with `NATRIG_UPDATE_DOCS`. Without arguments it runs itself with several; `NODES SECONDS THREADS SEEDS [VIEW]` runs one population and says what it took.
//! With a view, members hear of others and look for some before the end.
//! Under callgrind that counts the instructions of a small fixed world (`scripts/bench instructions`).

#[path = "plots/growth.rs"]
mod growth;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use natrig_scenario::population::{Churn, Mix};
use natrig_sim::population::{Ended, Gossip, Partners, RelaySettings, Settings, Traffic, many};

// As natrig has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` asks every bench to show that it starts.
    if words.iter().any(|word| word == "--test") {
        return;
    }
    if words.iter().any(|word| word == "growth") {
        return growth();
    }
    let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        [nodes, seconds, threads, seeds] => one(*nodes, *seconds, *threads, *seeds, None),
        [nodes, seconds, threads, seeds, view] => one(*nodes, *seconds, *threads, *seeds, Some(*view)),
        _ => figures(),
    }
}

/// Others that each member looks for.
const LOOKUPS: u32 = 4;

/// Runs one population, or some seeds of it, and prints a line of figures.
fn one(nodes: u64, seconds: u64, threads: u64, seeds: u64, view: Option<u64>) {
    let mixes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/populations");
    let settings = Settings {
        nodes: nodes as u32,
        mix: Mix::load(&mixes.join("nat-check-2005.yaml")).expect("a mix"),
        churn: Churn::default(),
        length: Duration::from_secs(seconds),
        seed: 7,
        threads: threads as usize,
        traffic: Traffic { partners: Partners::Matched, ..Traffic::default() },
        relays: RelaySettings::default(),
        // Without a view, a relay and a partner are all that a host has.
        gossip: match view {
            Some(view) => Gossip { view: view as usize, peer_contact: true },
            None => Gossip { peer_contact: false, ..Gossip::default() },
        },
        lookups: if view.is_some() && seconds >= 150 { LOOKUPS } else { 0 },
    };
    let begun = Instant::now();
    let worlds = many(&settings, seeds, settings.threads, |_| ()).expect("settings that can be");
    let wall = begun.elapsed().as_secs_f64();
    let outcomes = worlds.iter().map(|world| match world {
        Ended::Whole(outcome) => outcome,
        Ended::Failed(failed) => panic!("{failed}"),
    });
    let events: u64 = outcomes.clone().map(|outcome| outcome.events).sum();
    let bytes: f64 = outcomes.clone().map(|outcome| outcome.sent.bytes).sum();
    let (mut found, mut sought) = (0, 0);
    for lookups in outcomes.filter_map(|outcome| outcome.lookups.as_ref()) {
        found += lookups.found;
        sought += lookups.ended + lookups.open;
    }
    println!("{wall:.3} {:.2} {events} {} {bytes:.1} {found} {sought}", processor(), peak());
}

/// What one run took.
#[derive(Clone, Copy)]
struct Took {
    wall: f64,
    processor: f64,
    events: f64,
    peak: f64,
    /// Sent by a member in a second.
    bytes: f64,
    found: f64,
    sought: f64,
}

fn run(nodes: u64, seconds: u64, threads: u64, seeds: u64, view: Option<u64>) -> Took {
    let own = std::env::current_exe().expect("this program's name");
    let words = [nodes, seconds, threads, seeds].into_iter().chain(view).map(|number| number.to_string());
    let output = Command::new(own).args(words).output().expect("this program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [wall, processor, events, peak, bytes, found, sought] = numbers[..] else {
        panic!("{said}{}", String::from_utf8_lossy(&output.stderr))
    };
    Took { wall, processor, events, peak, bytes, found, sought }
}

fn figures() {
    println!(
        "each host behind a NAT keeps a relay alive and exchanges a message a second with a random other; one core"
    );
    println!(
        "{:>8} {:>10} {:>12} {:>12} {:>14} {:>14}",
        "hosts", "simulated", "processor s", "events/s", "KiB a host", "us a host and s"
    );
    for (nodes, seconds) in [(100, 600), (1_000, 120), (10_000, 60)] {
        let took = run(nodes, seconds, 1, 1, None);
        let each = took.processor / (nodes * seconds) as f64;
        println!(
            "{nodes:>8} {seconds:>8} s {:>12.2} {:>12.0} {:>14.0} {:>14.1}",
            took.processor,
            took.events / took.processor,
            took.peak / 1024.0 / nodes as f64,
            each * 1e6,
        );
    }
    println!();
    growth();
    let whole = run(10_000, 600, 2, 1, None);
    println!(
        "10000 hosts for 10 minutes on 2 cores: {:.0} s (goal 120), {:.2} GiB (goal 4)",
        whole.wall,
        whole.peak / f64::from(1 << 30)
    );
    println!(
        "{:>8} {:>6} {:>10} {:>10} {:>8} {:>22} {:>18}   members that hear of others, on 2 cores",
        "members", "view", "simulated", "seconds", "GiB", "bytes a member and s", "found"
    );
    for (nodes, view, goal) in [
        (1_000, 64, ""),
        (1_000, 1_000, "  (goal: all found)"),
        (10_000, 64, "  (goal: 600 s, 8 GiB, all found)"),
    ] {
        let took = run(nodes, 600, 2, 1, Some(view));
        println!(
            "{nodes:>8} {view:>6} {:>8} s {:>10.0} {:>8.2} {:>22.0} {:>18}{goal}",
            600,
            took.wall,
            took.peak / f64::from(1 << 30),
            took.bytes,
            format!("{} of {}", took.found, took.sought),
        );
    }
    let [alone, together] = [1, 2].map(|threads| run(200, 60, threads, 8, None).wall);
    println!("8 seeds of 200 hosts: {:.2} times as many on two cores (goal 1.7)", alone / together);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of the host: {}", load.split(' ').next().unwrap_or_default());
}

/// What more hosts cost. Each has as much life, so that what the beginning costs weighs the same.
fn growth() {
    let costs =
        [100, 300, 1_000, 3_000, 10_000].map(|nodes| (nodes as f64, run(nodes, 60, 1, 1, None).processor));
    for (nodes, processor) in costs {
        println!("60 s of {nodes} hosts: {processor:.2} s of processor time");
    }
    if let [(least, first), .., (most, last)] = costs[..] {
        let linear = most / least;
        let allowed = linear * most.ln() / least.ln();
        println!(
            "60 s of {most} hosts cost {:.0} times as much as of {least}; n log n is {allowed:.0}, n is {linear:.0}",
            last / first
        );
    }
    if std::env::var_os("NATRIG_UPDATE_DOCS").is_some() {
        let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures/growth.svg");
        fs::write(&picture, growth::draw(&costs)).expect("the picture is written");
    }
}

/// Processor time that this process has had, in seconds.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // User and system, in hundredths (proc(5): fields 14 and 15, here counted from the third).
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// The most memory that was resident at once, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kilo| kilo.parse::<u64>().ok()).unwrap_or_default() * 1024
}
