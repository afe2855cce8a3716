//! Who is told of whom, and when.
//!
//! What a node learns it tells its neighbours soon: new words within a moment, mere repeats when there is time. Each
//! neighbour has a queue of IDs, so what changes while it waits is told once. Neighbours compare what they know in a slow
//! round, by sixteen sums and, where these differ, by lists.
//!
//! Bounds: a queue holds no more IDs than the view; a message holds [`MAX_FACTS`]; a neighbour is sent one a second after
//! the first [`BURST`]; it may tell [`HEARD_RATE`] facts a second. Who tells [`STRIKES`] wrong things is not listened to for a while.

use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use indexmap::{IndexMap, IndexSet};
use minicbor::{Decode, Encode};
use rand::Rng;
use rand::rngs::StdRng;

use crate::budget::Budget;
use crate::deadlines::{Deadline, Deadlines};
use crate::identity::PeerId;
use crate::nearness::common_bits;

/// Announcements in one message; more are not listened to.
pub(crate) const MAX_FACTS: usize = 48;
/// IDs in one list of what is known.
pub(crate) const MAX_HELD: usize = 1000;
/// Repeats are passed on when what others hold is so old.
pub(crate) const PASS_ON: Duration = Duration::from_secs(900);
/// The same for announcements that hold for so long; and how much of a hurry it is then.
pub(crate) fn pass_on(ttl: Duration) -> (Duration, Haste) {
    let gap = PASS_ON.min(ttl / 4);
    // Others would wait for a repeat longer than it holds.
    (gap, if gap < 4 * LAZY_DELAY { Haste::Soon } else { Haste::Lazy })
}

/// Messages to one neighbour at once.
const BURST: f64 = 8.0;
const SENT_RATE: f64 = 1.0;
/// When there was no leave to send.
const RETRY: Duration = Duration::from_millis(500);
const HEARD_RATE: f64 = 100.0;
const HEARD_BURST: f64 = 1500.0;
/// News wait so long for each neighbour that there is, half of it on average, for others to be told with them.
const DELAY: Duration = Duration::from_millis(20);
const MAX_DELAY: Duration = Duration::from_secs(3);
/// Repeats wait so long.
const LAZY_DELAY: Duration = Duration::from_secs(60);
/// Between two comparisons.
const ROUND: Duration = Duration::from_secs(60);
/// Wrong things from one sender before nobody listens to it.
pub(crate) const STRIKES: u32 = 32;
const MUTED: Duration = Duration::from_secs(600);
/// Senders whose wrongs are remembered.
const MAX_SENDERS: usize = 1024;

/// What somebody knows: of all nodes whose IDs begin with the same four bits, the contents in one sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct Sums(#[n(0)] [u64; 16]);

impl Sums {
    pub fn add(&mut self, id: &PeerId, content: u64) {
        self.0[Self::place(id)] ^= content;
    }

    /// Which sums are not the same, one bit for each.
    pub fn differing(&self, other: &Self) -> u16 {
        let differ = |at: &usize| self.0[*at] != other.0[*at];
        (0..16).filter(differ).fold(0, |bits, at| bits | 1 << at)
    }

    /// Whether `id` is in a sum that differs.
    pub fn concerns(differing: u16, id: &PeerId) -> bool {
        differing & 1 << Self::place(id) != 0
    }

    fn place(id: &PeerId) -> usize {
        usize::from(id.as_bytes()[0] >> 4)
    }
}

/// That somebody knows of a node, and which word of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Held {
    #[n(0)]
    pub id: PeerId,
    #[n(1)]
    pub sequence: u64,
    /// What the word says, as a number.
    #[n(2)]
    pub content: u64,
}

/// How much of a hurry there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Our own words.
    Now,
    /// News of others.
    Soon,
    /// Repeats.
    Lazy,
}

/// A connected node that we gossip with.
struct Neighbour {
    /// Of whom it is to be told.
    queue: IndexSet<PeerId, FixedState>,
    /// What it wants to hear of.
    horizon: u8,
    /// What we have told it that we want to hear of.
    told_horizon: u8,
    sent: Budget,
    heard: Budget,
    flush: Option<Instant>,
    deadline: Deadline,
}

