//! Finding a node that is not in the view: asking nodes ever nearer to its ID, as in Kademlia.
//!
//! ```text
//! asker  -> server  Ask     who is this? (padded: the answer is at most three times as long)
//! server -> asker   Answer  its announcement, or else nodes nearer to it that can be asked
//! node   -> server  Store   keep my announcement, for you are near to my ID
//! ```
//!
//! Bare sealed datagrams: a question costs no connection. A lookup asks [`WIDTH`] at a time, [`MAX_ASKED`] in all, and ends
//! after [`LIMIT`]. A node whose neighbours do not know everybody has its announcement kept by the [`KEEPERS`] nearest.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use minicbor::{Decode, Encode};

use crate::announce::Passed;
use crate::identity::PeerId;
use crate::nearness::distance;

/// Nodes named in one answer.
pub(crate) const NAMED: usize = 8;
/// Nodes that keep an announcement.
pub(crate) const KEEPERS: usize = 4;
/// Announcements that a node keeps for others, besides its view.
pub(crate) const KEPT: usize = 4096;
/// Lookups of one node at the same time.
pub(crate) const MAX_LOOKUPS: usize = 32;
/// Questions at the same time.
const WIDTH: usize = 3;
/// Nodes remembered that might be asked.
const MAX_CANDIDATES: usize = 48;
const MAX_ASKED: u32 = 32;
/// Until another is asked beside one that does not answer.
const PATIENCE: Duration = Duration::from_millis(700);
const LIMIT: Duration = Duration::from_secs(6);

/// Recognises the answer to a question.
pub(crate) type Ticket = u64;

/// What bare datagrams of kind 10 hold.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(crate) enum LookupMessage {
    #[n(0)]
    Ask {
        #[n(0)]
        ticket: Ticket,
        #[n(1)]
        target: PeerId,
        /// Makes the question a third as long as the longest answer.
        #[cbor(n(2), with = "minicbor::bytes")]
        padding: Vec<u8>,
    },
    #[n(1)]
    Answer {
        #[n(0)]
        ticket: Ticket,
        #[n(1)]
        fact: Option<Passed>,
        /// Nodes that can be asked, if the one that was sought is not known.
        #[n(2)]
        nearer: Vec<Server>,
    },
    #[n(2)]
    Store {
        #[n(0)]
        fact: Passed,
    },
}

/// Bytes of padding in a question.
pub(crate) const PADDING: usize = 300;
/// A question that is shorter is not answered.
pub(crate) const MIN_ASK: usize = 400;

/// A node that can be asked, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Server {
    #[n(0)]
    pub id: PeerId,
    #[n(1)]
    pub address: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    New,
    Asked { at: Instant, ticket: Ticket },
    Answered,
    Silent,
}

struct Candidate {
    server: Server,
    state: State,
}

/// One lookup.
pub(crate) struct Lookup {
    own: PeerId,
    target: PeerId,
    until: Instant,
    asked: u32,
    /// The nearest first.
    candidates: Vec<Candidate>,
    is_over: bool,
}

impl Lookup {
    /// Looks for `target`, beginning with these.
    pub fn new(now: Instant, own: PeerId, target: PeerId, seeds: impl IntoIterator<Item = Server>) -> Self {
        let mut lookup =
            Self { own, target, until: now + LIMIT, asked: 0, candidates: Vec::new(), is_over: false };
        seeds.into_iter().for_each(|server| lookup.add(server));
        lookup
    }

    fn add(&mut self, server: Server) {
        let known = |candidate: &Candidate| candidate.server.id == server.id;
        if server.id == self.own || self.candidates.iter().any(known) {
            return;
        }
        let far = distance(&server.id, &self.target);
        let place =
            self.candidates.partition_point(|candidate| distance(&candidate.server.id, &self.target) < far);
        if place < MAX_CANDIDATES {
            self.candidates.insert(place, Candidate { server, state: State::New });
            self.candidates.truncate(MAX_CANDIDATES);
        }
    }

    /// Whom to ask next, with this ticket.
    pub fn poll(&mut self, now: Instant, ticket: Ticket) -> Option<Server> {
        for candidate in &mut self.candidates {
            if let State::Asked { at, .. } = candidate.state
                && at + PATIENCE <= now
            {
                candidate.state = State::Silent;
            }
        }
        let waits = |candidate: &&Candidate| matches!(candidate.state, State::Asked { .. });
        let waiting = self.candidates.iter().filter(waits).count();
        // Those beyond enough nearer ones that have answered lead nowhere.
        let mut answered = 0;
        let next = self.candidates.iter_mut().find(|candidate| {
            answered += usize::from(candidate.state == State::Answered);
            candidate.state == State::New || answered >= NAMED
        });
        let next = next.filter(|candidate| candidate.state == State::New);
        if self.is_over || now >= self.until || self.asked >= MAX_ASKED {
            self.is_over = self.is_over || now >= self.until || waiting == 0;
            return None;
        }
        match next {
            Some(candidate) if waiting < WIDTH => {
                candidate.state = State::Asked { at: now, ticket };
                self.asked += 1;
                Some(candidate.server)
            }
            Some(_) => None,
            None => {
                self.is_over = waiting == 0;
                None
            }
        }
    }

