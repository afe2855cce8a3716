//! How fast the engine is on one core, and how large, by the number of mappings: `cargo bench -p natrig-nat`.
//!
//! Keys are random, there is a pool of 32 addresses, and packets come in another order than that in memory. What is
//! counted is this thread's time on the processor, so that other work on the host does not count; of several rounds the
//! best one stands, since what disturbs a processor's caches only adds. Established packets go through the path that is
//! meant for many, [`Engine::look_ahead`] before each few dozen; beside it stands each packet alone.

use std::{fs, hint::black_box, net::SocketAddrV4, process::Command, time::Duration};

use natrig_nat::{
    Engine, Preset, Profile,
    engine::{Addresses, Packet, Side, Verdict},
    profile::{Limits, Pool, Pooling},
};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_pcg::Pcg64Mcg;
use rustix::time::{ClockId, clock_gettime};

/// Packets in a round, and rounds.
const PACKETS: usize = 1_000_000;
const ROUNDS: usize = 5;
/// As many as a driver reads at once.
const BATCH: usize = 32;
const NOW: Duration = Duration::ZERO;
/// Asks for the size of one engine only.
const SIZE: &str = "NATRIG_BENCH_SIZE";

fn main() {
    // Cargo passes this when it measures, and not when it tests.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Ok(what) = std::env::var(SIZE) {
        return println!("{}", own_size(&what));
    }
    let only: Option<usize> = std::env::args().find_map(|argument| argument.parse().ok());
    for preset in [Preset::PortRestrict, Preset::Symmetric] {
        let counts =
            [1_000, 100_000, 1_000_000].into_iter().filter(|count| only.is_none_or(|only| only == *count));
        let figures: Vec<Figures> = counts.map(|count| measure(preset, count)).collect();
        let ratio = |cost: fn(&Figures) -> f64| {
            let costs = figures.iter().map(cost);
            costs.clone().fold(0.0, f64::max) / costs.fold(f64::MAX, f64::min)
        };
        println!(
            "{preset:14} most to least: new {:.1}, churn {:.1}, out {:.1}, in {:.1}; alone {:.1}",
            ratio(|figures| figures.new),
            ratio(|figures| figures.churn),
            ratio(|figures| figures.out),
            ratio(|figures| figures.back),
            ratio(|figures| figures.alone),
        );
    }
}

/// Nanoseconds each.
struct Figures {
    new: f64,
    churn: f64,
    alone: f64,
    out: f64,
    back: f64,
}

fn measure(preset: Preset, count: usize) -> Figures {
    let mut random = Pcg64Mcg::seed_from_u64(1);
    let packets = packets(&mut random, count);
    let bytes = size(preset, count);
    let mut engine = engine(preset);
    fill(&mut engine, &packets);
    let new = {
        // From nothing, with all that grows on the way; as often as makes a round.
        let times = PACKETS.div_ceil(count);
        let mut engines: Vec<Engine> = Vec::new();
        best(if count == PACKETS { 2 } else { ROUNDS }, || {
            engines.clear();
            engines.extend((0..times).map(|_| self::engine(preset)));
            let started = processor_time();
            engines.iter_mut().for_each(|engine| fill(engine, &packets));
            (processor_time() - started, times * count)
        })
    };
    let churn = churn(preset, count);
    let mut answers: Vec<Packet> = packets
        .iter()
        .filter_map(|packet| match engine.outbound(NOW, *packet) {
            Verdict::Forward { to: Side::Outside, packet: sent } => {
                Some(Packet::udp(packet.destination, sent.source))
            }
            _ => None,
        })
        .collect();
    assert!(answers.len() * 100 >= count * 99, "{} of {count}", answers.len());
    let mut packets = packets;
    packets.shuffle(&mut random);
    answers.shuffle(&mut random);
    let alone = round(|| {
        for packet in packets.iter().cycle().take(PACKETS) {
            black_box(engine.outbound(NOW, *packet));
        }
    });
    let out = round(|| {
        for batch in batches(&packets) {
            engine.look_ahead(Side::Inside, batch);
            for packet in batch {
                black_box(engine.outbound(NOW, *packet));
            }
        }
    });
    let back = round(|| {
        for batch in batches(&answers) {
            engine.look_ahead(Side::Outside, batch);
            for packet in batch {
                black_box(engine.inbound(NOW, *packet));
            }
        }
    });
    let show = |nanoseconds: f64| format!("{:.2} M/s ({nanoseconds:.0} ns)", 1e3 / nanoseconds);
    println!(
        "{preset:14} {count:>9} mappings: new {}, churn {}, out {}, in {}, out alone {}, {bytes} bytes each",
        show(new),
        show(churn),
        show(out),
        show(back),
        show(alone),
    );
    Figures { new, churn, alone, out, back }
}

