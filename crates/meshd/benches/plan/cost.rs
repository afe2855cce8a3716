//! What connections cost a node to which as many others as are wanted connect from another process.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use omerta_mesh::{Bootstrap, Node};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::process;
use crate::row::Row;

/// What makes this program the other process.
pub const CHILD: &str = "connect-to";

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The other process: nodes that connect and stay until their input ends.
pub async fn connect(hub: Bootstrap, count: usize) {
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

/// T5.4.1, T5.4.2 and T5.4.4: memory and descriptors before and after, and the processor's time while all are idle.
pub async fn rows(count: usize, idle: Duration) -> Vec<Row> {
    let own = std::process::id();
    let node = Node::builder().listen(loopback()).relay(50).start().await.expect("starts");
    let hub = Bootstrap { id: node.id(), address: node.local_address() };
    let mut child = Command::new(std::env::current_exe().expect("a program"))
        .args([CHILD, &hub.to_string(), &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let (memory, descriptors) = (process::memory(own), process::descriptors(own));
    let mut told = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut connections = Vec::new();
    while connections.len() < count {
        let connection = node.accept().await.expect("runs");
        connection.recv().await.expect("a message");
        connections.push(connection);
    }
    assert_eq!(told.next_line().await.expect("text").as_deref(), Some("all"));
    let memory = (process::memory(own) - memory) / 1000 / count as u64;
    let (busy, at) = (process::time(own), Instant::now());
    tokio::time::sleep(idle).await;
    let busy = (process::time(own) - busy).as_secs_f64() / at.elapsed().as_secs_f64() * 100.0;
    let opened = process::descriptors(own).saturating_sub(descriptors);
    vec![
        Row {
            id: "T5.4.1",
            what: "memory of a connection, mean of 200",
            target: "< 5 MB".into(),
            actual: format!("{memory} kB"),
            reached: memory < 5000,
        },
        Row {
            id: "T5.4.2",
            what: "processor with 200 idle connections",
            target: "< 1 %".into(),
            actual: format!("{busy:.2} % of a core"),
            reached: busy < 1.0,
        },
        Row {
            id: "T5.4.4",
            what: "descriptors, with 200 peers",
            target: "< 10 a peer".into(),
            actual: format!("{opened} more than with none"),
            reached: opened < 10 * count,
        },
    ]
}