    /// Whether `from` was asked with this ticket and has not answered yet.
    pub fn awaits(&self, from: &PeerId, ticket: Ticket) -> bool {
        self.candidates.iter().any(|candidate| {
            candidate.server.id == *from
                && matches!(candidate.state, State::Asked { ticket: asked, .. } if asked == ticket)
        })
    }

    /// Takes the answer of one that was asked.
    pub fn answer(&mut self, from: &PeerId, nearer: impl IntoIterator<Item = Server>) {
        if let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.server.id == *from) {
            candidate.state = State::Answered;
        }
        nearer.into_iter().take(NAMED).for_each(|server| self.add(server));
    }

    /// Ends it: what was sought is there.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }

    pub fn target(&self) -> PeerId {
        self.target
    }

    /// Nodes asked so far.
    pub fn asked(&self) -> u32 {
        self.asked
    }

    /// Those that have answered, the nearest first.
    pub fn answered(&self) -> impl Iterator<Item = Server> {
        let answered = |candidate: &&Candidate| candidate.state == State::Answered;
        self.candidates.iter().filter(answered).map(|candidate| candidate.server)
    }

    /// When to go on if nobody answers.
    pub fn poll_timeout(&self) -> Instant {
        let patience = self.candidates.iter().filter_map(|candidate| match candidate.state {
            State::Asked { at, .. } => Some(at + PATIENCE),
            _ => None,
        });
        patience.min().unwrap_or(self.until).min(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nearness::Ring;
    use proptest::prelude::*;

    fn server(id: [u8; 32]) -> Server {
        Server { id: PeerId::from_bytes(id), address: "1.2.3.4:5".parse().expect("an address") }
    }

    #[test]
    fn the_silent_do_not_hold_it_up_and_it_ends() {
        let start = Instant::now();
        let own = PeerId::from_bytes([9; 32]);
        let seeds = (0..20).map(|n| server([n; 32]));
        let mut lookup = Lookup::new(start, own, PeerId::from_bytes([0; 32]), seeds);
        let mut now = start;
        while !lookup.is_over() {
            while lookup.poll(now, 1).is_some() {}
            now = lookup.poll_timeout().max(now + Duration::from_millis(1));
            assert!(now <= start + LIMIT + PATIENCE, "it does not end");
        }
        assert_eq!(lookup.asked(), 19, "all but itself");
        assert_eq!(lookup.answered().count(), 0);
    }

    #[test]
    fn endless_lists_are_followed_to_a_bound() {
        let (now, own) = (Instant::now(), PeerId::from_bytes([9; 32]));
        let mut lookup = Lookup::new(now, own, PeerId::from_bytes([0; 32]), [server([255; 32])]);
        let mut made = 254u64;
        while !lookup.is_over() {
            let Some(asked) = lookup.poll(now, 7) else { continue };
            // Each answer names a hundred, always nearer than all before.
            let more = (0..100).map(|_| {
                made += 1;
                let mut id = [0; 32];
                id[8..16].copy_from_slice(&(u64::MAX - made).to_be_bytes());
                server(id)
            });
            let more: Vec<Server> = more.collect();
            assert!(lookup.awaits(&asked.id, 7) && !lookup.awaits(&asked.id, 8));
            lookup.answer(&asked.id, more);
        }
        assert_eq!(lookup.asked(), MAX_ASKED);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// In a network where each knows its near ones and a few others, the nearest of all are found.
        #[test]
        fn the_nearest_of_all_are_found(seed: [u8; 32], target: [u8; 32], size in 10usize..300) {
            let ids: Vec<PeerId> = (0..size)
                .map(|n| PeerId::from_bytes(*blake3::hash(&[&seed[..], &n.to_be_bytes()].concat()).as_bytes()))
                .collect();
            let known = |of: &PeerId| {
                let mut ring = Ring::new();
                let mut all: Vec<&PeerId> = ids.iter().collect();
                all.sort_by_key(|id| distance(id, of));
                // The twelve nearest, and a few of each farther half.
                for id in all.iter().take(12) {
                    ring.insert(**id, ());
                }
                for bits in 0..8 {
                    let row = all.iter().filter(|id| crate::nearness::common_bits(id, of) == bits);
                    row.take(4).for_each(|id| ring.insert(**id, ()));
                }
                ring
            };
            let (now, target) = (Instant::now(), PeerId::from_bytes(target));
            let own = PeerId::from_bytes([1; 32]);
            let mut lookup = Lookup::new(now, own, target, [server(*ids[0].as_bytes())]);
            while !lookup.is_over() {
                if let Some(asked) = lookup.poll(now, 1) {
                    let nearer: Vec<Server> = known(&asked.id).nearest(&target, NAMED).iter().map(|(id, _)| server(*id.as_bytes())).collect();
                    lookup.answer(&asked.id, nearer);
                }
            }
            let nearest = *ids.iter().min_by_key(|id| distance(id, &target)).expect("some");
            prop_assert_eq!(lookup.answered().next().map(|server| server.id), Some(nearest));
            prop_assert!(lookup.asked() <= MAX_ASKED);
        }
    }
}
