//! Lookups: for our owner, for contacts, and to have our own announcement kept where others will look for it.

use std::time::{Duration, Instant};

use crate::announce::{Passed, Unverified, is_possible};
use crate::control::{Reply, Request};
use crate::directory::{Entry, Told};
use crate::event::Event;
use crate::freshness::MAX_AGE;
use crate::gossip::PASS_ON;
use crate::identity::PeerId;
use crate::lookup::{KEEPERS, Lookup, LookupMessage, MAX_LOOKUPS, MIN_ASK, NAMED, PADDING, Server};
use crate::net::Path;
use crate::wire::Kind as DatagramKind;

use rand::Rng;

use super::{Node, Pending};

/// A change of ours is known to neighbours before others are asked to keep it.
const KEEP_DELAY: Duration = Duration::from_secs(3);
/// Where it was not needed, or nobody was there to keep it.
const KEEP_AGAIN: Duration = Duration::from_secs(60);
/// Relays of a peer that are visited to find it.
const VISITED: usize = 3;

/// What was not found is not looked for again so soon for a contact's sake.
const REST: Duration = Duration::from_secs(4);
/// Lookups whose end is remembered.
const MAX_SOUGHT: usize = 64;

/// A lookup and what for.
pub(super) struct Search {
    lookup: Lookup,
    /// For our owner, who is told of the end.
    told: bool,
}

impl Node {
    /// Looks for a node: [`Event::LookedUp`] follows.
    pub fn find(&mut self, now: Instant, peer: PeerId) {
        if self.fact(now, &peer).is_some() || self.kept(now, &peer).is_some() {
            self.events.push_back(Event::LookedUp { peer, found: true, asked: 0 });
        } else if !self.begin_lookup(now, peer, true) {
            self.events.push_back(Event::LookedUp { peer, found: false, asked: 0 });
        }
        self.drive(now);
    }

    /// What is known of a node, or kept for others.
    pub(super) fn kept(&self, now: Instant, peer: &PeerId) -> Option<&Entry> {
        let known = [self.directory.find(now, peer), self.kept.find(now, peer)];
        known.into_iter().flatten().max_by_key(|entry| entry.sequence)
    }

    /// Whether there is a lookup for `target` now.
    fn begin_lookup(&mut self, now: Instant, target: PeerId, told: bool) -> bool {
        let rests = self.sought.get(&target).is_some_and(|ended| now < *ended + REST);
        if rests && !told {
            return false;
        }
        if let Some(search) = self.searches.get_mut(&target) {
            search.told |= told;
            return true;
        }
        let seeds = self.servers_near(&target);
        if self.searches.len() >= MAX_LOOKUPS || seeds.is_empty() {
            return false;
        }
        let lookup = Lookup::new(now, self.id(), target, seeds);
        self.searches.insert(target, Search { lookup, told });
        self.drive_lookup(now, target);
        true
    }

    /// Nodes that can be asked, the nearest to `target` first.
    fn servers_near(&self, target: &PeerId) -> Vec<Server> {
        let known = self.directory.servers_near(target, NAMED);
        let kept = self.kept.servers_near(target, NAMED);
        let known = known.into_iter().chain(kept).map(|(id, address)| Server { id, address });
        let entrances = self.entrances.iter().filter(|entrance| entrance.is_up());
        let entrances = entrances
            .map(|entrance| Server { id: entrance.bootstrap.id, address: entrance.bootstrap.address });
        let mut servers: Vec<Server> = known.chain(entrances).collect();
        servers.sort_by_key(|server| crate::nearness::distance(&server.id, target));
        servers.dedup_by_key(|server| server.id);
        servers.truncate(NAMED);
        servers
    }

    pub(super) fn drive_lookups(&mut self, now: Instant) {
        let due: Vec<PeerId> = self
            .searches
            .iter()
            .filter(|(_, search)| search.lookup.poll_timeout() <= now)
            .map(|(target, _)| *target)
            .collect();
        for target in due {
            self.drive_lookup(now, target);
        }
        if self.keep_at.is_some_and(|at| at <= now) {
            self.have_kept(now);
        }
    }

