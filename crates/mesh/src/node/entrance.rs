//! The bootstrap nodes: finding them, announcing to them, coming back after a loss.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use serde::Serialize;

use crate::announce::{Announcement, is_possible};
use crate::config::{Bootstrap, Config};
use crate::control::{Reply, Request};
use crate::event::Event;
use crate::identity::PeerId;
use crate::net::Path;
use crate::probe::Purpose;

use super::relays::Standing;
use super::snapshot::micros;
use super::{Node, Pending};

/// Gaps between the probes of one try.
const DIAL_GAPS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1500),
];
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// A node that others told of is given up after so many tries.
const MAX_FAILURES: u32 = 2;
/// Nodes of an earlier run that are tried.
const MAX_KNOWN: usize = 16;
/// Nodes that are tried in the place of bootstrap nodes that are gone, at a time.
const SUBSTITUTES: usize = 3;
/// A change is announced this long after it, with all others that it brings about.
const CHANGE_DELAY: Duration = Duration::from_millis(200);
/// Own addresses that are named in an announcement.
const MAX_ENDPOINTS: usize = 4;

/// Why we are connected to a node that serves others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Errand {
    /// We were told to.
    Bootstrap,
    /// It was there in an earlier run.
    Known,
    /// It was announced as a relay, and we need some.
    Relay,
    /// It reaches a peer that we want to reach.
    Visit,
}

impl Errand {
    /// Whether it is one of those that we begin with.
    fn is_beginning(self) -> bool {
        matches!(self, Self::Bootstrap | Self::Known)
    }
}

/// A bootstrap node, or a relay, and how far we are with it.
pub(super) struct Entrance {
    pub bootstrap: Bootstrap,
    pub errand: Errand,
    stage: Stage,
    failures: u32,
    /// Whether it takes relay sessions, once it has said so.
    pub relays: bool,
    pub standing: Standing,
    /// Whether it has taken our announcement since the connection began.
    knows_us: bool,
}

enum Stage {
    Dialling {
        sent: usize,
        next: Instant,
    },
    /// The path is proven, the QUIC handshake goes on.
    Linking,
    Up {
        announce_at: Option<Instant>,
    },
    Waiting {
        until: Instant,
    },
}

/// An entrance as a snapshot shows it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EntranceState {
    id: PeerId,
    address: SocketAddr,
    errand: Errand,
    stage: &'static str,
    failures: u32,
    relays: bool,
    load: u8,
    silent: bool,
    due: Option<i64>,
}

impl Entrance {
    pub fn state(&self, now: Instant) -> EntranceState {
        EntranceState {
            id: self.bootstrap.id,
            address: self.bootstrap.address,
            errand: self.errand,
            stage: match self.stage {
                Stage::Dialling { .. } => "dialling",
                Stage::Linking => "linking",
                Stage::Up { .. } => "up",
                Stage::Waiting { .. } => "waiting",
            },
            failures: self.failures,
            relays: self.relays,
            load: self.standing.load,
            silent: self.standing.is_silent,
            due: self.timeout().map(|at| micros(now, at)),
        }
    }

    pub fn new(now: Instant, bootstrap: Bootstrap, errand: Errand) -> Self {
        Self {
            bootstrap,
            errand,
            stage: Stage::Dialling { sent: 0, next: now },
            failures: 0,
            relays: false,
            knows_us: false,
            standing: Standing::default(),
        }
    }

    /// Whether we are on our way to it, for its relaying.
    pub fn is_sought(&self) -> bool {
        self.errand == Errand::Relay && !(self.is_up() && self.knows_us)
    }

    pub fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up { .. })
    }

    fn timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Dialling { next, .. } => Some(next),
            Stage::Linking => None,
            Stage::Up { announce_at } => announce_at,
            Stage::Waiting { until } => Some(until),
        }
    }
}

/// The nodes that a node begins with: all at once, the fastest is the first to answer.
pub(super) fn beginnings(now: Instant, own: PeerId, config: &Config) -> Vec<Entrance> {
    let told = config.bootstrap.iter().map(|bootstrap| (bootstrap, Errand::Bootstrap));
    let known = config.known.iter().take(MAX_KNOWN).map(|bootstrap| (bootstrap, Errand::Known));
    let mut entrances: Vec<Entrance> = Vec::new();
    for (bootstrap, errand) in told.chain(known) {
        let is_there = entrances.iter().any(|entrance| entrance.bootstrap.id == bootstrap.id);
        if bootstrap.id != own && !is_there {
            entrances.push(Entrance::new(now, *bootstrap, errand));
        }
    }
    entrances
}

impl Node {
    /// Nodes that can be begun with after a restart ([`Config::known`]): those that anybody can ask and that were heard of
    /// lately.
    pub fn known(&self) -> Vec<Bootstrap> {
        let mut lately: Vec<_> = self
            .directory
            .iter()
            .filter_map(|(id, entry)| Some((entry.heard, Bootstrap { id: *id, address: entry.address? })))
            .collect();
        lately.sort_by_key(|(heard, known)| (std::cmp::Reverse(*heard), known.id));
        lately.into_iter().map(|(_, known)| known).take(MAX_KNOWN).collect()
    }

