//! What one core relays: `cargo bench -p omerta-mesh --bench relay [ROUNDS]`.
//!
//! One client sends the same datagrams over loopback three ways: straight, through a session of the omerta-mesh daemon, and
//! through a channel of coturn, if that is installed. The relay has one core to itself, the client another. Told are how many
//! datagrams a second arrive while the client keeps a few dozen under way, how many that makes for each second that the relay
//! is on the processor, and how long a datagram takes at 5,000 a second, beyond what it takes straight. Each figure is the
//! median of all rounds; in a round every way has its turn.

mod direct;
mod load;
mod mesh;
#[path = "../process/mod.rs"]
mod process;
mod turn;

use std::time::Duration;

use load::{Latency, Rate, Way};

const SIZES: [usize; 2] = [100, 1200];
const RATE_FOR: Duration = Duration::from_millis(500);
const LATENCY_FOR: Duration = Duration::from_millis(500);

fn main() {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(5usize).clamp(1, 100);
    let cores = process::cores();
    match cores.as_slice() {
        [client, relay, ..] => println!("client on core {client}, relay on core {relay}, {rounds} rounds"),
        _ => println!("only one core: client and relay share it, so the figures say little"),
    }
    if !process::prefer() {
        println!("other programs have the same priority, so the figures hang on what else runs");
    }
    let (client, relay) = (cores.first().copied(), cores.get(1).copied());
    // What is started now inherits the core.
    process::pin(relay);
    let mesh = mesh::Relay::start();
    let coturn = turn::Coturn::start();
    process::pin(client);

    let mut ways: Vec<Box<dyn Way>> = vec![Box::new(direct::Direct::new()), Box::new(mesh.way())];
    match &coturn {
        Ok(coturn) => ways.push(Box::new(coturn.way())),
        Err(why) => println!("no figures of coturn: {why}"),
    }
    for size in SIZES {
        println!(
            "\n{size} bytes       datagrams/s   lost %  relay busy %  per core second    p50 us    p99 us  added p50  added p99"
        );
        let mut measured: Vec<Vec<(Rate, Latency)>> = vec![Vec::new(); ways.len()];
        for _ in 0..rounds {
            for (at, figures) in measured.iter_mut().enumerate() {
                let rate = load::rate(&mut ways, at, size, RATE_FOR);
                figures.push((rate, load::latency(&mut ways, at, size, LATENCY_FOR)));
            }
        }
        let figures: Vec<Figures> = measured.iter().map(|measured| Figures::of(measured)).collect();
        for (way, own) in ways.iter().zip(&figures) {
            own.print(way.name(), figures.first().filter(|_| way.relay().is_some()));
        }
        verdict(&figures);
    }
}

/// Medians of all rounds.
struct Figures {
    rate: f64,
    lost: f64,
    busy: f64,
    per_core: f64,
    p50: f64,
    p99: f64,
}

impl Figures {
    fn of(rounds: &[(Rate, Latency)]) -> Self {
        let median = |pick: &dyn Fn(&(Rate, Latency)) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(pick).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Self {
            rate: median(&|(rate, _)| rate.arrived as f64 / rate.took.as_secs_f64()),
            lost: median(&|(rate, _)| 100.0 * rate.lost as f64 / rate.sent.max(1) as f64),
            busy: median(&|(rate, _)| 100.0 * rate.relay.as_secs_f64() / rate.took.as_secs_f64()),
            per_core: median(&|(rate, _)| rate.arrived as f64 / rate.relay.as_secs_f64()),
            p50: median(&|(_, latency)| latency.microseconds(0.5)),
            p99: median(&|(_, latency)| latency.microseconds(0.99)),
        }
    }

    fn print(&self, name: &str, straight: Option<&Figures>) {
        print!("{name:<14} {:>12.0} {:>8.2}", self.rate, self.lost);
        match straight {
            Some(straight) => println!(
                " {:>13.0} {:>16.0} {:>9.0} {:>9.0} {:>10.0} {:>10.0}",
                self.busy,
                self.per_core,
                self.p50,
                self.p99,
                self.p50 - straight.p50,
                self.p99 - straight.p99
            ),
            None => println!(" {:>13} {:>16} {:>9.0} {:>9.0}", "-", "-", self.p50, self.p99),
        }
    }
}

fn verdict(figures: &[Figures]) {
    let [straight, mesh, rest @ ..] = figures else {
        return;
    };
    if let [coturn] = rest {
        let (rate, per_core) = (mesh.rate / coturn.rate, mesh.per_core / coturn.per_core);
        let met = if rate >= 1.0 { "met" } else { "not met" };
        println!(
            "at least coturn's rate: {met} ({rate:.2} times as many a second, {per_core:.2} times per core second)"
        );
    }
    let added = (mesh.p99 - straight.p99) / 1000.0;
    let met = if added < 1.0 { "met" } else { "not met" };
    println!("added latency p99 under 1 ms: {met} ({added:.3} ms)");
}
