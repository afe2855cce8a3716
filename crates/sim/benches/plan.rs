//! The performance cases of the test plan that need links with delays, in virtual time: `scripts/bench plan [ID...]`.
//!
//! Each case is a row of the table whose head the script prints; those that need real sockets are rows of `omerta-mesh`'s
//! bench of the same name.

#[path = "../tests/estate/mod.rs"]
mod estate;
#[path = "../tests/pace/mod.rs"]
mod pace;
#[path = "../tests/village/mod.rs"]
mod village;

use pace::Times;

// As natrig has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A case of latency: its ID, what it is, the targets of median and 99th of a hundred in milliseconds, how to get the times.
type Case = (&'static str, &'static str, [f64; 2], fn() -> Times);

const LATENCIES: [Case; 6] = [
    ("T5.1.1", "direct, LAN", [5.0, 20.0], pace::lan),
    ("T5.1.2", "direct, within Europe", [30.0, 100.0], pace::direct_in_region),
    ("T5.1.3", "over a relay, within Europe", [50.0, 150.0], pace::relay_in_region),
    ("T5.1.4", "over a relay, Europe to North America", [100.0, 300.0], || {
        pace::relay_across("north-america")
    }),
    ("T5.1.4", "over a relay, Europe to Asia", [100.0, 300.0], || pace::relay_across("asia")),
    ("T5.1.5", "over three links, within Europe", [100.0, 300.0], pace::three_hops),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` asks every bench to show that it starts.
    if words.iter().any(|word| word == "--test") {
        return;
    }
    let ids: Vec<&str> = words.iter().map(String::as_str).filter(|word| word.starts_with('T')).collect();
    let wanted = |id: &str| ids.is_empty() || ids.contains(&id);
    for (id, what, targets, times) in LATENCIES.into_iter().filter(|(id, ..)| wanted(id)) {
        let times = times();
        let (count, [p50, p99]) = (times.messages.len(), Times::percentiles(times.messages));
        let pings = match times.pings.is_empty() {
            true => String::new(),
            false => {
                let [p50, p99] = Times::percentiles(times.pings);
                format!("; pings there and back {p50:.1} / {p99:.1} ms")
            }
        };
        let target = format!("p50 < {:.0} ms, p99 < {:.0} ms", targets[0], targets[1]);
        let actual = format!("{p50:.1} / {p99:.1} ms, {count} messages{pings}");
        row(id, what, &target, &actual, p50 < targets[0] && p99 < targets[1]);
    }
    if wanted("T1.1.3") {
        let rate = pace::bulk();
        row(
            "T1.1.3",
            "bulk transfer, LAN of 1 Gbit/s",
            "> 100 Mbit/s",
            &format!("{rate:.0} Mbit/s"),
            rate > 100.0,
        );
    }
}

fn row(id: &str, what: &str, target: &str, actual: &str, reached: bool) {
    let reached = if reached { "yes" } else { "**no**" };
    println!("| {id} | {what} | {target} | {actual} | simulator | {reached} |");
}
