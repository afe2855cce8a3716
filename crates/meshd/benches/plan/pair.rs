//! Two nodes that are connected, each in a process of its own: this one sends, the other takes and counts.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use omerta_mesh::{Bootstrap, Connection, Event, Events, Node, PathKind};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// What makes this program the other process.
pub const CHILD: &str = "serve";
const PATIENCE: Duration = Duration::from_secs(30);
const READ: usize = 64 << 10;

/// How the two reach each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Straight: both are on 127.0.0.1.
    Direct,
    /// By a relay that is at both addresses of loopback: one has IPv4 alone and the other IPv6, so there is no other way.
    Relay,
}

/// The sender, and what it sends to.
pub struct Pair {
    pub connection: Connection,
    receiver: Served,
    relay: Option<Served>,
    node: Node,
    events: Events,
}

/// What has come.
#[derive(Clone, Copy, Default)]
pub struct Count {
    pub datagrams: u64,
    pub bytes: u64,
}

impl Pair {
    pub async fn start(way: Way) -> Self {
        let key: [u8; 32] = rand::random();
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let (receiver, relay, bootstrap) = match way {
            Way::Direct => {
                let receiver = Served::start(&["127.0.0.1:0", &key]).await;
                let at = receiver.at;
                (receiver, None, at)
            }
            Way::Relay => {
                let relay = Served::start(&["[::]:0", &key]).await;
                let at = |ip: &str| Bootstrap {
                    address: SocketAddr::new(ip.parse().expect("an address"), relay.at.address.port()),
                    ..relay.at
                };
                let receiver = Served::start(&["[::1]:0", &key, &at("::1").to_string()]).await;
                let at = at("127.0.0.1");
                (receiver, Some(relay), at)
            }
        };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let node = Node::builder().listen(listen).network(key.parse().expect("a key")).bootstrap(bootstrap);
        let node = node.start().await.expect("starts");
        let mut events = node.events();
        let connection = timeout(PATIENCE, connect(&node, &receiver)).await.expect("connects in time");
        let settled = async {
            loop {
                match events.next().await.expect("runs") {
                    Event::Settled { peer, path, .. } if peer == receiver.at.id => break path,
                    _ => {}
                }
            }
        };
        let path = timeout(PATIENCE, settled).await.expect("settles in time");
        assert_eq!(path == PathKind::Relay, way == Way::Relay, "the path is not the one to be measured");
        Self { connection, receiver, relay, node, events }
    }

    /// The processes: sender, receiver, and the relay if there is one.
    pub fn processes(&self) -> Vec<u32> {
        let children = [Some(&self.receiver), self.relay.as_ref()].into_iter().flatten();
        std::iter::once(std::process::id()).chain(children.map(|one| one.child.id().expect("runs"))).collect()
    }

    /// How long the receiver's answer takes.
    pub async fn ping(&mut self) -> Duration {
        let id = self.receiver.at.id;
        assert!(self.node.handle().act(|node, now| node.ping(now, id)), "is connected");
        loop {
            let event = timeout(PATIENCE, self.events.next()).await.expect("an answer in time");
            if let Event::PingAnswered { took, .. } = event.expect("runs") {
                return took;
            }
        }
    }

    /// UDP datagrams that the sender has sent.
    pub fn packets(&self) -> u64 {
        self.node.handle().look(|node| node.counters().sent.total().datagrams)
    }

    /// What has come so far.
    pub async fn count(&mut self) -> Count {
        self.receiver.stdin.write_all(b"\n").await.expect("listens");
        let line = self.receiver.line().await;
        let (datagrams, bytes) = line.split_once(' ').expect("two numbers");
        let number = |word: &str| word.parse().expect("a number");
        Count { datagrams: number(datagrams), bytes: number(bytes) }
    }
}

/// Connects as soon as the mesh knows of the receiver.
async fn connect(node: &Node, to: &Served) -> Connection {
    loop {
        match node.connect(to.at.id).await {
            Ok(connection) => break connection,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A node in another process, which ends with this.
struct Served {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    at: Bootstrap,
}

impl Served {
    async fn start(words: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .arg(CHILD)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let stdin = child.stdin.take().expect("piped");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = next(&mut lines).await;
        Self { child, stdin, lines, at: line.parse().expect("a node") }
    }

    async fn line(&mut self) -> String {
        next(&mut self.lines).await
    }
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = timeout(PATIENCE, lines.next_line()).await.expect("a line in time");
    line.expect("text").expect("the other process has ended")
}

/// The other process: a node that tells where it is, takes what comes, and says how much that was for each line that it is
/// given. Without anybody to begin with it serves others.
pub async fn serve(listen: &str, key: &str, bootstrap: Option<&str>) {
    let builder =
        Node::builder().listen(listen.parse().expect("an address")).network(key.parse().expect("a key"));
    let builder = match bootstrap {
        Some(node) => builder.bootstrap(node.parse().expect("a node")),
        None => builder.relay(50),
    };
    let node = builder.start().await.expect("starts (is there IPv6 on loopback?)");
    println!("{}", Bootstrap { id: node.id(), address: node.local_address() });
    let [datagrams, bytes] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let (told, taken) = (datagrams.clone(), bytes.clone());
    tokio::spawn(async move {
        while let Some(connection) = node.accept().await {
            tokio::spawn(take_datagrams(connection.clone(), datagrams.clone()));
            tokio::spawn(take_streams(connection, bytes.clone()));
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        println!("{} {}", told.load(Ordering::Relaxed), taken.load(Ordering::Relaxed));
    }
}

async fn take_datagrams(connection: Connection, count: Arc<AtomicU64>) {
    while connection.recv_datagram().await.is_ok() {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn take_streams(connection: Connection, count: Arc<AtomicU64>) {
    let mut buffer = vec![0; READ];
    while let Ok(mut stream) = connection.accept_stream().await {
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            count.fetch_add(length as u64, Ordering::Relaxed);
        }
    }
}