/// All neighbours, and whom to tell what when.
pub(crate) struct Gossip {
    rng: StdRng,
    hashes: FixedState,
    neighbours: IndexMap<PeerId, Neighbour, FixedState>,
    deadlines: Deadlines<PeerId>,
    round: Instant,
    partner: usize,
    senders: IndexMap<PeerId, Sender, FixedState>,
}

/// Of whom wrong things came.
#[derive(Default)]
struct Sender {
    strikes: u32,
    /// All that ever came.
    rejected: u64,
    muted_until: Option<Instant>,
}

impl Gossip {
    pub fn new(now: Instant, mut rng: StdRng, hashes: FixedState) -> Self {
        let round = now + ROUND.mul_f64(rng.random_range(0.5..1.5));
        Self {
            rng,
            hashes,
            neighbours: IndexMap::with_hasher(hashes),
            deadlines: Deadlines::new(),
            round,
            partner: 0,
            senders: IndexMap::with_hasher(hashes),
        }
    }

    /// There is a connection with a node that we gossip with.
    pub fn join(&mut self, now: Instant, peer: PeerId) {
        let hashes = self.hashes;
        self.leave(&peer);
        self.neighbours.insert(
            peer,
            Neighbour {
                queue: IndexSet::with_hasher(hashes),
                horizon: 0,
                told_horizon: 0,
                sent: Budget::new(now, SENT_RATE, BURST),
                heard: Budget::new(now, HEARD_RATE, HEARD_BURST),
                flush: None,
                deadline: Deadline::default(),
            },
        );
    }

    /// The connection is gone.
    pub fn leave(&mut self, peer: &PeerId) {
        if let Some(mut neighbour) = self.neighbours.swap_remove(peer) {
            self.deadlines.change(*peer, &mut neighbour.deadline, None);
        }
    }

    pub fn has(&self, peer: &PeerId) -> bool {
        self.neighbours.contains_key(peer)
    }

    pub fn neighbours(&self) -> impl Iterator<Item = &PeerId> {
        self.neighbours.keys()
    }

    pub fn len(&self) -> usize {
        self.neighbours.len()
    }

    /// Has the neighbours be told of `id`, but not who has told us. `serves`: everybody wants to know of it.
    pub fn spread(&mut self, now: Instant, id: PeerId, serves: bool, from: Option<PeerId>, haste: Haste) {
        let scale = self.neighbours.len().max(1) as u32;
        let spread = (DELAY * scale).min(MAX_DELAY);
        let Self { rng, neighbours, deadlines, .. } = self;
        for (peer, neighbour) in neighbours.iter_mut() {
            let wants = serves || common_bits(peer, &id) >= neighbour.horizon;
            if wants && *peer != id && Some(*peer) != from {
                let delay = match haste {
                    Haste::Now => Duration::ZERO,
                    Haste::Soon => spread.mul_f64(rng.random()),
                    Haste::Lazy => LAZY_DELAY.mul_f64(rng.random_range(0.5..1.0)),
                };
                neighbour.tell(id, now + delay);
                deadlines.change(*peer, &mut neighbour.deadline, neighbour.flush);
            }
        }
    }

    /// Has one neighbour be told of `id`.
    pub fn tell(&mut self, now: Instant, peer: &PeerId, id: PeerId) {
        if let Some(neighbour) = self.neighbours.get_mut(peer).filter(|_| *peer != id) {
            neighbour.tell(id, now);
            self.deadlines.change(*peer, &mut neighbour.deadline, neighbour.flush);
        }
    }

