//! The steps of a trace, drawn from a seed.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use natrig_nat::engine::TcpFlags;
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

/// What ports mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    Udp,
    Tcp,
    /// The identifier is the inside port, the outside one is 0.
    Echo,
}

/// An inside endpoint and a remote one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    pub proto: Proto,
    pub inside: SocketAddrV4,
    pub remote: SocketAddrV4,
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Out,
    In,
}

impl Kind {
    pub fn other(self) -> Self {
        match self {
            Kind::Out => Kind::In,
            Kind::In => Kind::Out,
        }
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Udp {
        length: usize,
    },
    Tcp {
        flags: TcpFlags,
        numbers: [u32; 2],
        length: usize,
    },
    Echo {
        reply: bool,
    },
    /// An ICMP error about the last packet of the flow that went the other way.
    Error {
        code: [u8; 2],
    },
    /// A datagram from inside to the outside endpoint of another inside endpoint.
    Hairpin(Flow),
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its IPv4 identification, too.
    pub number: u16,
    pub kind: Kind,
    /// From inside: the sender's. From outside: the one whose outside endpoint it is sent to.
    pub flow: Flow,
    /// The outsider: the flow's own or a stranger.
    pub remote: SocketAddrV4,
    pub shape: Shape,
    pub ttl: u8,
    /// In two parts, the second one first if so.
    pub cut: Option<bool>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { number, kind, flow, remote, shape, ttl, cut } = self;
        write!(f, "{number} {:?} {kind:?} {} {remote} ", flow.proto, flow.inside)?;
        match shape {
            Shape::Tcp { flags, numbers, length } => {
                let flags = [(flags.syn, 'S'), (flags.ack, 'A'), (flags.fin, 'F'), (flags.rst, 'R')];
                let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
                write!(f, "{flags} {numbers:?} {length} bytes")?;
            }
            shape => write!(f, "{shape:?}")?,
        }
        write!(f, " ttl {ttl} {cut:?}")
    }
}

/// A TCP connection as its ends see it.
#[derive(Debug, Clone, Copy)]
struct Connection {
    phase: Phase,
    /// The next sequence numbers, inside and remote.
    next: [u32; 2],
    /// Whether each side has closed.
    closed: [bool; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Called,
    Answered,
    Open,
    Over,
}

/// Which hosts and ports there are.
pub struct Cast {
    pub hosts: Vec<Ipv4Addr>,
    pub ports: Vec<u16>,
    pub remotes: Vec<SocketAddrV4>,
    /// Whether hosts send to each other's outside endpoints, too.
    pub hairpins: bool,
}

/// Draws steps.
pub struct Director {
    cast: Cast,
    random: StdRng,
    number: u16,
    connections: BTreeMap<Flow, Connection>,
    /// Flows that both gateways have an outside endpoint for.
    known: Vec<Flow>,
}

impl Director {
    pub fn new(cast: Cast, random: StdRng) -> Self {
        Director { cast, random, number: 0, connections: BTreeMap::new(), known: Vec::new() }
    }

    /// Takes note of a flow.
    pub fn learn(&mut self, flow: Flow) {
        if let Err(place) = self.known.binary_search(&flow) {
            self.known.insert(place, flow);
        }
    }

    /// A flow is of no use any more.
    pub fn forget(&mut self, flow: &Flow) {
        self.known.retain(|known| known != flow);
        self.connections.remove(flow);
    }

    /// Steps in one direction that do not depend on each other.
    pub fn batch(&mut self, size: usize) -> Vec<Step> {
        let kind = if self.known.is_empty() || self.random.random_bool(0.5) { Kind::Out } else { Kind::In };
        let mut batch: Vec<Step> = Vec::new();
        for _ in 0..size {
            let step = match kind {
                Kind::Out => self.outward(),
                Kind::In => self.inward(),
            };
            // One step of a flow at a time: of two packets that open one flow at once, a kernel may lose one.
            let again = |other: &Step| {
                (other.flow.proto, other.flow.inside, other.remote)
                    == (step.flow.proto, step.flow.inside, step.remote)
            };
            if batch.iter().any(again) {
                continue;
            }
            let mut step = step;
            self.number = self.number % 60_000 + 1;
            step.number = self.number;
            if let Shape::Tcp { .. } = step.shape {
                self.speak(&mut step);
            }
            batch.push(step);
        }
        batch
    }

    fn proto(&mut self) -> Proto {
        match self.random.random_range(0..100) {
            0..70 => Proto::Udp,
            70..90 => Proto::Tcp,
            _ => Proto::Echo,
        }
    }

    fn outward(&mut self) -> Step {
        let proto = self.proto();
        let inside = SocketAddrV4::new(self.host(), self.port());
        let remote = self.remote(proto);
        let flow = Flow { proto, inside, remote };
        let known: Vec<Flow> = self.known.iter().copied().filter(|known| known.proto == proto).collect();
        if !known.is_empty() && self.random.random_bool(0.1) {
            let about = self.one(&known);
            let shape = Shape::Error { code: self.code() };
            return step(Kind::Out, about, about.remote, shape);
        }
        if self.cast.hairpins && proto == Proto::Udp && !known.is_empty() && self.random.random_bool(0.03) {
            let to = self.one(&known);
            return step(Kind::Out, flow, remote, Shape::Hairpin(to));
        }
        let shape = match proto {
            Proto::Udp => Shape::Udp { length: self.length() },
            // What it says is decided when it is said.
            Proto::Tcp => Shape::Tcp { flags: TcpFlags::SYN, numbers: [0, 0], length: 0 },
            Proto::Echo => Shape::Echo { reply: false },
        };
        self.varied(step(Kind::Out, flow, remote, shape))
    }

