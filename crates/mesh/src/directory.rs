//! The peers that a node has heard of.
//!
//! The view is bounded. Peers are sorted into rows by how many leading bits their IDs have in common with our own. When
//! the view is full, the longest row makes room, so that all rows of far peers are about equally long and those of near
//! peers, which are short, are whole: what a lookup needs (see [`crate::lookup`]). Within a row those that can be asked
//! stay longer than others, and what has been repeated lately longer than what has not. Neighbours are held besides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use indexmap::IndexMap;

use crate::announce::{Announcement, REPEAT, Unverified};
use crate::identity::PeerId;
use crate::nearness::{Ring, common_bits};

/// What has not been repeated for so long gives way to a new peer.
const SILENT: Duration = Duration::from_secs(3 * REPEAT.as_secs());
/// With several neighbours, one of them may fill so much of the view with peers that nobody else tells of: this of four.
const SHARE: usize = 3;

/// Who is gone is remembered for so long, in which others forget it, too.
const GONE: Duration = Duration::from_secs(1800);
const MAX_GONE: usize = 256;

/// A peer's newest announcement.
pub(crate) struct Entry {
    pub sequence: u64,
    /// As it came, to be passed on.
    pub signed: Box<[u8]>,
    /// A number of what it says, the same as long as it says the same.
    pub content: u64,
    /// Where it can be asked by anybody.
    pub address: Option<SocketAddr>,
    pub heard: Instant,
    /// When it was last passed on, in this form or an older one.
    pub passed: Instant,
    /// Nodes between it and us, as far as is known.
    pub hops: u8,
    /// How old it was then.
    age: Duration,
    expires: Instant,
    /// Who told of it first.
    teller: PeerId,
    is_neighbour: bool,
}

impl Entry {
    /// How long ago the peer made this announcement.
    pub fn age(&self, now: Instant) -> Duration {
        self.age + now.saturating_duration_since(self.heard)
    }

    /// What it says.
    pub fn announcement(&self) -> Option<Announcement> {
        Some(Unverified::read(&self.signed).ok()?.announcement)
    }

    fn place(&self, id: PeerId) -> Place {
        (self.address.is_some(), self.heard, id)
    }
}

/// Where in its row a peer stands: the first gives way first.
type Place = (bool, Instant, PeerId);

/// What is kept of a peer that is gone.
struct Gone {
    /// How long others may tell of it in vain.
    until: Instant,
    sequence: u64,
    /// Where it could be asked by anybody.
    address: Option<SocketAddr>,
}

/// How an announcement was heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// How old it was.
    pub age: Duration,
    pub hops: u8,
    pub teller: PeerId,
    /// Whether nobody else tells us anything.
    pub alone: bool,
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// Of a peer not known before.
    New,
    /// It says something else than what was known.
    Changed,
    /// The same once more.
    Repeated,
    /// Not newer than what is known.
    Stale,
    /// There is no room.
    Full,
}

/// A bounded view of the mesh.
pub(crate) struct Directory {
    own: PeerId,
    capacity: usize,
    entries: IndexMap<PeerId, Entry, FixedState>,
    /// Those that are no neighbours, by the bits that they have in common with us.
    rows: BTreeMap<u8, BTreeSet<Place>>,
    /// How many are in rows.
    in_rows: usize,
    shares: IndexMap<PeerId, usize, FixedState>,
    ends: BTreeSet<(Instant, PeerId)>,
    /// Peers that are gone, until when, and their last words, which count no more.
    gone: IndexMap<PeerId, Gone, FixedState>,
    /// Those that anybody can ask.
    servers: Ring<SocketAddr>,
}

impl Directory {
    pub fn new(own: PeerId, capacity: usize, hashes: FixedState) -> Self {
        Self {
            own,
            capacity,
            entries: IndexMap::with_hasher(hashes),
            rows: BTreeMap::new(),
            in_rows: 0,
            shares: IndexMap::with_hasher(hashes),
            ends: BTreeSet::new(),
            gone: IndexMap::with_hasher(hashes),
            servers: Ring::new(),
        }
    }

    /// Whether it is worth finding out if this is genuine: [`Learned::Stale`] and [`Learned::Full`] say why not.
    pub fn wants(&self, now: Instant, heard: &Unverified, told: &Told) -> Result<(), Learned> {
        let Announcement { id, sequence, .. } = &heard.announcement;
        match self.entries.get(id) {
            Some(entry) if *sequence <= entry.sequence => Err(Learned::Stale),
            Some(_) => Ok(()),
            None if *id == self.own || self.is_gone(now, id, *sequence, &told.teller) => Err(Learned::Stale),
            None => {
                self.room(now, &heard.announcement, &told.teller, told.alone).map(|_| ()).ok_or(Learned::Full)
            }
        }
    }

