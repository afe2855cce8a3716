//! The relays that we hold: found, chosen, watched and replaced.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use rand::Rng;

use crate::announce::{RelayPath, is_possible};
use crate::choice::{Rated, challenge, choose, cost, lot};
use crate::config::Bootstrap;
use crate::event::Event;
use crate::identity::PeerId;
use crate::search::Candidate;

use super::Node;
use super::entrance::{Entrance, Errand};

/// Between two looks at whether others are better, or needed.
const REVIEW: Duration = Duration::from_secs(30);
/// A better one has to be better at two reviews, at least this far apart.
const PROOF_TIME: Duration = Duration::from_secs(20);
/// Where relays lack, others are looked for this often.
const LACK: Duration = Duration::from_secs(5);
/// A relay that refused, was full or dropped what it should pass on is not asked for this long, if there are others.
const SHUN: Duration = Duration::from_secs(60);
/// A connection that was made for sessions is kept for this long without any.
const LINGER: Duration = Duration::from_secs(30);
/// Announced nodes looked at in one search for relays.
const MAX_SOUGHT: usize = 16;
/// Relays remembered as not worth asking.
const MAX_SHUNNED: usize = 64;

/// How a relay does, besides its round trip time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// Sessions in use, in per cent of what it serves.
    pub load: u8,
    /// What we send there stays unanswered.
    pub is_silent: bool,
    /// Asked only if there is no other until then.
    doubted_until: Option<Instant>,
    /// Neither held nor used since.
    unused_since: Option<Instant>,
}

/// The choice of relays.
#[derive(Default)]
pub(super) struct Relays {
    /// Those that are held, the best first.
    held: Vec<PeerId>,
    /// One that is clearly better than one that is held, and since when: (worse, better).
    challenger: Option<((PeerId, PeerId), Instant)>,
    review_at: Option<Instant>,
    /// Announced relays that did not answer, and until when they are left alone.
    shunned: IndexMap<PeerId, Instant>,
}

impl Relays {
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.review_at
    }

    pub fn held(&self) -> &[PeerId] {
        &self.held
    }

    fn look_again(&mut self, at: Instant) {
        self.review_at = Some(self.review_at.map_or(at, |review| review.min(at)));
    }
}

impl Node {
    pub(super) fn drive_relays(&mut self, now: Instant) {
        if self.relays.review_at.is_some_and(|at| at <= now) {
            self.relays.review_at = None;
            self.review_relays(now);
        }
    }

    /// Chooses anew which relays to hold, and looks for more where they lack.
    pub(super) fn review_relays(&mut self, now: Instant) {
        let seeks = self.seeks_relays();
        let rated: Vec<Rated> = self
            .entrances
            .iter()
            .filter(|entrance| is_usable(entrance) && (seeks || entrance.errand == Errand::Bootstrap))
            .map(|entrance| {
                let relay = entrance.bootstrap.id;
                Rated { relay, cost: self.relay_cost(now, entrance), lot: lot(&self.id(), &relay) }
            })
            .collect();
        let mut chosen = choose(&self.relays.held, &rated, self.config.relays);
        let challenge = challenge(&chosen, &rated);
        self.relays.challenger = match (challenge, self.relays.challenger) {
            (Some(pair), Some((same, since))) if pair == same => {
                if now >= since + PROOF_TIME {
                    chosen.retain(|relay| *relay != pair.0);
                    chosen.push(pair.1);
                    None
                } else {
                    Some((pair, since))
                }
            }
            (Some(pair), _) => Some((pair, now)),
            (None, _) => None,
        };
        if rated.len() > chosen.len() {
            self.relays.look_again(now + REVIEW);
        }
        self.hold(now, chosen);
        self.drop_unused(now);
        if seeks && rated.len() < self.config.relays {
            self.seek_relays(now, self.config.relays - rated.len());
        }
    }

    fn hold(&mut self, now: Instant, chosen: Vec<PeerId>) {
        let old = std::mem::replace(&mut self.relays.held, chosen);
        let lost: Vec<PeerId> =
            old.iter().filter(|relay| !self.relays.held.contains(relay)).copied().collect();
        let gained: Vec<PeerId> =
            self.relays.held.iter().filter(|relay| !old.contains(relay)).copied().collect();
        if lost.is_empty() && gained.is_empty() {
            return;
        }
        self.events.extend(lost.iter().map(|&relay| Event::RelayLost { relay }));
        self.events.extend(gained.iter().map(|&relay| Event::RelaySelected { relay }));
        self.relays_changed(now);
        self.hurry_searches(now);
    }

