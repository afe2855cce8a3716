//! Contacts: bringing two nodes together for their owners.
//!
//! The initiator looks the peer up, takes a relay session where it can have one, dials, asks the coordinator when nobody
//! answers, punches, and says in the end how the path came to be. The responder follows the coordinator's call.

mod attempt;
mod punching;
mod settle;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;

use crate::announce::{Announcement, Passed};
use crate::config::Bootstrap;
use crate::control::Reply;
use crate::event::{Event, Kind, MessageId};
use crate::identity::PeerId;
use crate::nat::NatClass;
use crate::net::SocketId;
use crate::probe::Token;
use crate::punch::{Punch, Role};
use crate::search::{Candidate, Search};
use crate::sounding::Sounding;
use crate::strategy::Strategy;

use attempt::{Attempt, Then};
pub(in crate::node) use punching::Call;
use punching::Question;

use super::Node;
use super::recovery::Resumption;
use super::snapshot::micros;

const LOOKUP_GAP: Duration = Duration::from_millis(250);
/// Bootstrap nodes have so long to answer before we go by what we know ourselves.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(1);
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// A peer that was found but did not answer is looked for again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const NO_WAY: &str = "no direct path was found and no relay carries it";
/// For a connection to come about once there is a path, and for what nobody speaks of any more.
const LINK_LIMIT: Duration = Duration::from_secs(15);

/// Relays remembered of a peer.
const MAX_VIA: usize = 8;

/// Relays of a peer that we connect to in order to reach it.
const MAX_VISITS: usize = 3;

/// One attempt to be connected with a peer, and what became of it.
pub(super) struct Contact {
    pub role: Role,
    asked: Instant,
    stage: Stage,
    /// For relays that carry sessions with the peer.
    pub search: Search,
    /// Relays by which the peer can be reached, as far as it and others say.
    pub via: Vec<Candidate>,
    /// The node that is connected to both of us.
    coordinator: Option<PeerId>,
    /// What the peer says of its NAT.
    peer_class: NatClass,
    probes: u64,
    punching: bool,
    attempt: Attempt,
    /// How the direct path came to be.
    kind: Option<Kind>,
    /// The initiator's last word, if we are the responder.
    verdict: Option<Kind>,
    pub connected: bool,
    settled: bool,
    /// When a stage without an end of its own is given up.
    give_up: Option<Instant>,
    /// The wish to have a lost connection back, until it is.
    resumption: Option<Resumption>,
    /// Messages that wait for the connection.
    pub outbox: Vec<(MessageId, Bytes)>,
}

enum Stage {
    Lookup {
        next: Instant,
        until: Instant,
    },
    Dial {
        sent: u32,
        next: Option<Instant>,
        until: Instant,
    },
    /// We find out which port our next mapping gets.
    Sound {
        sounding: Sounding,
        then: Then,
    },
    Ask {
        transaction: Token,
        next: Instant,
        until: Instant,
    },
    Punch(Punch),
    /// No more attempts at a direct path.
    Over,
}

/// A contact as a snapshot shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContactState {
    role: &'static str,
    asked: i64,
    stage: &'static str,
    strategy: Option<Strategy>,
    relay: &'static str,
    coordinator: Option<PeerId>,
    peer_class: NatClass,
    probes: u64,
    kind: Option<Kind>,
    verdict: Option<Kind>,
    connected: bool,
    settled: bool,
    give_up: Option<i64>,
    waiting_messages: usize,
    due: Option<i64>,
}

impl Contact {
    pub fn state(&self, now: Instant) -> ContactState {
        ContactState {
            role: match self.role {
                Role::Initiator => "initiator",
                Role::Responder => "responder",
            },
            asked: micros(now, self.asked),
            stage: match &self.stage {
                Stage::Lookup { .. } => "lookup",
                Stage::Dial { .. } => "dial",
                Stage::Sound { .. } => "sound",
                Stage::Ask { .. } => "ask",
                Stage::Punch(_) => "punch",
                Stage::Over => "over",
            },
            strategy: match &self.stage {
                Stage::Punch(punch) => Some(punch.strategy),
                _ => None,
            },
            relay: if self.search.is_over() { "over" } else { "asking" },
            coordinator: self.coordinator,
            peer_class: self.peer_class,
            probes: self.probes,
            kind: self.kind,
            verdict: self.verdict,
            connected: self.connected,
            settled: self.settled,
            give_up: self.give_up.map(|at| micros(now, at)),
            waiting_messages: self.outbox.len(),
            due: self.timeout().map(|at| micros(now, at)),
        }
    }

