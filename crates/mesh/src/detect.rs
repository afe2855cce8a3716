//! Finding out what NAT we are behind, with STUN (RFC 8489, RFC 5780).
//!
//! Mapping: the main socket asks at least two destinations and compares what they saw. Filtering: a socket of its own
//! asks one address only, and asks for answers from others. Silence there is concluded from order, not from a clock
//! alone: each round ends with a request that is allowed in any case, and only what had not come when its answer came
//! (plus a little for reordering) counts as filtered, in two rounds out of two.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use natrig_stun::{ChangeRequest, Class, Message, TransactionId};
use rand::Rng;
use rand::rngs::StdRng;
use serde::Serialize;

use crate::nat::{Allocation, Filtering, Mapping, NatClass};
use crate::net::{Path, SocketId, Transmit};

const FIRST_RETRY: Duration = Duration::from_millis(150);
const ATTEMPTS: u32 = 4;
const SILENT_ROUNDS: u32 = 2;
const MIN_GRACE: Duration = Duration::from_millis(30);

/// How far a detection can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Confidence {
    /// Nothing was found out.
    None,
    /// Part of it, or from too few observers.
    Low,
    /// All of it, from different addresses.
    High,
}

/// What was found out about our NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Detection {
    /// How it maps.
    pub mapping: Mapping,
    /// What it lets in.
    pub filtering: Filtering,
    /// Which ports it gives.
    pub allocation: Allocation,
    /// The familiar name.
    pub name: NatClass,
    /// Our main socket as a server saw it.
    pub observed: Option<SocketAddr>,
    /// How far to trust this.
    pub confidence: Confidence,
}

/// One question from the main socket.
struct Query {
    to: SocketAddr,
    transaction: TransactionId,
    sent: u32,
    retry_at: Option<Instant>,
    mapped: Option<SocketAddr>,
}

/// The questions of the extra socket to the one server that it knows.
struct FilterTest {
    server: SocketAddr,
    other: SocketAddr,
    /// Asks for an answer from another address and port, from another port, and a plain one.
    transactions: [TransactionId; 3],
    asked_at: Instant,
    asked: u32,
    retry_at: Option<Instant>,
    conclude_at: Option<Instant>,
    silent_rounds: u32,
    stranger_heard: bool,
    other_port_heard: bool,
    /// The extra socket as the server saw it.
    mapped: Option<SocketAddr>,
    result: Option<Filtering>,
}

/// The detection as a state machine; it ends with a [`Detection`].
pub(crate) struct Detector {
    rng: StdRng,
    extra: SocketId,
    local: Vec<IpAddr>,
    port: u16,
    queries: Vec<Query>,
    filter: Option<FilterTest>,
    transmits: VecDeque<Transmit>,
    result: Option<Detection>,
}

impl Detector {
    /// Asks `servers` from the main socket (bound to `port` on the addresses `local`) and from `extra`.
    pub fn new(
        now: Instant,
        rng: StdRng,
        servers: &[SocketAddr],
        extra: SocketId,
        local: Vec<IpAddr>,
        port: u16,
    ) -> Self {
        let mut detector = Self {
            rng,
            extra,
            local,
            port,
            queries: Vec::new(),
            filter: None,
            transmits: VecDeque::new(),
            result: None,
        };
        for &server in servers {
            detector.ask(now, server);
        }
        detector.conclude();
        detector
    }

    /// The outcome, once there is one.
    pub fn result(&self) -> Option<Detection> {
        self.result
    }

    /// Takes a STUN answer that came to `socket`.
    pub fn handle_message(&mut self, now: Instant, socket: SocketId, from: SocketAddr, message: &Message) {
        if self.result.is_some() || message.class != Class::Success {
            return;
        }
        if socket == self.extra {
            self.handle_filter_answer(now, from, message);
        } else if socket == SocketId::MAIN {
            self.handle_mapping_answer(now, from, message);
        }
        self.conclude();
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        for at in 0..self.queries.len() {
            let query = &mut self.queries[at];
            if query.retry_at.is_some_and(|retry_at| retry_at <= now) {
                if query.sent < ATTEMPTS {
                    self.send_query(now, at);
                } else {
                    query.retry_at = None;
                }
            }
        }
        self.drive_filter(now);
        self.conclude();
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.result.is_some() {
            return None;
        }
        let queries = self.queries.iter().filter_map(|query| query.retry_at);
        let filter = self.filter.iter().flat_map(|filter| [filter.retry_at, filter.conclude_at]);
        queries.chain(filter.flatten()).min()
    }

