//! Nodes in virtual time behind toy gateways, a relay and a STUN server beside them.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod nat;
pub mod talk;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use natrig_stun::{Endpoint, Server};
use omerta_mesh_core::{
    Bootstrap, Config, Event, Identity, NetworkKey, Node, OwnedChange, OwnedStream, PeerId, Protocol,
    QuicCrypto, RustlsCrypto, Service, SocketId, SocketRequest, StandInCrypto,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use nat::{Gateway, Profile};

const NODE_PORT: u16 = 4400;
const STUN: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];
const STUN_PORTS: [u16; 2] = [3478, 3479];
pub const DELAY: Duration = Duration::from_micros(2500);

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub usize);

pub const RELAY: At = At(0);
pub const A: At = At(1);
pub const B: At = At(2);

struct Host {
    node: Node,
    address: IpAddr,
    gateway: Option<Gateway>,
    ports: HashMap<SocketId, u16>,
    next_port: u16,
    alive: bool,
}

impl Host {
    /// The address at which the internet sees it.
    fn outside(&self) -> IpAddr {
        self.gateway.as_ref().map_or(self.address, |gateway| gateway.address)
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    at: Instant,
    sent: Instant,
    order: u64,
    source: SocketAddr,
    target: SocketAddr,
    sender: Option<At>,
    payload: Vec<u8>,
}

/// A frame between two nodes, as a tap would see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub at: Duration,
    /// When it left its sender.
    pub sent: Duration,
    pub from: At,
    pub to: At,
    pub target: SocketAddr,
    pub protocol: Option<Protocol>,
    pub length: usize,
    /// Whether it got past the receiver's gateway.
    pub passed: bool,
}

pub struct World {
    start: Instant,
    pub now: Instant,
    hosts: Vec<Host>,
    stun: Server,
    flying: BinaryHeap<Reverse<Flying>>,
    order: u64,
    idle_turns: u32,
    rng: StdRng,
    pub loss: f64,
    /// Pairs between which nothing gets through on the internet.
    pub blocked: Vec<(At, At)>,
    pub frames: Vec<Frame>,
    pub events: BTreeMap<At, Vec<(Duration, Event)>>,
    pub streams: BTreeMap<At, Vec<(OwnedStream, OwnedChange)>>,
    /// Datagrams as they were delivered, for replays.
    pub keep_payloads: bool,
    /// Bytes sent to each address.
    sent: HashMap<SocketAddr, usize>,
    pub payloads: Vec<(At, SocketAddr, Vec<u8>)>,
    /// Datagrams that were kept from their receiver, if payloads are kept.
    pub stolen: Vec<(At, Vec<u8>)>,
    /// On top of the delay of all, to and from a node.
    pub farther: HashMap<At, Duration>,
    crypto: Crypto,
}

/// What protects the nodes' connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crypto {
    Rustls,
    StandIn,
}

impl Crypto {
    pub fn of(
        self,
        identity: &Identity,
        seed: &[u8; 32],
        network: Option<&NetworkKey>,
    ) -> Arc<dyn QuicCrypto> {
        match self {
            Self::Rustls => Arc::new(RustlsCrypto::in_network(identity, network).expect("TLS")),
            Self::StandIn => Arc::new(StandInCrypto::new(identity.id(), seed)),
        }
    }
}

/// Settings of a world.
pub struct Setup {
    pub seed: u64,
    pub service: Service,
    pub birthday: bool,
    pub stun: bool,
    pub keep_payloads: bool,
    pub crypto: Crypto,
    /// The network keys of the relay, A and B.
    pub networks: [Option<NetworkKey>; 3],
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            service: Service::Relay { sessions: 50 },
            birthday: true,
            stun: true,
            keep_payloads: false,
            crypto: Crypto::Rustls,
            networks: [None; 3],
        }
    }
}