    pub(super) fn lookups_timeout(&self) -> Option<Instant> {
        let lookups = self.searches.values().map(|search| search.lookup.poll_timeout());
        lookups.chain(self.keep_at).chain(self.kept.poll_timeout()).min()
    }

    fn drive_lookup(&mut self, now: Instant, target: PeerId) {
        loop {
            let ticket = self.rng.random();
            let Some(search) = self.searches.get_mut(&target) else {
                return;
            };
            match search.lookup.poll(now, ticket) {
                Some(Server { id, address }) => {
                    let ask = LookupMessage::Ask { ticket, target, padding: vec![0; PADDING] };
                    self.send_sealed(DatagramKind::Lookup, &id, Path::main(address), &ask);
                }
                None if search.lookup.is_over() => return self.lookup_ended(now, target),
                None => return,
            }
        }
    }

    pub(super) fn handle_lookup_message(
        &mut self,
        now: Instant,
        from: PeerId,
        path: Path,
        length: usize,
        message: LookupMessage,
    ) {
        match message {
            LookupMessage::Ask { ticket, target, .. } => {
                if length < MIN_ASK || !self.asked.take(now) {
                    return self.reject(now, DatagramKind::Lookup, "too short or too often", path.remote);
                }
                // Who asks for itself wants to know who is near to it.
                let fact = self.fact(now, &target).filter(|_| target != from).or_else(|| {
                    let entry = self.kept.find(now, &target).filter(|_| target != from)?;
                    let age = entry.age(now).as_secs();
                    Some(Passed { age, hops: entry.hops, signed: entry.signed.to_vec() })
                });
                let nearer = if fact.is_none() { self.servers_near(&target) } else { Vec::new() };
                let answer = LookupMessage::Answer { ticket, fact, nearer };
                self.send_sealed(DatagramKind::Lookup, &from, path, &answer);
            }
            LookupMessage::Answer { ticket, fact, nearer } => {
                let awaited = |(_, search): &(&PeerId, &Search)| search.lookup.awaits(&from, ticket);
                if let Some(target) = self.searches.iter().find(awaited).map(|(target, _)| *target) {
                    self.handle_lookup_answer(now, from, path, target, fact, nearer);
                }
            }
            LookupMessage::Store { fact } => self.keep(now, from, path, fact),
        }
    }

    fn handle_lookup_answer(
        &mut self,
        now: Instant,
        from: PeerId,
        path: Path,
        target: PeerId,
        fact: Option<Passed>,
        nearer: Vec<Server>,
    ) {
        let mut wrong = nearer.len() > NAMED;
        let nearer = nearer.into_iter().filter(|server| {
            let possible = is_possible(&server.address);
            wrong |= !possible;
            possible
        });
        let nearer: Vec<Server> = nearer.collect();
        let found = fact.is_some_and(|fact| {
            let age = Duration::from_secs(fact.age);
            let heard = Unverified::read(&fact.signed).ok().filter(|heard| {
                heard.announcement.id == target && heard.check_aged(age, self.quic.crypto()).is_ok()
            });
            wrong |= heard.is_none();
            heard.is_some_and(|heard| {
                let told = Told { age, hops: fact.hops, teller: from, alone: true };
                self.kept.learn_of_stranger(now, heard, told);
                true
            })
        });
        if wrong {
            self.gossip.strike(now, from);
            self.reject(now, DatagramKind::Lookup, "an answer with what cannot be", path.remote);
        }
        if let Some(search) = self.searches.get_mut(&target) {
            search.lookup.answer(&from, nearer);
            if found {
                search.lookup.end();
            }
        }
        self.drive_lookup(now, target);
    }

