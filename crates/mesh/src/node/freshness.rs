//! Who has heard of a peer lately, and paths that others say have failed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use minicbor::{Decode, Encode};

use crate::control::{Notice, Reply, Request};
use crate::event::Event;
use crate::freshness::{ASKED, Asked, Ended, HOPS, MAX_AGE, Once, Questions, Sighting};
use crate::identity::PeerId;
use crate::nearness::distance;
use crate::net::Path;
use crate::probe::Purpose;
use crate::quic::{Loss, StreamRef};

use super::{Node, Pending};

/// A report goes so far.
const REPORT_HOPS: u8 = 2;
const REPORT_GAP: Duration = Duration::from_secs(60);
const NO_WAY: &str = "no way to it works any more";
/// Neighbours that are told.
const TOLD: usize = 6;
/// Whoever was heard so lately has not failed.
const ALIVE: Duration = Duration::from_secs(15);
/// A path that is said to have failed is probed so often, and has so long to answer.
const PROBES: u32 = 3;
const PROBE_GAP: Duration = Duration::from_millis(400);
const CHECK_LIMIT: Duration = Duration::from_secs(2);
/// Reports that are looked into at the same time.
const MAX_CHECKS: usize = 8;

/// A way to a peer that others could take, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) enum FailedPath {
    /// Where it announced that it can be reached.
    #[n(0)]
    Direct {
        #[n(0)]
        endpoint: SocketAddr,
    },
    /// A relay that it announced.
    #[n(1)]
    Relay {
        #[n(0)]
        relay: PeerId,
    },
}

/// Who waits for an answer.
enum Asker {
    Owner,
    Contact,
    Node { peer: PeerId, stream: StreamRef, max_age: Duration },
}

/// A report that is looked into.
struct Check {
    path: FailedPath,
    hops: u8,
    teller: PeerId,
    probes: u32,
    next: Instant,
    until: Instant,
}

/// What is asked and reported.
pub(super) struct Freshness {
    questions: Questions<Asker>,
    reports: Once<(PeerId, FailedPath)>,
    checks: IndexMap<PeerId, Check>,
}

impl Freshness {
    pub fn new() -> Self {
        Self { questions: Questions::new(), reports: Once::new(REPORT_GAP), checks: IndexMap::new() }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let checks = self.checks.values().map(|check| check.next.min(check.until));
        checks.chain(self.questions.poll_timeout()).min()
    }
}

impl Node {
    /// Asks who has heard of `peer` in the last five minutes: [`Event::RecentContact`] follows.
    pub fn who_has_recent(&mut self, now: Instant, peer: PeerId) {
        self.ask_recent(now, peer, HOPS, Asker::Owner);
        self.drive(now);
    }

    /// The same, for a contact that knows only what is old.
    pub(super) fn revalidate(&mut self, now: Instant, peer: PeerId) {
        if !self.freshness.questions.is_open(&peer) {
            self.ask_recent(now, peer, HOPS, Asker::Contact);
        }
    }

    /// A neighbour asks.
    pub(super) fn answer_recent(
        &mut self,
        now: Instant,
        from: PeerId,
        stream: StreamRef,
        (target, max_age, hops): (PeerId, Duration, u8),
    ) -> Option<Reply> {
        if !self.gossip.has(&from) || self.gossip.is_muted(now, &from) || target == from {
            return Some(Reply::Recent { sighting: None });
        }
        self.ask_recent(now, target, hops.min(HOPS - 1), Asker::Node { peer: from, stream, max_age });
        None
    }

