//! The order of the measurements.

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use natrig_nat::{Filtering, Mapping};
use natrig_stun::{ChangeRequest, Message};

use crate::{Expected, Failed, Report, exchange::Exchange};

/// Names a socket of the prober.
pub type SocketId = u8;

/// How often mappings that follow no rule, or one that chance can feign, are measured again on a fresh port.
const MAPPING_ROUNDS: usize = 3;

/// What to measure against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The server's primary address and port.
    pub server: SocketAddr,
    /// Its other address and port.
    pub other: SocketAddr,
    /// The inside address, to tell no NAT from one that preserves ports.
    pub inside: SocketAddr,
    /// Makes transactions unlike those of other probers.
    pub seed: u64,
}

/// What the caller must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Bind a UDP socket to the inside address and the port of [`Plan::inside`] plus the socket's number.
    Bind {
        /// The socket.
        socket: SocketId,
    },
    /// Send a datagram.
    Send {
        /// From this socket.
        socket: SocketId,
        /// To this address.
        to: SocketAddr,
        /// These bytes.
        datagram: Vec<u8>,
    },
}

/// The fast steps: mapping, filtering, early packet.
#[derive(Debug)]
pub struct Prober {
    plan: Plan,
    actions: VecDeque<Action>,
    stage: Stage,
    sockets: SocketId,
    transactions: u32,
    rounds: Vec<[SocketAddr; 3]>,
    mapping: Option<Mapping>,
    strangers: Vec<Expected>,
    notes: Vec<String>,
}

#[derive(Debug)]
enum Stage {
    Mapping(Exchange),
    Filtering(Exchange),
    Early { before: SocketAddr, exchange: Exchange },
    Done(Result<Report, Failed>),
}

