//! Loads, and what came of them.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::pair::Pair;
use crate::process;
use crate::row::Row;

/// Bytes of a small datagram.
const SMALL: usize = 100;
/// Bytes handed to a stream at once.
const CHUNK: usize = 64 << 10;
/// Datagrams handed over before the node gets its turn, where they may share packets.
const BURST: u64 = 32;
const PINGS: usize = 1000;
const WARM: Duration = Duration::from_millis(500);
pub const MEASURED: Duration = Duration::from_secs(3);
/// At each rate that is tried.
const STEP: Duration = Duration::from_secs(2);
/// A rate is carried where at least so much arrives.
const CARRIED: f64 = 0.99;
/// What is under way when a time ends comes within this.
const SETTLE: Duration = Duration::from_millis(200);
/// What T5.2.2 asks for, in Mbit/s.
const LARGE: u64 = 500;

/// What was carried in a time, and the time on the processor that it took: sender, receiver, relay.
pub struct Carried {
    pub took: Duration,
    pub bytes: u64,
    pub datagrams: u64,
    /// UDP datagrams of the sender.
    pub packets: u64,
    pub busy: Vec<f64>,
}

impl Carried {
    pub fn megabits(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e6 / self.took.as_secs_f64()
    }

    fn per_second(&self) -> f64 {
        self.datagrams as f64 / self.took.as_secs_f64()
    }

    /// In per cent of a core.
    fn busy(&self) -> String {
        let names = ["sender", "receiver", "relay"];
        let busy = names.iter().zip(&self.busy).map(|(name, busy)| format!("{name} {:.0} %", busy * 100.0));
        busy.collect::<Vec<_>>().join(", ")
    }
}

/// T5.1.1: pings on an idle connection, there and back.
pub async fn round_trips(pair: &mut Pair) -> Row {
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        times.push(pair.ping().await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let [p50, p99] = percentiles(times).map(|time| time.as_secs_f64() * 1000.0);
    Row {
        id: "T5.1.1",
        what: "direct, one machine: there and back",
        target: "p50 < 5 ms, p99 < 20 ms".into(),
        actual: format!("{p50:.2} / {p99:.2} ms, {PINGS} pings"),
        reached: p50 < 5.0 && p99 < 20.0,
    }
}

/// The median and the 99th of a hundred.
pub fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort();
    [50, 99].map(|part| times[times.len() * part / 100])
}

/// Small datagrams, each in a packet of its own: the target is one of packets. Beside it, what goes where many share one.
pub async fn small(id: &'static str, what: &'static str, target: u64, pair: &mut Pair) -> Row {
    let alone = most(id, target / 2, 1, pair).await;
    let begin_at = alone.as_ref().map_or(target / 2, |most| most.per_second() as u64);
    let together = most(id, begin_at, BURST, pair).await;
    let [alone_rate, together_rate] =
        [&alone, &together].map(|most| most.as_ref().map_or(0.0, Carried::per_second));
    let busy = alone.as_ref().map(Carried::busy).unwrap_or_default();
    let [alone, packets] =
        [alone_rate, alone.map_or(0.0, |most| most.packets as f64 / most.took.as_secs_f64())]
            .map(|rate| rate / 1000.0);
    Row {
        id,
        what,
        target: format!("> {} kpps", target / 1000),
        actual: format!(
            "{alone:.0} kpps of {SMALL} bytes in {packets:.0} thousand packets a second ({busy}); {:.0} kpps where many share a packet",
            together_rate / 1000.0
        ),
        reached: alone_rate >= target as f64,
    }
}

/// The highest rate at which nearly all datagrams arrive, in steps of a quarter.
async fn most(id: &str, begin_at: u64, burst: u64, pair: &mut Pair) -> Option<Carried> {
    let (mut best, mut rate) = (None, begin_at);
    loop {
        let carried = datagrams(pair, rate, burst).await;
        let share = carried.per_second() / rate as f64;
        eprintln!("{id}: of {rate} datagrams a second {:.1} % arrive ({})", share * 100.0, carried.busy());
        if share < CARRIED {
            return best;
        }
        best = Some(carried);
        rate += rate / 4;
    }
}

/// Datagrams at a rate, so many at once.
async fn datagrams(pair: &mut Pair, rate: u64, burst: u64) -> Carried {
    let (before, packets) = (pair.count().await.datagrams, pair.packets());
    let busy = Busy::begin(pair);
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < STEP {
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        for _ in 0..due.saturating_sub(sent).min(burst) {
            pair.connection.send_datagram(vec![0xa5; SMALL]).expect("is connected");
            sent += 1;
        }
        match due > sent {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    let (took, busy) = (begun.elapsed(), busy.end());
    tokio::time::sleep(SETTLE).await;
    let datagrams = pair.count().await.datagrams - before;
    Carried { took, bytes: datagrams * SMALL as u64, datagrams, packets: pair.packets() - packets, busy }
}

/// A stream held against a target in Mbit/s.
pub fn large(id: &'static str, what: &'static str, target: u64, carried: &Carried) -> Row {
    Row {
        id,
        what,
        target: format!("> {target} Mbit/s"),
        actual: format!("{:.0} Mbit/s ({})", carried.megabits(), carried.busy()),
        reached: carried.megabits() > target as f64,
    }
}

/// T5.4.3: loopback has no limit but the processor, so the rate is the one that the plan wants of a direct path.
pub async fn processor(pair: &mut Pair) -> Row {
    let carried = stream(pair, Some(LARGE * 1_000_000 / 8), MEASURED).await;
    let reached = carried.megabits() > 0.95 * LARGE as f64 && carried.busy.iter().all(|busy| *busy < 0.5);
    Row {
        id: "T5.4.3",
        what: "processor at 500 Mbit/s, directly",
        target: "< 50 % of a core".into(),
        actual: format!("{} at {:.0} Mbit/s", carried.busy(), carried.megabits()),
        reached,
    }
}

/// A stream, at so many bytes a second or as fast as it goes.
pub async fn stream(pair: &mut Pair, rate: Option<u64>, during: Duration) -> Carried {
    let mut stream = pair.connection.open_stream().await.expect("is connected");
    let data = vec![0x5a; CHUNK];
    let begun = Instant::now();
    let mut measured = None;
    let mut written = 0u64;
    while begun.elapsed() < WARM + during {
        if measured.is_none() && begun.elapsed() >= WARM {
            measured = Some((pair.count().await.bytes, Busy::begin(pair), Instant::now()));
        }
        let due = rate.map_or(u64::MAX, |rate| (begun.elapsed().as_secs_f64() * rate as f64) as u64);
        match due > written {
            true => {
                stream.write_all(&data).await.expect("is connected");
                written += CHUNK as u64;
            }
            false => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    let (before, busy, since) = measured.expect("longer than the warming");
    let (bytes, took, busy) = (pair.count().await.bytes - before, since.elapsed(), busy.end());
    stream.shutdown().await.expect("is connected");
    Carried { took, bytes, datagrams: 0, packets: 0, busy }
}

/// Time on the processor of a pair's processes, from a moment on.
struct Busy {
    begun: Instant,
    before: Vec<(u32, Duration)>,
}

impl Busy {
    fn begin(pair: &Pair) -> Self {
        let before = pair.processes().into_iter().map(|one| (one, process::time(one))).collect();
        Self { begun: Instant::now(), before }
    }

    /// As parts of a core.
    fn end(&self) -> Vec<f64> {
        let took = self.begun.elapsed().as_secs_f64();
        let part = |(one, before): &(u32, Duration)| (process::time(*one) - *before).as_secs_f64() / took;
        self.before.iter().map(part).collect()
    }
}