    fn ask_recent(&mut self, now: Instant, target: PeerId, hops: u8, asker: Asker) {
        let except = match &asker {
            Asker::Node { peer, .. } => Some(*peer),
            Asker::Owner | Asker::Contact => None,
        };
        let (asked, asker) = self.freshness.questions.ask(now, target, hops.max(1), asker);
        let answer = match asked {
            Asked::New => {
                self.pass_question_on(now, target, hops, except);
                return self.end_questions(now);
            }
            Asked::Joined => return,
            Asked::Lately(best) => {
                [best, self.sighting(now, &target)].into_iter().flatten().min_by_key(|contact| contact.age)
            }
            Asked::Busy => self.sighting(now, &target),
        };
        if let Some(asker) = asker {
            self.tell_asker(now, target, asker, answer);
        }
    }

    /// What we know is told at once; else neighbours are asked, if the question may go on.
    fn pass_question_on(&mut self, now: Instant, target: PeerId, hops: u8, except: Option<PeerId>) {
        let sighting = self.sighting(now, &target);
        self.freshness.questions.see(now, &target, sighting);
        if hops == 0 || sighting.is_some_and(|own| u128::from(own.age) <= ALIVE.as_millis()) {
            return;
        }
        let via = self.directory.find(now, &target).and_then(|entry| entry.announcement());
        let via = via.map_or(Vec::new(), |announcement| announcement.via);
        let mut neighbours: Vec<PeerId> = self
            .gossip
            .neighbours()
            .copied()
            .filter(|peer| Some(*peer) != except && *peer != target)
            .collect();
        neighbours.sort_by_cached_key(|peer| {
            let holds = via.iter().any(|path| path.relay == *peer);
            (!holds, !self.directory.serves(peer), distance(peer, &target))
        });
        for peer in neighbours.into_iter().take(ASKED) {
            self.freshness.questions.waits_for(&target, peer);
            let request = Request::WhoHasRecent { peer: target, max_age: MAX_AGE.as_secs(), hops: hops - 1 };
            self.ask(now, peer, &request, Pending::Recent { target });
        }
    }

    /// Our own contact with a peer.
    fn sighting(&self, now: Instant, target: &PeerId) -> Option<Sighting> {
        let peer = self.peers.get(target).filter(|_| self.quic.is_connected(target))?;
        let over_relays = peer.sessions.iter().filter_map(|session| session.heard());
        let heard = peer.heard.into_iter().chain(over_relays).max()?;
        let age = now.saturating_duration_since(heard).as_millis() as u64;
        Some(Sighting { age, witness: self.id(), address: self.endpoints().first().copied() })
    }

    /// A neighbour has answered, or will not.
    pub(super) fn handle_recent(&mut self, now: Instant, from: PeerId, target: PeerId, reply: Reply) {
        let sighting = match reply {
            Reply::Recent { sighting } => sighting,
            _ => None,
        };
        self.freshness.questions.answer(now, &target, &from, sighting);
        self.end_questions(now);
    }

    fn end_questions(&mut self, now: Instant) {
        while let Some(Ended { target, askers, best }) = self.freshness.questions.poll_ended(now) {
            for asker in askers {
                self.tell_asker(now, target, asker, best);
            }
        }
    }

    fn tell_asker(&mut self, now: Instant, target: PeerId, asker: Asker, best: Option<Sighting>) {
        // A contact asks again and again as long as nobody has.
        if matches!(asker, Asker::Owner) || matches!(asker, Asker::Contact) && best.is_some() {
            self.events.push_back(Event::RecentContact {
                peer: target,
                age: best.map(|best| Duration::from_millis(best.age)),
                by: best.map(|best| best.witness),
            });
        }
        match asker {
            Asker::Owner => {}
            Asker::Node { peer, stream, max_age } => {
                let sighting = best.filter(|best| u128::from(best.age) <= max_age.as_millis());
                let reply = Reply::Recent { sighting };
                self.quic.respond(now, &peer, stream, crate::announce::encoded(&reply));
            }
            Asker::Contact => match best {
                Some(Sighting { witness, .. }) if self.quic.is_connected(&witness) => {
                    self.ask(
                        now,
                        witness,
                        &Request::Lookup { peer: target },
                        Pending::Lookup { peer: target },
                    );
                }
                Some(Sighting { witness, address: Some(address), .. }) if self.is_looking_for(&target) => {
                    self.visit(now, witness, address);
                }
                _ => {}
            },
        }
    }

