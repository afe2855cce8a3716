//! The peers that a node has heard of.

use std::time::{Duration, Instant};

use indexmap::IndexMap;

use crate::announce::Announcement;
use crate::identity::PeerId;

/// Announcements kept at most.
const CAPACITY: usize = 1000;

/// A peer's newest announcement.
pub(crate) struct Entry {
    pub announcement: Announcement,
    /// As it came, to be passed on.
    pub signed: Vec<u8>,
    expires: Instant,
}

/// What became of an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// Of a peer not known before.
    New,
    /// Newer than what was known.
    Renewed,
    /// Not newer than what is known.
    Stale,
    /// There is no room.
    Full,
}

/// A bounded view of the mesh.
#[derive(Default)]
pub(crate) struct Directory {
    entries: IndexMap<PeerId, Entry>,
}

impl Directory {
    pub fn learn(&mut self, now: Instant, announcement: Announcement, signed: Vec<u8>) -> Learned {
        let id = announcement.id;
        let known = self.entries.get(&id).map(|entry| entry.announcement.sequence);
        let outcome = match known {
            Some(sequence) if announcement.sequence <= sequence => return Learned::Stale,
            Some(_) => Learned::Renewed,
            None => {
                if self.entries.len() >= CAPACITY {
                    self.entries.retain(|_, entry| entry.expires > now);
                }
                if self.entries.len() >= CAPACITY {
                    return Learned::Full;
                }
                Learned::New
            }
        };
        let entry = Entry { expires: now + Duration::from_secs(announcement.ttl), announcement, signed };
        self.entries.insert(id, entry);
        outcome
    }

    pub fn find(&self, now: Instant, peer: &PeerId) -> Option<&Entry> {
        self.entries.get(peer).filter(|entry| entry.expires > now)
    }

    pub fn len(&self, now: Instant) -> usize {
        self.entries.values().filter(|entry| entry.expires > now).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::NatClass;

    fn announcement(n: u16, sequence: u64) -> Announcement {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        Announcement {
            id: PeerId::from_bytes(id),
            sequence,
            ttl: 60,
            class: NatClass::Unknown,
            relays: false,
            endpoints: vec![],
            via: vec![],
        }
    }

    #[test]
    fn only_newer_words_replace_what_is_known_and_all_expire() {
        let (now, mut directory) = (Instant::now(), Directory::default());
        let mut learn = |sequence| directory.learn(now, announcement(1, sequence), vec![]);
        assert_eq!(learn(5), Learned::New);
        assert_eq!(learn(5), Learned::Stale);
        assert_eq!(learn(6), Learned::Renewed);
        let id = announcement(1, 0).id;
        assert!(directory.find(now, &id).is_some());
        assert!(directory.find(now + Duration::from_secs(60), &id).is_none());
    }

    #[test]
    fn the_view_is_bounded_and_makes_room_for_the_living() {
        let (now, mut directory) = (Instant::now(), Directory::default());
        for n in 0..CAPACITY as u16 {
            directory.learn(now, announcement(n, 1), vec![]);
        }
        let late = CAPACITY as u16;
        assert_eq!(directory.learn(now, announcement(late, 1), vec![]), Learned::Full);
        let later = now + Duration::from_secs(61);
        assert_eq!(directory.learn(later, announcement(late, 1), vec![]), Learned::New);
        assert_eq!(directory.len(later), 1);
    }
}