impl World {
    /// A relay, and A and B behind gateways with these profiles.
    pub fn new(setup: &Setup, a: Profile, b: Profile) -> Self {
        let now = Instant::now();
        let stun = |ip: usize, port: usize| SocketAddr::new(STUN[ip].into(), STUN_PORTS[port]);
        let mut world = Self {
            start: now,
            now,
            hosts: Vec::new(),
            stun: Server::new(stun(0, 0), Some(stun(1, 1))),
            flying: BinaryHeap::new(),
            order: 0,
            idle_turns: 0,
            rng: StdRng::seed_from_u64(setup.seed),
            loss: 0.0,
            blocked: Vec::new(),
            frames: Vec::new(),
            events: BTreeMap::new(),
            streams: BTreeMap::new(),
            keep_payloads: setup.keep_payloads,
            sent: HashMap::new(),
            payloads: Vec::new(),
            stolen: Vec::new(),
            farther: HashMap::new(),
            crypto: setup.crypto,
        };
        let relay_address = IpAddr::from([203, 0, 113, 10]);
        let mut relay = world.config();
        relay.service = setup.service;
        relay.network = setup.networks[0];
        let relay = world.add(relay, relay_address, None);
        let bootstrap = Bootstrap { id: world.id(relay), address: SocketAddr::new(relay_address, NODE_PORT) };
        for (n, profile) in [(1, a), (2, b)] {
            let outside = IpAddr::from([198, 51, 100, n]);
            let (address, gateway) = match profile.is_public {
                true => (outside, None),
                false => (IpAddr::from([192, 168, n, 10]), Some(Gateway::new(outside, profile))),
            };
            let mut config = world.config();
            config.bootstrap = vec![bootstrap];
            if setup.stun {
                config.stun = vec![stun(0, 0)];
            }
            config.host_addresses = vec![address];
            config.birthday = setup.birthday;
            config.network = setup.networks[n as usize];
            world.add(config, address, gateway);
        }
        world
    }

    fn config(&mut self) -> Config {
        let mut config = Config::new(self.rng.random(), 1);
        config.port = NODE_PORT;
        config
    }

    fn add(&mut self, config: Config, address: IpAddr, gateway: Option<Gateway>) -> At {
        let identity = Identity::from_seed(&self.rng.random());
        let crypto = self.crypto.of(&identity, &config.seed, config.network.as_ref());
        let at = At(self.hosts.len());
        self.hosts.push(Host {
            node: Node::new(self.now, identity, config, crypto),
            address,
            gateway,
            ports: HashMap::from([(SocketId::MAIN, NODE_PORT)]),
            next_port: 20000,
            alive: true,
        });
        self.drain(at);
        at
    }

    pub fn id(&self, at: At) -> PeerId {
        self.hosts[at.0].node.id()
    }

    pub fn node(&self, at: At) -> &Node {
        &self.hosts[at.0].node
    }

