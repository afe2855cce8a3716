//! Announcements to and from neighbours: our own, those of others, and the slow comparison of what is known.

use std::time::{Duration, Instant};

use crate::announce::{Announcement, AnnouncementError, Passed, Unverified, repeat};
use crate::control::{Notice, Reply, Request};
use crate::directory::{Learned, Told};
use crate::event::Event;
use crate::gossip::{Haste, Held, MAX_FACTS, MAX_HELD, Sums, pass_on};
use crate::identity::PeerId;
use crate::nearness::{common_bits, distance};

use super::entrance::Errand;
use super::{Node, Pending};

/// A newer word of a node that says the same is fetched when ours is so old.
const OLD: Duration = Duration::from_secs(600);
/// What we want to hear of is told anew no sooner than this after the last time, however fast the view fills.
const HORIZON_GAP: Duration = Duration::from_secs(5);

/// What we say of ourselves now.
pub(super) struct Own {
    announcement: Announcement,
    content: u64,
    signed: Vec<u8>,
    made: Instant,
    /// When others than our bootstrap nodes were last told.
    passed: Instant,
}

/// Which nodes two neighbours both want to know of.
#[derive(Clone, Copy)]
struct Scope {
    ends: [(PeerId, u8); 2],
}

impl Scope {
    fn has(&self, id: &PeerId, serves: bool) -> bool {
        let near = |(end, horizon): &(PeerId, u8)| *horizon == 0 || common_bits(end, id) >= *horizon;
        serves || self.ends.iter().all(near)
    }
}

impl Node {
    /// Whether we tell `peer` of others and listen to it.
    fn gossips_with(&self, peer: &PeerId) -> bool {
        self.config.peer_contact || self.entrance_of(peer).is_some() || self.directory.serves(peer)
    }

    /// Whether we are connected with `peer` for a moment and for another's sake.
    fn is_visited(&self, peer: &PeerId) -> bool {
        self.entrance_of(peer).is_some_and(|at| self.entrances[at].errand == Errand::Visit)
    }

    pub(super) fn gossip_connected(&mut self, now: Instant, peer: PeerId) {
        // The side that began the connection says whether it is for gossip, too, by comparing.
        if !self.quic.is_begun_by_peer(&peer) && self.gossips_with(&peer) && !self.is_visited(&peer) {
            self.join_gossip(now, peer);
            self.compare(now, peer);
        }
    }

    fn join_gossip(&mut self, now: Instant, peer: PeerId) {
        self.gossip.join(now, peer);
        self.directory.set_neighbour(&peer, true);
        // A bootstrap node takes our own announcement by itself.
        if self.own.is_some() && self.entrance_of(&peer).is_none() {
            self.gossip.tell(now, &peer, self.id());
        }
    }

    /// A neighbour has told of a node: it leads there.
    fn learn_way(&mut self, id: PeerId, hops: u8, neighbour: PeerId) {
        if self.gossip.has(&neighbour) {
            self.routing.learn(id, hops, neighbour);
        }
    }

    pub(super) fn gossip_lost(&mut self, peer: &PeerId) {
        self.routing.lose(peer);
        self.gossip.leave(peer);
        self.directory.set_neighbour(peer, false);
    }

    pub(super) fn drive_gossip(&mut self, now: Instant) {
        for peer in self.directory.expire(now) {
            self.tell_forgotten(peer, "it has not announced itself again");
        }
        self.kept.expire(now);
        self.tell_lies(now);
        if self.own.as_ref().is_some_and(|own| own.made + self.repeat() <= now) {
            self.announce(now);
        }
        if let Some(peer) = self.gossip.poll_round(now) {
            self.tell_horizon(now);
            self.compare(now, peer);
        }
        while let Some((peer, ids)) = self.gossip.poll_flush(now) {
            let facts: Vec<Passed> = ids.iter().filter_map(|id| self.fact(now, id)).collect();
            if !facts.is_empty() {
                self.notify(now, &peer, &Notice::Facts { facts });
            }
        }
    }