    /// Whoever lacks a session may find one now.
    fn hurry_searches(&mut self, now: Instant) {
        let lacks = |(id, peer): (&PeerId, &super::path::Peer)| {
            peer.contact.as_ref().filter(|contact| contact.search.is_resting()).map(|_| *id)
        };
        let lacking: Vec<PeerId> = self.peers.iter().filter_map(lacks).collect();
        for id in lacking {
            if let Some(contact) = self.contact(&id) {
                contact.search.hurry_resting(now);
            }
        }
    }

    fn relay_cost(&self, now: Instant, entrance: &Entrance) -> Duration {
        let is_doubted = entrance.standing.doubted_until.is_some_and(|until| until > now);
        let cost = cost(self.round_trip(&entrance.bootstrap.id), entrance.standing.load);
        if is_doubted { cost + SHUN } else { cost }
    }

    /// Whether we look for relays beyond those that we were told of. Whoever can be reached needs none.
    fn seeks_relays(&self) -> bool {
        !self.config.service.coordinates() && self.detector.is_none() && !self.class().is_reachable()
    }

    /// Connects to relays that others have told of.
    fn seek_relays(&mut self, now: Instant, lack: usize) {
        self.relays.shunned.retain(|_, until| *until > now);
        let anywhere: [u8; 32] = self.rng.random();
        let under_way = self.entrances.iter().filter(|entrance| entrance.is_sought()).count();
        let known =
            |relay: &PeerId| self.entrance_of(relay).is_some() || self.relays.shunned.contains_key(relay);
        let relays = |id: &PeerId| {
            let announcement = self.directory.find(now, id)?.announcement()?;
            Some(announcement.relays)
        };
        let anywhere = PeerId::from_bytes(anywhere);
        let announced: Vec<Bootstrap> = self
            .directory
            .servers_near(&anywhere, MAX_SOUGHT)
            .into_iter()
            .filter(|(id, _)| *id != self.id() && !known(id) && relays(id) == Some(true))
            .map(|(id, address)| Bootstrap { id, address })
            .take(lack.saturating_sub(under_way))
            .collect();
        for relay in announced {
            self.enter(now, relay, Errand::Relay);
        }
        self.relays.look_again(now + LACK);
    }

    /// Begins to connect to a node that serves others.
    pub(super) fn enter(&mut self, now: Instant, whom: Bootstrap, errand: Errand) {
        self.entrances.push(Entrance::new(now, whom, errand));
        // One whose path was proven only is forgotten soon, unless it serves us.
        self.peers.get_mut(&whom.id);
    }

    /// Connects to a relay for the sake of a session.
    pub(super) fn visit(&mut self, now: Instant, relay: PeerId, address: SocketAddr) {
        if self.entrance_of(&relay).is_none() && relay != self.id() && is_possible(&address) {
            self.enter(now, Bootstrap { id: relay, address }, Errand::Visit);
        }
    }

    /// Drops connections that were made for relaying and serve nothing.
    fn drop_unused(&mut self, now: Instant) {
        let mut unused = Vec::new();
        let is_bootstrapped =
            self.entrances.iter().any(|entrance| entrance.errand == Errand::Bootstrap && entrance.is_up());
        for at in 0..self.entrances.len() {
            let entrance = &self.entrances[at];
            let id = entrance.bootstrap.id;
            let is_needed = entrance.errand == Errand::Bootstrap
                || entrance.errand == Errand::Known && !is_bootstrapped
                || !entrance.is_up()
                || self.relays.held.contains(&id)
                || self.contact(&id).is_some()
                || self.memberships.values().any(|membership| membership.relay == id);
            let standing = &mut self.entrances[at].standing;
            if is_needed {
                standing.unused_since = None;
            } else if now >= *standing.unused_since.get_or_insert(now) + LINGER {
                unused.push(id);
            } else {
                self.relays.look_again(now + LINGER);
            }
        }
        for id in unused {
            self.remove_entrance(now, &id);
        }
    }

