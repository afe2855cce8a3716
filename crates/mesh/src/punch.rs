//! When to send which probe: the pace of a punch, apart from everything else.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{SliceRandom, index};

use crate::nat::NatClass;
use crate::net::{Path, SocketId};
use crate::strategy::Strategy;

/// Sockets that the hard side of a birthday search opens.
pub(crate) const SPREAD_SOCKETS: usize = 256;

const PLAIN_LIMIT: Duration = Duration::from_secs(10);
const PLAIN_BUDGET: u64 = 40;
const PLAIN_FIRST_GAP: Duration = Duration::from_millis(50);
const PLAIN_MAX_GAP: Duration = Duration::from_millis(500);
/// Probes sent at the first gap before it grows.
const PLAIN_EAGER: u64 = 8;

/// With the dial's probes before it, a hopeless attempt stays within 20 probes and about a second.
const BOUNDED_BUDGET: u64 = 16;
const BOUNDED_GAP: Duration = Duration::from_millis(40);
const BOUNDED_LIMIT: Duration = Duration::from_millis(700);

const SEARCH_BUDGET: u64 = 4096;
const SEARCH_BATCH: u64 = 5;
const SEARCH_GAP: Duration = Duration::from_millis(10);
/// How long the searching side lets the other open its ports.
const SEARCH_HEAD_START: Duration = Duration::from_millis(200);
const SEARCH_LIMIT: Duration = Duration::from_secs(10);
const FIRST_PORT: u16 = 1024;
/// Linux draws these ports twice as often (a 16 bit draw that wraps), so they are worth trying first.
const LIKELY_PORTS: u16 = 1024;

const SPREAD_BATCH: u64 = 32;
const SPREAD_GAP: Duration = Duration::from_millis(5);
/// A NAT forgets an unanswered mapping after 30 s at the earliest; twice as often as needed would be 15.
const SPREAD_REPEAT: Duration = Duration::from_secs(5);

/// The two ends of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

enum Plan {
    /// The same endpoint again and again.
    Plain { target: SocketAddr },
    /// The same, just often enough to be sure that it does not work.
    Bounded { target: SocketAddr },
    /// Ports of one address, each once: the easy side of a birthday search.
    Search { address: IpAddr, ports: Vec<u16> },
    /// One endpoint from many sockets: the hard side.
    Spread { target: SocketAddr, sockets: Vec<SocketId> },
}

/// The sending side of one punch.
pub(crate) struct Punch {
    pub strategy: Strategy,
    plan: Plan,
    next: Option<Instant>,
    until: Instant,
    sent: u64,
}

impl Punch {
    /// Towards `target`, the peer's known endpoint. `class` is our own; `round_trip` is that of the way to the
    /// coordinator. `open` gives a fresh socket.
    pub fn new(
        now: Instant,
        strategy: Strategy,
        class: NatClass,
        target: SocketAddr,
        round_trip: Duration,
        rng: &mut StdRng,
        mut open: impl FnMut() -> SocketId,
    ) -> Self {
        let hard = class == NatClass::Symmetric;
        let (plan, start, limit) = match strategy {
            Strategy::Impossible => (Plan::Bounded { target }, now, BOUNDED_LIMIT),
            Strategy::Birthday if hard => {
                let sockets = (0..SPREAD_SOCKETS).map(|_| open()).collect();
                (Plan::Spread { target, sockets }, now, SEARCH_LIMIT)
            }
            Strategy::Birthday => {
                let search = Plan::Search { address: target.ip(), ports: search_order(rng) };
                (search, now + SEARCH_HEAD_START + round_trip, SEARCH_LIMIT)
            }
            _ => (Plan::Plain { target }, now, PLAIN_LIMIT),
        };
        Self { strategy, plan, next: Some(start), until: start + limit, sent: 0 }
    }

