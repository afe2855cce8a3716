//! omerta-mesh on a host of a world: the very state machine of the daemon.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use omerta_mesh_core::{
    Config, Event, Identity, MessageId, Node, PeerId, QuicCrypto, SocketId, SocketRequest,
};
use serde_json::{Value, json};

use crate::{
    clock::{elapsed, instant},
    population::Tally,
    program::{Datagram, Io, Program},
};

/// A node and its sockets; programs that are more than a node have one.
pub struct Pump {
    node: Node,
    port: u16,
    sent: Tally,
}

impl std::fmt::Debug for Pump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump").field("id", &self.node.id()).finish_non_exhaustive()
    }
}

impl Pump {
    /// A node that starts now. Its main socket is opened.
    pub fn start(io: &mut Io<'_>, identity: Identity, config: Config, crypto: Arc<dyn QuicCrypto>) -> Self {
        let port = config.port;
        io.open(SocketId::MAIN.0, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        Pump { node: Node::new(instant(io.now()), identity, config, crypto), port, sent: Tally::default() }
    }

    /// The node, to be commanded; [`Pump::drain`] must follow.
    pub fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    /// The node, to be looked at.
    pub fn as_node(&self) -> &Node {
        &self.node
    }

    /// The port of its main socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has sent so far.
    pub fn sent(&self) -> &Tally {
        &self.sent
    }

    /// Hands a datagram over.
    pub fn handle_datagram(&mut self, io: &Io<'_>, datagram: Datagram<'_>) {
        let from = SocketAddr::V4(datagram.from);
        self.node.handle_datagram(instant(io.now()), SocketId(datagram.socket), from, datagram.payload);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, io: &Io<'_>) {
        self.node.handle_timeout(instant(io.now()));
    }

    /// When it wants to be woken.
    pub fn poll_timeout(&mut self) -> Option<Duration> {
        self.node.poll_timeout().map(elapsed)
    }

    /// Gives what the node tells, does what it wants done with sockets, and sends what it sends.
    pub fn drain(&mut self, io: &mut Io<'_>, mut told: impl FnMut(&mut Node, &mut Io<'_>, Event)) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            while let Some(event) = self.node.poll_event() {
                io.note(|| json!({ "event": event }));
                told(&mut self.node, io, event);
            }
            while let Some(request) = self.node.poll_socket() {
                match request {
                    SocketRequest::Open(SocketId(socket)) => {
                        if io.open(socket, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).is_none() {
                            self.node.socket_failed(SocketId(socket), "no port is free");
                        }
                    }
                    SocketRequest::Close(SocketId(socket)) => io.close(socket),
                }
            }
            while let Some(transmit) = self.node.poll_transmit() {
                quiet = false;
                if let SocketAddr::V4(to) = transmit.path.remote {
                    self.sent.count(&transmit.payload);
                    io.send(transmit.path.socket.0, to, transmit.payload);
                }
            }
        }
    }
}

/// What a node is started with.
type Seed = Box<(Identity, Config, Arc<dyn QuicCrypto>)>;

/// A node that keeps what it tells until it is asked.
#[derive(Debug)]
pub struct MeshNode {
    state: State,
    events: VecDeque<(Duration, Event)>,
}

enum State {
    New(Option<Seed>),
    Running(Box<Pump>),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, State::New(_)) { "new" } else { "running" })
    }
}

impl MeshNode {
    /// A node that will start with these.
    pub fn new(identity: Identity, config: Config, crypto: Arc<dyn QuicCrypto>) -> Self {
        MeshNode { state: State::New(Some(Box::new((identity, config, crypto)))), events: VecDeque::new() }
    }

    /// Asks for a connection.
    pub fn connect(&mut self, io: &mut Io<'_>, peer: PeerId) {
        self.with(io, |node, now| node.connect(now, peer));
    }

    /// Sends a message.
    pub fn send(&mut self, io: &mut Io<'_>, peer: PeerId, data: Vec<u8>) -> Option<MessageId> {
        self.with(io, |node, now| node.send(now, peer, data))
    }

    /// Says goodbye to everybody.
    pub fn shutdown(&mut self, io: &mut Io<'_>) {
        self.with(io, |node, now| node.shutdown(now));
    }

    /// Whether there is something that it told and nobody has taken.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The node, to be looked at; none before it has started.
    pub fn as_node(&self) -> Option<&Node> {
        match &self.state {
            State::Running(pump) => Some(pump.as_node()),
            State::New(_) => None,
        }
    }

    /// Has the node do something; none before it has started.
    pub fn with<T>(
        &mut self,
        io: &mut Io<'_>,
        work: impl FnOnce(&mut Node, std::time::Instant) -> T,
    ) -> Option<T> {
        let State::Running(pump) = &mut self.state else { return None };
        let result = work(pump.node(), instant(io.now()));
        self.drain(io);
        Some(result)
    }

    /// The next thing that it told, and when by the host's clock.
    pub fn poll_event(&mut self) -> Option<(Duration, Event)> {
        self.events.pop_front()
    }

    fn drain(&mut self, io: &mut Io<'_>) {
        let State::Running(pump) = &mut self.state else { return };
        let events = &mut self.events;
        pump.drain(io, |_, io, event| events.push_back((io.now(), event)));
    }
}

impl Program for MeshNode {
    fn start(&mut self, io: &mut Io<'_>) {
        if let State::New(seed) = &mut self.state
            && let Some(seed) = seed.take()
        {
            let (identity, config, crypto) = *seed;
            self.state = State::Running(Box::new(Pump::start(io, identity, config, crypto)));
            self.drain(io);
        }
    }

    fn handle_datagram(&mut self, io: &mut Io<'_>, datagram: Datagram<'_>) {
        if let State::Running(pump) = &mut self.state {
            pump.handle_datagram(io, datagram);
            self.drain(io);
        }
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) {
        if let State::Running(pump) = &mut self.state {
            pump.handle_timeout(io);
            self.drain(io);
        }
    }

    fn handle_addresses(&mut self, io: &mut Io<'_>, addresses: &[Ipv4Addr]) {
        let addresses = addresses.iter().map(|&address| address.into()).collect();
        self.with(io, |node, now| node.handle_network_change(now, addresses));
    }

    fn poll_timeout(&mut self) -> Option<Duration> {
        match &mut self.state {
            State::Running(pump) => pump.poll_timeout(),
            State::New(_) => None,
        }
    }

    fn snapshot(&self, now: Duration) -> Value {
        match &self.state {
            State::Running(pump) => json!(pump.as_node().snapshot(instant(now))),
            State::New(_) => Value::Null,
        }
    }
}