fn batches(packets: &[Packet]) -> impl Iterator<Item = &[Packet]> {
    packets.chunks_exact(BATCH).cycle().take(PACKETS / BATCH)
}

/// New flows at a constant number of mappings: each comes when the oldest one ends.
fn churn(preset: Preset, count: usize) -> f64 {
    let mut random = Pcg64Mcg::seed_from_u64(2);
    let mut engine = engine(preset);
    let life = engine.profile().timers.unreplied;
    let step = life / count as u32;
    let mut now = NOW;
    let mut pass = |packets: &[Packet]| {
        for batch in packets.chunks(BATCH) {
            engine.look_ahead(Side::Inside, batch);
            for packet in batch {
                now += step;
                black_box(engine.outbound(now, *packet));
            }
        }
    };
    pass(&packets(&mut random, count));
    let mut more = packets(&mut random, PACKETS);
    best(if count == PACKETS { 2 } else { ROUNDS }, || {
        // Others than those that are there.
        more.iter_mut().for_each(|packet| packet.source.set_port(packet.source.port().wrapping_add(1)));
        let started = processor_time();
        pass(&more);
        (processor_time() - started, PACKETS)
    })
}

fn engine(preset: Preset) -> Engine {
    let mut profile = Profile::of(preset);
    profile.pool = Pool { addresses: 32, pooling: Pooling::Paired };
    profile.limits = Limits { per_host: None, mappings: 2_000_000, flows: 2_000_000 };
    let addresses = Addresses {
        outside: (1..=32).map(|last| [192, 0, 2, last].into()).collect(),
        inside: "10.0.0.0/8".parse().unwrap(),
    };
    Engine::new(profile, addresses, 1).unwrap()
}

fn packets(random: &mut Pcg64Mcg, count: usize) -> Vec<Packet> {
    let packet = |_| {
        let inside =
            SocketAddrV4::new((0x0a00_0000 | random.random_range(1..1u32 << 24)).into(), random.random());
        let remote =
            SocketAddrV4::new(random.random_range(0xc633_0000..0xc633_ffff_u32).into(), random.random());
        Packet::udp(inside, remote)
    };
    (0..count).map(packet).collect()
}

fn fill(engine: &mut Engine, packets: &[Packet]) {
    for batch in packets.chunks(BATCH) {
        engine.look_ahead(Side::Inside, batch);
        for packet in batch {
            black_box(engine.outbound(NOW, *packet));
        }
    }
}

fn round(mut work: impl FnMut()) -> f64 {
    best(ROUNDS, || {
        let started = processor_time();
        work();
        (processor_time() - started, PACKETS)
    })
}

/// The least time per packet.
fn best(rounds: usize, mut work: impl FnMut() -> (Duration, usize)) -> f64 {
    let each = |_| {
        let (time, packets) = work();
        time.as_nanos() as f64 / packets as f64
    };
    (0..rounds).map(each).fold(f64::MAX, f64::min)
}

/// What this thread has had of the processor so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Bytes in memory for each mapping, of a process that has had no others: memory that was freed would be taken again.
fn size(preset: Preset, count: usize) -> usize {
    let mut again = Command::new(std::env::current_exe().unwrap());
    let said = again.arg("--bench").env(SIZE, format!("{preset} {count}")).output().unwrap().stdout;
    String::from_utf8(said).unwrap().trim().parse().unwrap()
}

fn own_size(what: &str) -> usize {
    let (preset, count) = what.split_once(' ').unwrap();
    let count = count.parse().unwrap();
    let packets = packets(&mut Pcg64Mcg::seed_from_u64(1), count);
    let before = resident();
    let mut engine = engine(preset.parse().unwrap());
    fill(&mut engine, &packets);
    (resident() - before) / engine.mappings(NOW)
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|count| count.parse::<usize>().ok()).unwrap_or(0) * 4096
}
