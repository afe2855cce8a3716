//! One seed, one run: the same bytes and the same events in every process.

mod world;

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use world::nat::{PORT, Profile, SYMMETRIC};
use world::talk::connected;
use world::{A, B, Crypto, RELAY, Setup};

const PRINT: &str = "OMERTA_PRINT_HASH";

/// Everything that three nodes sent and said, from bootstrap by way of a relay's death to goodbye.
fn hash(seed: u64, a: Profile, b: Profile) -> u64 {
    let setup = Setup { seed, crypto: Crypto::StandIn, keep_payloads: true, ..Setup::default() };
    let (mut world, _) = connected(&setup, a, b);
    world.loss = 0.05;
    for n in 0..20 {
        world.send(A, B, vec![n; 3000]);
        world.send(B, A, vec![n; 10]);
        world.run_for(Duration::from_millis(400));
    }
    world.kill(RELAY);
    (0..5).for_each(|n| world.send(A, B, vec![n; 500]));
    world.run_for(Duration::from_secs(60));
    world.shutdown(A);
    world.run_for(Duration::from_secs(5));
    let mut all = String::new();
    for (at, from, payload) in &world.payloads {
        writeln!(all, "{at:?} {from} {payload:?}").expect("memory");
    }
    for (at, event) in world.events.iter().flat_map(|(at, events)| events.iter().map(move |e| (at, e))) {
        writeln!(all, "{at:?} {event:?}").expect("memory");
    }
    assert!(all.len() > 100_000, "a run of {} characters", all.len());
    xxhash_rust::xxh3::xxh3_64(all.as_bytes())
}

fn hashes() -> String {
    let pairs = [(PORT, PORT), (SYMMETRIC, SYMMETRIC), (PORT, SYMMETRIC)];
    let hashes = pairs.iter().zip(1..).map(|((a, b), seed)| hash(seed, *a, *b).to_string());
    hashes.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_run_is_the_same_in_every_process() {
    let here = hashes();
    if std::env::var_os(PRINT).is_some() {
        println!("hashes: {here}.");
        return;
    }
    for _ in 0..2 {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "a_run_is_the_same_in_every_process", "--nocapture"])
            .env(PRINT, "1")
            .output()
            .expect("another process");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(&format!("hashes: {here}.")), "not {here}: {text}");
    }
}