    pub(super) fn entrances_timeout(&self) -> Option<Instant> {
        self.entrances.iter().filter_map(Entrance::timeout).min()
    }

    pub(super) fn drive_entrances(&mut self, now: Instant) {
        let due = |entrance: &Entrance| entrance.timeout().is_some_and(|at| at <= now);
        let due: Vec<PeerId> = self
            .entrances
            .iter()
            .filter(|entrance| due(entrance))
            .map(|entrance| entrance.bootstrap.id)
            .collect();
        for id in due {
            // One may be given up while another is seen to.
            if let Some(at) = self.entrance_of(&id) {
                self.drive_entrance(now, at);
            }
        }
    }

    fn drive_entrance(&mut self, now: Instant, at: usize) {
        let Bootstrap { id, address } = self.entrances[at].bootstrap;
        match self.entrances[at].stage {
            Stage::Dialling { sent, next } if next <= now => {
                let Some(gap) = DIAL_GAPS.get(sent) else {
                    return self.entrance_failed(now, at);
                };
                if sent == 0 {
                    self.renew_attempt(id);
                }
                self.send_probe(id, Path::main(address), Purpose::Dial);
                self.entrances[at].stage = Stage::Dialling { sent: sent + 1, next: now + *gap };
            }
            Stage::Waiting { until } if until <= now => {
                self.entrances[at].stage = Stage::Dialling { sent: 0, next: now };
                self.drive_entrance(now, at);
            }
            Stage::Up { announce_at: Some(due) } if due <= now => self.announce_to(now, at),
            _ => {}
        }
    }

    fn entrance_failed(&mut self, now: Instant, at: usize) {
        let entrance = &mut self.entrances[at];
        entrance.failures += 1;
        let backoff = Duration::from_secs(1) * 2u32.pow((entrance.failures - 1).min(6));
        let jitter = self.rng.random_range(0.8..1.2);
        entrance.stage = Stage::Waiting { until: now + backoff.min(MAX_BACKOFF).mul_f64(jitter) };
        let Bootstrap { id, address } = entrance.bootstrap;
        let (errand, failures) = (entrance.errand, entrance.failures);
        // As long as nobody answers, those of an earlier run may come back, too.
        let is_hope = errand == Errand::Known && !self.entrances.iter().any(Entrance::is_up);
        if errand != Errand::Bootstrap && failures >= MAX_FAILURES && !is_hope {
            return self.shun(now, &id);
        }
        if self.peers.get(&id).is_none_or(|peer| peer.contact.is_none()) {
            self.forget_peer(now, &id);
        }
        let mut bootstrap = self.entrances.iter().filter(|entrance| entrance.errand.is_beginning());
        let none_left = bootstrap.all(|entrance| matches!(entrance.stage, Stage::Waiting { .. }));
        if none_left {
            self.events.push_back(Event::Error {
                message: format!(
                    "no bootstrap node answers (last tried: {address}); is one running there, and is UDP let through? \
                     Trying again"
                ),
            });
            self.begin_with_others(now);
        }
    }

    /// Nodes that we have heard of take the place of bootstrap nodes that are gone; if none is left, those that we gave up: it
    /// may be we who were cut off.
    fn begin_with_others(&mut self, now: Instant) {
        let mut others = self.known();
        if others.is_empty() {
            let gone = self.directory.gone().map(|(id, address)| Bootstrap { id, address });
            others.extend(gone.take(MAX_KNOWN));
        }
        others.retain(|known| known.id != self.id() && self.entrance_of(&known.id).is_none());
        for _ in 0..SUBSTITUTES.min(others.len()) {
            let bootstrap = others.swap_remove(self.rng.random_range(0..others.len()));
            self.enter(now, bootstrap, Errand::Known);
        }
    }

    /// There is a proven path to `id`: if it is a bootstrap node, connect.
    pub(super) fn entrance_reached(&mut self, now: Instant, id: &PeerId) {
        let sought = |entrance: &&mut Entrance| {
            entrance.bootstrap.id == *id && matches!(entrance.stage, Stage::Dialling { .. })
        };
        if let Some(entrance) = self.entrances.iter_mut().find(sought) {
            entrance.stage = Stage::Linking;
            if self.quic.is_connected(id) {
                self.entrance_connected(now, id);
            } else {
                self.quic.connect(now, *id);
            }
        }
    }

    pub(super) fn entrance_connected(&mut self, now: Instant, id: &PeerId) {
        let Some(at) = self.entrance_of(id) else {
            return;
        };
        self.entrances[at].stage = Stage::Up { announce_at: None };
        self.entrances[at].knows_us = false;
        self.entrances[at].standing.is_silent = false;
        if self.detector.is_none() {
            self.announce_to(now, at);
        }
        self.ask_visited(now, *id);
    }

