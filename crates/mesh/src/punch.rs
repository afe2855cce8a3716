//! When to send which probe: the pace of a punch, apart from everything else.

mod search;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;

use crate::budget::Budget;
use crate::net::{Path, SocketId};
use crate::strategy::Strategy;

pub(crate) use search::{MAX_PROBES, Search, pace};

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

/// Predicted ports are few, so the attempt is over soon and a search may follow.
const GUESS_LIMIT: Duration = Duration::from_millis(1500);
const GUESS_BUDGET: u64 = 24;
const GUESS_FIRST_GAP: Duration = Duration::from_millis(10);
const GUESS_GAP: Duration = Duration::from_millis(80);

const SPREAD_BATCH: u64 = 32;
const SPREAD_GAP: Duration = Duration::from_millis(5);
/// A NAT forgets an unanswered mapping after 30 s at the earliest; twice as often as needed would be 15.
const SPREAD_REPEAT: Duration = Duration::from_secs(5);

/// Probes to each endpoint that the peer only claims.
const CLAIMED_ROUNDS: usize = 3;
const CLAIMED_GAP: Duration = Duration::from_millis(150);

/// The two ends of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// What a punch goes by.
pub(crate) struct Brief {
    pub strategy: Strategy,
    /// Whether our own ports depend on the destination.
    pub is_hard: bool,
    /// The peer's known endpoint.
    pub target: SocketAddr,
    /// Ports that the peer expects to get towards us.
    pub predicted: Vec<u16>,
    /// The socket whose port we have foretold to the peer.
    pub foretold: Option<SocketId>,
    /// Endpoints that the peer claims to have besides.
    pub claimed: Vec<SocketAddr>,
    /// How long to wait, so that both begin at once.
    pub wait: Duration,
    /// Round trip to the coordinator.
    pub round_trip: Duration,
    /// Probes that a search may take.
    pub room: u64,
}

enum Plan {
    /// The same endpoint again and again.
    Plain { path: Path },
    /// The same, just often enough to be sure that it does not work.
    Bounded { target: SocketAddr },
    /// A few ports of one address in turn: the easy side of a prediction.
    Guess { address: IpAddr, ports: Vec<u16> },
    /// Ports of one address, each once: the easy side of a birthday search.
    Search(Search),
    /// One endpoint from many sockets: the hard side.
    Spread { target: SocketAddr, sockets: Vec<SocketId> },
}

/// Endpoints that the peer claims, and how often they were tried.
struct Claimed {
    endpoints: Vec<SocketAddr>,
    sent: usize,
    next: Option<Instant>,
}

/// A probe to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shot {
    pub path: Path,
    /// Whether it goes where the peer only claims to be.
    pub is_claimed: bool,
}

/// The sending side of one punch.
pub(crate) struct Punch {
    pub strategy: Strategy,
    plan: Plan,
    claimed: Claimed,
    next: Option<Instant>,
    until: Instant,
    sent: u64,
}

impl Punch {
    /// A punch by `brief`. `open` gives a fresh socket.
    pub fn new(now: Instant, brief: Brief, rng: &mut StdRng, mut open: impl FnMut() -> SocketId) -> Self {
        let Brief { strategy, is_hard, target, .. } = brief;
        let start = now + brief.wait;
        let (plan, start, limit) = match strategy {
            Strategy::Impossible => (Plan::Bounded { target }, start, BOUNDED_LIMIT),
            Strategy::PortPrediction if is_hard => {
                let socket = brief.foretold.unwrap_or(SocketId::MAIN);
                (Plan::Plain { path: Path { socket, remote: target } }, start, GUESS_LIMIT)
            }
            Strategy::PortPrediction => {
                (Plan::Guess { address: target.ip(), ports: brief.predicted }, start, GUESS_LIMIT)
            }
            Strategy::Birthday if is_hard => {
                let sockets = (0..SPREAD_SOCKETS).map(|_| open()).collect();
                (Plan::Spread { target, sockets }, start, search::LIMIT)
            }
            Strategy::Birthday => {
                let search = Search::new(target.ip(), brief.room, rng);
                (Plan::Search(search), start + search::HEAD_START + brief.round_trip, search::LIMIT)
            }
            _ => (Plan::Plain { path: Path::main(target) }, start, PLAIN_LIMIT),
        };
        let next = (!brief.claimed.is_empty()).then_some(now + brief.wait);
        let claimed = Claimed { endpoints: brief.claimed, sent: 0, next };
        Self { strategy, plan, claimed, next: Some(start), until: start + limit, sent: 0 }
    }