    fn ask(&mut self, now: Instant, to: SocketAddr) {
        if self.queries.iter().any(|query| query.to == to) {
            return;
        }
        self.queries.push(Query {
            to,
            transaction: self.rng.random(),
            sent: 0,
            retry_at: None,
            mapped: None,
        });
        self.send_query(now, self.queries.len() - 1);
    }

    fn send_query(&mut self, now: Instant, at: usize) {
        let query = &mut self.queries[at];
        query.retry_at = Some(now + FIRST_RETRY * 2u32.pow(query.sent));
        query.sent += 1;
        self.transmits.push_back(Transmit {
            path: Path::main(query.to),
            payload: Message::binding_request(query.transaction).encode(),
        });
    }

    fn handle_mapping_answer(&mut self, now: Instant, from: SocketAddr, message: &Message) {
        let Some(query) = self
            .queries
            .iter_mut()
            .find(|query| query.transaction == message.transaction && query.to == from)
        else {
            return;
        };
        let Some(mapped) = message.mapped_address else {
            return;
        };
        query.mapped = Some(mapped);
        query.retry_at = None;
        if let Some(other) = message.other_address
            && self.filter.is_none()
            && other.ip() != from.ip()
            && other.port() != from.port()
        {
            self.ask(now, SocketAddr::new(other.ip(), from.port()));
            self.ask(now, other);
            self.ask(now, SocketAddr::new(from.ip(), other.port()));
            self.begin_filter_test(now, from, other);
        }
    }

    fn begin_filter_test(&mut self, now: Instant, server: SocketAddr, other: SocketAddr) {
        self.filter = Some(FilterTest {
            server,
            other,
            transactions: self.rng.random(),
            asked_at: now,
            asked: 0,
            retry_at: Some(now),
            conclude_at: None,
            silent_rounds: 0,
            stranger_heard: false,
            other_port_heard: false,
            mapped: None,
            result: None,
        });
        self.drive_filter(now);
    }

    fn handle_filter_answer(&mut self, now: Instant, from: SocketAddr, message: &Message) {
        let Some(filter) = self.filter.as_mut().filter(|filter| filter.result.is_none()) else {
            return;
        };
        let [stranger, other_port, plain] = filter.transactions;
        let (server, other) = (filter.server, filter.other);
        if message.transaction == stranger && from == other {
            filter.stranger_heard = true;
            filter.finish(Filtering::EndpointIndependent);
        } else if message.transaction == other_port && from == SocketAddr::new(server.ip(), other.port()) {
            filter.other_port_heard = true;
        } else if message.transaction == plain && from == server && filter.conclude_at.is_none() {
            let round_trip = now.saturating_duration_since(filter.asked_at);
            filter.mapped = filter.mapped.or(message.mapped_address);
            filter.retry_at = None;
            filter.conclude_at = Some(now + round_trip.max(MIN_GRACE));
        }
    }

    fn drive_filter(&mut self, now: Instant) {
        let Some(filter) = &mut self.filter else {
            return;
        };
        if filter.result.is_some() {
            return;
        }
        if filter.conclude_at.is_some_and(|at| at <= now) {
            filter.conclude_at = None;
            filter.silent_rounds += 1;
            if filter.silent_rounds >= SILENT_ROUNDS {
                let class = match filter.other_port_heard {
                    true => Filtering::AddressDependent,
                    false => Filtering::AddressAndPortDependent,
                };
                filter.finish(class);
                return;
            }
            filter.asked = 0;
            filter.transactions = self.rng.random();
            filter.retry_at = Some(now);
        }
        if filter.retry_at.is_some_and(|at| at <= now) {
            if filter.asked >= ATTEMPTS {
                filter.finish(Filtering::Unknown);
                return;
            }
            filter.retry_at = Some(now + FIRST_RETRY * 2u32.pow(filter.asked));
            filter.asked += 1;
            filter.asked_at = now;
            let changes = [
                Some(ChangeRequest { ip: true, port: true }),
                Some(ChangeRequest { ip: false, port: true }),
                None,
            ];
            for (transaction, change) in filter.transactions.into_iter().zip(changes) {
                let mut request = Message::binding_request(transaction);
                request.change_request = change;
                self.transmits.push_back(Transmit {
                    path: Path { socket: self.extra, remote: filter.server },
                    payload: request.encode(),
                });
            }
        }
    }