    /// Frames that a relay has passed on, of all sessions that are open.
    pub fn relayed(&self, at: At) -> u64 {
        let snapshot = serde_json::to_value(self.node(at).snapshot(self.now)).expect("JSON");
        let sessions = snapshot["sessions"].as_array().expect("a list");
        sessions.iter().filter_map(|session| session["frames"].as_u64()).sum()
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub fn connect(&mut self, from: At, to: At) {
        let peer = self.id(to);
        let now = self.now;
        self.hosts[from.0].node.connect(now, peer);
        self.drain(from);
    }

    pub fn send(&mut self, from: At, to: At, data: Vec<u8>) {
        let peer = self.id(to);
        let now = self.now;
        self.hosts[from.0].node.send(now, peer, data);
        self.drain(from);
    }

    /// Has a node do something.
    pub fn command<T>(&mut self, at: At, command: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let now = self.now;
        let done = command(&mut self.hosts[at.0].node, now);
        self.drain(at);
        done
    }

    pub fn shutdown(&mut self, at: At) {
        let now = self.now;
        self.hosts[at.0].node.shutdown(now);
        self.drain(at);
        self.kill(at);
    }

    /// The machine is gone, without a word.
    pub fn kill(&mut self, at: At) {
        self.hosts[at.0].alive = false;
    }

    /// The machine is back, its program as it was.
    pub fn revive(&mut self, at: At) {
        self.hosts[at.0].alive = true;
    }

    /// Where a node without a gateway is.
    pub fn address(&self, at: At) -> SocketAddr {
        SocketAddr::new(self.hosts[at.0].address, NODE_PORT)
    }

    /// Bytes that were sent to an address.
    pub fn sent_to(&self, address: SocketAddr) -> usize {
        self.sent.get(&address).copied().unwrap_or(0)
    }

    /// Has a node's gateway open a port for its main socket, and tells the node so.
    pub fn open_port(&mut self, at: At, port: u16) {
        let host = &mut self.hosts[at.0];
        if let Some(gateway) = &mut host.gateway {
            gateway.opened.push((port, SocketAddr::new(host.address, NODE_PORT)));
            host.node.set_mapped_endpoints(vec![SocketAddr::new(gateway.address, port)]);
        }
    }

    pub fn rebind(&mut self, at: At) {
        if let Some(gateway) = &mut self.hosts[at.0].gateway {
            gateway.rebind();
        }
    }

    /// Hands `payload` to a node as if it came from `source`.
    pub fn inject(&mut self, to: At, source: SocketAddr, payload: &[u8]) {
        let now = self.now;
        self.hosts[to.0].node.handle_datagram(now, SocketId::MAIN, source, payload);
        self.drain(to);
    }

    /// Sockets that the node holds open.
    pub fn open_sockets(&self, at: At) -> usize {
        self.hosts[at.0].ports.len()
    }

    /// Lets events happen until `done` or for `limit`; whether `done` came true.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&World) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            if !self.step(end) {
                return false;
            }
        }
        true
    }

    pub fn run_for(&mut self, limit: Duration) {
        let end = self.now + limit;
        while self.step(end) {}
        self.now = end;
    }

    /// Waits for both to be bootstrapped.
    pub fn bootstrap(&mut self) {
        let both = |world: &World| {
            [A, B].iter().all(|&at| {
                world.find(at, |event| matches!(event, Event::Bootstrapped { .. }).then_some(())).is_some()
            })
        };
        assert!(self.run_until(Duration::from_secs(10), both), "{:#?}", self.events);
    }

    /// The first event of a node that `pick` takes.
    pub fn find<T>(&self, at: At, pick: impl Fn(&Event) -> Option<T>) -> Option<T> {
        self.events.get(&at)?.iter().find_map(|(_, event)| pick(event))
    }

    pub fn count(&self, at: At, pick: impl Fn(&Event) -> bool) -> usize {
        self.events.get(&at).map_or(0, |events| events.iter().filter(|(_, event)| pick(event)).count())
    }

    /// Frames between two nodes, in either direction.
    pub fn between(&self, a: At, b: At) -> impl Iterator<Item = &Frame> {
        self.frames
            .iter()
            .filter(move |frame| (frame.from, frame.to) == (a, b) || (frame.from, frame.to) == (b, a))
    }

    /// The next thing that happens before `end`; false if there is none.
    fn step(&mut self, end: Instant) -> bool {
        let timer = self
            .hosts
            .iter_mut()
            .enumerate()
            .filter(|(_, host)| host.alive)
            .filter_map(|(at, host)| Some((host.node.poll_timeout()?, At(at))))
            .min();
        let arrival = self.flying.peek().map(|Reverse(flying)| flying.at);
        match (timer, arrival) {
            (Some((due, at)), arrival) if due < end && arrival.is_none_or(|arrival| due < arrival) => {
                // A timer that fires and is not moved would keep a real node busy for ever.
                self.idle_turns = if due > self.now { 0 } else { self.idle_turns + 1 };
                assert!(self.idle_turns < 10_000, "{at:?}'s clock stands still: {:#?}", self.events);
                self.now = self.now.max(due);
                let now = self.now;
                self.hosts[at.0].node.handle_timeout(now);
                self.drain(at);
                true
            }
            (_, Some(arrival)) if arrival < end => {
                self.now = self.now.max(arrival);
                if let Some(Reverse(flying)) = self.flying.pop() {
                    self.arrive(flying);
                }
                true
            }
            _ => false,
        }
    }

    fn drain(&mut self, at: At) {
        let host = &mut self.hosts[at.0];
        while let Some(request) = host.node.poll_socket() {
            match request {
                SocketRequest::Open(socket) => {
                    host.next_port += 1;
                    host.ports.insert(socket, host.next_port);
                }
                SocketRequest::Close(socket) => {
                    host.ports.remove(&socket);
                }
            }
        }
        while let Some(transmit) = self.hosts[at.0].node.poll_transmit() {
            let host = &mut self.hosts[at.0];
            let Some(&port) = host.ports.get(&transmit.path.socket) else {
                continue;
            };
            let inside = SocketAddr::new(host.address, port);
            let target = transmit.path.remote;
            let source = match &mut host.gateway {
                Some(gateway) => gateway.outbound(inside, target, &mut self.rng),
                None => inside,
            };
            if host.alive {
                self.launch(Some(at), source, target, transmit.payload);
            }
        }
        let elapsed = self.elapsed();
        while let Some(event) = self.hosts[at.0].node.poll_event() {
            self.events.entry(at).or_default().push((elapsed, event));
        }
        while let Some(change) = self.hosts[at.0].node.poll_stream() {
            self.streams.entry(at).or_default().push(change);
        }
    }

    fn launch(&mut self, sender: Option<At>, source: SocketAddr, target: SocketAddr, payload: Vec<u8>) {
        self.order += 1;
        *self.sent.entry(target).or_default() += payload.len();
        let receiver = self.hosts.iter().position(|host| host.outside() == target.ip()).map(At);
        let ends = sender.iter().chain(receiver.iter());
        let farther: Duration = ends.filter_map(|end| self.farther.get(end)).sum();
        self.flying.push(Reverse(Flying {
            at: self.now + DELAY + farther,
            sent: self.now,
            order: self.order,
            source,
            target,
            sender,
            payload,
        }));
    }

    fn arrive(&mut self, flying: Flying) {
        if self.loss > 0.0 && self.rng.random_bool(self.loss) {
            return;
        }
        if STUN.iter().any(|&ip| IpAddr::from(ip) == flying.target.ip()) {
            return self.arrive_at_stun(flying);
        }
        let receiver = self.hosts.iter().position(|host| host.outside() == flying.target.ip());
        let Some(receiver) = receiver.map(At) else {
            return;
        };
        if let Some(sender) = flying.sender {
            let hit = |&(a, b): &(At, At)| (a, b) == (sender, receiver) || (b, a) == (sender, receiver);
            if self.blocked.iter().any(hit) {
                if self.keep_payloads {
                    self.stolen.push((receiver, flying.payload));
                }
                return;
            }
        }
        let host = &mut self.hosts[receiver.0];
        let inside = match &mut host.gateway {
            Some(gateway) => gateway.inbound(flying.target.port(), flying.source),
            None => Some(flying.target),
        };
        if let Some(sender) = flying.sender {
            self.frames.push(Frame {
                at: self.now - self.start,
                sent: flying.sent - self.start,
                from: sender,
                to: receiver,
                target: flying.target,
                protocol: Protocol::of(&flying.payload),
                length: flying.payload.len(),
                passed: inside.is_some(),
            });
        }
        let host = &mut self.hosts[receiver.0];
        let socket = inside.and_then(|inside| {
            host.ports.iter().find(|&(_, &port)| port == inside.port()).map(|(&socket, _)| socket)
        });
        if let Some(socket) = socket
            && host.alive
        {
            host.node.handle_datagram(self.now, socket, flying.source, &flying.payload);
            if self.keep_payloads {
                self.payloads.push((receiver, flying.source, flying.payload));
            }
            self.drain(receiver);
        }
    }

    fn arrive_at_stun(&mut self, flying: Flying) {
        let at = Endpoint {
            other_ip: flying.target.ip() == IpAddr::from(STUN[1]),
            other_port: flying.target.port() == STUN_PORTS[1],
        };
        if let Some(reply) = self.stun.answer(at, flying.source, &flying.payload)
            && let Some(source) = self.stun.address(reply.from)
        {
            self.launch(None, source, reply.to, reply.datagram);
        }
    }
}