    /// Who has to go for a new peer, if anybody; `None` if there is no room for it.
    fn room(
        &self,
        now: Instant,
        newcomer: &Announcement,
        teller: &PeerId,
        alone: bool,
    ) -> Option<Option<PeerId>> {
        if newcomer.id == *teller {
            // It is a neighbour.
            return Some(None);
        }
        let share = self.shares.get(teller).copied().unwrap_or_default();
        if !alone && share >= (self.capacity * SHARE / 4).max(1) {
            return None;
        }
        if self.in_rows < self.capacity {
            return Some(None);
        }
        let own_row = common_bits(&self.own, &newcomer.id);
        let length = |row: &BTreeSet<Place>| row.len();
        let own_length = self.rows.get(&own_row).map_or(0, length);
        // Of rows that are equally long, the one of the farther peers.
        let (_, longest) = self.rows.iter().max_by_key(|(bits, row)| (row.len(), u8::MAX - **bits))?;
        if longest.len() > own_length + 1 {
            return Some(longest.first().map(|(_, _, id)| *id));
        }
        let &(serves, heard, first) = self.rows.get(&own_row)?.first()?;
        let better = !newcomer.endpoints.is_empty() && !serves;
        (better || heard + SILENT <= now).then_some(Some(first))
    }

    /// Takes note of a genuine announcement.
    pub fn learn(&mut self, now: Instant, heard: Unverified, told: Told) -> Learned {
        let Told { age, hops, teller, alone } = told;
        let Unverified { announcement, signed } = heard;
        let id = announcement.id;
        let content = announcement.content();
        let known = self.entries.get(&id);
        let outcome = match known {
            None if id == self.own || self.is_gone(now, &id, announcement.sequence, &teller) => {
                return Learned::Stale;
            }
            Some(entry) if announcement.sequence <= entry.sequence => return Learned::Stale,
            Some(entry) if entry.content == content => Learned::Repeated,
            Some(_) => Learned::Changed,
            None => Learned::New,
        };
        let known = known.map(|entry| (entry.teller, entry.is_neighbour, entry.passed));
        if known.is_none() {
            match self.room(now, &announcement, &teller, alone) {
                None => return Learned::Full,
                Some(Some(victim)) => self.forget(&victim),
                Some(None) => {}
            }
        }
        let (teller, is_neighbour, passed) = known.unwrap_or((teller, teller == id, now));
        let repeats = outcome == Learned::Repeated;
        self.forget(&id);
        let expires = now + Duration::from_secs(announcement.ttl).saturating_sub(age);
        let entry = Entry {
            sequence: announcement.sequence,
            signed,
            content,
            address: announcement.endpoints.first().copied(),
            heard: now,
            passed: if repeats { passed } else { now },
            hops,
            age,
            expires,
            teller,
            is_neighbour,
        };
        if let Some(address) = entry.address {
            self.servers.insert(id, address);
        }
        self.ends.insert((expires, id));
        *self.shares.entry(teller).or_default() += 1;
        if !is_neighbour {
            self.enter_row(&id, &entry);
        }
        self.entries.insert(id, entry);
        outcome
    }

    /// Takes note of a genuine announcement that its node has sent us, though it is no neighbour.
    pub fn learn_of_stranger(&mut self, now: Instant, heard: Unverified, told: Told) -> Learned {
        self.learn(now, heard, Told { teller: self.own, ..told })
    }

    /// Drops what is known of a peer that is gone; only a newer word than the last brings it back. Whether there was any.
    pub fn bury(&mut self, now: Instant, id: &PeerId) -> bool {
        let Some((sequence, address)) = self.entries.get(id).map(|entry| (entry.sequence, entry.address))
        else {
            return false;
        };
        if self.gone.len() >= MAX_GONE {
            self.gone.shift_remove_index(0);
        }
        self.gone.shift_remove(id);
        self.gone.insert(*id, Gone { until: now + GONE, sequence, address });
        self.forget(id);
        true
    }

    fn is_gone(&self, now: Instant, id: &PeerId, sequence: u64, teller: &PeerId) -> bool {
        teller != id && self.gone.get(id).is_some_and(|gone| now < gone.until && sequence <= gone.sequence)
    }

    /// Those that are gone and could be asked by anybody, the last one first. It may be we who were cut off.
    pub fn gone(&self) -> impl Iterator<Item = (PeerId, SocketAddr)> {
        self.gone.iter().rev().filter_map(|(id, gone)| Some((*id, gone.address?)))
    }

    /// Drops what is known of a peer.
    pub fn forget(&mut self, id: &PeerId) {
        let Some(entry) = self.entries.swap_remove(id) else {
            return;
        };
        if !entry.is_neighbour {
            self.leave_row(id, &entry);
        }
        self.ends.remove(&(entry.expires, *id));
        self.servers.remove(id);
        if let Some(share) = self.shares.get_mut(&entry.teller) {
            *share -= 1;
            if *share == 0 {
                self.shares.swap_remove(&entry.teller);
            }
        }
    }

