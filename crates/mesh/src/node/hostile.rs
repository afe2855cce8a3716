//! What a node tells its neighbours that was told to lie ([`crate::Lie`]).

use std::time::{Duration, Instant};

use rand::Rng;

use crate::announce::{Announcement, Passed, TTL};
use crate::control::Notice;
use crate::gossip::MAX_FACTS;
use crate::identity::{Identity, PeerId};
use crate::lie::Lie;
use crate::nat::NatClass;

use super::Node;

const GAP: Duration = Duration::from_secs(1);
/// Lists at once, of one that does not end.
const FLOOD: usize = 6;
const NOBODYS: [&str; 7] = [
    "0.0.0.0:4400",
    "127.0.0.1:4400",
    "169.254.7.7:4400",
    "224.0.0.1:4400",
    "255.255.255.255:4400",
    "240.0.0.1:4400",
    "198.51.100.9:0",
];

impl Node {
    fn lies_to_neighbours(&self) -> bool {
        matches!(
            self.config.lie,
            Some(
                Lie::ForgedLists
                    | Lie::ExpiredLists
                    | Lie::UnroutableLists
                    | Lie::EndlessLists
                    | Lie::FalseReports
            )
        )
    }

    pub(super) fn lie_timeout(&self) -> Option<Instant> {
        self.lies_to_neighbours().then_some(self.lie_at)
    }

    /// Tells neighbours what is not so.
    pub(super) fn tell_lies(&mut self, now: Instant) {
        if !self.lies_to_neighbours() || now < self.lie_at {
            return;
        }
        self.lie_at = now + GAP;
        if self.config.lie == Some(Lie::FalseReports) {
            return self.report_everybody(now);
        }
        let neighbours: Vec<PeerId> = self.gossip.neighbours().copied().collect();
        let lists = if self.config.lie == Some(Lie::EndlessLists) { FLOOD } else { 1 };
        for list in 0..lists {
            let mut facts = self.lies(now);
            if list > 0 {
                facts.truncate(MAX_FACTS);
            }
            let notice = Notice::Facts { facts };
            neighbours.iter().for_each(|peer| self.notify(now, peer, &notice));
        }
    }

    /// A list of lies.
    fn lies(&mut self, now: Instant) -> Vec<Passed> {
        let known: Vec<Announcement> =
            self.directory.iter().filter_map(|(_, entry)| entry.announcement()).take(MAX_FACTS / 2).collect();
        let passed = |age, signed| Passed { age, hops: 0, signed };
        match self.config.lie {
            Some(Lie::ForgedLists) => {
                let forge = |mut of: Announcement| {
                    of.sequence += 1_000;
                    of.class = NatClass::Public;
                    of.endpoints = vec![([198, 51, 100, 66], 666).into()];
                    passed(0, of.sign(&self.identity))
                };
                known.into_iter().map(forge).collect()
            }
            Some(Lie::ExpiredLists) => {
                let ids: Vec<PeerId> = known.iter().map(|known| known.id).collect();
                let facts = ids.iter().filter_map(|id| self.fact(now, id));
                let mut lies: Vec<Passed> = facts.map(|fact| Passed { age: TTL.as_secs(), ..fact }).collect();
                // Expired words of the known are no news, so some nobody knows yet are among them.
                for ttl in [0, TTL.as_secs() + 1, u64::MAX] {
                    lies.push(passed(0, self.made_up(|announcement| announcement.ttl = ttl)));
                }
                lies.push(passed(TTL.as_secs(), self.made_up(|_| ())));
                lies
            }
            Some(Lie::UnroutableLists) => {
                let bad = NOBODYS.iter().filter_map(|address| address.parse().ok());
                bad.map(|address| {
                    passed(0, self.made_up(|announcement| announcement.endpoints = vec![address]))
                })
                .collect()
            }
            _ => (0..=MAX_FACTS).map(|_| passed(0, self.made_up(|_| ()))).collect(),
        }
    }

    /// What a node says of itself that is not there.
    fn made_up(&mut self, change: impl FnOnce(&mut Announcement)) -> Vec<u8> {
        let identity = Identity::from_seed(&self.rng.random());
        let mut announcement = Announcement {
            id: identity.id(),
            sequence: 1,
            ttl: TTL.as_secs(),
            class: NatClass::Public,
            relays: true,
            endpoints: vec![([198, 51, 100, 66], self.rng.random_range(1..u16::MAX)).into()],
            via: Vec::new(),
        };
        change(&mut announcement);
        announcement.sign(&identity)
    }
}