    /// The connection with a peer is gone: whoever would look for it here is told.
    pub(super) fn report_loss(&mut self, now: Instant, peer: PeerId, loss: &Loss) {
        if matches!(loss, Loss::BegunAnew) {
            return;
        }
        if let Some(path) = self.peers.get(&peer).and_then(|peer| peer.direct) {
            self.report_failed(now, peer, FailedPath::Direct { endpoint: path.remote });
        }
        let by_us = FailedPath::Relay { relay: self.id() };
        // Who says goodbye here may be reached elsewhere, unless it was reached by us alone.
        let is_gone = matches!(loss, Loss::Broken(_)) || self.is_announced(now, &peer, by_us);
        self.report_failed(now, peer, by_us);
        if is_gone && self.has_no_other_way(now, &peer) && self.directory.bury(now, &peer) {
            self.tell_forgotten(peer, NO_WAY);
        }
    }

    /// Whether a peer has announced one way to it at most.
    fn has_no_other_way(&self, now: Instant, peer: &PeerId) -> bool {
        let announcement = self.directory.find(now, peer).and_then(|entry| entry.announcement());
        announcement.is_none_or(|announcement| announcement.endpoints.len() + announcement.via.len() <= 1)
    }

    /// A way to a peer has failed that others might take: tells neighbours.
    pub(super) fn report_failed(&mut self, now: Instant, peer: PeerId, path: FailedPath) {
        if self.is_announced(now, &peer, path) && self.freshness.reports.may(now, (peer, path)) {
            self.pass_report_on(now, peer, path, REPORT_HOPS, None);
        }
    }

    fn pass_report_on(
        &mut self,
        now: Instant,
        peer: PeerId,
        path: FailedPath,
        hops: u8,
        except: Option<PeerId>,
    ) {
        let mut neighbours: Vec<PeerId> = self
            .gossip
            .neighbours()
            .copied()
            .filter(|neighbour| Some(*neighbour) != except && *neighbour != peer)
            .collect();
        neighbours
            .sort_by_cached_key(|neighbour| (!self.directory.serves(neighbour), distance(neighbour, &peer)));
        for neighbour in neighbours.into_iter().take(TOLD) {
            self.notify(now, &neighbour, &Notice::PathFailed { peer, path, hops });
        }
    }

    /// What a liar says: that nobody is there any more.
    pub(super) fn report_everybody(&mut self, now: Instant) {
        let known: Vec<_> =
            self.directory.iter().filter_map(|(_, entry)| entry.announcement()).take(MAX_CHECKS).collect();
        for announcement in known {
            let direct = announcement.endpoints.iter().map(|&endpoint| FailedPath::Direct { endpoint });
            let relayed = announcement.via.iter().map(|via| FailedPath::Relay { relay: via.relay });
            for path in direct.chain(relayed) {
                self.pass_report_on(now, announcement.id, path, REPORT_HOPS, None);
            }
        }
    }

    /// Whether we know of this way to the peer from its own words.
    fn is_announced(&self, now: Instant, peer: &PeerId, path: FailedPath) -> bool {
        let announcement = self.directory.find(now, peer).and_then(|entry| entry.announcement());
        announcement.is_some_and(|announcement| match path {
            FailedPath::Direct { endpoint } => announcement.endpoints.contains(&endpoint),
            FailedPath::Relay { relay } => announcement.via.iter().any(|via| via.relay == relay),
        })
    }

