//! A member: a node, what it is used for, and what is known of it afterwards. All of it happens inside the program, so
//! that threads which run different members have nothing in common.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use omerta_mesh_core::{Config, Event, Node, PathKind, PeerId};
use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::{
    invariant::{Breach, FINDS_RELAY, SOCKETS, UNACKNOWLEDGED, Wrong},
    lookups::Seeker,
    lot,
    message::{Heard, Message, Receipts},
    plan::{self, Place, Plan},
    stats::Stats,
};
use crate::{
    clock::instant,
    node::Pump,
    program::{Datagram, Io, Program},
};

/// Between being at home in the mesh and asking for the partner.
const SETTLING: Duration = Duration::from_secs(2);
/// Before asking for one that will ask, too.
const PATIENCE: Duration = Duration::from_secs(20);
/// Before a failed or lost connection is asked for again; doubled with each failure in a row.
const AGAIN: Duration = Duration::from_secs(5);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// Breaches that a member tells of.
const BREACHES: usize = 4;

/// A member of a population.
pub struct Member {
    number: u32,
    plan: Arc<Plan>,
    own_address: Ipv4Addr,
    random: Pcg64Mcg,
    life: Life,
    /// How often it has started.
    starts: u64,
    receipts: Vec<Receipts>,
    next_message: u32,
    pub(super) stats: Stats,
    pub(super) seeker: Seeker,
    breaches: Vec<Breach>,
}

enum Life {
    /// Comes then; never again without a time.
    Away(Option<Duration>),
    Up(Box<Session>),
}

/// From coming to leaving.
struct Session {
    pump: Pump,
    since: Duration,
    until: Option<Duration>,
    /// The relays that it has chosen: its own, and others that it heard of.
    relays: Vec<PeerId>,
    /// Since when it has been without any; none if it has one.
    without_relay: Option<Duration>,
    bond: Bond,
    failures: u32,
    /// When it speaks next; none for one that only answers.
    next_send: Option<Duration>,
    /// Messages handed over and not acknowledged.
    unacknowledged: u64,
}

/// Where a member is with its partner.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bond {
    /// Not at home in the mesh yet.
    None,
    /// Asks then.
    Asks(Duration),
    Asked(Duration),
    Has(PathKind),
}

impl Member {
    pub(super) fn new(number: u32, plan: Arc<Plan>, own_address: Ipv4Addr) -> Self {
        let random = plan::random(plan.seed, &format!("life {number}"));
        Member {
            number,
            plan,
            own_address,
            random,
            life: Life::Away(None),
            starts: 0,
            receipts: Vec::new(),
            next_message: 0,
            stats: Stats::default(),
            seeker: Seeker::default(),
            breaches: Vec::new(),
        }
    }

