//! How soon the mesh knows of somebody who comes: when all relays have the word by which it is reached.

use std::time::Duration;

use omerta_mesh_core::{Config, PeerId};
use serde::Serialize;

use super::{Histogram, Population, Settings, member::Member, relay::Relay};
use crate::clock::instant;

/// Between two looks, which is how exact the times are.
const STEP: Duration = Duration::from_millis(500);

/// Whom relays have still to hear of.
#[derive(Debug)]
pub(super) struct Spreading {
    next: Duration,
    /// Since when each member that was looked at has been there.
    seen: Vec<Option<Duration>>,
    open: Vec<Newcomer>,
    took: Histogram,
    left: u64,
}

#[derive(Debug)]
struct Newcomer {
    number: u32,
    id: PeerId,
    since: Duration,
    /// Relays that have not heard of it, by their numbers.
    missing: Vec<usize>,
}

/// How soon all relays knew of those who came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Convergence {
    /// From coming to being known to every relay, in milliseconds, to within half a second.
    pub took_ms: Histogram,
    /// Members that left before.
    pub left: u64,
    /// Members that were there at the end, and not known to every relay.
    pub open: u64,
}

impl Spreading {
    /// None where relays do not hear of each other's members, or keep less than all of them.
    pub fn of(settings: &Settings, relays: usize) -> Option<Self> {
        let kept = Config::new([0; 32], 0).view;
        let all = settings.nodes as usize + relays;
        (settings.gossip.peer_contact && all <= kept).then(|| Spreading {
            next: STEP,
            seen: vec![None; settings.nodes as usize],
            open: Vec::new(),
            took: Histogram::default(),
            left: 0,
        })
    }

    /// When the next look is due.
    pub fn next(&self) -> Duration {
        self.next
    }

    /// What has come of it.
    pub fn outcome(&self) -> Convergence {
        Convergence { took_ms: self.took.clone(), left: self.left, open: self.open.len() as u64 }
    }
}

impl Population {
    /// Looks who has come and who is known by now.
    pub(super) fn look_at_relays(&mut self) {
        let now = self.world.now();
        let Some(mut spreading) = self.spreading.take_if(|spreading| spreading.next <= now) else { return };
        spreading.next = now + STEP;
        for (number, member) in (0_u32..).zip(self.people()) {
            let since = member.there_since();
            let Some(seen) = spreading.seen.get_mut(number as usize) else { continue };
            if *seen == since {
                continue;
            }
            *seen = since;
            let before = spreading.open.len();
            spreading.open.retain(|newcomer| newcomer.number != number);
            spreading.left += (before - spreading.open.len()) as u64;
            let place = self.plan.member(number).filter(|place| self.plan.has_udp(place));
            if let (Some(since), Some(place)) = (since, place) {
                let missing = (0..self.relays.len()).collect();
                spreading.open.push(Newcomer { number, id: place.id, since, missing });
            }
        }
        let (took, at) = (&mut spreading.took, instant(now));
        spreading.open.retain_mut(|newcomer| {
            let member = self.members.get(newcomer.number as usize);
            let member = member.and_then(|member| self.world.program::<Member>(*member, 0));
            let says = member.and_then(Member::as_node).and_then(|node| node.word_of(at, &newcomer.id));
            let Some(says) = says else { return true };
            newcomer.missing.retain(|relay| {
                let relay = self.relays.get(*relay).and_then(|relay| self.world.program::<Relay>(*relay, 0));
                let knows = relay.and_then(Relay::as_node).and_then(|node| node.word_of(at, &newcomer.id));
                knows != Some(says)
            });
            let is_known = newcomer.missing.is_empty();
            if is_known {
                took.add(now.saturating_sub(newcomer.since));
            }
            !is_known
        });
        self.spreading = Some(spreading);
    }
}