    /// A probe that is due. `searches` bounds the searches of the whole node.
    pub fn poll_probe(&mut self, now: Instant, searches: &mut Budget) -> Option<Shot> {
        if now >= self.until {
            return None;
        }
        if let Some(endpoint) = self.claimed.poll(now) {
            return Some(Shot { path: Path::main(endpoint), is_claimed: true });
        }
        if self.next.is_none_or(|next| next > now) {
            return None;
        }
        let path = match &mut self.plan {
            Plan::Plain { path } => *path,
            Plan::Bounded { target } => Path::main(*target),
            Plan::Guess { address, ports } => {
                let port = ports.get(self.sent as usize % ports.len().max(1))?;
                Path::main(SocketAddr::new(*address, *port))
            }
            Plan::Search(search) => {
                if !search.may_go_on() {
                    self.next = None;
                    return None;
                }
                if !searches.take(now) {
                    self.next = Some(now + search::GAP);
                    return None;
                }
                Path::main(search.next_target()?)
            }
            Plan::Spread { target, sockets } => {
                Path { socket: *sockets.get(self.sent as usize % sockets.len().max(1))?, remote: *target }
            }
        };
        self.sent += 1;
        self.next = self.after(now);
        Some(Shot { path, is_claimed: false })
    }

    /// The search, if this is one.
    pub fn search(&mut self) -> Option<&mut Search> {
        match &mut self.plan {
            Plan::Search(search) => Some(search),
            _ => None,
        }
    }

    /// A search that had to wait may go on.
    pub fn resume(&mut self, now: Instant) {
        self.next.get_or_insert(now);
    }

    /// No more probes.
    pub fn stop(&mut self, now: Instant) {
        self.until = self.until.min(now);
    }