impl Prober {
    /// Starts to measure.
    pub fn new(plan: Plan, now: Instant) -> Self {
        let mut prober = Prober {
            plan,
            actions: VecDeque::new(),
            stage: Stage::Done(Err(Failed::Inconsistent(Vec::new()))),
            sockets: 0,
            transactions: 0,
            rounds: Vec::new(),
            mapping: None,
            strangers: Vec::new(),
            notes: Vec::new(),
        };
        prober.stage = prober.measure_mapping(now);
        prober
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Prober::handle_timeout`]; none when finished.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Mapping(exchange) | Stage::Filtering(exchange) | Stage::Early { exchange, .. } => {
                Some(exchange.deadline)
            }
            Stage::Done(_) => None,
        }
    }

    /// The answer, once there is one.
    pub fn outcome(&self) -> Option<&Result<Report, Failed>> {
        match &self.stage {
            Stage::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Takes a datagram that came to a socket; what is no answer of the server is passed over.
    pub fn handle_datagram(&mut self, now: Instant, socket: SocketId, datagram: &[u8]) {
        let Ok(answer) = Message::decode(datagram) else {
            return;
        };
        let (Stage::Mapping(exchange) | Stage::Filtering(exchange) | Stage::Early { exchange, .. }) =
            &mut self.stage
        else {
            return;
        };
        if exchange.socket != socket {
            return;
        }
        match exchange.handle(&answer) {
            Ok(false) => {}
            Ok(true) => self.advance(now),
            Err(failed) => self.stage = Stage::Done(Err(failed)),
        }
    }

    /// Sends again what was not answered, or gives up.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (Stage::Mapping(exchange) | Stage::Filtering(exchange) | Stage::Early { exchange, .. }) =
            &mut self.stage
        else {
            return;
        };
        match exchange.handle_timeout(now) {
            Ok(false) => {}
            Ok(true) => send(&mut self.actions, exchange),
            Err(failed) => self.stage = Stage::Done(Err(failed)),
        }
    }

    fn advance(&mut self, now: Instant) {
        let stage = std::mem::replace(&mut self.stage, Stage::Done(Err(Failed::Inconsistent(Vec::new()))));
        self.stage = match stage {
            Stage::Mapping(exchange) => self.mapping_measured(now, &exchange),
            Stage::Filtering(exchange) => self.filtering_measured(now, &exchange),
            Stage::Early { before, exchange } => self.early_measured(before, &exchange),
            done @ Stage::Done(_) => done,
        };
    }

    /// One fresh port asks three of the server's endpoints.
    fn measure_mapping(&mut self, now: Instant) -> Stage {
        let third = self.plan.other;
        let second = SocketAddr::new(third.ip(), self.plan.server.port());
        let socket = self.bind();
        let exchange = Exchange::new(socket, now)
            .plain(self.plan.server, self.transaction())
            .plain(second, self.transaction())
            .plain(third, self.transaction());
        send(&mut self.actions, &exchange);
        Stage::Mapping(exchange)
    }

    fn mapping_measured(&mut self, now: Instant, exchange: &Exchange) -> Stage {
        let mapped: Vec<SocketAddr> = exchange.requests.iter().filter_map(|request| request.mapped).collect();
        let Ok(mapped) = <[SocketAddr; 3]>::try_from(mapped) else {
            return Stage::Done(Err(Failed::Inconsistent(self.rounds.clone())));
        };
        self.notes.push(format!(
            "one socket is {} to the server, {} to its other address, {} to its other address and port",
            mapped[0], mapped[1], mapped[2]
        ));
        self.rounds.push(mapped);
        let [a, b, c] = mapped;
        let inside =
            SocketAddr::new(self.plan.inside.ip(), self.plan.inside.port() + u16::from(exchange.socket));
        self.mapping = if a == b && b == c {
            (a != inside).then_some(Mapping::EndpointIndependent)
        } else if a != b && b != c && a != c {
            Some(Mapping::AddressAndPortDependent)
        } else if self.rounds.len() < MAPPING_ROUNDS {
            // Two equal ports can be chance on a gateway that draws them.
            return self.measure_mapping(now);
        } else if self.rounds.iter().all(|[a, b, c]| a != b && b == c) {
            Some(Mapping::AddressDependent)
        } else {
            return Stage::Done(Err(Failed::Inconsistent(self.rounds.clone())));
        };
        self.measure_filtering(now)
    }

    /// A fresh port that has asked the primary endpoint only wants answers from strangers; a plain answer follows them.
    fn measure_filtering(&mut self, now: Instant) -> Stage {
        let socket = self.bind();
        let server = self.plan.server;
        let both = ChangeRequest { ip: true, port: true };
        let port = ChangeRequest { ip: false, port: true };
        let exchange = Exchange::new(socket, now)
            .stranger(server, self.transaction(), both)
            .stranger(server, self.transaction(), port)
            .plain(server, self.transaction());
        send(&mut self.actions, &exchange);
        Stage::Filtering(exchange)
    }

    fn filtering_measured(&mut self, now: Instant, exchange: &Exchange) -> Stage {
        let sources = [self.plan.other, SocketAddr::new(self.plan.server.ip(), self.plan.other.port())];
        for (request, from) in exchange.requests.iter().zip(sources) {
            let arrived = request.mapped.is_some();
            self.notes.push(format!(
                "an answer from {from}, to which nothing was sent, {}",
                if arrived { "arrived" } else { "did not arrive before the allowed one" }
            ));
            self.strangers.push(Expected { from, transaction: request.message.transaction, arrived });
        }
        let Some(before) = exchange.requests.last().and_then(|request| request.mapped) else {
            return Stage::Done(Err(Failed::Inconsistent(self.rounds.clone())));
        };
        // The alternate endpoint has sent to this port; now the port sends to it.
        let exchange = Exchange::new(exchange.socket, now).plain(self.plan.other, self.transaction());
        send(&mut self.actions, &exchange);
        Stage::Early { before, exchange }
    }

    fn early_measured(&mut self, before: SocketAddr, exchange: &Exchange) -> Stage {
        let after = exchange.requests.first().and_then(|request| request.mapped);
        let harmless = match self.mapping {
            None | Some(Mapping::EndpointIndependent) => Some(after == Some(before)),
            Some(_) => None,
        };
        if let Some(after) = after {
            self.notes.push(format!(
                "after an early packet from {} the port that was {before} is {after} to it",
                self.plan.other
            ));
        }
        let filtering = match self.strangers.as_slice() {
            [both, _] if both.arrived => Filtering::EndpointIndependent,
            [_, port] if port.arrived => Filtering::AddressDependent,
            _ => Filtering::AddressAndPortDependent,
        };
        let mapped = self.rounds.last().copied().unwrap_or([before; 3]);
        Stage::Done(Ok(Report {
            mapping: self.mapping,
            filtering,
            early_packet_harmless: harmless,
            mapped,
            strangers: std::mem::take(&mut self.strangers),
            notes: std::mem::take(&mut self.notes),
        }))
    }

    fn bind(&mut self) -> SocketId {
        let socket = self.sockets;
        self.sockets += 1;
        self.actions.push_back(Action::Bind { socket });
        socket
    }

    fn transaction(&mut self) -> [u8; 12] {
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&self.plan.seed.to_be_bytes());
        transaction[8..].copy_from_slice(&self.transactions.to_be_bytes());
        self.transactions += 1;
        transaction
    }
}

fn send(actions: &mut VecDeque<Action>, exchange: &Exchange) {
    for request in &exchange.requests {
        actions.push_back(Action::Send {
            socket: exchange.socket,
            to: request.to,
            datagram: request.message.encode(),
        });
    }
}