    fn lookup_ended(&mut self, now: Instant, target: PeerId) {
        let Some(Search { lookup, told }) = self.searches.shift_remove(&target) else {
            return;
        };
        if lookup.target() == self.id() {
            return self.store(now, &lookup);
        }
        if self.sought.len() >= MAX_SOUGHT {
            self.sought.shift_remove_index(0);
        }
        self.sought.insert(target, now);
        let found = self.kept(now, &target).is_some();
        if told {
            let asked = lookup.asked().into();
            self.events.push_back(Event::LookedUp { peer: target, found, asked });
        }
        if found && self.is_looking_for(&target) {
            self.go_on_from_view(now, target);
        }
    }

    /// Keeps the announcement of a node that says it is near to us.
    fn keep(&mut self, now: Instant, from: PeerId, path: Path, fact: Passed) {
        let age = Duration::from_secs(fact.age);
        let heard = Unverified::read(&fact.signed).and_then(|heard| {
            heard.check_aged(age, self.quic.crypto())?;
            Ok(heard)
        });
        match heard {
            Ok(heard) if heard.announcement.id == from => {
                let told = Told { age, hops: fact.hops, teller: from, alone: true };
                self.kept.learn_of_stranger(now, heard, told);
            }
            _ => self.reject(now, DatagramKind::Lookup, "not its own announcement", path.remote),
        }
    }

    /// What we say of ourselves has changed, or it is time: others shall keep it.
    pub(super) fn keep_soon(&mut self, now: Instant) {
        self.keep_sure = false;
        self.keep_at = Some(now + KEEP_DELAY.mul_f64(self.rng.random_range(0.5..1.5)));
    }

    /// Has our announcement kept, unless everybody that we know of knows everybody.
    fn have_kept(&mut self, now: Instant) {
        let knows_all = self.directory.horizon() == 0 && !self.gossip.is_any_bounded();
        let begun = !knows_all && self.begin_lookup(now, self.id(), false);
        let is_sure = begun && std::mem::replace(&mut self.keep_sure, true);
        let pause = if is_sure { PASS_ON } else { KEEP_AGAIN };
        self.keep_at = Some(now + pause.mul_f64(self.rng.random_range(0.8..1.0)));
    }

    fn store(&mut self, now: Instant, lookup: &Lookup) {
        let Some(fact) = self.fact(now, &lookup.target()) else {
            return;
        };
        let message = LookupMessage::Store { fact };
        for Server { id, address } in lookup.answered().take(KEEPERS) {
            self.send_sealed(DatagramKind::Lookup, &id, Path::main(address), &message);
        }
    }

    /// Asks all bootstrap nodes for a peer.
    pub(super) fn ask_for(&mut self, now: Instant, peer: PeerId) {
        for entrance in self.open_entrances() {
            self.ask(now, entrance, &Request::Lookup { peer }, Pending::Lookup { peer });
        }
    }

    /// Those that we are connected with do not know of a peer: goes by what we know ourselves, or can find out.
    pub(super) fn go_on_from_view(&mut self, now: Instant, peer: PeerId) {
        if !self.is_looking_for(&peer) {
            return;
        }
        let known =
            self.kept(now, &peer).and_then(|entry| Some((entry.announcement()?, entry.signed.to_vec())));
        if self.kept(now, &peer).is_none_or(|entry| entry.age(now) > MAX_AGE) {
            self.revalidate(now, peer);
        }
        match known {
            Some((announcement, signed)) if !announcement.endpoints.is_empty() => {
                self.handle_lookup(now, peer, peer, Reply::Found { signed, observed: None });
            }
            Some((announcement, _)) => {
                let mut leads_on = false;
                for path in announcement.via.iter().take(VISITED) {
                    leads_on |= self.entrance_of(&path.relay).is_none();
                    self.visit(now, path.relay, path.address);
                }
                if !leads_on {
                    // What we know is of old: others may know better.
                    self.begin_lookup(now, peer, false);
                }
            }
            None => {
                self.begin_lookup(now, peer, false);
            }
        }
    }
}