    /// Says whether a peer is a neighbour, which is held whether or not there is room.
    pub fn set_neighbour(&mut self, id: &PeerId, is_neighbour: bool) {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.is_neighbour != is_neighbour) else {
            return;
        };
        entry.is_neighbour = is_neighbour;
        let place = entry.place(*id);
        let row = common_bits(&self.own, id);
        match is_neighbour {
            true => {
                self.rows.entry(row).or_default().remove(&place);
                self.in_rows -= 1;
            }
            false => {
                self.rows.entry(row).or_default().insert(place);
                self.in_rows += 1;
                if self.in_rows > self.capacity
                    && let Some((_, longest)) = self.rows.iter().max_by_key(|(_, row)| row.len())
                    && let Some(&(_, _, victim)) = longest.first()
                {
                    self.forget(&victim);
                }
            }
        }
    }

    fn enter_row(&mut self, id: &PeerId, entry: &Entry) {
        self.rows.entry(common_bits(&self.own, id)).or_default().insert(entry.place(*id));
        self.in_rows += 1;
    }

    fn leave_row(&mut self, id: &PeerId, entry: &Entry) {
        if self.rows.entry(common_bits(&self.own, id)).or_default().remove(&entry.place(*id)) {
            self.in_rows -= 1;
        }
    }

    /// Drops what has expired, and says of whom it was.
    pub fn expire(&mut self, now: Instant) -> Vec<PeerId> {
        let mut expired = Vec::new();
        while let Some((_, id)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.forget(&id);
            expired.push(id);
        }
        expired
    }

    /// When something expires next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| *end)
    }

    pub fn find(&self, now: Instant, peer: &PeerId) -> Option<&Entry> {
        self.entries.get(peer).filter(|entry| entry.expires > now)
    }

    pub fn find_mut(&mut self, peer: &PeerId) -> Option<&mut Entry> {
        self.entries.get_mut(peer)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Entry)> {
        self.entries.iter()
    }

    /// Whether it is known as a node that anybody can ask.
    pub fn serves(&self, peer: &PeerId) -> bool {
        self.entries.get(peer).is_some_and(|entry| entry.address.is_some())
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Peers that anybody can ask, the nearest to `target` first.
    pub fn servers_near(&self, target: &PeerId, count: usize) -> Vec<(PeerId, SocketAddr)> {
        self.servers.nearest(target, count).into_iter().map(|(id, address)| (id, *address)).collect()
    }

    /// Of peers with fewer bits in common with us than this, there are enough here.
    pub fn horizon(&self) -> u8 {
        if self.in_rows < self.capacity {
            return 0;
        }
        let longest = self.rows.values().map(BTreeSet::len).max().unwrap_or_default();
        let full = |bits: &u8| self.rows.get(bits).is_some_and(|row| row.len() + 1 >= longest);
        (0..u8::MAX).take_while(full).count() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::NatClass;
    use proptest::prelude::*;

    const OWN: PeerId = PeerId::from_bytes([0; 32]);
    const TELLER: PeerId = PeerId::from_bytes([255; 32]);

    fn directory(capacity: usize) -> Directory {
        Directory::new(OWN, capacity, FixedState::default())
    }

    fn heard(id: [u8; 32], sequence: u64, serves: bool) -> Unverified {
        let announcement = Announcement {
            id: PeerId::from_bytes(id),
            sequence,
            ttl: 3600,
            class: NatClass::Unknown,
            relays: false,
            endpoints: serves.then(|| "1.2.3.4:5".parse().expect("an address")).into_iter().collect(),
            via: vec![],
        };
        Unverified { announcement, signed: Box::default() }
    }

    fn id(n: u16) -> [u8; 32] {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        id
    }

    fn told(teller: PeerId, alone: bool) -> Told {
        Told { age: Duration::ZERO, hops: 0, teller, alone }
    }

    fn learn(directory: &mut Directory, now: Instant, heard: Unverified) -> Learned {
        directory.learn(now, heard, told(TELLER, true))
    }

    #[test]
    fn only_newer_words_replace_what_is_known_and_all_expire() {
        let (now, mut directory) = (Instant::now(), directory(9));
        assert_eq!(learn(&mut directory, now, heard(id(1), 5, false)), Learned::New);
        assert_eq!(learn(&mut directory, now, heard(id(1), 5, true)), Learned::Stale);
        assert_eq!(learn(&mut directory, now, heard(id(1), 6, false)), Learned::Repeated);
        assert_eq!(learn(&mut directory, now, heard(id(1), 7, true)), Learned::Changed);
        let id = PeerId::from_bytes(id(1));
        assert!(directory.find(now, &id).is_some());
        let later = now + Duration::from_secs(3600);
        assert!(directory.find(later, &id).is_none());
        directory.expire(later);
        assert_eq!((directory.len(), directory.poll_timeout()), (0, None));
    }

    #[test]
    fn who_is_gone_comes_back_with_a_new_word_only() {
        let (now, mut directory) = (Instant::now(), directory(9));
        let peer = PeerId::from_bytes(id(1));
        learn(&mut directory, now, heard(id(1), 5, false));
        directory.bury(now, &peer);
        assert_eq!(learn(&mut directory, now, heard(id(1), 5, false)), Learned::Stale);
        assert_eq!(learn(&mut directory, now, heard(id(1), 6, false)), Learned::New);
        (0..1000).for_each(|n| {
            learn(&mut directory, now, heard(id(n), 7, false));
            directory.bury(now, &PeerId::from_bytes(id(n)));
        });
        assert!(directory.gone.len() <= MAX_GONE);
    }

    #[test]
    fn age_shortens_what_is_left() {
        let (now, mut directory) = (Instant::now(), directory(9));
        directory.learn(
            now,
            heard(id(1), 5, false),
            Told { age: Duration::from_secs(3000), ..told(TELLER, true) },
        );
        let entry = directory.find(now, &PeerId::from_bytes(id(1))).expect("known");
        assert_eq!(entry.age(now + Duration::from_secs(7)).as_secs(), 3007);
        assert_eq!(directory.poll_timeout(), Some(now + Duration::from_secs(600)));
    }

    #[test]
    fn far_peers_make_room_for_near_ones_and_for_those_that_can_be_asked() {
        let (now, mut directory) = (Instant::now(), directory(8));
        for n in 0..8 {
            assert_eq!(learn(&mut directory, now, heard(id(0x8000 + n), 1, false)), Learned::New);
        }
        assert_eq!(learn(&mut directory, now, heard(id(0x9000), 1, false)), Learned::Full);
        assert_eq!(learn(&mut directory, now, heard(id(0x9000), 1, true)), Learned::New);
        for n in 0..4 {
            assert_eq!(learn(&mut directory, now, heard(id(n + 1), 1, false)), Learned::New, "{n}");
        }
        assert_eq!(directory.len(), 8);
        assert!(directory.find(now, &PeerId::from_bytes(id(0x9000))).is_some());
        assert_eq!(directory.horizon(), 1);
        let later = now + SILENT;
        assert_eq!(learn(&mut directory, later, heard(id(0x8888), 1, false)), Learned::New, "the silent go");
    }

    #[test]
    fn neighbours_stay_and_one_teller_does_not_fill_the_view() {
        let (now, mut directory) = (Instant::now(), directory(8));
        learn(&mut directory, now, heard(id(0x8000), 1, false));
        directory.set_neighbour(&PeerId::from_bytes(id(0x8000)), true);
        for n in 1..100 {
            directory.learn(now, heard(id(0x8000 + n), 1, false), told(TELLER, false));
        }
        assert_eq!(directory.len(), 6, "a neighbour and what is left of one teller's share");
        assert!(directory.find(now, &PeerId::from_bytes(id(0x8000))).is_some());
        directory.learn(now, heard(id(0x9000), 1, false), told(PeerId::from_bytes([9; 32]), false));
        assert_eq!(directory.len(), 7, "others have room");
    }

    proptest! {
        #[test]
        fn whatever_is_learnt_the_view_is_bounded_and_its_books_agree(
            deeds in proptest::collection::vec((any::<u16>(), 0u64..4, any::<bool>(), 0u8..5, 0u64..2000), 0..200),
        ) {
            let (start, mut directory) = (Instant::now(), directory(10));
            let mut now = start;
            let mut neighbours = std::collections::BTreeSet::new();
            for (n, sequence, serves, deed, seconds) in deeds {
                let peer = PeerId::from_bytes(id(n));
                match deed {
                    0 => {
                        directory.set_neighbour(&peer, serves);
                        if serves && directory.find(start, &peer).is_some() { neighbours.insert(peer); }
                    }
                    1 => { now += Duration::from_secs(seconds); directory.expire(now); }
                    _ => { directory.learn(now, heard(id(n), sequence, serves), told(TELLER, true)); }
                }
                let in_rows: usize = directory.rows.values().map(BTreeSet::len).sum();
                prop_assert_eq!(in_rows, directory.in_rows);
                prop_assert!(in_rows <= 10);
                prop_assert_eq!(directory.ends.len(), directory.entries.len());
                prop_assert_eq!(directory.shares.values().sum::<usize>(), directory.entries.len());
                let serving = directory.entries.values().filter(|entry| entry.address.is_some()).count();
                prop_assert_eq!(directory.servers_near(&OWN, 1000).len(), serving);
                prop_assert!(directory.len() <= 10 + neighbours.len());
            }
        }
    }
}
