//! A session of the omerta-mesh daemon, between two real members.
//!
//! The members are nodes of the core on sockets of ours. What they would send to each other is not sent, so they stay on the
//! relay. The session's ID is read from what they do send; the load borrows their sockets and their session.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omerta_mesh::core::{DatagramKind, Identity, Node, Protocol, RustlsCrypto, SocketId};
use omerta_mesh::{Bootstrap, Event, PathKind, PeerId, seeded_config};

use crate::load::{Ends, Way, socket};

const PATIENCE: Duration = Duration::from_secs(20);
/// A frame begins with its kind and the session's ID.
const HEAD: usize = 9;

/// A running relay with a session.
pub struct Relay {
    child: Child,
    _stdin: Option<ChildStdin>,
    at: Bootstrap,
    from: RefCell<Member>,
    to: RefCell<Member>,
    /// The same as the members'.
    sockets: [UdpSocket; 2],
    head: Vec<u8>,
}

impl Relay {
    pub fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_omerta-mesh"))
            .args(["run", "--relay", "--listen", "127.0.0.1:0", "--json", "--commands"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let started: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let said = |key: &str| started[key].as_str().expect("text");
        let at: Bootstrap = format!("{}@{}", said("id"), said("listen")).parse().expect("a node");
        // Nobody reads its events, so they must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));

        let (mut from, mut to) = (Member::start(at), Member::start(at));
        let until = Instant::now() + PATIENCE;
        let mut asked = false;
        let head = loop {
            from.tend();
            to.tend();
            if from.is_bootstrapped && to.is_bootstrapped && !asked {
                from.node.connect(Instant::now(), to.node.id());
                asked = true;
            }
            if let (Some(head), Some(PathKind::Relay)) = (&from.head, from.settled) {
                break head.clone();
            }
            assert!(from.settled.is_none(), "the members do not stay on the relay");
            assert!(Instant::now() < until, "the members get no relay session");
            std::thread::sleep(Duration::from_millis(1));
        };
        let same = |member: &Member| member.socket.try_clone().expect("a socket");
        let sockets = [same(&from), same(&to)];
        let stdin = child.stdin.take();
        Self { child, _stdin: stdin, at, from: RefCell::new(from), to: RefCell::new(to), sockets, head }
    }

    pub fn way(&self) -> Session<'_> {
        Session(self)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node on one socket that speaks with the relay alone.
struct Member {
    node: Node,
    socket: UdpSocket,
    relay: SocketAddr,
    is_bootstrapped: bool,
    settled: Option<PathKind>,
    /// How its frames begin.
    head: Option<Vec<u8>>,
}

impl Member {
    fn start(relay: Bootstrap) -> Self {
        let identity = Identity::from_seed(&rand::random());
        let socket = socket();
        let mut config = seeded_config();
        config.bootstrap.push(relay);
        config.port = socket.local_addr().expect("bound").port();
        let crypto = Arc::new(RustlsCrypto::in_network(&identity, None).expect("TLS"));
        let node = Node::new(Instant::now(), identity, config, crypto);
        let relay = relay.address;
        Self { node, socket, relay, is_bootstrapped: false, settled: None, head: None }
    }

    /// Takes what has come, lets time pass, sends.
    fn tend(&mut self) {
        let mut buffer = [0; 2048];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => self.take(from, &buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
        self.go_on();
    }

    fn take(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.node.handle_datagram(Instant::now(), SocketId::MAIN, from, datagram);
        self.go_on();
    }

    fn go_on(&mut self) {
        let now = Instant::now();
        if self.node.poll_timeout().is_some_and(|at| at <= now) {
            self.node.handle_timeout(now);
        }
        while self.node.poll_socket().is_some() {}
        while let Some(transmit) = self.node.poll_transmit() {
            if transmit.path.socket != SocketId::MAIN || transmit.path.remote != self.relay {
                continue;
            }
            if Protocol::of(&transmit.payload) == Some(Protocol::Mesh(DatagramKind::RelayData)) {
                self.head = transmit.payload.get(..HEAD).map(<[u8]>::to_vec);
            }
            // What the kernel does not take is lost.
            let _ = self.socket.send_to(&transmit.payload, transmit.path.remote);
        }
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Bootstrapped { .. } => self.is_bootstrapped = true,
                Event::Settled { path, .. } => self.settled = Some(path),
                Event::Disconnected { peer, reason } => lost(peer, &reason),
                _ => {}
            }
        }
    }
}

fn lost(peer: PeerId, reason: &str) {
    panic!("a member has lost {peer}: {reason}");
}

pub struct Session<'a>(&'a Relay);

impl Way for Session<'_> {
    fn name(&self) -> &'static str {
        "omerta-mesh"
    }

    fn relay(&self) -> Option<u32> {
        Some(self.0.child.id())
    }

    fn head(&self, _size: usize) -> Vec<u8> {
        self.0.head.clone()
    }

    fn ends(&self) -> Ends<'_> {
        let [sender, receiver] = &self.0.sockets;
        Ends { sender, to: self.0.at.address, receiver, skip: HEAD }
    }

    fn stray(&mut self, datagram: &[u8]) {
        self.0.to.borrow_mut().take(self.0.at.address, datagram);
    }

    fn tend(&mut self, is_loaded: bool) {
        self.0.from.borrow_mut().tend();
        match is_loaded {
            true => self.0.to.borrow_mut().go_on(),
            false => self.0.to.borrow_mut().tend(),
        }
    }
}