    fn new(now: Instant, role: Role, stage: Stage) -> Self {
        Self {
            role,
            asked: now,
            stage,
            search: Search::default(),
            via: Vec::new(),
            coordinator: None,
            peer_class: NatClass::Unknown,
            probes: 0,
            punching: false,
            attempt: Attempt::default(),
            kind: None,
            verdict: None,
            connected: false,
            settled: false,
            give_up: None,
            resumption: None,
            outbox: Vec::new(),
        }
    }

    /// What a resumed contact goes on with when it has failed, unless it was tried for long enough.
    pub fn resume(&mut self, now: Instant) -> Option<Self> {
        let (resumption, start) = self.resumption?.next(now)?;
        let outbox = std::mem::take(&mut self.outbox);
        Some(Self { outbox, ..Self::resumed(self.asked, start, resumption) })
    }

    /// The same, with these messages to go first.
    pub fn with_outbox(self, outbox: Vec<(MessageId, Bytes)>) -> Self {
        Self { outbox, ..self }
    }

    /// For a connection that was lost, to be begun anew at `start`.
    pub fn resumed(now: Instant, start: Instant, resumption: Resumption) -> Self {
        let stage = Stage::Lookup { next: start, until: start + LOOKUP_LIMIT };
        Self { resumption: Some(resumption), ..Self::new(now, Role::Initiator, stage) }
    }

    /// Whether probes go to this address.
    pub fn is_towards(&self, address: IpAddr) -> bool {
        match &self.stage {
            Stage::Dial { .. } => self.attempt.target.is_some_and(|target| target.ip() == address),
            Stage::Punch(punch) => punch.is_towards(address),
            _ => false,
        }
    }

    /// Nothing was heard of the peer itself: it may be busy, or about to choose its relays. Looks for it again while there
    /// is time for that; whether there is.
    fn look_again(&mut self, now: Instant) -> bool {
        let (next, until) = (now + LOOK_AGAIN, self.asked + LOOKUP_LIMIT);
        let looks = self.resumption.is_none() && !self.attempt.has_met() && next < until;
        if looks {
            self.stage = Stage::Lookup { next, until };
        }
        looks
    }

    /// Sockets that were opened for its attempts.
    pub fn sockets(&self) -> Vec<SocketId> {
        let stage: &[SocketId] = match &self.stage {
            Stage::Punch(punch) => punch.sockets(),
            Stage::Sound { sounding, .. } => std::slice::from_ref(&sounding.path.socket),
            _ => &[],
        };
        stage.iter().copied().chain(self.attempt.sockets()).collect()
    }

    /// Whether no attempt at a direct path is being made.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Whether it has come to its end, which may be changed by later attempts.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    fn add_via(&mut self, more: Vec<Candidate>) {
        for candidate in more {
            match self.via.iter().position(|known| known.relay == candidate.relay) {
                Some(at) => self.via[at].address = self.via[at].address.or(candidate.address),
                None if self.via.len() < MAX_VIA => self.via.push(candidate),
                None => {}
            }
        }
    }

    pub fn timeout(&self) -> Option<Instant> {
        let stage = match &self.stage {
            Stage::Lookup { next, until } => Some(*next.min(until)),
            Stage::Dial { next, until, .. } => Some(next.map_or(*until, |next| next.min(*until))),
            Stage::Sound { sounding, .. } => Some(sounding.poll_timeout()),
            Stage::Ask { next, until, .. } => Some(*next.min(until)),
            Stage::Punch(punch) => {
                let question = self.attempt.question.as_ref().map(Question::poll_timeout);
                question.into_iter().chain([punch.poll_timeout()]).min()
            }
            Stage::Over => self.attempt.retry_at,
        };
        [stage, self.give_up, self.search.poll_timeout()].into_iter().flatten().min()
    }
}

impl Node {
    pub(super) fn contact(&mut self, id: &PeerId) -> Option<&mut Contact> {
        self.peers.get_mut(id)?.contact.as_mut()
    }

    /// Our owner wants to be connected with `id`.
    pub(super) fn begin_contact(&mut self, now: Instant, id: PeerId) {
        if id == self.id() {
            return self.events.push_back(Event::ConnectFailed {
                peer: id,
                reason: "that is this node's own ID".to_owned(),
            });
        }
        if self.contact(&id).is_some() {
            // Under way or done already; its events come, or have come.
            return;
        }
        let reached = self.peers.get(&id).is_some_and(|peer| peer.direct.is_some());
        let stage = match reached {
            true => Stage::Over,
            false => Stage::Lookup { next: now, until: now + LOOKUP_LIMIT },
        };
        let mut contact = Contact::new(now, Role::Initiator, stage);
        contact.kind = reached.then_some(Kind::Direct);
        self.peer(id).contact = Some(contact);
        if self.quic.is_connected(&id) {
            self.contact_connected(now, id);
        } else if reached {
            self.begin_connection(now, &id);
        }
        self.drive_contact(now, id);
    }

