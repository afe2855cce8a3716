//! What a connection costs: `cargo bench -p omerta-mesh --bench cost [CONNECTIONS] [SECONDS]`.
//!
//! A node on 127.0.0.1, to which as many nodes as are wanted connect from another process. Memory is what the system says of
//! the first process, before and after; what it costs to be idle is its time on the processor over some seconds.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use omerta_mesh::{Bootstrap, Node};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

const CHILD: &str = "connect-to";

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |at: usize, usual: usize| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(usual);
    match words.first().map(String::as_str) {
        Some(CHILD) => connect(words.get(1).expect("a node").parse().expect("a node"), number(2, 1)).await,
        _ => measure(number(0, 200), Duration::from_secs(number(1, 30) as u64)).await,
    }
}

/// The other process: nodes that connect and stay until their input ends.
async fn connect(hub: Bootstrap, count: usize) {
    let mut nodes = Vec::new();
    for _ in 0..count {
        let node = Node::builder().listen(loopback()).bootstrap(hub).start().await.expect("starts");
        let connection = node.connect(hub.id).await.expect("connects");
        connection.send("here").await.expect("arrives");
        nodes.push(node);
    }
    println!("all");
    let mut end = Vec::new();
    tokio::io::stdin().read_to_end(&mut end).await.expect("an end");
}

async fn measure(count: usize, idle: Duration) {
    let node = Node::builder().listen(loopback()).relay(50).start().await.expect("starts");
    let hub = Bootstrap { id: node.id(), address: node.local_address() };
    let before = memory();
    let begun = Instant::now();
    let mut child = Command::new(std::env::current_exe().expect("a program"))
        .args([CHILD, &hub.to_string(), &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let mut told = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut connections = Vec::new();
    while connections.len() < count {
        let connection = node.accept().await.expect("runs");
        connection.recv().await.expect("a message");
        connections.push(connection);
    }
    assert_eq!(told.next_line().await.expect("text").as_deref(), Some("all"));
    let took = begun.elapsed();
    let each = (memory() - before) / count as u64;
    let (busy, at) = (processor(), Instant::now());
    tokio::time::sleep(idle).await;
    let idle = (processor() - busy).as_secs_f64() / at.elapsed().as_secs_f64();
    println!("{count} connections, one after the other, in {:.2} s", took.as_secs_f64());
    println!("memory: {} kB a connection (goal: 200 kB, at most 5 MB)", each / 1000);
    println!("idle: {:.2} % of a core with {count} connections (goal: below 1 %)", idle * 100.0);
}

/// Resident memory in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("told");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Time on the processor so far.
fn processor() -> Duration {
    // Nanoseconds on the processor are the first number; all that runs here runs on this thread.
    let stat = std::fs::read_to_string("/proc/self/schedstat").expect("Linux");
    let first = stat.split_whitespace().next().expect("told");
    Duration::from_nanos(first.parse().expect("a number"))
}
