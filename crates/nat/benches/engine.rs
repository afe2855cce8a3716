//! How fast the engine is on one core, by the number of mappings: `cargo bench -p natrig-nat`.

use std::{
    fs,
    hint::black_box,
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use natrig_nat::{
    Engine, Preset, Profile,
    engine::{Addresses, Packet, Side, Verdict},
    profile::{Limits, Pool, Pooling},
};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_pcg::Pcg64Mcg;

const PACKETS: usize = 4_000_000;
/// As many as a driver reads at once.
const BATCH: usize = 32;
const NOW: Duration = Duration::ZERO;

fn main() {
    // Cargo passes this when it measures, and not when it tests.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for preset in [Preset::PortRestrict, Preset::Symmetric] {
        for count in [1_000, 100_000, 1_000_000] {
            measure(preset, count);
        }
    }
}

fn measure(preset: Preset, count: usize) {
    let mut profile = Profile::of(preset);
    profile.pool = Pool { addresses: 32, pooling: Pooling::Paired };
    profile.limits = Limits { per_host: None, mappings: 2_000_000, flows: 2_000_000 };
    let addresses = Addresses {
        outside: (1..=32).map(|last| [192, 0, 2, last].into()).collect(),
        inside: "10.0.0.0/8".parse().unwrap(),
    };
    let mut random = Pcg64Mcg::seed_from_u64(1);
    let packets: Vec<Packet> = (0..count)
        .map(|_| {
            let inside =
                SocketAddrV4::new((0x0a00_0000 | random.random_range(1..1u32 << 24)).into(), random.random());
            let remote =
                SocketAddrV4::new(random.random_range(0xc633_0000..0xc633_ffff_u32).into(), random.random());
            Packet::udp(inside, remote)
        })
        .collect();
    let memory = resident();
    let mut engine = Engine::new(profile, addresses, 1).unwrap();
    let start = Instant::now();
    for packet in &packets {
        black_box(engine.outbound(NOW, *packet));
    }
    let new = start.elapsed() / count as u32;
    let bytes = resident().saturating_sub(memory) / count;
    let answers: Vec<Packet> = packets
        .iter()
        .filter_map(|packet| match engine.outbound(NOW, *packet) {
            Verdict::Forward { to: Side::Outside, packet: sent } => {
                Some(Packet::udp(packet.destination, sent.source))
            }
            _ => None,
        })
        .collect();
    assert!(answers.len() * 100 >= count * 99, "{} of {count}", answers.len());
    // Another order than that in memory, read in a row: what is measured is the engine's memory, not this one's.
    let (mut packets, mut answers) = (packets, answers);
    packets.shuffle(&mut random);
    answers.shuffle(&mut random);
    let start = Instant::now();
    for packet in packets.iter().cycle().take(PACKETS) {
        black_box(engine.outbound(NOW, *packet));
    }
    let alone = start.elapsed() / PACKETS as u32;
    let start = Instant::now();
    for batch in packets.chunks(BATCH).cycle().take(PACKETS / BATCH) {
        black_box(engine.look_ahead(Side::Inside, batch));
        for packet in batch {
            black_box(engine.outbound(NOW, *packet));
        }
    }
    let out = start.elapsed() / PACKETS as u32;
    let start = Instant::now();
    for batch in answers.chunks(BATCH).cycle().take(PACKETS / BATCH) {
        black_box(engine.look_ahead(Side::Outside, batch));
        for packet in batch {
            black_box(engine.inbound(NOW, *packet));
        }
    }
    let back = start.elapsed() / PACKETS as u32;
    let mega = |each: Duration| 1e3 / each.as_nanos() as f64;
    println!(
        "{preset:14} {count:>9} mappings: new {:.2} M/s ({new:?}), out alone {:.2} M/s \
         ({alone:?}), out {:.2} M/s ({out:?}), in {:.2} M/s ({back:?}), \
         {bytes} bytes each",
        mega(new),
        mega(alone),
        mega(out),
        mega(back),
    );
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|count| count.parse::<usize>().ok()).unwrap_or(0) * 4096
}