    pub(super) fn gossip_timeout(&self) -> Option<Instant> {
        let own = self.own.as_ref().map(|own| own.made + self.repeat());
        [own, self.lie_timeout(), self.gossip.poll_timeout(), self.directory.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// How often we announce ourselves.
    pub(super) fn repeat(&self) -> Duration {
        repeat(self.config.announcement_ttl)
    }

    pub(super) fn tell_forgotten(&mut self, peer: PeerId, reason: &str) {
        self.events.push_back(Event::Forgotten { peer, reason: reason.to_owned() });
    }

    /// What we say of ourselves, if it is enough to be reached by.
    pub(super) fn own_word(&self) -> Option<u64> {
        self.own.as_ref().filter(|own| own.announcement.leads_to_it()).map(|own| own.announcement.content())
    }

    /// Others may have taken us for gone: what we say next counts as news.
    pub(super) fn renew_own(&mut self) {
        if let Some(own) = &mut self.own {
            own.content = 0;
        }
    }

    /// What we say of ourselves, signed: as it was, unless it has changed or is to be repeated.
    pub(super) fn own_announcement(&mut self, now: Instant) -> Vec<u8> {
        let mut announcement = self.announcement();
        let content = announcement.content();
        if let Some(own) = &self.own
            && own.content == content
            && now < own.made + self.repeat() / 2
        {
            return own.signed.clone();
        }
        self.announcements += 1;
        announcement.sequence = self.config.epoch.saturating_add(self.announcements);
        let signed = announcement.sign(&self.identity);
        let old = self.own.as_ref().filter(|own| own.content == content);
        let (gap, lazy) = pass_on(self.config.announcement_ttl);
        let passed = old.map(|own| own.passed).filter(|passed| now < *passed + gap);
        let serves = !announcement.endpoints.is_empty();
        let haste = if old.is_some() { lazy } else { Haste::Now };
        // As long as there is no way to us, there is nothing that others could do with it.
        let is_news = passed.is_none() && announcement.leads_to_it();
        if is_news {
            self.gossip.spread(now, self.id(), serves, None, haste);
        }
        let passed = passed.unwrap_or(now);
        if is_news && (self.keep_at.is_none() || haste == Haste::Now) {
            self.keep_soon(now);
        }
        self.own = Some(Own { announcement, content, signed: signed.clone(), made: now, passed });
        signed
    }

    /// An announcement in the form in which it is passed on.
    pub(super) fn fact(&self, now: Instant, id: &PeerId) -> Option<Passed> {
        if *id == self.id() {
            let own = self.own.as_ref()?;
            let age = now.saturating_duration_since(own.made).as_secs();
            return Some(Passed { age, hops: 0, signed: own.signed.clone() });
        }
        let entry = self.directory.find(now, id)?;
        Some(Passed { age: entry.age(now).as_secs(), hops: entry.hops, signed: entry.signed.to_vec() })
    }

    /// A node that is connected tells of itself.
    pub(super) fn hear_announcement(
        &mut self,
        now: Instant,
        from: PeerId,
        signed: Vec<u8>,
    ) -> Result<(), AnnouncementError> {
        let heard = Unverified::read(&signed).and_then(|heard| match heard.announcement.id == from {
            true => Ok(heard),
            false => Err(AnnouncementError::Other),
        });
        heard.and_then(|heard| self.hear(now, from, heard, Duration::ZERO, 0)).inspect_err(|error| {
            self.strike(now, from, error.to_string());
        })
    }

    /// A neighbour tells of others.
    pub(super) fn hear_facts(&mut self, now: Instant, from: PeerId, facts: Vec<Passed>) {
        if !self.gossip.has(&from) || self.gossip.is_muted(now, &from) {
            return;
        }
        if facts.len() > MAX_FACTS {
            return self.strike(now, from, format!("a list of {} announcements is too long", facts.len()));
        }
        if !self.gossip.may_tell(now, &from, facts.len()) {
            return self.strike(now, from, "too many announcements in a short time".to_owned());
        }
        for Passed { age, hops, signed } in facts {
            let age = Duration::from_secs(age);
            let heard = Unverified::read(&signed);
            if let Err(error) = heard.and_then(|heard| self.hear(now, from, heard, age, hops)) {
                self.strike(now, from, error.to_string());
            }
        }
    }

    fn hear(
        &mut self,
        now: Instant,
        from: PeerId,
        heard: Unverified,
        age: Duration,
        hops: u8,
    ) -> Result<(), AnnouncementError> {
        let Announcement { id, sequence, .. } = heard.announcement;
        if id == self.id() {
            return self.hear_of_ourselves(now, heard);
        }
        let told = Told { age, hops: hops.saturating_add(1), teller: from, alone: self.gossip.len() <= 1 };
        match self.directory.wants(now, &heard, &told) {
            Ok(()) => heard.check_aged(age, self.quic.crypto())?,
            Err(outcome) => {
                let same = self.directory.find(now, &id).is_some_and(|entry| entry.sequence == sequence);
                if same {
                    self.gossip.is_known_to(&from, &id);
                    self.learn_way(id, told.hops, from);
                } else if outcome == Learned::Full {
                    self.horizon_moved = true;
                }
                return Ok(());
            }
        }
        let (gap, lazy) = pass_on(Duration::from_secs(heard.announcement.ttl));
        let endpoint = heard.announcement.endpoints.first().copied();
        let serves = endpoint.is_some();
        let leads_to_it = heard.announcement.leads_to_it();
        let announced = Event::Announced {
            peer: id,
            endpoints: heard.announcement.endpoints.clone(),
            via: heard.announcement.via.iter().map(|path| path.relay).collect(),
        };
        let outcome = self.directory.learn(now, heard, told);
        if self.gossip.has(&id) {
            self.directory.set_neighbour(&id, true);
        }
        self.gossip.is_known_to(&from, &id);
        self.learn_way(id, told.hops, from);
        match outcome {
            Learned::New => self.events.extend([Event::PeerDiscovered { peer: id }, announced]),
            Learned::Changed => self.events.push_back(announced),
            Learned::Stale | Learned::Full => return Ok(()),
            Learned::Repeated => {}
        }
        if let (Some(endpoint), Learned::New | Learned::Changed) = (endpoint, &outcome) {
            self.peer_is_said_to_be_at(now, id, endpoint);
        }
        match outcome {
            _ if !leads_to_it => {}
            Learned::New | Learned::Changed => self.gossip.spread(now, id, serves, Some(from), Haste::Soon),
            Learned::Repeated => {
                let entry = self.directory.find_mut(&id).filter(|entry| entry.passed + gap <= now);
                if let Some(entry) = entry {
                    entry.passed = now;
                    self.gossip.spread(now, id, serves, Some(from), lazy);
                }
            }
            Learned::Stale | Learned::Full => {}
        }
        Ok(())
    }

    /// Others have a word of ours from an earlier start that counts as newer than what we say now.
    fn hear_of_ourselves(&mut self, now: Instant, heard: Unverified) -> Result<(), AnnouncementError> {
        let sequence = heard.announcement.sequence;
        let Some(own) = &self.own else {
            return Ok(());
        };
        let says_else = heard.announcement.content() != own.content;
        if sequence > own.announcement.sequence || sequence == own.announcement.sequence && says_else {
            heard.check(self.quic.crypto())?;
            self.announcements = sequence.saturating_sub(self.config.epoch);
            self.own = None;
            self.announce(now);
        }
        Ok(())
    }

    /// Something that `from` said was wrong.
    pub(super) fn strike(&mut self, now: Instant, from: PeerId, why: String) {
        let is_enough = self.gossip.strike(now, from);
        let address = self.address_of(&from);
        self.reject(now, "announcement", why, address);
        if is_enough {
            self.reject(now, "sender", "too much of it was wrong; not listened to for a while", address);
        }
    }

    /// Asks a neighbour whether it knows the same.
    fn compare(&mut self, now: Instant, peer: PeerId) {
        let horizon = self.directory.horizon();
        self.gossip.tells_horizon(&peer, horizon);
        let scope = Scope { ends: [(self.id(), horizon), (peer, self.gossip.horizon(&peer))] };
        let room = self.config.view as u64;
        let request = Request::Compare { sums: self.sums(scope), horizon, room };
        self.ask(now, peer, &request, Pending::Compare);
    }

    fn sums(&self, scope: Scope) -> Sums {
        let mut sums = Sums::default();
        for held in self.held(scope) {
            sums.add(&held.id, held.content);
        }
        sums
    }

    /// All that is known of nodes of a scope, ourselves included.
    fn held(&self, scope: Scope) -> impl Iterator<Item = Held> {
        let own = self.own.as_ref().map(|own| Held {
            id: own.announcement.id,
            sequence: own.announcement.sequence,
            content: own.content,
        });
        let others = self.directory.iter().filter(move |(id, entry)| scope.has(id, entry.address.is_some()));
        let others =
            others.map(|(id, entry)| Held { id: *id, sequence: entry.sequence, content: entry.content });
        others.chain(own)
    }

    pub(super) fn answer_compare(
        &mut self,
        now: Instant,
        from: PeerId,
        theirs: Sums,
        horizon: u8,
        room: u64,
    ) -> Reply {
        if !self.gossips_with(&from) || self.gossip.is_muted(now, &from) {
            return Reply::Refused { reason: "we do not gossip".to_owned() };
        }
        if !self.gossip.has(&from) {
            self.join_gossip(now, from);
        }
        self.gossip.set_horizon(&from, horizon);
        let scope = Scope { ends: [(self.id(), self.gossip.told_horizon(&from)), (from, horizon)] };
        let differing = self.sums(scope).differing(&theirs);
        let concerned = |held: &Held| Sums::concerns(differing, &held.id);
        let mut held: Vec<Held> = self.held(scope).filter(concerned).collect();
        let limit = MAX_HELD.min(2 * room as usize);
        if held.len() > limit {
            held.sort_by_cached_key(|held| (!self.directory.serves(&held.id), distance(&held.id, &from)));
            held.truncate(limit);
        }
        Reply::Compared { held, differing }
    }

    pub(super) fn handle_compared(&mut self, now: Instant, from: PeerId, held: Vec<Held>, differing: u16) {
        if !self.gossip.has(&from) || self.gossip.is_muted(now, &from) {
            return;
        }
        if held.len() > MAX_HELD {
            return self.strike(now, from, format!("a list of {} IDs is too long", held.len()));
        }
        let scope = Scope {
            ends: [(self.id(), self.gossip.told_horizon(&from)), (from, self.gossip.horizon(&from))],
        };
        let is_whole = held.len() < MAX_HELD.min(2 * self.config.view);
        let theirs: std::collections::BTreeMap<PeerId, Held> =
            held.iter().map(|held| (held.id, *held)).collect();
        let own = self.id();
        let better = |ours: &Held| match theirs.get(&ours.id) {
            Some(theirs) => theirs.sequence < ours.sequence && theirs.content != ours.content,
            None => is_whole,
        };
        let concerned = |held: &Held| Sums::concerns(differing, &held.id);
        let to_tell: Vec<PeerId> = self
            .held(scope)
            .filter(concerned)
            .filter(better)
            .map(|held| held.id)
            .filter(|id| *id != from)
            .collect();
        for id in to_tell {
            self.gossip.tell(now, &from, id);
        }
        let wanted = |held: &&Held| match self.directory.find(now, &held.id) {
            Some(ours) => {
                ours.sequence < held.sequence && (ours.content != held.content || ours.age(now) > OLD)
            }
            None => held.id != own,
        };
        let mut wants: Vec<PeerId> = held.iter().filter(wanted).map(|held| held.id).collect();
        wants.truncate(self.config.view);
        self.want(now, from, wants);
    }

    /// Has a neighbour tell of these.
    fn want(&mut self, now: Instant, from: PeerId, mut wants: Vec<PeerId>) {
        if wants.is_empty() {
            return self.tell_horizon(now);
        }
        let rest = wants.split_off(wants.len().min(MAX_FACTS));
        self.ask(now, from, &Request::Want { peers: wants }, Pending::Want { rest });
    }

    pub(super) fn answer_want(&mut self, now: Instant, from: PeerId, peers: Vec<PeerId>) -> Reply {
        if !self.gossip.has(&from) || self.gossip.is_muted(now, &from) || peers.len() > MAX_FACTS {
            return Reply::Refused { reason: "not so many, or not to you".to_owned() };
        }
        Reply::Facts { facts: peers.iter().filter_map(|id| self.fact(now, id)).collect() }
    }

    pub(super) fn handle_wanted(
        &mut self,
        now: Instant,
        from: PeerId,
        facts: Vec<Passed>,
        rest: Vec<PeerId>,
    ) {
        self.hear_facts(now, from, facts);
        if self.gossip.has(&from) && !self.gossip.is_muted(now, &from) {
            self.want(now, from, rest);
        }
    }

    /// Tells neighbours what we want to hear of, if that has changed.
    fn tell_horizon(&mut self, now: Instant) {
        let bits = self.directory.horizon();
        let neighbours: Vec<PeerId> = self.gossip.neighbours().copied().collect();
        for peer in neighbours {
            if self.gossip.tells_horizon(&peer, bits) {
                self.notify(now, &peer, &Notice::Horizon { bits });
            }
        }
        self.horizon_told = now;
        self.horizon_moved = false;
    }

    /// Tells them sooner than in the next round if the view has filled up.
    pub(super) fn review_horizon(&mut self, now: Instant) {
        if self.horizon_moved && self.horizon_told + HORIZON_GAP <= now {
            self.tell_horizon(now);
        }
    }
}