    /// Whether it is there.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.life, Life::Up(_))
    }

    /// Its node, while it is there.
    pub(super) fn as_node(&self) -> Option<&Node> {
        match &self.life {
            Life::Up(session) => Some(session.pump.as_node()),
            Life::Away(_) => None,
        }
    }

    /// Since when it is there, if it is.
    pub(super) fn there_since(&self) -> Option<Duration> {
        match &self.life {
            Life::Up(session) => Some(session.since),
            Life::Away(_) => None,
        }
    }

    /// Has its node look for somebody.
    pub(super) fn find(&mut self, io: &mut Io<'_>, id: PeerId) {
        if let Life::Up(session) = &mut self.life {
            session.pump.node().find(instant(io.now()), id);
            self.drain(io, None);
        }
    }

    /// The way to its partner that it has now.
    pub(super) fn path(&self) -> Option<PathKind> {
        match &self.life {
            Life::Up(session) => match session.bond {
                Bond::Has(path) => Some(path),
                _ => None,
            },
            Life::Away(_) => None,
        }
    }

    /// How many messages it got of each sender.
    pub(super) fn received(&self) -> impl Iterator<Item = (u32, u64)> {
        self.receipts.iter().map(|receipts| (receipts.from, receipts.count()))
    }

    /// All that it sent, with what it is about to forget.
    pub(super) fn sent(&self) -> super::Tally {
        let mut all = self.stats.sent;
        if let Life::Up(session) = &self.life {
            all += session.pump.sent();
        }
        all
    }

    /// What was wrong so far and, now, is.
    pub(super) fn breaches(&self, now: Duration) -> Vec<Breach> {
        let mut breaches = self.breaches.clone();
        if let Life::Up(session) = &self.life {
            let waited = session.without_relay.map(|since| now.saturating_sub(since)).unwrap_or_default();
            let has_udp = self.place().is_some_and(|place| self.plan.has_udp(place));
            if has_udp && waited > FINDS_RELAY {
                breaches.push(Breach { member: self.number, at: now, what: Wrong::NoRelay { waited } });
            }
        }
        breaches
    }

    fn place(&self) -> Option<&Place> {
        self.plan.member(self.number)
    }

    fn arrive(&mut self, io: &mut Io<'_>) {
        let Some(place) = self.place().copied() else { return };
        let plan = &self.plan;
        let name = plan::member_name(self.number);
        let identity = plan::identity(plan.seed, &name);
        let mut config = Config::new(self.random.random(), io.calendar_us());
        config.port = plan::PORT;
        config.host_addresses = vec![IpAddr::V4(self.own_address)];
        config.stun = stun(place.region).into();
        config.bootstrap = plan.bootstrap(place.relay).into_iter().collect();
        config.relays = 1;
        config.max_message = 1 << 16;
        config.view = plan.gossip.view;
        config.peer_contact = plan.gossip.peer_contact;
        config.streams = 0;
        let crypto = plan.crypto(identity.id(), &self.random.random());
        let now = io.now();
        let lifetime = plan.churn.lifetime;
        let until = lifetime.map(|lifetime| now + lot::time(lifetime.session, &mut self.random));
        let every = plan.traffic.every;
        let first = now + every.mul_f64(self.random.random());
        let next_send = (!plan.answers(self.number)).then_some(first);
        io.close_all();
        let pump = Pump::start(io, identity, config, crypto);
        self.receipts.iter_mut().for_each(Receipts::begin_anew);
        self.starts += 1;
        self.stats.sessions += 1;
        let session = Session {
            pump,
            since: now,
            until,
            relays: Vec::new(),
            without_relay: Some(now),
            bond: Bond::None,
            failures: 0,
            next_send,
            unacknowledged: 0,
        };
        self.life = Life::Up(Box::new(session));
        self.drain(io, None);
    }

    fn leave(&mut self, io: &mut Io<'_>) {
        let Life::Up(session) = &mut self.life else { return };
        let says_goodbye = self.random.random::<f64>() < self.plan.churn.goodbye;
        if says_goodbye {
            session.pump.node().shutdown(instant(io.now()));
            self.drain(io, None);
            io.close_all();
        }
        // Who leaves without a word keeps the sockets: what comes to them is not answered, as with a machine that is off.
        let absence = self.plan.churn.lifetime.map(|lifetime| lifetime.absence);
        let back = absence.map(|absence| io.now() + lot::time(absence, &mut self.random));
        if let Life::Up(session) = std::mem::replace(&mut self.life, Life::Away(back)) {
            self.stats.sent += session.pump.sent();
            self.seeker.leave();
        }
    }

    /// Does what is due beside the node's own affairs.
    fn act(&mut self, io: &mut Io<'_>) {
        let now = io.now();
        let partner = self.place().and_then(|place| self.plan.member(place.partner)).copied();
        let Life::Up(session) = &mut self.life else { return };
        if let (Bond::Asks(at), Some(partner)) = (session.bond, partner)
            && at <= now
        {
            session.bond = Bond::Asked(now);
            self.stats.asked += 1;
            // It knows the partner's relay as well, as somebody who was given an invite does.
            let relay = self.plan.bootstrap(partner.relay);
            session.pump.node().connect_by(instant(now), partner.id, relay.as_slice());
        }
        while session.next_send.is_some_and(|at| at <= now) {
            session.next_send = session.next_send.map(|at| at + self.plan.traffic.every);
            if now >= self.plan.silence {
                continue;
            }
            if let Bond::Has(_) = session.bond {
                let mut mouth = Mouth {
                    plan: &self.plan,
                    number: self.number,
                    next_message: &mut self.next_message,
                    stats: &mut self.stats,
                    unacknowledged: &mut session.unacknowledged,
                };
                mouth.say(session.pump.node(), now);
            } else {
                self.stats.held_back += 1;
            }
        }
        if session.unacknowledged > UNACKNOWLEDGED {
            let what = Wrong::Hoards { messages: session.unacknowledged };
            note(&mut self.breaches, self.number, now, what);
        }
        let open = io.open_sockets();
        if open > SOCKETS {
            note(&mut self.breaches, self.number, now, Wrong::Sockets { open });
        }
    }

    /// Does what the node wants done; `source` is where the datagram came from that it was just given.
    fn drain(&mut self, io: &mut Io<'_>, source: Option<Ipv4Addr>) {
        let Life::Up(session) = &mut self.life else { return };
        let Session { pump, bond, failures, relays, without_relay, unacknowledged, .. } = session.as_mut();
        let Some(place) = self.plan.member(self.number) else { return };
        let partner = self.plan.member(place.partner).map(|place| place.id);
        let answers = self.plan.answers(self.number);
        let is_partner = |peer: &PeerId| partner.as_ref() == Some(peer);
        let (stats, random) = (&mut self.stats, &mut self.random);
        let (receipts, breaches, plan, number, next_message) =
            (&mut self.receipts, &mut self.breaches, &self.plan, self.number, &mut self.next_message);
        let seeker = &mut self.seeker;
        pump.drain(io, |node, io, event| {
            let now = io.now();
            match event {
                Event::NatDetected(detection) => stats.class = Some(detection.name),
                Event::RelaySelected { relay } => {
                    relays.push(relay);
                    if let Some(since) = without_relay.take() {
                        stats.to_relay.add(now.saturating_sub(since));
                    }
                }
                Event::RelayLost { relay } => {
                    relays.retain(|one| *one != relay);
                    if relays.is_empty() {
                        without_relay.get_or_insert(now);
                    }
                }
                Event::Bootstrapped { .. } if *bond == Bond::None => {
                    // Who answers leaves the other one time to ask.
                    let patience = if answers { PATIENCE } else { Duration::ZERO };
                    *bond = Bond::Asks(now + patience + SETTLING.mul_f64(random.random_range(0.5..1.5)));
                }
                Event::Connected { peer, kind, elapsed } if is_partner(&peer) => {
                    if let Bond::Asked(_) = bond {
                        stats.to_connect.add(elapsed);
                    }
                    stats.connected = true;
                    *failures = 0;
                    *bond = Bond::Has(kind);
                }
                Event::PathChanged { peer, to, .. } if is_partner(&peer) => *bond = Bond::Has(to),
                Event::Settled { peer, kind, elapsed, .. } if is_partner(&peer) => {
                    stats.to_settle.add(elapsed);
                    stats.kind = Some(kind);
                }
                Event::ConnectFailed { peer, .. } | Event::Disconnected { peer, .. } if is_partner(&peer) => {
                    if let Bond::Asked(_) = bond {
                        stats.failed += 1;
                    }
                    let wait = (AGAIN * 2u32.pow((*failures).min(6))).min(AGAIN_AT_MOST);
                    *failures += 1;
                    *bond = Bond::Asks(now + wait.mul_f64(random.random_range(0.8..1.2)));
                }
                Event::Sent { .. } => *unacknowledged = unacknowledged.saturating_sub(1),
                Event::SendFailed { .. } => {
                    *unacknowledged = unacknowledged.saturating_sub(1);
                    stats.failed_messages += 1;
                }
                Event::MessageReceived { peer, data, path } => {
                    let inbox = Inbox { plan, number, receipts, stats };
                    if let Err(wrong) = inbox.take(now, &data, peer, path, source) {
                        note(breaches, number, now, wrong);
                    }
                    if answers && is_partner(&peer) && now < plan.silence && matches!(bond, Bond::Has(_)) {
                        Mouth { plan, number, next_message, stats, unacknowledged }.say(node, now);
                    }
                }
                Event::LookedUp { peer, found, asked } => {
                    let missed = seeker.ended(now, node, peer, found, asked);
                    // Where members leave, those that would have known may have left.
                    if let Some(member) = missed.filter(|_| plan.churn.lifetime.is_none()) {
                        note(breaches, number, now, Wrong::NotFound { member });
                    }
                }
                _ => {}
            }
        });
    }
}