    /// A relay or bootstrap node that others told of does not answer.
    pub(super) fn shun(&mut self, now: Instant, id: &PeerId) {
        if self.relays.shunned.len() >= MAX_SHUNNED {
            self.relays.shunned.shift_remove_index(0);
        }
        self.relays.shunned.insert(*id, now + SHUN);
        self.remove_entrance(now, id);
        self.relays.look_again(now);
    }

    fn remove_entrance(&mut self, now: Instant, id: &PeerId) {
        self.entrances.retain(|entrance| entrance.bootstrap.id != *id);
        if self.contact(id).is_none() {
            self.quic.close(now, id, b"not needed");
            self.forget_peer(now, id);
        }
    }

    /// A bootstrap node or relay does not answer any more.
    pub(super) fn link_silent(&mut self, now: Instant, id: &PeerId) {
        let Some(at) = self.entrance_of(id) else {
            return;
        };
        self.peer(*id).was_silent = true;
        if !std::mem::replace(&mut self.entrances[at].standing.is_silent, true) {
            self.review_relays(now);
            self.leave_silent(now, id);
        }
    }

    /// A node that was silent answers again.
    pub(super) fn link_speaks(&mut self, now: Instant, id: &PeerId) {
        if let Some(at) = self.entrance_of(id)
            && std::mem::take(&mut self.entrances[at].standing.is_silent)
        {
            self.review_relays(now);
        }
    }

    pub(super) fn is_silent_relay(&self, relay: &PeerId) -> bool {
        self.entrance_of(relay).is_none_or(|at| self.entrances[at].standing.is_silent)
    }

    /// A relay may have dropped what it should have passed on, or may be gone: it is asked for a sign of life.
    pub(super) fn doubt_relay(&mut self, now: Instant, relay: &PeerId) {
        if let Some(at) = self.entrance_of(relay) {
            self.entrances[at].standing.doubted_until = Some(now + SHUN);
            self.quic.ping(now, relay);
        }
    }

    pub(super) fn relay_has_load(&mut self, relay: &PeerId, load: u8) {
        if let Some(at) = self.entrance_of(relay) {
            self.entrances[at].standing.load = load;
        }
    }

    /// A relay has no room.
    pub(super) fn relay_is_full(&mut self, now: Instant, relay: &PeerId) {
        if let Some(at) = self.entrance_of(relay) {
            let standing = &mut self.entrances[at].standing;
            standing.load = 100;
            standing.doubted_until = Some(now + SHUN);
        }
    }

    /// The relays that we hold, as we announce them.
    pub(super) fn relays_held(&self) -> Vec<RelayPath> {
        let path = |relay: &PeerId| {
            let address = self.entrances[self.entrance_of(relay)?].bootstrap.address;
            is_possible(&address).then_some(RelayPath { relay: *relay, address })
        };
        self.relays.held.iter().filter_map(path).collect()
    }

    /// Who could carry sessions with `peer`, the best first: relays that are known to reach it, those that we are connected
    /// to before others, then the rest of ours.
    pub(super) fn session_candidates(
        &self,
        now: Instant,
        peer: &PeerId,
        via: &[Candidate],
    ) -> Vec<Candidate> {
        let mut rated: Vec<_> = Vec::new();
        for entrance in self.entrances.iter().filter(|entrance| is_usable(entrance)) {
            let relay = entrance.bootstrap.id;
            let reaches = via.iter().any(|candidate| candidate.relay == relay);
            let key = (!reaches, self.relay_cost(now, entrance));
            rated.push((key, Candidate { relay, address: None }));
        }
        let is_ours = |relay: &PeerId| self.entrance_of(relay).is_some();
        let visits =
            via.iter().filter(|candidate| !is_ours(&candidate.relay) && candidate.relay != self.id());
        let far = |candidate: &Candidate| ((false, SHUN / 2), *candidate);
        rated.extend(visits.filter(|candidate| candidate.address.is_some()).map(far));
        rated.retain(|(_, candidate)| candidate.relay != *peer);
        // Equals are taken by lot, or the same relay would carry everybody.
        rated.sort_by_key(|(key, candidate)| (*key, lot(peer, &candidate.relay)));
        rated.into_iter().map(|(_, candidate)| candidate).collect()
    }
}

fn is_usable(entrance: &Entrance) -> bool {
    entrance.is_up() && entrance.relays && !entrance.standing.is_silent
}
