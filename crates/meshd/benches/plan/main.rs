//! The performance cases of the test plan that need real sockets: `scripts/bench plan [--long] [ID...]`.
//!
//! Nodes of the library in processes of their own, over loopback. Each case is a row of the table whose head the script
//! prints; those that need links with delays are rows of `natrig-sim`'s bench of the same name.

mod cost;
mod load;
mod pair;
#[path = "../process/mod.rs"]
mod process;
mod row;
mod steady;

use std::time::Duration;

use pair::{Pair, Way};
use row::Row;

/// Connections of the node whose memory is looked at.
const CONNECTIONS: usize = 200;
const IDLE: Duration = Duration::from_secs(10);
/// Of T5.2.5, and what is done of it unless all is asked for.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // `cargo test --benches` asks every bench to show that it starts.
        ["--test", ..] => {}
        [pair::CHILD, listen, key, bootstrap @ ..] => {
            pair::serve(listen, key, bootstrap.first().copied()).await;
        }
        [cost::CHILD, hub, count] => {
            cost::connect(hub.parse().expect("a node"), count.parse().expect("a number")).await;
        }
        words => {
            let ids = words.iter().copied().filter(|word| word.starts_with('T')).collect();
            let length = if words.contains(&"--long") { LONG } else { SHORT };
            Plan { ids, length }.print().await;
        }
    }
}

/// What is to be measured.
struct Plan<'a> {
    /// These cases; if none is named, all.
    ids: Vec<&'a str>,
    /// Of T5.2.5.
    length: Duration,
}

impl Plan<'_> {
    fn wants(&self, ids: &[&str]) -> bool {
        self.ids.is_empty() || ids.iter().any(|id| self.ids.contains(id))
    }

    async fn print(&self) {
        if !process::prefer() {
            eprintln!("other programs have the same priority, so the figures hang on what else runs");
        }
        // First: what this process has had and given back would be used again, and not be seen to grow.
        if self.wants(&["T5.4.1", "T5.4.2", "T5.4.4"]) {
            self.rows(&cost::rows(CONNECTIONS, IDLE).await);
        }
        if self.wants(&["T5.1.1", "T5.2.1", "T5.2.2", "T5.2.5", "T5.4.3", "T1.1.3"]) {
            self.print_direct(&mut Pair::start(Way::Direct).await).await;
        }
        if self.wants(&["T5.2.3", "T5.2.4"]) {
            self.print_relayed(&mut Pair::start(Way::Relay).await).await;
        }
    }

    async fn print_direct(&self, pair: &mut Pair) {
        if self.wants(&["T5.1.1"]) {
            self.rows(&[load::round_trips(pair).await]);
        }
        if self.wants(&["T5.2.5"]) {
            self.rows(&[steady::row(pair, self.length).await]);
        }
        if self.wants(&["T5.2.1"]) {
            self.rows(&[load::small("T5.2.1", "direct, small datagrams", 50_000, pair).await]);
        }
        if self.wants(&["T1.1.3", "T5.2.2"]) {
            let carried = load::stream(pair, None, load::MEASURED).await;
            self.rows(&[
                load::large("T1.1.3", "bulk transfer, a stream", 100, &carried),
                load::large("T5.2.2", "direct, a stream", 500, &carried),
            ]);
        }
        if self.wants(&["T5.4.3"]) {
            self.rows(&[load::processor(pair).await]);
        }
    }

    async fn print_relayed(&self, pair: &mut Pair) {
        if self.wants(&["T5.2.3"]) {
            self.rows(&[load::small("T5.2.3", "over a relay, small datagrams", 20_000, pair).await]);
        }
        if self.wants(&["T5.2.4"]) {
            let carried = load::stream(pair, None, load::MEASURED).await;
            self.rows(&[load::large("T5.2.4", "over a relay, a stream", 200, &carried)]);
        }
    }

    fn rows(&self, rows: &[Row]) {
        rows.iter().filter(|row| self.wants(&[row.id])).for_each(|row| println!("{row}"));
    }
}