impl Program for Member {
    fn start(&mut self, io: &mut Io<'_>) {
        let churn = &self.plan.churn;
        let present = self.random.random::<f64>() < churn.present;
        let (arrivals, absence) = (churn.arrivals, churn.lifetime.map(|lifetime| lifetime.absence));
        let arrives = match (present, absence) {
            (true, _) => Some(io.now() + arrivals.mul_f64(self.random.random())),
            (false, Some(absence)) => Some(io.now() + lot::time(absence, &mut self.random)),
            (false, None) => None,
        };
        self.life = Life::Away(arrives);
    }

    fn handle_datagram(&mut self, io: &mut Io<'_>, datagram: Datagram<'_>) {
        if let Life::Up(session) = &mut self.life {
            self.stats.received.count(datagram.payload);
            session.pump.handle_datagram(io, datagram);
            self.drain(io, Some(*datagram.from.ip()));
        }
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) {
        let now = io.now();
        match &mut self.life {
            Life::Away(Some(at)) if *at <= now => self.arrive(io),
            Life::Away(_) => {}
            Life::Up(session) if session.until.is_some_and(|until| until <= now) => self.leave(io),
            Life::Up(session) => {
                if session.pump.poll_timeout().is_some_and(|at| at <= now) {
                    session.pump.handle_timeout(io);
                }
                self.act(io);
                self.drain(io, None);
            }
        }
    }

