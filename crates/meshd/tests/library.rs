//! The library on real sockets: a relay and two nodes on 127.0.0.1, in one process.

use std::net::SocketAddr;
use std::time::Duration;

use omerta_mesh::{Bootstrap, ConnectError, Connection, Event, Node, PathKind, PeerId, SendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

async fn relay() -> (Node, Bootstrap) {
    let relay = Node::builder().listen(loopback()).relay(50).start().await.expect("starts");
    let bootstrap = Bootstrap { id: relay.id(), address: relay.local_address() };
    (relay, bootstrap)
}

async fn node(bootstrap: Bootstrap) -> Node {
    Node::builder().listen(loopback()).bootstrap(bootstrap).start().await.expect("starts")
}

/// A relay, two nodes, and the connection as each of them has it.
async fn pair() -> (Node, [Node; 2], [Connection; 2]) {
    let (relay, bootstrap) = relay().await;
    let (a, b) = (node(bootstrap).await, node(bootstrap).await);
    let there = in_time(a.connect(b.id())).await.expect("connects");
    let here = in_time(b.accept()).await.expect("runs");
    assert_eq!((there.peer(), here.peer()), (b.id(), a.id()));
    (relay, [a, b], [there, here])
}

fn bytes(length: usize, salt: u8) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ salt).collect()
}

#[tokio::test]
async fn messages_streams_and_datagrams_go_both_ways() {
    let (_relay, nodes, [a, b]) = pair().await;
    // Longer than what may wait: the sender is made to wait, and goes on.
    let messages: Vec<Vec<u8>> = (0..6).map(|n| bytes(if n == 0 { 9 } else { 2_500_000 }, n)).collect();
    let sending = async {
        for message in &messages {
            a.send(message.clone()).await.expect("arrives");
        }
    };
    let receiving = async {
        for message in &messages {
            assert!(b.recv().await.expect("open") == *message);
        }
    };
    in_time(async { tokio::join!(sending, receiving) }).await;

    let mut stream = in_time(a.open_stream()).await.expect("opens");
    let mut other = in_time(b.accept_stream()).await.expect("open");
    let content = bytes(3_000_000, 9);
    let write = async {
        stream.write_all(&content).await.expect("written");
        stream.shutdown().await.expect("ended");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        answer
    };
    let read = async {
        let mut read = Vec::new();
        other.read_to_end(&mut read).await.expect("read");
        other.write_all(b"thanks").await.expect("written");
        other.shutdown().await.expect("ended");
        read
    };
    let (answer, read) = in_time(async { tokio::join!(write, read) }).await;
    assert!(read == content);
    assert_eq!(answer, "thanks");

    b.send_datagram(*b"short").expect("goes");
    assert_eq!(in_time(a.recv_datagram()).await.expect("open"), b"short");
    assert!(a.send_datagram(vec![0; 5000]).is_err());

    let path = a.path().expect("connected");
    assert_eq!(path.address, Some(nodes[1].local_address()));
    assert_eq!(path.kind, PathKind::Direct);
}

#[tokio::test]
async fn a_thousand_messages_a_second_are_handled() {
    // T4.4.4
    let (_relay, _nodes, [a, b]) = pair().await;
    let count = 3000u32;
    let begun = std::time::Instant::now();
    let sending = async {
        let mut under_way = tokio::task::JoinSet::new();
        for n in 0..count {
            let a = a.clone();
            under_way.spawn(async move { a.send(n.to_be_bytes()).await });
        }
        for sent in under_way.join_all().await {
            sent.expect("arrives");
        }
    };
    let receiving = async {
        for n in 0..count {
            assert_eq!(b.recv().await.expect("open"), n.to_be_bytes());
        }
    };
    in_time(async { tokio::join!(sending, receiving) }).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_cannot_be_reached_is_told() {
    let (_relay, bootstrap) = relay().await;
    let alone = Node::builder().listen(loopback()).start().await.expect("starts");
    let nobody = PeerId::from_bytes([9; 32]);
    let failed = in_time(alone.connect(nobody)).await;
    assert!(matches!(failed, Err(ConnectError::Failed { .. })), "{failed:?}");

    let (a, b) = (node(bootstrap).await, node(bootstrap).await);
    let mut events = a.events();
    let connection = in_time(a.connect(b.id())).await.expect("connects");
    assert!(in_time(a.connect(b.id())).await.is_ok(), "the same once more");
    let mut stream = in_time(connection.open_stream()).await.expect("opens");
    assert_eq!(in_time(b.accept()).await.expect("runs").peer(), a.id());
    in_time(b.shutdown()).await;
    let closed = in_time(connection.closed()).await;
    assert!(closed.reason.contains("goodbye"), "{closed}");
    assert!(matches!(in_time(connection.send("late")).await, Err(SendError::Closed(_))));
    assert!(in_time(stream.read_u8()).await.is_err());
    assert_eq!(in_time(connection.recv()).await, Err(closed));
    assert_eq!(connection.path(), None);
    let told = async {
        while let Some(event) = events.next().await {
            if matches!(event, Event::Disconnected { .. }) {
                return true;
            }
        }
        false
    };
    assert!(in_time(told).await);
}