    pub(super) fn entrance_lost(&mut self, now: Instant, id: &PeerId) {
        let Some(at) = self.entrance_of(id) else {
            return;
        };
        self.renew_own();
        let entrance = &mut self.entrances[at];
        entrance.stage = Stage::Dialling { sent: 0, next: now + Duration::from_millis(200) };
        if std::mem::take(&mut entrance.relays) {
            self.review_relays(now);
        }
    }

    /// The relays that we hold are others than before: whoever needs them to reach us is told soon.
    pub(super) fn relays_changed(&mut self, now: Instant) {
        if !self.endpoints().is_empty() {
            return;
        }
        for entrance in &mut self.entrances {
            if let Stage::Up { announce_at: Some(at) } = &mut entrance.stage {
                *at = (*at).min(now + CHANGE_DELAY);
            }
        }
    }

    /// Those that could not be reached may be reachable now.
    pub(super) fn redial_entrances(&mut self, now: Instant) {
        for entrance in &mut self.entrances {
            if matches!(entrance.stage, Stage::Waiting { .. }) {
                entrance.failures = 0;
                entrance.stage = Stage::Dialling { sent: 0, next: now };
            }
        }
    }

    /// Tells neighbours and all connected bootstrap nodes who and what we are.
    pub(super) fn announce(&mut self, now: Instant) {
        self.own_announcement(now);
        for at in 0..self.entrances.len() {
            if self.entrances[at].is_up() {
                self.announce_to(now, at);
            }
        }
    }

    fn announce_to(&mut self, now: Instant, at: usize) {
        let signed = self.own_announcement(now);
        let again = now + self.repeat();
        let entrance = &mut self.entrances[at];
        entrance.stage = Stage::Up { announce_at: Some(again) };
        let id = entrance.bootstrap.id;
        let own = self.id();
        self.gossip.is_known_to(&id, &own);
        self.ask(now, id, &Request::Announce { signed }, Pending::Announce);
    }

    /// What we have to say of ourselves, still without a number.
    pub(super) fn announcement(&self) -> Announcement {
        let endpoints = self.endpoints();
        Announcement {
            id: self.id(),
            sequence: 0,
            ttl: self.config.announcement_ttl.as_secs(),
            class: self.class(),
            relays: self.sessions.is_served(),
            // Whoever can be reached needs nobody to be reached by.
            via: if endpoints.is_empty() { self.relays_held() } else { Vec::new() },
            endpoints,
        }
    }

    /// Where anybody can reach us: a node that nothing is known of behind a NAT, or one whose NAT is proven to let all in.
    pub(super) fn endpoints(&self) -> Vec<SocketAddr> {
        if let Some(claims) = self.false_claims() {
            return claims;
        }
        if !self.class().is_reachable() {
            return Vec::new();
        }
        let of_host = || self.config.host_addresses.iter().map(|&ip| SocketAddr::new(ip, self.config.port));
        let endpoints: Vec<SocketAddr> = match &self.detection {
            Some(detection) => detection.observed.into_iter().collect(),
            None => of_host().take(MAX_ENDPOINTS).collect(),
        };
        endpoints.into_iter().filter(is_possible).collect()
    }

    pub(super) fn handle_announced(&mut self, now: Instant, from: PeerId, reply: Reply) {
        let Some(at) = self.entrance_of(&from) else {
            return;
        };
        match reply {
            Reply::Announced { peers, relays, load } => {
                let entrance = &mut self.entrances[at];
                entrance.failures = 0;
                entrance.relays = relays;
                entrance.standing.load = load.unwrap_or_default();
                let newly_known = !std::mem::replace(&mut entrance.knows_us, true);
                let is_bootstrap = entrance.errand.is_beginning();
                self.review_relays(now);
                if newly_known && is_bootstrap {
                    self.events.push_back(Event::Bootstrapped { peers });
                }
            }
            Reply::Refused { reason } => {
                self.events.push_back(Event::Error {
                    message: format!("bootstrap node {from} does not take our announcement: {reason}"),
                });
                self.entrances[at].stage = Stage::Up { announce_at: Some(now + MAX_BACKOFF) };
            }
            _ => {}
        }
    }

    pub(super) fn entrance_of(&self, id: &PeerId) -> Option<usize> {
        self.entrances.iter().position(|entrance| entrance.bootstrap.id == *id)
    }

    /// Connected bootstrap nodes, the nearest first.
    pub(super) fn open_entrances(&self) -> Vec<PeerId> {
        let mut open: Vec<PeerId> = self
            .entrances
            .iter()
            .filter(|entrance| entrance.is_up())
            .map(|entrance| entrance.bootstrap.id)
            .collect();
        open.sort_by_key(|id| (self.round_trip(id), *id));
        open
    }
}