    fn poll_timeout(&mut self) -> Option<Duration> {
        match &mut self.life {
            Life::Away(at) => *at,
            Life::Up(session) => {
                let asks = match session.bond {
                    Bond::Asks(at) => Some(at),
                    _ => None,
                };
                [session.pump.poll_timeout(), session.until, asks, session.next_send]
                    .into_iter()
                    .flatten()
                    .min()
            }
        }
    }
}

/// Where the messages of a member go out.
struct Mouth<'a> {
    plan: &'a Plan,
    number: u32,
    next_message: &'a mut u32,
    stats: &'a mut Stats,
    /// Messages handed over and not acknowledged.
    unacknowledged: &'a mut u64,
}

impl Mouth<'_> {
    /// Says something to the partner.
    fn say(&mut self, node: &mut Node, now: Duration) {
        let Some(to) = self.plan.member(self.number).map(|place| place.partner) else { return };
        let Some(partner) = self.plan.member(to) else { return };
        let message = Message { from: self.number, to, number: *self.next_message, sent: now };
        *self.next_message += 1;
        self.stats.messages += 1;
        *self.unacknowledged += 1;
        node.send(instant(now), partner.id, message.encode(self.plan.traffic.bytes));
    }
}

/// Where the messages for a member come in.
struct Inbox<'a> {
    plan: &'a Plan,
    number: u32,
    receipts: &'a mut Vec<Receipts>,
    stats: &'a mut Stats,
}

impl Inbox<'_> {
    fn take(
        self,
        now: Duration,
        data: &[u8],
        peer: PeerId,
        path: PathKind,
        source: Option<Ipv4Addr>,
    ) -> Result<(), Wrong> {
        let Message { from, to, number, sent } = Message::decode(data).ok_or(Wrong::Garbled)?;
        if to != self.number {
            return Err(Wrong::Misdelivered { from, meant_for: to });
        }
        if self.plan.member(from).is_none_or(|place| place.id != peer) {
            return Err(Wrong::FalseSender { from });
        }
        let at = self.receipts.iter().position(|receipts| receipts.from == from).unwrap_or_else(|| {
            self.receipts.push(Receipts::of(from));
            self.receipts.len() - 1
        });
        match self.receipts.get_mut(at).map_or(Heard::New, |receipts| receipts.note(number)) {
            Heard::New => {}
            Heard::Again => {
                self.stats.again += 1;
                return Ok(());
            }
            Heard::Twice => return Err(Wrong::Twice { from, number }),
        }
        self.stats.latency.add(now.saturating_sub(sent));
        match path {
            PathKind::Relay => self.stats.by_relay += 1,
            PathKind::Direct => {
                self.stats.direct += 1;
                if let Some(source) = source.filter(|source| !plan::is_of_site(*source, from)) {
                    return Err(Wrong::FalseDirect { from, source });
                }
            }
        }
        Ok(())
    }
}

fn note(breaches: &mut Vec<Breach>, member: u32, at: Duration, what: Wrong) {
    if breaches.len() < BREACHES {
        breaches.push(Breach { member, at, what });
    }
}

/// A region's STUN server, as nodes know it.
pub(super) fn stun(region: u16) -> [SocketAddr; 2] {
    let [primary, alternate] = plan::stun_addresses(region);
    [SocketAddr::from((primary, 3478)), SocketAddr::from((alternate, 3479))]
}
