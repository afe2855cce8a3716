//! Who has heard of a node lately: questions to neighbours, passed on over a few nodes, and their answers, which come back
//! the same way. Answers carry ages and no time of day.
//!
//! Bounds: [`HOPS`] nodes, [`LIMIT`] for all of it, one question about a node per [`GAP`], [`AT_ONCE`] at once,
//! [`ASKED`] neighbours each, [`ASKERS`] that wait for the same answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use indexmap::{IndexMap, IndexSet};
use minicbor::{Decode, Encode};

use crate::identity::PeerId;

/// Contact that is older is not worth telling.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(300);
/// How far a question goes.
pub(crate) const HOPS: u8 = 3;
const LIMIT: Duration = Duration::from_secs(5);
const GAP: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 10;
/// Neighbours that are asked.
pub(crate) const ASKED: usize = 6;
const ASKERS: usize = 16;
/// Nodes that were asked about lately and are remembered.
const REMEMBERED: usize = 256;

/// Contact with a node, as somebody tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Sighting {
    /// Milliseconds since it was last heard.
    #[n(0)]
    pub age: u64,
    /// By whom.
    #[n(1)]
    pub witness: PeerId,
    /// Where the witness can be asked, if anybody can.
    #[n(2)]
    pub address: Option<SocketAddr>,
}

/// What becomes of a question.
#[derive(Debug, PartialEq)]
pub(crate) enum Asked {
    /// It is to be passed on to neighbours.
    New,
    /// There is one under way already; its answer will do.
    Joined,
    /// It was asked a moment ago, and this came of it.
    Lately(Option<Sighting>),
    /// There are too many.
    Busy,
}

struct Question<A> {
    until: Instant,
    best: Option<Sighting>,
    /// When the best came.
    heard: Instant,
    waiting: IndexSet<PeerId>,
    askers: Vec<A>,
}

struct Past {
    asked: Instant,
    heard: Instant,
    best: Option<Sighting>,
}

/// A question that has ended: about whom, for whom, and the answer.
#[derive(Debug)]
pub(crate) struct Ended<A> {
    pub target: PeerId,
    pub askers: Vec<A>,
    pub best: Option<Sighting>,
}

/// All questions under way; `A` is somebody who waits for an answer.
pub(crate) struct Questions<A> {
    open: IndexMap<PeerId, Question<A>>,
    past: IndexMap<PeerId, Past>,
}

impl<A> Questions<A> {
    pub fn new() -> Self {
        Self { open: IndexMap::new(), past: IndexMap::new() }
    }

    /// `asker` wants to know about `target`; the question may go `hops` nodes far.
    pub fn ask(&mut self, now: Instant, target: PeerId, hops: u8, asker: A) -> (Asked, Option<A>) {
        if let Some(question) = self.open.get_mut(&target) {
            if question.askers.len() >= ASKERS {
                return (Asked::Busy, Some(asker));
            }
            question.askers.push(asker);
            return (Asked::Joined, None);
        }
        if let Some(past) = self.past.get(&target).filter(|past| now < past.asked + GAP) {
            let best = past.best.map(|best| aged(best, now.saturating_duration_since(past.heard)));
            return (Asked::Lately(best), Some(asker));
        }
        if self.open.len() >= AT_ONCE {
            return (Asked::Busy, Some(asker));
        }
        // Who asks us must hear in time to answer, too.
        let until = now + LIMIT * u32::from(hops.min(HOPS)) / u32::from(HOPS);
        let question =
            Question { until, best: None, heard: now, waiting: IndexSet::new(), askers: vec![asker] };
        self.open.insert(target, question);
        (Asked::New, None)
    }

    /// Whether there is a question about `target` now.
    pub fn is_open(&self, target: &PeerId) -> bool {
        self.open.contains_key(target)
    }

    /// A neighbour was asked about `target`.
    pub fn waits_for(&mut self, target: &PeerId, neighbour: PeerId) {
        if let Some(question) = self.open.get_mut(target) {
            question.waiting.insert(neighbour);
        }
    }

    /// A neighbour's answer; the most recent contact counts.
    pub fn answer(&mut self, now: Instant, target: &PeerId, from: &PeerId, sighting: Option<Sighting>) {
        let Some(question) = self.open.get_mut(target).filter(|question| question.waiting.contains(from))
        else {
            return;
        };
        question.waiting.swap_remove(from);
        question.see(now, sighting);
    }

    /// What we know ourselves.
    pub fn see(&mut self, now: Instant, target: &PeerId, sighting: Option<Sighting>) {
        if let Some(question) = self.open.get_mut(target) {
            question.see(now, sighting);
        }
    }

    /// A question that everybody has answered or whose time is up.
    pub fn poll_ended(&mut self, now: Instant) -> Option<Ended<A>> {
        let is_over = |question: &Question<A>| question.waiting.is_empty() || question.until <= now;
        let at = self.open.values().position(is_over)?;
        let (target, question) = self.open.shift_remove_index(at)?;
        if self.past.len() >= REMEMBERED {
            self.past.shift_remove_index(0);
        }
        self.past.insert(target, Past { asked: now, heard: question.heard, best: question.best });
        let best = question.best.map(|best| aged(best, now.saturating_duration_since(question.heard)));
        Some(Ended { target, askers: question.askers, best })
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.open.values().map(|question| question.until).min()
    }
}

