//! The nodes that we hold something of, and which of them wants attention when.

use std::time::Instant;

use foldhash::fast::FixedState;
use indexmap::IndexMap;

use crate::deadlines::{Deadline, Deadlines};
use crate::identity::PeerId;

use super::path::Peer;

/// All peers. Those that may have changed are given new deadlines by [`Self::settle`].
pub(super) struct Peers {
    held: IndexMap<PeerId, Held, FixedState>,
    touched: Vec<PeerId>,
    deadlines: Deadlines<PeerId>,
}

#[derive(Default)]
struct Held {
    peer: Peer,
    is_touched: bool,
    deadline: Deadline,
}

impl Peers {
    pub fn new(hashes: FixedState) -> Self {
        Self { held: IndexMap::with_hasher(hashes), touched: Vec::new(), deadlines: Deadlines::new() }
    }

    pub fn get(&self, id: &PeerId) -> Option<&Peer> {
        Some(&self.held.get(id)?.peer)
    }

    /// To be changed.
    pub fn get_mut(&mut self, id: &PeerId) -> Option<&mut Peer> {
        let held = self.held.get_mut(id)?;
        if !std::mem::replace(&mut held.is_touched, true) {
            self.touched.push(*id);
        }
        Some(&mut held.peer)
    }

    /// To be changed; made if there is none.
    pub fn get_or_new(&mut self, id: PeerId) -> &mut Peer {
        let held = self.held.entry(id).or_default();
        if !std::mem::replace(&mut held.is_touched, true) {
            self.touched.push(id);
        }
        &mut held.peer
    }

    pub fn remove(&mut self, id: &PeerId) -> Option<Peer> {
        let mut held = self.held.shift_remove(id)?;
        self.deadlines.change(*id, &mut held.deadline, None);
        Some(held.peer)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.held.iter().map(|(id, held)| (id, &held.peer))
    }

    /// Has `deadline` say of each peer that may have changed when it wants attention.
    pub fn settle(&mut self, deadline: impl Fn(&PeerId, &Peer) -> Option<Instant>) {
        while let Some(id) = self.touched.pop() {
            if let Some(held) = self.held.get_mut(&id) {
                held.is_touched = false;
                self.deadlines.change(id, &mut held.deadline, deadline(&id, &held.peer));
            }
        }
    }

    /// The first deadline.
    pub fn first_deadline(&self) -> Option<Instant> {
        self.deadlines.first()
    }

    /// All whose deadlines have come.
    pub fn due(&self, now: Instant) -> Vec<PeerId> {
        self.deadlines.due(now)
    }
}