    /// When [`Self::poll_probe`] or [`Self::is_over`] change their answer.
    pub fn poll_timeout(&self) -> Instant {
        self.next.into_iter().chain(self.claimed.next).fold(self.until, Instant::min)
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Sockets that were opened for it.
    pub fn sockets(&self) -> &[SocketId] {
        match &self.plan {
            Plan::Spread { sockets, .. } => sockets,
            Plan::Plain { path } if path.socket != SocketId::MAIN => std::slice::from_ref(&path.socket),
            _ => &[],
        }
    }

    /// Where the peer was said to be, or claims to be.
    pub fn is_towards(&self, address: IpAddr) -> bool {
        self.claimed.endpoints.iter().any(|endpoint| endpoint.ip() == address)
            || match &self.plan {
                Plan::Plain { path } => path.remote.ip() == address,
                Plan::Bounded { target } | Plan::Spread { target, .. } => target.ip() == address,
                Plan::Guess { address: guessed, .. } => *guessed == address,
                Plan::Search(search) => search.address() == address,
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
            Plan::Guess { .. } if self.sent >= GUESS_BUDGET => None,
            Plan::Guess { ports, .. } if self.sent < ports.len() as u64 => Some(now + GUESS_FIRST_GAP),
            Plan::Guess { .. } => Some(now + GUESS_GAP),
            Plan::Search(search) if search.is_exhausted() => None,
            Plan::Search(_) if in_batch(search::BATCH) => Some(now),
            Plan::Search(_) => Some(now + search::GAP),
            Plan::Spread { sockets, .. } if !in_batch(sockets.len().max(1) as u64) => {
                Some(now + SPREAD_REPEAT)
            }
            Plan::Spread { .. } if in_batch(SPREAD_BATCH) => Some(now),
            Plan::Spread { .. } => Some(now + SPREAD_GAP),
        }
    }
}

impl Claimed {
    fn poll(&mut self, now: Instant) -> Option<SocketAddr> {
        let count = self.endpoints.len();
        self.next.filter(|next| *next <= now)?;
        let endpoint = *self.endpoints.get(self.sent % count.max(1))?;
        self.sent += 1;
        self.next = match self.sent {
            sent if sent >= count * CLAIMED_ROUNDS => None,
            sent if sent.is_multiple_of(count) => Some(now + CLAIMED_GAP),
            _ => Some(now),
        };
        Some(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::HashSet;

    fn brief(strategy: Strategy, is_hard: bool) -> Brief {
        Brief {
            strategy,
            is_hard,
            target: "9.9.9.9:999".parse().expect("an address"),
            predicted: vec![700, 701, 702],
            foretold: Some(SocketId(77)),
            claimed: Vec::new(),
            wait: Duration::ZERO,
            round_trip: Duration::from_millis(10),
            room: MAX_PROBES,
        }
    }

    /// All that is sent, a search being told at each question that there is room; and how long it took.
    fn run(brief: Brief) -> (Vec<(Duration, Path)>, Duration) {
        let start = Instant::now();
        let mut rng = StdRng::from_seed([1; 32]);
        let mut searches = search::pace(start);
        let mut sockets = 0;
        let open = || {
            sockets += 1;
            SocketId(sockets)
        };
        let mut punch = Punch::new(start, brief, &mut rng, open);
        let (mut now, mut sent) = (start, Vec::new());
        while !punch.is_over(now) {
            while let Some(shot) = punch.poll_probe(now, &mut searches) {
                sent.push((now - start, shot.path));
                if let Some(search) = punch.search()
                    && let Some(mark) = search.poll_question()
                {
                    search.answered(mark);
                }
            }
            now = punch.poll_timeout();
        }
        (sent, now - start)
    }

    #[test]
    fn a_plain_punch_begins_eagerly_and_stays_within_its_budget() {
        let (sent, took) = run(brief(Strategy::Simultaneous, false));
        assert!(sent.len() as u64 <= PLAIN_BUDGET);
        assert!(sent.iter().filter(|(at, _)| at.as_millis() < 400).count() >= 8);
        assert_eq!(took, PLAIN_LIMIT);
        let (last, _) = sent.last().expect("probes");
        assert!(last.as_secs() >= 9, "goes on to the end: {last:?}");
    }

    #[test]
    fn a_punch_begins_when_the_other_side_will() {
        let wait = Duration::from_millis(70);
        let (sent, _) = run(Brief { wait, ..brief(Strategy::Simultaneous, false) });
        assert_eq!(sent[0].0, wait);
    }

    #[test]
    fn a_hopeless_attempt_is_short_but_made() {
        let (sent, took) = run(brief(Strategy::Impossible, true));
        assert_eq!(sent.len() as u64, BOUNDED_BUDGET);
        assert!(took <= Duration::from_secs(1));
    }

    #[test]
    fn a_prediction_takes_a_handful_of_probes_to_a_handful_of_ports() {
        let (sent, took) = run(brief(Strategy::PortPrediction, false));
        assert!(sent.len() as u64 <= GUESS_BUDGET && took < Duration::from_secs(2));
        let ports: Vec<u16> = sent.iter().map(|(_, path)| path.remote.port()).collect();
        assert_eq!(ports[..4], [700, 701, 702, 700], "the likeliest first, and again");
        let (foretold, _) = run(brief(Strategy::PortPrediction, true));
        assert!(foretold.iter().all(|(_, path)| path.socket == SocketId(77)));
    }

    #[test]
    fn claimed_endpoints_get_a_few_probes_each() {
        let lan: Vec<SocketAddr> = (1..=8).map(|n| SocketAddr::from(([192, 168, 1, n], 4400))).collect();
        let (sent, _) = run(Brief { claimed: lan.clone(), ..brief(Strategy::Impossible, true) });
        for claimed in &lan {
            assert_eq!(sent.iter().filter(|(_, path)| path.remote == *claimed).count(), CLAIMED_ROUNDS);
        }
        assert_eq!(sent.len(), BOUNDED_BUDGET as usize + 8 * CLAIMED_ROUNDS);
        assert!(sent[..8].iter().all(|(at, _)| at.is_zero()), "at once");
    }

    #[test]
    fn the_search_tries_each_port_once_at_500_a_second() {
        let (sent, _) = run(brief(Strategy::Birthday, false));
        assert_eq!(sent.len() as u64, MAX_PROBES);
        let ports: HashSet<u16> = sent.iter().map(|(_, path)| path.remote.port()).collect();
        assert_eq!(ports.len(), sent.len());
        assert!(ports.iter().all(|&port| port >= 1024));
        let (first, last) = (sent[0].0, sent[sent.len() - 1].0);
        let rate = sent.len() as f64 / (last - first).as_secs_f64();
        assert!((480.0..=520.0).contains(&rate), "{rate}");
        assert!(first >= search::HEAD_START);
        assert!(sent[..1024].iter().all(|(_, path)| path.remote.port() < 2048));
    }

    #[test]
    fn the_spread_sends_from_every_socket_and_again_after_five_seconds() {
        let (sent, _) = run(brief(Strategy::Birthday, true));
        assert_eq!(sent.len(), 2 * SPREAD_SOCKETS);
        let first: HashSet<SocketId> = sent[..SPREAD_SOCKETS].iter().map(|(_, path)| path.socket).collect();
        assert_eq!(first.len(), SPREAD_SOCKETS);
        assert!(sent[SPREAD_SOCKETS - 1].0 < Duration::from_millis(100));
        assert!(sent[SPREAD_SOCKETS].0 >= SPREAD_REPEAT);
    }
}