    /// A neighbour says that a way to a peer has failed. It is not believed before it was looked into.
    pub(super) fn hear_of_failure(
        &mut self,
        now: Instant,
        from: PeerId,
        peer: PeerId,
        path: FailedPath,
        hops: u8,
    ) {
        let alive = self.sighting(now, &peer).is_some_and(|own| u128::from(own.age) <= ALIVE.as_millis());
        let known = self.gossip.has(&from) && self.is_announced(now, &peer, path);
        if alive
            || !known
            || self.gossip.is_muted(now, &from)
            || self.freshness.checks.len() >= MAX_CHECKS
            || self.freshness.checks.contains_key(&peer)
            || !self.freshness.reports.may(now, (peer, path))
        {
            return;
        }
        match path {
            // Only where the peer itself has said that it is: nobody can have us probe another address.
            FailedPath::Direct { .. } => self.renew_attempt(peer),
            FailedPath::Relay { relay } if self.quic.is_connected(&relay) => {
                self.ask(now, relay, &Request::Lookup { peer }, Pending::Check { peer });
            }
            FailedPath::Relay { .. } => return,
        }
        let hops = hops.min(REPORT_HOPS);
        let check = Check { path, hops, teller: from, probes: 0, next: now, until: now + CHECK_LIMIT };
        self.freshness.checks.insert(peer, check);
        self.drive_freshness(now);
    }

    /// The peer was heard where it is said not to be: the report was wrong.
    pub(super) fn disprove(&mut self, peer: &PeerId) {
        if let Some(check) = self.freshness.checks.shift_remove(peer) {
            self.tell_looked_into(*peer, &check, false);
        }
    }

    fn tell_looked_into(&mut self, peer: PeerId, check: &Check, confirmed: bool) {
        let relay = match check.path {
            FailedPath::Direct { .. } => None,
            FailedPath::Relay { relay } => Some(relay),
        };
        self.events.push_back(Event::FailureReported { peer, by: check.teller, relay, confirmed });
    }

    /// The relay by which a peer is said not to be reached any more.
    pub(super) fn handle_checked(&mut self, now: Instant, peer: PeerId, reply: Reply) {
        if let Reply::Found { observed: Some(_), .. } = reply {
            self.disprove(&peer);
        } else if let Some(check) = self.freshness.checks.get_mut(&peer) {
            check.until = now;
            self.drive_freshness(now);
        }
    }

    pub(super) fn drive_freshness(&mut self, now: Instant) {
        self.end_questions(now);
        let due = |check: &Check| check.next.min(check.until) <= now;
        let due: Vec<PeerId> =
            self.freshness.checks.iter().filter(|(_, check)| due(check)).map(|(peer, _)| *peer).collect();
        for peer in due {
            self.drive_check(now, peer);
        }
    }

    fn drive_check(&mut self, now: Instant, peer: PeerId) {
        let Some(check) = self.freshness.checks.get_mut(&peer) else {
            return;
        };
        if check.until <= now {
            if let Some(check) = self.freshness.checks.shift_remove(&peer) {
                self.believe(now, peer, check);
            }
            return;
        }
        check.probes += 1;
        check.next = if check.probes < PROBES { now + PROBE_GAP } else { check.until };
        if let FailedPath::Direct { endpoint } = check.path {
            self.send_probe(peer, Path::main(endpoint), Purpose::Check);
        }
    }

    /// A way has failed, as far as we can see, too.
    fn believe(&mut self, now: Instant, peer: PeerId, check: Check) {
        self.tell_looked_into(peer, &check, true);
        // If it was the only one, what we know leads nowhere.
        if self.has_no_other_way(now, &peer) && !self.gossip.has(&peer) {
            if self.directory.bury(now, &peer) {
                self.tell_forgotten(peer, NO_WAY);
            }
            self.kept.bury(now, &peer);
        }
        let is_held = self.quic.has_connection(&peer) || self.entrance_of(&peer).is_some();
        if !is_held && self.contact(&peer).is_none() {
            self.forget_peer(now, &peer);
        }
        if check.hops > 1 {
            self.pass_report_on(now, peer, check.path, check.hops - 1, Some(check.teller));
        }
    }
}
