//! T5.2.5: whether what goes well at first goes as well at last.

use std::time::Duration;

use crate::load::{percentiles, stream};
use crate::pair::Pair;
use crate::process;
use crate::row::Row;

/// The load, in Mbit/s: what the plan wants of a bulk transfer, twice.
const RATE: u64 = 200;
/// The first and the last part of the time are held against each other. Pings go between the parts.
const PARTS: u32 = 10;
const PINGS: usize = 100;
/// Of the first part's rate, the last has to have at least this, and of its memory and pings no more than this.
const LEAST: f64 = 0.95;
const MEMORY: f64 = 1.2;
const PING: f64 = 2.0;
/// Pings shorter than this are all the same, in milliseconds.
const SHORT: f64 = 1.0;

/// A part of the time.
struct Part {
    megabits: f64,
    p99: Duration,
    /// Of sender and receiver, in bytes.
    memory: u64,
}

pub async fn row(pair: &mut Pair, length: Duration) -> Row {
    let mut parts = Vec::new();
    for number in 0..PARTS {
        let part = part(pair, length / PARTS).await;
        let (ms, mb) = (part.p99.as_secs_f64() * 1000.0, part.memory as f64 / 1e6);
        eprintln!(
            "T5.2.5: part {}: {:.0} Mbit/s, ping p99 {ms:.1} ms, {mb:.1} MB",
            number + 1,
            part.megabits
        );
        parts.push(part);
    }
    let [first, .., last] = parts.as_slice() else { unreachable!("there are several parts") };
    let memory = |part: &Part| part.memory as f64 / 1e6;
    let ping = |part: &Part| part.p99.as_secs_f64() * 1000.0;
    Row {
        id: "T5.2.5",
        what: "a stream of 200 Mbit/s for long, first tenth against last",
        target: "600 s, no degradation".to_owned(),
        actual: format!(
            "in {} s: {:.0} and {:.0} Mbit/s, ping p99 {:.1} and {:.1} ms, memory of both {:.1} and {:.1} MB",
            length.as_secs(),
            first.megabits,
            last.megabits,
            ping(first),
            ping(last),
            memory(first),
            memory(last),
        ),
        reached: first.megabits >= LEAST * RATE as f64
            && last.megabits >= LEAST * first.megabits
            && memory(last) <= MEMORY * memory(first)
            && ping(last) <= PING * ping(first).max(SHORT),
    }
}

async fn part(pair: &mut Pair, during: Duration) -> Part {
    let carried = stream(pair, Some(RATE * 1_000_000 / 8), during).await;
    let memory = pair.processes().into_iter().map(process::memory).sum();
    let mut times = Vec::new();
    for _ in 0..PINGS {
        times.push(pair.ping().await);
    }
    let [_, p99] = percentiles(times);
    Part { megabits: carried.megabits(), p99, memory }
}