    /// A neighbour knows of `id` what we know: it need not be told.
    pub fn is_known_to(&mut self, peer: &PeerId, id: &PeerId) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.queue.swap_remove(id);
        }
    }

    /// A neighbour wants to hear only of nodes so near to it.
    pub fn set_horizon(&mut self, peer: &PeerId, bits: u8) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            neighbour.horizon = bits;
        }
    }

    /// What a neighbour wants to hear of.
    pub fn horizon(&self, peer: &PeerId) -> u8 {
        self.neighbours.get(peer).map_or(0, |neighbour| neighbour.horizon)
    }

    /// Whether a neighbour has to be told that we want to hear of these.
    pub fn tells_horizon(&mut self, peer: &PeerId, bits: u8) -> bool {
        let told = self.neighbours.get_mut(peer).map(|neighbour| &mut neighbour.told_horizon);
        told.is_some_and(|told| std::mem::replace(told, bits) != bits)
    }

    /// Whether there is a neighbour that does not want to hear of everybody.
    pub fn is_any_bounded(&self) -> bool {
        self.neighbours.values().any(|neighbour| neighbour.horizon > 0)
    }

    /// What we have told a neighbour that we want to hear of.
    pub fn told_horizon(&self, peer: &PeerId) -> u8 {
        self.neighbours.get(peer).map_or(0, |neighbour| neighbour.told_horizon)
    }

    /// A neighbour that is due, and of whom to tell it.
    pub fn poll_flush(&mut self, now: Instant) -> Option<(PeerId, Vec<PeerId>)> {
        loop {
            let peer = *self.deadlines.due(now).first()?;
            let neighbour = self.neighbours.get_mut(&peer)?;
            let allowed = neighbour.queue.is_empty() || neighbour.sent.take(now);
            let told: Vec<PeerId> = match allowed {
                true => {
                    let count = neighbour.queue.len().min(MAX_FACTS);
                    neighbour.queue.drain(..count).collect()
                }
                false => Vec::new(),
            };
            neighbour.flush = (!neighbour.queue.is_empty()).then(|| match allowed {
                true => now,
                false => now + RETRY,
            });
            self.deadlines.change(peer, &mut neighbour.deadline, neighbour.flush);
            if !told.is_empty() {
                return Some((peer, told));
            }
        }
    }

    /// With whom to compare what we know, if it is time.
    pub fn poll_round(&mut self, now: Instant) -> Option<PeerId> {
        if now < self.round {
            return None;
        }
        self.round = now + ROUND.mul_f64(self.rng.random_range(0.8..1.2));
        self.partner = self.partner.wrapping_add(1);
        let count = self.neighbours.len().max(1);
        self.neighbours.get_index(self.partner % count).map(|(peer, _)| *peer)
    }

    /// When something has to be done.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let round = (!self.neighbours.is_empty()).then_some(self.round);
        [self.deadlines.first(), round].into_iter().flatten().min()
    }

    /// Whether `count` more facts may come from a neighbour now.
    pub fn may_tell(&mut self, now: Instant, peer: &PeerId, count: usize) -> bool {
        match self.neighbours.get_mut(peer) {
            Some(neighbour) => (0..count).all(|_| neighbour.heard.take(now)),
            None => false,
        }
    }

    /// Something wrong came from `peer`; true if from now on nobody listens to it.
    pub fn strike(&mut self, now: Instant, peer: PeerId) -> bool {
        if self.senders.len() >= MAX_SENDERS && !self.senders.contains_key(&peer) {
            self.senders.shift_remove_index(0);
        }
        let sender = self.senders.entry(peer).or_default();
        sender.strikes += 1;
        sender.rejected += 1;
        let is_enough = sender.strikes >= STRIKES;
        if is_enough {
            sender.strikes = 0;
            sender.muted_until = Some(now + MUTED);
        }
        is_enough
    }

    /// Whether we do not listen to `peer`.
    pub fn is_muted(&self, now: Instant, peer: &PeerId) -> bool {
        self.senders.get(peer).and_then(|sender| sender.muted_until).is_some_and(|until| now < until)
    }

    /// Of whom how much was refused.
    pub fn rejected(&self) -> impl Iterator<Item = (&PeerId, u64)> {
        self.senders.iter().map(|(peer, sender)| (peer, sender.rejected))
    }
}

