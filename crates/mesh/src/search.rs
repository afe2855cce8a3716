//! Looking for a relay that carries a session with a peer: one is asked after the other, until one takes it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::identity::PeerId;

/// A relay that is silent for this long is not waited for: the next one is asked as well.
const ASK_GAP: Duration = Duration::from_secs(1);
/// An answer that comes later than this is no answer.
const ASK_LIMIT: Duration = Duration::from_secs(4);
/// Relays asked at most in one search.
const MAX_CANDIDATES: usize = 8;

/// A relay that may carry the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub relay: PeerId,
    /// Where it is, should we have to connect first.
    pub address: Option<SocketAddr>,
}

/// One search.
#[derive(Debug, Default)]
pub(crate) struct Search {
    queue: VecDeque<Candidate>,
    /// Asked, with the end of our patience.
    asked: Vec<(PeerId, Instant)>,
    next: Option<Instant>,
    /// When to search again.
    again: Option<Instant>,
    fruitless: u32,
}

impl Search {
    /// Begins anew with these, the best first.
    pub fn begin(&mut self, now: Instant, candidates: impl IntoIterator<Item = Candidate>) {
        self.queue.clear();
        for candidate in candidates {
            let is_known = self.asked.iter().any(|(asked, _)| *asked == candidate.relay)
                || self.queue.iter().any(|queued| queued.relay == candidate.relay);
            if !is_known && self.queue.len() < MAX_CANDIDATES {
                self.queue.push_back(candidate);
            }
        }
        self.again = None;
        self.next = (!self.queue.is_empty() || !self.asked.is_empty()).then_some(now);
    }

    /// Whether nobody is left to be asked or waited for.
    pub fn is_over(&self) -> bool {
        self.queue.is_empty() && self.asked.is_empty()
    }

    /// Whether this relay was asked and may still answer.
    pub fn is_asked(&self, relay: &PeerId) -> bool {
        self.asked.iter().any(|(asked, _)| asked == relay)
    }

    /// The relay to be asked now.
    pub fn poll(&mut self, now: Instant) -> Option<Candidate> {
        self.asked.retain(|(_, until)| *until > now);
        if self.next.is_none_or(|next| next > now) {
            return None;
        }
        let candidate = self.queue.pop_front();
        if let Some(candidate) = candidate {
            self.asked.push((candidate.relay, now + ASK_LIMIT));
        }
        self.next = match self.queue.is_empty() {
            false => Some(now + ASK_GAP),
            true => self.asked.iter().map(|(_, until)| *until).max(),
        };
        candidate
    }

    /// When [`Self::poll`] or [`Self::is_due`] change their answer.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.next, self.again].into_iter().flatten().min()
    }

    /// `relay` does not carry it: the next is asked at once.
    pub fn refused(&mut self, now: Instant, relay: &PeerId) {
        self.asked.retain(|(asked, _)| asked != relay);
        self.next = (!self.is_over()).then_some(now);
    }

    /// `relay` carries it: that is enough.
    pub fn found(&mut self, relay: &PeerId) {
        self.asked.retain(|(asked, _)| asked != relay);
        self.queue.clear();
        self.next = self.asked.iter().map(|(_, until)| *until).max();
        self.fruitless = 0;
    }

    /// Nobody carries it now: to be searched for again, the later the more often that came out.
    pub fn rest(&mut self, now: Instant, first: Duration, longest: Duration) {
        if self.again.is_none() {
            self.again = Some(now + (first * 2u32.pow(self.fruitless.min(8))).min(longest));
            self.fruitless += 1;
        }
    }

    /// Whether it is time to search again.
    pub fn is_due(&self, now: Instant) -> bool {
        self.again.is_some_and(|again| again <= now)
    }

    /// Whether it waits to begin again.
    pub fn is_resting(&self) -> bool {
        self.again.is_some()
    }

    /// There may be others than before: whoever waits to search again does so now.
    pub fn hurry_resting(&mut self, now: Instant) {
        self.fruitless = 0;
        if self.is_resting() {
            self.again = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(n: u8) -> Candidate {
        Candidate { relay: PeerId::from_bytes([n; 32]), address: None }
    }

    #[test]
    fn a_refusal_leads_to_the_next_at_once() {
        let (now, mut search) = (Instant::now(), Search::default());
        search.begin(now, [relay(1), relay(2), relay(1)]);
        assert_eq!(search.poll(now), Some(relay(1)));
        assert_eq!(search.poll(now), None, "the first has a moment");
        search.refused(now, &relay(1).relay);
        assert_eq!(search.poll(now), Some(relay(2)));
        search.refused(now, &relay(2).relay);
        assert_eq!(search.poll(now), None);
        assert!(search.is_over());
    }

    #[test]
    fn a_silent_relay_is_not_waited_for_and_may_still_answer() {
        let (now, mut search) = (Instant::now(), Search::default());
        search.begin(now, [relay(1), relay(2)]);
        assert_eq!(search.poll(now), Some(relay(1)));
        let later = search.poll_timeout().expect("goes on");
        assert_eq!(later, now + ASK_GAP);
        assert_eq!(search.poll(later), Some(relay(2)));
        assert!(search.is_asked(&relay(1).relay));
        search.found(&relay(2).relay);
        assert!(!search.is_over(), "the first may bring a second session");
        let end = search.poll_timeout().expect("an end");
        assert_eq!(search.poll(end), None);
        assert!(search.is_over());
    }

    #[test]
    fn who_finds_nobody_searches_again_ever_later() {
        let (mut now, mut search) = (Instant::now(), Search::default());
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(5));
        let mut gaps = Vec::new();
        for _ in 0..5 {
            search.begin(now, []);
            assert!(search.is_over());
            search.rest(now, first, longest);
            let again = search.poll_timeout().expect("again");
            gaps.push((again - now).as_secs());
            now = again;
            assert!(search.is_due(now));
        }
        assert_eq!(gaps, [1, 2, 4, 5, 5]);
    }
}