    fn conclude(&mut self) {
        let asking = self.queries.iter().any(|query| query.retry_at.is_some());
        let filtering = match &self.filter {
            None => Some(Filtering::Unknown),
            Some(filter) => filter.result,
        };
        let (Some(filtering), false, None) = (filtering, asking, self.result) else {
            return;
        };
        let seen: Vec<(SocketAddr, SocketAddr)> =
            self.queries.iter().filter_map(|query| Some((query.to, query.mapped?))).collect();
        let (mapping, mut confidence) = classify(&seen);
        let observed = seen.first().map(|&(_, mapped)| mapped);
        let untranslated = observed.is_some_and(|observed| {
            mapping == Mapping::EndpointIndependent
                && observed.port() == self.port
                && self.local.contains(&observed.ip())
        });
        if filtering == Filtering::Unknown {
            confidence = confidence.min(Confidence::Low);
        }
        self.result = Some(Detection {
            mapping,
            filtering,
            allocation: self.allocation(mapping, &seen),
            name: NatClass::of(mapping, filtering, !untranslated),
            observed,
            confidence,
        });
    }
}

impl Detector {
    /// Which ports were given; the sockets asked in the order of `seen`, the extra one last.
    fn allocation(&self, mapping: Mapping, seen: &[(SocketAddr, SocketAddr)]) -> Allocation {
        let ports = seen.iter().map(|(_, mapped)| mapped.port());
        match mapping {
            Mapping::Unknown => Allocation::Unknown,
            Mapping::EndpointIndependent if ports.clone().all(|port| port == self.port) => {
                Allocation::Preserving
            }
            Mapping::EndpointIndependent => Allocation::Random,
            _ => {
                let extra = self.filter.as_ref().and_then(|filter| filter.mapped);
                let mut ports: Vec<u16> = ports.chain(extra.map(|mapped| mapped.port())).collect();
                // With ADM a second port of one address gets no port of its own.
                ports.dedup();
                Allocation::of_sequence(&ports)
            }
        }
    }
}

impl FilterTest {
    fn finish(&mut self, class: Filtering) {
        self.result = Some(class);
        self.retry_at = None;
        self.conclude_at = None;
    }
}

/// The mapping behind pairs of (destination, what it saw).
fn classify(seen: &[(SocketAddr, SocketAddr)]) -> (Mapping, Confidence) {
    let Some(&(first_to, first)) = seen.first() else {
        return (Mapping::Unknown, Confidence::None);
    };
    if seen.len() < 2 {
        return (Mapping::Unknown, Confidence::Low);
    }
    if seen.iter().all(|&(_, mapped)| mapped == first) {
        let one_address = seen.iter().all(|(to, _)| to.ip() == first_to.ip());
        let confidence = match one_address {
            true => Confidence::Low,
            false => Confidence::High,
        };
        return (Mapping::EndpointIndependent, confidence);
    }
    let mut same_address = seen
        .iter()
        .enumerate()
        .flat_map(|(at, a)| seen[at + 1..].iter().map(move |b| (a, b)))
        .filter(|(a, b)| a.0.ip() == b.0.ip())
        .peekable();
    if same_address.peek().is_none() {
        return (Mapping::AddressAndPortDependent, Confidence::Low);
    }
    match same_address.all(|(a, b)| a.1 == b.1) {
        true => (Mapping::AddressDependent, Confidence::High),
        false => (Mapping::AddressAndPortDependent, Confidence::High),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn classified(seen: &[(&str, &str)]) -> Mapping {
        let seen: Vec<_> = seen.iter().map(|(to, mapped)| (addr(to), addr(mapped))).collect();
        classify(&seen).0
    }

    #[test]
    fn equal_observations_of_several_addresses_mean_independence() {
        let same = "9.9.9.9:1000";
        assert_eq!(classified(&[("1.1.1.1:1", same), ("2.2.2.2:1", same)]), Mapping::EndpointIndependent);
        assert_eq!(classified(&[("1.1.1.1:1", same)]), Mapping::Unknown);
    }

    #[test]
    fn two_ports_of_one_address_tell_the_dependent_classes_apart() {
        let by_address =
            [("1.1.1.1:1", "9.9.9.9:1000"), ("2.2.2.2:1", "9.9.9.9:2000"), ("2.2.2.2:2", "9.9.9.9:2000")];
        assert_eq!(classified(&by_address), Mapping::AddressDependent);
        let by_port =
            [("1.1.1.1:1", "9.9.9.9:1000"), ("2.2.2.2:1", "9.9.9.9:2000"), ("2.2.2.2:2", "9.9.9.9:3000")];
        assert_eq!(classified(&by_port), Mapping::AddressAndPortDependent);
    }

    #[test]
    fn without_servers_the_class_is_unknown_at_once() {
        use rand::SeedableRng;
        let rng = StdRng::from_seed([0; 32]);
        let detector = Detector::new(Instant::now(), rng, &[], SocketId(1), vec![], 1);
        let result = detector.result().expect("nothing to wait for");
        assert_eq!((result.name, result.confidence), (NatClass::Unknown, Confidence::None));
    }
}