    /// The peer is said to be reached by these relays.
    pub(super) fn begin_visits(&mut self, now: Instant, id: &PeerId, relays: &[Bootstrap]) {
        let looks = self.is_looking_for(id);
        let via = relays.iter().map(|relay| Candidate { relay: relay.id, address: Some(relay.address) });
        if let Some(contact) = self.contact(id).filter(|_| looks) {
            contact.add_via(via.collect());
            for relay in relays.iter().take(MAX_VISITS) {
                self.visit(now, relay.id, relay.address);
            }
        }
    }

    /// Does for a contact what is due.
    pub(super) fn drive_contact(&mut self, now: Instant, id: PeerId) {
        let alone = self.entrances.is_empty() && self.directory.len() == 0;
        self.drive_search(now, id);
        let Some(contact) = self.contact(&id) else {
            return;
        };
        if contact.give_up.is_some_and(|give_up| give_up <= now) {
            contact.give_up = None;
            return self.give_up(now, id);
        }
        match &mut contact.stage {
            Stage::Lookup { next, until } => {
                if *until <= now || alone {
                    let reason = if alone {
                        "no bootstrap node is configured"
                    } else if contact.attempt.target.is_some() {
                        NO_WAY
                    } else if self.open_entrances().is_empty() {
                        "not connected to any bootstrap node"
                    } else {
                        "nobody who was asked knows this peer"
                    };
                    self.contact_failed(now, &id, reason);
                } else if *next <= now {
                    *next = now + LOOKUP_GAP;
                    let is_late = contact.asked + LOOKUP_PATIENCE <= now;
                    self.ask_for(now, id);
                    if is_late || self.open_entrances().is_empty() {
                        self.go_on_from_view(now, id);
                    }
                }
            }
            Stage::Dial { .. } => self.drive_dial(now, id),
            Stage::Sound { .. } => self.drive_sounding(now, id),
            Stage::Ask { .. } => self.drive_ask(now, id),
            Stage::Punch(_) => self.drive_punch(now, id),
            Stage::Over if contact.attempt.retry_at.is_some_and(|at| at <= now) => self.retry(now, id),
            Stage::Over => {}
        }
    }

    /// Whether a contact waits to hear where the peer is.
    pub(super) fn is_looking_for(&mut self, id: &PeerId) -> bool {
        matches!(self.contact(id), Some(Contact { stage: Stage::Lookup { .. }, .. }))
    }

    /// A bootstrap node tells of a peer that we look for.
    pub(super) fn handle_lookup(&mut self, now: Instant, from: PeerId, id: PeerId, reply: Reply) {
        let Reply::Found { signed, observed } = reply else {
            return self.go_on_from_view(now, id);
        };
        let announcement = match Announcement::verify(&signed, self.quic.crypto()) {
            Ok(announcement) if announcement.id == id => announcement,
            _ => return,
        };
        let looking = self.is_looking_for(&id);
        let claimed = announcement.endpoints.first().copied();
        let announced = announcement.via.iter().map(|path| (path.relay, Some(path.address)));
        let via = announced.chain(observed.map(|_| (from, None)));
        let via: Vec<Candidate> = via.map(|(relay, address)| Candidate { relay, address }).collect();
        if let Some(contact) = self.contact(&id).filter(|_| !looking) {
            // Others know it, too: where it is seen, it can be reached.
            contact.add_via(via);
            contact.search.hurry_resting(now);
            return;
        }
        let Some(target) = observed.or(claimed).filter(|_| looking) else {
            // Its relays see where it is, and can bring us together.
            for candidate in via.into_iter().take(MAX_VISITS).filter(|_| looking) {
                if let Some(address) = candidate.address {
                    self.visit(now, candidate.relay, address);
                }
            }
            return;
        };
        let class = announcement.class;
        self.hear_facts(now, from, vec![Passed { age: 0, hops: 1, signed }]);
        if let Some(contact) = self.contact(&id) {
            contact.add_via(via);
        }
        self.search_sessions(now, id);
        self.begin_dial(now, id, Some(target), class, observed.map(|_| from));
    }
}
