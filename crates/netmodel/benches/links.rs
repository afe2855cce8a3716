//! Prints how long a link takes to decide, and how large it is: `cargo bench -p natrig-netmodel`.
//!
//! Times are the best of several rounds, without what the loop itself takes: other work on the host only adds. Memory is
//! the process's own.

use std::hint::black_box;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use natrig_netmodel::{
    Chance, Conditions, Distribution, Fate, GilbertElliott, Jitter, Link, Probability, Queue, Rate,
};

const DECISIONS: u32 = 1_000_000;
const ROUNDS: usize = 7;
/// How many links are made to see how large one is.
const LINKS: usize = 100_000;

fn main() {
    // Cargo passes this when it measures, and not when it tests.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let nothing = measure(|now, _| now);
    println!("{:<24} {:>6} {:>6}", "conditions", "bytes", "ns");
    // Kept, so that none has the memory of another.
    let mut kept = Vec::new();
    for (name, conditions) in worlds() {
        let before = resident();
        let many: Vec<_> = (0..LINKS as u64).map(|seed| Link::new(conditions, seed)).collect();
        let size = (resident() - before).div_ceil(LINKS);
        let mut link = Link::new(conditions, 1);
        let took = measure(|now, length| match link.decide(now, length) {
            Fate::Departs(departures) => departures.map(|departure| departure.at).max().unwrap_or_default(),
            Fate::Lost(_) => now,
        });
        println!("{name:<24} {size:>6} {:>6.1}", (took - nothing).max(0.0));
        kept.push(many);
    }
}

/// The nanoseconds that each of many calls takes, with those of the loop around it.
fn measure(mut call: impl FnMut(Duration, usize) -> Duration) -> f64 {
    let mut now = Duration::ZERO;
    let mut round = || {
        let start = Instant::now();
        for _ in 0..DECISIONS {
            now += Duration::from_micros(200);
            black_box(call(black_box(now), black_box(1000)));
        }
        start.elapsed().as_nanos() as f64 / f64::from(DECISIONS)
    };
    std::iter::repeat_with(&mut round).take(ROUNDS).fold(f64::INFINITY, f64::min)
}

fn worlds() -> Vec<(&'static str, Conditions)> {
    let delayed = Conditions::delayed(Duration::from_millis(20));
    let chance = |chance| Chance::from(Probability::new(chance).unwrap_or_default());
    let jitter = |distribution| {
        let spread = Duration::from_millis(5);
        Conditions { jitter: Jitter { spread, distribution, ..Jitter::default() }, ..delayed }
    };
    let bursts = GilbertElliott::simple(Probability::new(0.01).unwrap_or_default(), 5.0);
    let queue = Queue::Time(Duration::from_millis(100));
    let rate = NonZeroU64::new(50_000_000).map(|bits_per_second| Rate { bits_per_second, queue });
    let all = Conditions {
        rate,
        loss: chance(0.01),
        bursts,
        duplicate: chance(0.01),
        reorder: chance(0.01),
        corrupt: chance(0.01),
        ..jitter(Distribution::Normal)
    };
    vec![
        ("none", Conditions::default()),
        ("delay", delayed),
        ("delay, rate", Conditions { rate, ..delayed }),
        ("delay, loss", Conditions { loss: chance(0.01), ..delayed }),
        ("delay, bursts", Conditions { bursts, ..delayed }),
        ("delay, uniform jitter", jitter(Distribution::Uniform)),
        ("delay, normal jitter", jitter(Distribution::Normal)),
        ("delay, pareto jitter", jitter(Distribution::Pareto)),
        ("delay, duplicate", Conditions { duplicate: chance(0.01), ..delayed }),
        ("delay, reorder", Conditions { reorder: chance(0.01), ..delayed }),
        ("delay, corrupt", Conditions { corrupt: chance(0.01), ..delayed }),
        ("all", all),
    ]
}

/// How much of the machine's memory this process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}