impl<A> Question<A> {
    fn see(&mut self, now: Instant, sighting: Option<Sighting>) {
        let Some(new) = sighting.filter(|new| u128::from(new.age) <= MAX_AGE.as_millis()) else {
            return;
        };
        let since = now.saturating_duration_since(self.heard);
        if self.best.is_none_or(|best| new.age < aged(best, since).age) {
            self.best = Some(new);
            self.heard = now;
        }
    }
}

fn aged(sighting: Sighting, by: Duration) -> Sighting {
    Sighting { age: sighting.age.saturating_add(by.as_millis() as u64), ..sighting }
}

/// Things that are said once in a while and not more often.
pub(crate) struct Once<K> {
    gap: Duration,
    said: IndexMap<K, Instant>,
}

impl<K: std::hash::Hash + Eq> Once<K> {
    pub fn new(gap: Duration) -> Self {
        Self { gap, said: IndexMap::new() }
    }

    /// Whether this may be said now.
    pub fn may(&mut self, now: Instant, what: K) -> bool {
        if self.said.get(&what).is_some_and(|said| now < *said + self.gap) {
            return false;
        }
        if self.said.len() >= REMEMBERED && !self.said.contains_key(&what) {
            self.said.shift_remove_index(0);
        }
        self.said.insert(what, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    fn seen(by: u8, age: u64) -> Option<Sighting> {
        Some(Sighting { age, witness: peer(by), address: None })
    }

    #[test]
    fn the_most_recent_contact_wins_whenever_it_is_told() {
        let (start, mut questions) = (Instant::now(), Questions::new());
        assert_eq!(questions.ask(start, peer(9), HOPS, 'a'), (Asked::New, None));
        (1..=3).for_each(|n| questions.waits_for(&peer(9), peer(n)));
        questions.answer(start, &peer(9), &peer(1), seen(1, 10_000));
        let later = start + Duration::from_secs(2);
        questions.answer(later, &peer(9), &peer(2), seen(2, 11_000));
        questions.answer(later, &peer(9), &peer(4), seen(4, 0));
        assert_eq!(questions.poll_ended(later).map(|ended| ended.target), None, "one has not answered");
        questions.answer(later, &peer(9), &peer(3), None);
        let ended = questions.poll_ended(later).expect("all have answered");
        assert_eq!(
            ended.best,
            seen(2, 11_000),
            "by now the first is 12 s old; who was not asked does not count"
        );
    }

    #[test]
    fn duplicates_are_joined_and_the_next_is_answered_from_memory() {
        let (now, mut questions) = (Instant::now(), Questions::new());
        questions.ask(now, peer(9), HOPS, 'a');
        assert_eq!(questions.ask(now, peer(9), 1, 'b').0, Asked::Joined);
        questions.waits_for(&peer(9), peer(1));
        assert!(questions.poll_ended(now).is_none());
        let end = now + LIMIT;
        assert_eq!(questions.poll_timeout(), Some(end));
        let ended = questions.poll_ended(end).expect("time is up");
        assert_eq!((ended.askers, ended.best), (vec!['a', 'b'], None));
        assert_eq!(questions.ask(end, peer(9), HOPS, 'c').0, Asked::Lately(None));
        assert_eq!(questions.ask(end + GAP, peer(9), HOPS, 'c').0, Asked::New);
    }

    #[test]
    fn there_are_no_more_than_so_many_at_once() {
        let (now, mut questions) = (Instant::now(), Questions::new());
        let new = (0..20).filter(|n| questions.ask(now, peer(*n), HOPS, ()).0 == Asked::New).count();
        assert_eq!(new, AT_ONCE);
        let joined = (0..40).filter(|_| questions.ask(now, peer(0), HOPS, ()).0 == Asked::Joined).count();
        assert_eq!(joined, ASKERS - 1);
    }

    #[test]
    fn old_contact_is_none_and_a_path_is_reported_once_a_minute() {
        let (now, mut questions) = (Instant::now(), Questions::new());
        questions.ask(now, peer(9), HOPS, ());
        questions.see(now, &peer(9), seen(1, 300_001));
        assert_eq!(questions.poll_ended(now).expect("nobody is waited for").best, None);
        let mut once = Once::new(Duration::from_secs(60));
        let said = |once: &mut Once<u16>, at| (0..5).filter(|_| once.may(at, 7)).count();
        assert_eq!(said(&mut once, now), 1);
        assert_eq!(said(&mut once, now + Duration::from_secs(59)), 0);
        assert_eq!(said(&mut once, now + Duration::from_secs(60)), 1);
        (0..2000).for_each(|n| {
            once.may(now, n);
        });
        assert!(once.said.len() <= REMEMBERED);
    }

    proptest! {
        #[test]
        fn whatever_is_answered_it_ends_in_time_and_memory_is_bounded(
            deeds in proptest::collection::vec((0u8..40, 0u8..6, 0u64..400_000, 0u64..2000), 0..300),
        ) {
            let (mut now, mut questions) = (Instant::now(), Questions::new());
            for (target, from, age, pause) in deeds {
                now += Duration::from_millis(pause);
                match from {
                    0 => { questions.ask(now, peer(target), HOPS, now); questions.waits_for(&peer(target), peer(1)); }
                    n => questions.answer(now, &peer(target), &peer(n), seen(n, age)),
                }
                while let Some(ended) = questions.poll_ended(now) {
                    prop_assert!(ended.best.is_none_or(|best| best.age <= 300_000 + LIMIT.as_millis() as u64));
                }
                prop_assert!(questions.open.len() <= AT_ONCE && questions.past.len() <= REMEMBERED);
                prop_assert!(questions.poll_timeout().is_none_or(|at| at > now && at <= now + LIMIT));
            }
        }
    }
}