    /// A probe that is due.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Path> {
        if self.next.is_none_or(|next| next > now) || now >= self.until {
            return None;
        }
        let path = match &mut self.plan {
            Plan::Plain { target } | Plan::Bounded { target } => Path::main(*target),
            Plan::Search { address, ports } => Path::main(SocketAddr::new(*address, ports.pop()?)),
            Plan::Spread { target, sockets } => {
                Path { socket: *sockets.get(self.sent as usize % sockets.len().max(1))?, remote: *target }
            }
        };
        self.sent += 1;
        self.next = self.after(now);
        Some(path)
    }

    /// When [`Self::poll_probe`] or [`Self::is_over`] change their answer.
    pub fn poll_timeout(&self) -> Instant {
        self.next.map_or(self.until, |next| next.min(self.until))
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Sockets that were opened for it.
    pub fn sockets(&self) -> &[SocketId] {
        match &self.plan {
            Plan::Spread { sockets, .. } => sockets,
            _ => &[],
        }
    }

    /// Where the peer was said to be.
    pub fn is_towards(&self, address: IpAddr) -> bool {
        match &self.plan {
            Plan::Plain { target } | Plan::Bounded { target } | Plan::Spread { target, .. } => {
                target.ip() == address
            }
            Plan::Search { address: searched, .. } => *searched == address,
        }
    }

    fn after(&self, now: Instant) -> Option<Instant> {
        let in_batch = |batch: u64| !self.sent.is_multiple_of(batch);
        match &self.plan {
            Plan::Plain { .. } if self.sent >= PLAIN_BUDGET => None,
            Plan::Plain { .. } => {
                let doublings = self.sent.saturating_sub(PLAIN_EAGER).min(8) as u32;
                Some(now + (PLAIN_FIRST_GAP * 2u32.pow(doublings)).min(PLAIN_MAX_GAP))
            }
            Plan::Bounded { .. } if self.sent >= BOUNDED_BUDGET => None,
            Plan::Bounded { .. } => Some(now + BOUNDED_GAP),
            Plan::Search { .. } if self.sent >= SEARCH_BUDGET => None,
            Plan::Search { .. } if in_batch(SEARCH_BATCH) => Some(now),
            Plan::Search { .. } => Some(now + SEARCH_GAP),
            Plan::Spread { sockets, .. } if !in_batch(sockets.len().max(1) as u64) => {
                Some(now + SPREAD_REPEAT)
            }
            Plan::Spread { .. } if in_batch(SPREAD_BATCH) => Some(now),
            Plan::Spread { .. } => Some(now + SPREAD_GAP),
        }
    }
}

/// As many ports as are tried, each once, in random order; taken from the end, where the likelier ones are.
fn search_order(rng: &mut StdRng) -> Vec<u16> {
    let first = FIRST_PORT + LIKELY_PORTS;
    let tried = SEARCH_BUDGET as usize - usize::from(LIKELY_PORTS);
    let others = index::sample(rng, usize::from(u16::MAX - first) + 1, tried);
    let mut ports: Vec<u16> = others.into_iter().map(|n| first + n as u16).collect();
    let mut likely: Vec<u16> = (FIRST_PORT..FIRST_PORT + LIKELY_PORTS).collect();
    likely.shuffle(rng);
    ports.extend(likely);
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::HashSet;

    fn run(strategy: Strategy, class: NatClass) -> (Vec<(Duration, Path)>, Duration) {
        let start = Instant::now();
        let mut rng = StdRng::from_seed([1; 32]);
        let mut sockets = 0;
        let target = "9.9.9.9:999".parse().expect("an address");
        let mut punch =
            Punch::new(start, strategy, class, target, Duration::from_millis(10), &mut rng, || {
                sockets += 1;
                SocketId(sockets)
            });
        let (mut now, mut sent) = (start, Vec::new());
        while !punch.is_over(now) {
            while let Some(path) = punch.poll_probe(now) {
                sent.push((now - start, path));
            }
            now = punch.poll_timeout();
        }
        (sent, now - start)
    }

    #[test]
    fn a_plain_punch_begins_eagerly_and_stays_within_its_budget() {
        let (sent, took) = run(Strategy::Simultaneous, NatClass::PortRestrict);
        assert!(sent.len() as u64 <= PLAIN_BUDGET);
        assert!(sent.iter().filter(|(at, _)| at.as_millis() < 400).count() >= 8);
        assert_eq!(took, PLAIN_LIMIT);
        let (last, _) = sent.last().expect("probes");
        assert!(last.as_secs() >= 9, "goes on to the end: {last:?}");
    }

    #[test]
    fn a_hopeless_attempt_is_short_but_made() {
        let (sent, took) = run(Strategy::Impossible, NatClass::Symmetric);
        assert_eq!(sent.len() as u64, BOUNDED_BUDGET);
        assert!(took <= Duration::from_secs(1));
    }

    #[test]
    fn the_search_tries_each_port_once_at_500_a_second() {
        let (sent, _) = run(Strategy::Birthday, NatClass::PortRestrict);
        assert_eq!(sent.len() as u64, SEARCH_BUDGET);
        let ports: HashSet<u16> = sent.iter().map(|(_, path)| path.remote.port()).collect();
        assert_eq!(ports.len(), sent.len());
        assert!(ports.iter().all(|&port| port >= FIRST_PORT));
        let (first, last) = (sent[0].0, sent[sent.len() - 1].0);
        let rate = sent.len() as f64 / (last - first).as_secs_f64();
        assert!((480.0..=520.0).contains(&rate), "{rate}");
        assert!(first >= SEARCH_HEAD_START);
        assert!(sent[..1024].iter().all(|(_, path)| path.remote.port() < 2048));
    }

    #[test]
    fn the_spread_sends_from_every_socket_and_again_after_five_seconds() {
        let (sent, _) = run(Strategy::Birthday, NatClass::Symmetric);
        assert_eq!(sent.len(), 2 * SPREAD_SOCKETS);
        let first: HashSet<SocketId> = sent[..SPREAD_SOCKETS].iter().map(|(_, path)| path.socket).collect();
        assert_eq!(first.len(), SPREAD_SOCKETS);
        assert!(sent[SPREAD_SOCKETS - 1].0 < Duration::from_millis(100));
        assert!(sent[SPREAD_SOCKETS].0 >= SPREAD_REPEAT);
    }
}
