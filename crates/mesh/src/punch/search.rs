//! The easy side of a birthday search: which ports, and when it would be too much for the own gateway.
//!
//! Each port that is tried is a flow in the gateway's table, and small tables have room for a few hundred. So the search
//! asks every so often whether a new flow still gets through: [`Search::poll_question`] says when, and until the question
//! is answered the search goes on for one tranche and no further.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{SliceRandom, index};

use crate::budget::Budget;

/// Ports that are tried at most: all but one search in twenty million has an end before.
pub(crate) const MAX_PROBES: u64 = 4096;
pub(super) const BATCH: u64 = 5;
pub(super) const GAP: Duration = Duration::from_millis(10);
/// How long the searching side lets the other open its ports.
pub(super) const HEAD_START: Duration = Duration::from_millis(200);
pub(super) const LIMIT: Duration = Duration::from_secs(10);
const FIRST_PORT: u16 = 1024;
/// Linux draws these ports twice as often (a 16 bit draw that wraps), so they are worth trying first.
const LIKELY_PORTS: u16 = 1024;
/// Probes from one question to the next.
const TRANCHE: u64 = 64;

/// What all searches of a node together may send: 500 a second.
pub(crate) fn pace(now: Instant) -> Budget {
    Budget::new(now, BATCH as f64 / GAP.as_secs_f64(), 2.0 * BATCH as f64)
}

/// Ports of one address, each once.
pub(crate) struct Search {
    address: IpAddr,
    /// Taken from the end.
    ports: Vec<u16>,
    sent: u64,
    /// Sent when the last question was put.
    questioned: u64,
    is_asking: bool,
    /// Sent when the last question was put that has been answered.
    confirmed: u64,
}

impl Search {
    pub fn new(address: IpAddr, room: u64, rng: &mut StdRng) -> Self {
        let mut ports = order(rng);
        ports.drain(..ports.len().saturating_sub(room as usize));
        Self { address, ports, sent: 0, questioned: 0, is_asking: false, confirmed: 0 }
    }

    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it must not wait for an answer first.
    pub fn may_go_on(&self) -> bool {
        self.sent < self.confirmed + 2 * TRANCHE
    }

    pub fn is_exhausted(&self) -> bool {
        self.ports.is_empty()
    }

    pub fn next_target(&mut self) -> Option<SocketAddr> {
        let port = self.ports.pop()?;
        self.sent += 1;
        Some(SocketAddr::new(self.address, port))
    }

    /// Whether it is time to see if a new flow gets through. What it gives goes back with the answer.
    pub fn poll_question(&mut self) -> Option<u64> {
        if self.is_asking || self.sent < self.questioned + TRANCHE {
            return None;
        }
        self.is_asking = true;
        self.questioned = self.sent;
        Some(self.sent)
    }

    /// A new flow got through after `mark` probes.
    pub fn answered(&mut self, mark: u64) {
        self.is_asking = false;
        self.confirmed = self.confirmed.max(mark);
    }

    /// Probes after which a new flow was seen to get through.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }
}

/// As many ports as are tried, each once, in random order; taken from the end, where the likelier ones are.
fn order(rng: &mut StdRng) -> Vec<u16> {
    let first = FIRST_PORT + LIKELY_PORTS;
    let tried = MAX_PROBES as usize - usize::from(LIKELY_PORTS);
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

    fn search(room: u64) -> Search {
        Search::new([9, 9, 9, 9].into(), room, &mut StdRng::from_seed([2; 32]))
    }

    fn send_all(search: &mut Search) -> u64 {
        let mut sent = 0;
        while search.may_go_on() && search.next_target().is_some() {
            sent += 1;
        }
        sent
    }

    #[test]
    fn an_unanswered_question_stops_it_after_a_tranche() {
        let mut search = search(MAX_PROBES);
        assert_eq!(send_all(&mut search), 2 * TRANCHE);
        let mark = search.poll_question().expect("a question");
        assert_eq!(search.poll_question(), None, "one at a time");
        search.answered(mark);
        assert_eq!((search.confirmed(), send_all(&mut search)), (mark, 2 * TRANCHE));
    }

    #[test]
    fn it_takes_no_more_room_than_there_is() {
        let mut search = search(100);
        assert_eq!(send_all(&mut search), 100);
        assert!(search.is_exhausted());
    }
}