    fn inward(&mut self) -> Step {
        let known = self.known.clone();
        let flow = self.one(&known);
        let stranger = self.random.random_bool(0.4);
        let mut remote = if stranger { self.remote(flow.proto) } else { flow.remote };
        // A far end of a connection does not take its near end's other ports for it.
        if self.connections.contains_key(&Flow { remote, ..flow }) {
            remote = flow.remote;
        }
        if self.random.random_bool(0.1) {
            let reporter = self.remote(flow.proto);
            let shape = Shape::Error { code: self.code() };
            return step(Kind::In, flow, reporter, shape);
        }
        let shape = match flow.proto {
            Proto::Udp => Shape::Udp { length: self.length() },
            Proto::Tcp => Shape::Tcp { flags: TcpFlags::SYN, numbers: [0, 0], length: 0 },
            Proto::Echo => Shape::Echo { reply: self.random.random_bool(0.9) },
        };
        self.varied(step(Kind::In, flow, remote, shape))
    }

    /// Now and then in parts, or with its last hop.
    fn varied(&mut self, mut step: Step) -> Step {
        if let Shape::Udp { length } = step.shape {
            match self.random.random_range(0..100) {
                0..6 if length > 24 => step.cut = Some(self.random.random_bool(0.5)),
                6..9 => step.ttl = 1,
                _ => {}
            }
        }
        step
    }

    /// What a TCP step says: what comes next in its connection, or a call by a stranger.
    fn speak(&mut self, step: &mut Step) {
        let flow = Flow { remote: step.remote, ..step.flow };
        let side = if step.kind == Kind::Out { 0 } else { 1 };
        let fresh = self.random.random_range(1..1_000_000_000);
        let die = self.random.random_range(0..100);
        let Some(connection) =
            self.connections.get_mut(&flow).filter(|connection| connection.phase != Phase::Over)
        else {
            if side == 0 {
                let next = [fresh + 1, 0];
                self.connections.insert(flow, Connection { phase: Phase::Called, next, closed: [false; 2] });
            } else if let Some(over) = self.connections.get(&flow) {
                // The far end has nothing to say any more, and says it.
                let flags = if over.next[1] == 0 { TcpFlags::RST } else { TcpFlags::ACK };
                step.shape = Shape::Tcp { flags, numbers: [over.next[1], over.next[0]], length: 0 };
                return;
            }
            step.shape = Shape::Tcp { flags: TcpFlags::SYN, numbers: [fresh, 0], length: 0 };
            return;
        };
        let mut length = 0;
        let mut numbers = [connection.next[side], connection.next[1 - side]];
        let flags = match (connection.phase, side) {
            // The call again.
            (Phase::Called, 0) => {
                numbers = [connection.next[0].wrapping_sub(1), 0];
                TcpFlags::SYN
            }
            (Phase::Called, _) if die < 15 => {
                connection.phase = Phase::Over;
                numbers[0] = 0;
                TcpFlags::RST
            }
            (Phase::Called, _) => {
                connection.phase = Phase::Answered;
                connection.next[1] = fresh.wrapping_add(1);
                numbers[0] = fresh;
                TcpFlags::SYN_ACK
            }
            (Phase::Answered, 0) => {
                connection.phase = Phase::Open;
                TcpFlags::ACK
            }
            // The answer again.
            (Phase::Answered, _) => {
                numbers[0] = connection.next[1].wrapping_sub(1);
                TcpFlags::SYN_ACK
            }
            (_, side) if connection.closed[side] => {
                if connection.closed[1 - side] {
                    connection.phase = Phase::Over;
                }
                TcpFlags::ACK
            }
            _ if die < 10 => {
                connection.phase = Phase::Over;
                TcpFlags::RST
            }
            (_, side) if die < 30 => {
                connection.closed[side] = true;
                connection.next[side] = connection.next[side].wrapping_add(1);
                TcpFlags::FIN
            }
            (_, side) => {
                length = 10;
                connection.next[side] = connection.next[side].wrapping_add(10);
                TcpFlags::ACK
            }
        };
        step.shape = Shape::Tcp { flags, numbers, length };
    }

    fn host(&mut self) -> Ipv4Addr {
        *self.cast.hosts.choose(&mut self.random).unwrap()
    }

    fn port(&mut self) -> u16 {
        *self.cast.ports.choose(&mut self.random).unwrap()
    }

    fn remote(&mut self, proto: Proto) -> SocketAddrV4 {
        let remote = *self.cast.remotes.choose(&mut self.random).unwrap();
        if proto == Proto::Echo { SocketAddrV4::new(*remote.ip(), 0) } else { remote }
    }

    fn one(&mut self, flows: &[Flow]) -> Flow {
        *flows.choose(&mut self.random).unwrap()
    }

    fn length(&mut self) -> usize {
        self.random.random_range(8..200)
    }

    fn code(&mut self) -> [u8; 2] {
        *[[3, 3], [3, 1], [11, 0], [3, 10]].choose(&mut self.random).unwrap()
    }
}

fn step(kind: Kind, flow: Flow, remote: SocketAddrV4, shape: Shape) -> Step {
    Step { number: 0, kind, flow, remote, shape, ttl: 64, cut: None }
}