impl Neighbour {
    fn tell(&mut self, id: PeerId, at: Instant) {
        self.queue.insert(id);
        self.flush = Some(self.flush.map_or(at, |flush| flush.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    fn gossip(now: Instant) -> Gossip {
        Gossip::new(now, StdRng::seed_from_u64(1), FixedState::default())
    }

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    fn flushed(gossip: &mut Gossip, now: Instant) -> Vec<(PeerId, Vec<PeerId>)> {
        std::iter::from_fn(|| gossip.poll_flush(now)).collect()
    }

    #[test]
    fn everybody_but_the_teller_and_the_one_told_of_is_told_once() {
        let (now, soon) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let mut gossip = gossip(now);
        (1..=4).for_each(|n| gossip.join(now, peer(n)));
        gossip.spread(now, peer(4), false, Some(peer(1)), Haste::Soon);
        gossip.spread(now, peer(4), false, Some(peer(2)), Haste::Soon);
        gossip.is_known_to(&peer(2), &peer(4));
        let mut told = flushed(&mut gossip, soon);
        told.sort();
        assert_eq!(told, [(peer(1), vec![peer(4)]), (peer(3), vec![peer(4)])]);
        assert!(flushed(&mut gossip, soon).is_empty());
    }

    #[test]
    fn repeats_wait_and_news_take_them_along() {
        let now = Instant::now();
        let mut gossip = gossip(now);
        gossip.join(now, peer(1));
        gossip.spread(now, peer(7), false, None, Haste::Lazy);
        assert!(flushed(&mut gossip, now + Duration::from_secs(20)).is_empty());
        gossip.spread(now, peer(8), false, None, Haste::Now);
        assert_eq!(flushed(&mut gossip, now), [(peer(1), vec![peer(7), peer(8)])]);
    }

    #[test]
    fn a_neighbour_hears_of_what_is_near_to_it_and_of_servers() {
        let now = Instant::now();
        let mut gossip = gossip(now);
        gossip.join(now, peer(0));
        gossip.set_horizon(&peer(0), 3);
        gossip.spread(now, peer(0x80), false, None, Haste::Now);
        gossip.spread(now, peer(0x81), true, None, Haste::Now);
        gossip.spread(now, peer(0x01), false, None, Haste::Now);
        assert_eq!(flushed(&mut gossip, now), [(peer(0), vec![peer(0x81), peer(0x01)])]);
    }

    #[test]
    fn a_flood_of_news_is_told_at_a_bounded_rate() {
        let start = Instant::now();
        let mut gossip = gossip(start);
        gossip.join(start, peer(1));
        let mut told = 0;
        for step in 0..100 {
            let now = start + Duration::from_millis(100 * step);
            for n in 0..10 {
                gossip.spread(
                    now,
                    PeerId::from_bytes([step as u8 + 10, n, 3].repeat(11)[..32].try_into().expect("32")),
                    false,
                    None,
                    Haste::Now,
                );
            }
            told += flushed(&mut gossip, now).len();
        }
        assert!((8..=18).contains(&told), "{told} messages in 10 s");
    }

    #[test]
    fn who_tells_wrong_things_is_not_listened_to() {
        let now = Instant::now();
        let mut gossip = gossip(now);
        let struck = (0..STRIKES).filter(|_| gossip.strike(now, peer(1))).count();
        assert_eq!(struck, 1);
        assert!(gossip.is_muted(now, &peer(1)) && !gossip.is_muted(now, &peer(2)));
        assert!(!gossip.is_muted(now + MUTED, &peer(1)));
        assert_eq!(gossip.rejected().next(), Some((&peer(1), u64::from(STRIKES))));
        for n in 0..2 * MAX_SENDERS as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            gossip.strike(now, PeerId::from_bytes(id));
        }
        assert_eq!(gossip.rejected().count(), MAX_SENDERS);
    }

    proptest! {
        #[test]
        fn sums_differ_where_knowledge_does(ids in proptest::collection::vec((any::<[u8; 32]>(), 1u64..), 0..30), left in any::<prop::sample::Index>()) {
            let (mut a, mut b) = (Sums::default(), Sums::default());
            for (id, content) in &ids {
                a.add(&PeerId::from_bytes(*id), *content);
                b.add(&PeerId::from_bytes(*id), *content);
            }
            prop_assert_eq!(a.differing(&b), 0);
            if !ids.is_empty() {
                let (id, content) = ids[left.index(ids.len())];
                b.add(&PeerId::from_bytes(id), content);
                prop_assert_eq!(a.differing(&b).count_ones(), 1);
                prop_assert!(Sums::concerns(a.differing(&b), &PeerId::from_bytes(id)));
            }
        }
    }
}
