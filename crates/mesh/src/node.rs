//! The node: everything put together.

mod astray;
mod contact;
mod coordinate;
mod data;
mod detection;
mod entrance;
mod freshness;
mod gossip;
mod hostile;
mod lookup;
mod path;
mod peers;
mod recovery;
mod relays;
mod routing;
mod sealed;
mod service;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use indexmap::IndexMap;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::announce::encoded;
use crate::budget::Budget;
use crate::config::{Bootstrap, Config};
use crate::control::{Notice, Reply, Request};
use crate::counters::Counters;
use crate::crypto::QuicCrypto;
use crate::detect::{Detection, Detector};
use crate::directory::Directory;
use crate::event::{Event, PathKind};
use crate::gossip::Gossip;
use crate::identity::{Identity, PeerId};
use crate::letters::{HEAD, Received, Unanswered};
use crate::limits::Limits;
use crate::lookup::KEPT;
use crate::nat::NatClass;
use crate::net::{Path, SocketId, SocketRequest, Transmit};
use crate::observe::Observations;
use crate::probe::Tokens;
use crate::punch;
use crate::quic::{Loss, OwnedChange, OwnedStream, Quic, RequestId, Settings, Sizes, StreamEvent, StreamRef};
use crate::relay::{SessionId, Sessions};
use crate::replay::Start;
use crate::routing::Routing;
use crate::table::Table;
use crate::wire::{Kind as DatagramKind, Protocol, Sealer};

use entrance::{Entrance, beginnings};
pub(crate) use freshness::FailedPath;
use freshness::Freshness;
use gossip::Own;
use lookup::Search;
use path::Links;
use peers::Peers;
use relays::Relays;
pub use snapshot::Snapshot;
pub use view::PeerView;

/// Below are the main socket and that of the NAT detection.
const FIRST_FREE_SOCKET: u32 = 2;

/// Nodes besides those of the view to which ways are remembered.
const ROUTES_BESIDE: usize = 256;

/// A node of the mesh. See the crate's documentation for how to drive it.
pub struct Node {
    identity: Identity,
    config: Config,
    rng: StdRng,
    sealer: Sealer,
    tokens: Tokens,
    quic: Quic,
    detector: Option<Detector>,
    /// What STUN servers say of our NAT.
    measured: Option<Detection>,
    /// Bounds measurements that a peer's word makes us repeat.
    again: Budget,
    observations: Observations,
    /// The two together.
    detection: Option<Detection>,
    entrances: Vec<Entrance>,
    announcements: u64,
    own: Option<Own>,
    gossip: Gossip,
    /// Announcements that are kept for others, and found ones.
    kept: Directory,
    searches: IndexMap<PeerId, Search>,
    freshness: Freshness,
    routing: Routing,
    /// Bounds what a neighbour has us pass on.
    routed: Limits<PeerId>,
    /// Messages sent to all.
    broadcasts: u64,
    /// When to lie again, if we were told to.
    lie_at: Instant,
    /// When lookups for these ended.
    sought: IndexMap<PeerId, Instant>,
    /// When others are asked to keep ours.
    keep_at: Option<Instant>,
    /// Whether they were asked once already: nobody says that it was kept, so they are asked again soon after a change.
    keep_sure: bool,
    /// Bounds the lookups that we answer.
    asked: Budget,
    /// Whether the view has filled up, and when neighbours were last told what we want to hear of.
    horizon_moved: bool,
    horizon_told: Instant,
    relays: Relays,
    directory: Directory,
    peers: Peers,
    /// Whose a proven path is.
    routes: Table<Path, PeerId>,
    /// Sessions that we serve.
    sessions: Sessions,
    /// Sessions that we are a member of.
    memberships: IndexMap<SessionId, Membership>,
    pending: BTreeMap<(PeerId, RequestId), Pending>,
    /// Messages on their way.
    messages: Unanswered,
    /// Tells our messages from those of our earlier starts.
    life: u64,
    received: Received,
    next_message: u64,
    next_socket: u32,
    attempts: u64,
    /// Whose attempts the sockets belong to that ask what the NAT makes of them.
    sounded: Table<SocketId, PeerId>,
    /// Endpoints that our gateway has mapped to us.
    mapped: Vec<SocketAddr>,
    /// Our gateway's address and the one that we are seen at, once said to differ.
    second_nat: Option<(IpAddr, IpAddr)>,
    /// What all searches together may send.
    search_pace: Budget,
    /// Probes of a search that our NAT has room for, once it was seen to have too little.
    flow_room: Option<u64>,
    /// Probes of searches to one address.
    search_limits: Limits<IpAddr>,
    /// Other probes of attempts to one address.
    probe_limits: Limits<IpAddr>,
    /// Attempts that one peer may have us join.
    callers: Limits<PeerId>,
    /// Bounds the key agreements that datagrams of unknown senders cost us.
    strangers: Budget,
    rejections: Budget,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    streams: VecDeque<(OwnedStream, OwnedChange)>,
    sockets: VecDeque<SocketRequest>,
    counters: Counters,
    /// When the last step was.
    now: Instant,
    next_timeout: Option<Instant>,
    /// When something but connections and peers wants attention.
    rest_timeout: Option<Instant>,
    /// Whether this step may have changed that, as all do but those that only carry data.
    is_stirred: bool,
}

/// A relay session seen from a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Membership {
    relay: PeerId,
    peer: PeerId,
}

/// What the answer to a request of ours is for.
enum Pending {
    Announce,
    Lookup {
        peer: PeerId,
    },
    Session {
        peer: PeerId,
    },
    /// Who has heard of it lately.
    Recent {
        target: PeerId,
    },
    /// Whether it is reached by that relay still.
    Check {
        peer: PeerId,
    },
    /// Whether a neighbour knows the same as we.
    Compare,
    /// News that we have asked for, and of whom we ask next.
    Want {
        rest: Vec<PeerId>,
    },
    /// Whether somebody is connected to it, too.
    Survey {
        peer: PeerId,
    },
    /// We relay: a session waits for its second member.
    Offer {
        session: SessionId,
        requester: PeerId,
        stream: StreamRef,
    },
    Ping {
        since: Instant,
    },
}

impl Node {
    /// A node that starts `now`: it begins to detect its NAT and to look for its bootstrap nodes.
    pub fn new(now: Instant, identity: Identity, config: Config, crypto: Arc<dyn QuicCrypto>) -> Self {
        let mut rng = StdRng::from_seed(config.seed);
        let start = Start { epoch: config.epoch, salt: rng.random() };
        let hashes = FixedState::with_seed(rng.random());
        let settings = Settings {
            sizes: Sizes { message: config.max_message.saturating_add(HEAD), streams: config.streams },
            datagrams: config.datagrams,
        };
        let quic = Quic::new(identity.id(), crypto, &mut rng, hashes, &settings);
        let mut node = Self {
            sealer: Sealer::new(identity.clone(), start, config.network, hashes),
            tokens: Tokens::new(now, rng.random()),
            quic,
            detector: None,
            measured: None,
            again: Budget::new(now, 1.0 / 60.0, 3.0),
            observations: Observations::default(),
            detection: None,
            entrances: beginnings(now, identity.id(), &config),
            announcements: 0,
            own: None,
            gossip: Gossip::new(now, StdRng::from_seed(rng.random()), hashes),
            kept: Directory::new(identity.id(), KEPT, hashes),
            searches: IndexMap::new(),
            freshness: Freshness::new(),
            routing: Routing::new(config.view + ROUTES_BESIDE, hashes),
            routed: Limits::new(100.0, 400.0, hashes),
            broadcasts: 0,
            lie_at: now,
            sought: IndexMap::new(),
            keep_at: None,
            keep_sure: false,
            asked: Budget::new(now, 500.0, 1000.0),
            horizon_moved: false,
            horizon_told: now,
            directory: Directory::new(identity.id(), config.view, hashes),
            relays: Relays::default(),
            peers: Peers::new(hashes),
            routes: Table::with_hasher(hashes),
            sessions: Sessions::new(config.service.sessions()),
            memberships: IndexMap::new(),
            pending: BTreeMap::new(),
            messages: Unanswered::default(),
            life: start.salt,
            received: Received::default(),
            next_message: 0,
            next_socket: FIRST_FREE_SOCKET,
            attempts: 0,
            sounded: Table::with_hasher(hashes),
            mapped: config.mapped.clone(),
            second_nat: None,
            search_pace: punch::pace(now),
            flow_room: None,
            search_limits: Limits::new(7.0, 4500.0, hashes),
            probe_limits: Limits::new(10.0, 200.0, hashes),
            callers: Limits::new(0.1, 6.0, hashes),
            strangers: Budget::new(now, 100.0, 200.0),
            rejections: Budget::new(now, 2.0, 10.0),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            streams: VecDeque::new(),
            sockets: VecDeque::new(),
            counters: Counters::default(),
            now,
            next_timeout: None,
            rest_timeout: None,
            is_stirred: true,
            rng,
            identity,
            config,
        };
        node.begin_detection(now);
        node.drive(now);
        node
    }

    /// Who this node is.
    pub fn id(&self) -> PeerId {
        self.identity.id()
    }

    /// The relays that it holds, the best first.
    pub fn relays(&self) -> &[PeerId] {
        self.relays.held()
    }

    /// The relays by which it reaches `peer`, the one in use first.
    pub fn relays_to(&self, peer: &PeerId) -> Vec<PeerId> {
        let sessions = self.peers.get(peer).map_or(&[][..], |peer| &peer.sessions[..]);
        sessions.iter().map(|path| path.relay).collect()
    }

    /// How many relay sessions are open that this node serves.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many other nodes it knows of; there may be more, which it finds when it is asked for them.
    pub fn known_peers(&self) -> usize {
        self.directory.len()
    }

    /// How many announcements were refused that this node has passed on.
    pub fn rejected_from(&self, peer: &PeerId) -> u64 {
        self.gossip.rejected().find(|(sender, _)| *sender == peer).map_or(0, |(_, count)| count)
    }

    /// What it has sent and received so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Asks for a connection with `peer`: [`Event::Connected`] and [`Event::Settled`] follow, or
    /// [`Event::ConnectFailed`].
    pub fn connect(&mut self, now: Instant, peer: PeerId) {
        self.begin_contact(now, peer);
        self.drive(now);
    }

    /// The same for a peer that is said to be reached by these relays, as an invite says it: they are connected to as well,
    /// for as long as it takes.
    pub fn connect_by(&mut self, now: Instant, peer: PeerId, relays: &[Bootstrap]) {
        self.begin_contact(now, peer);
        self.begin_visits(now, &peer, relays);
        self.drive(now);
    }

    /// Our gateway forwards these endpoints to our main socket, as port mapping protocols arrange it: peers are told.
    pub fn set_mapped_endpoints(&mut self, endpoints: Vec<SocketAddr>) {
        self.mapped = endpoints;
        self.note_second_nat();
    }

    /// Says goodbye to everybody. What [`Self::poll_transmit`] still gives should be sent.
    pub fn shutdown(&mut self, now: Instant) {
        // First to those whom relays bring it: afterwards these will pass on nothing.
        let relayed =
            |(id, peer): (&PeerId, &path::Peer)| (peer.carrying == Some(PathKind::Relay)).then_some(*id);
        let relayed: Vec<PeerId> = self.peers.iter().filter_map(relayed).collect();
        for peer in relayed {
            self.quic.close(now, &peer, b"goodbye");
        }
        self.quic.close_all(now, b"goodbye");
        self.send_packets(now);
        self.settle_timeouts();
    }

    /// Takes a datagram that came to `socket`.
    pub fn handle_datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
        let path = Path { socket, remote: from };
        self.counters.received.count(datagram);
        match Protocol::of(datagram) {
            Some(Protocol::Stun) => self.handle_stun(now, path, datagram),
            Some(Protocol::Quic) => {
                self.is_stirred = false;
                self.handle_packet(now, path, datagram);
            }
            Some(Protocol::Mesh(DatagramKind::RelayData)) => {
                self.is_stirred = false;
                self.handle_relay_frame(now, path, datagram);
            }
            Some(Protocol::Mesh(DatagramKind::Refusal)) => self.handle_refusal(now, path, datagram),
            Some(Protocol::Mesh(kind)) => self.handle_sealed(now, path, kind, datagram),
            None => {}
        }
        self.drive(now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        self.is_stirred = is_due(self.rest_timeout) || is_due(self.peers.first_deadline());
        self.quic.handle_timeout(now);
        if self.is_stirred {
            self.handle_due(now);
        }
        self.drive(now);
    }

    fn handle_due(&mut self, now: Instant) {
        if let Some(detector) = &mut self.detector {
            detector.handle_timeout(now);
        }
        self.drive_entrances(now);
        self.drive_relays(now);
        self.drive_peers(now);
        self.drive_gossip(now);
        self.drive_lookups(now);
        self.drive_freshness(now);
        self.end_idle_sessions(now);
    }

    /// A socket that [`Self::poll_socket`] asked for could not be opened.
    pub fn socket_failed(&mut self, socket: SocketId, why: &str) {
        // What would have been sent from it is lost like any datagram; the attempt that wanted it has others or ends.
        self.events.push_back(Event::Error { message: format!("cannot open socket {}: {why}", socket.0) });
    }

    /// What to do with sockets next.
    pub fn poll_socket(&mut self) -> Option<SocketRequest> {
        self.sockets.pop_front()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.transmits.is_empty() && self.quic.has_packets() {
            self.is_stirred = false;
            self.send_packets(self.now);
            self.drive(self.now);
        }
        let transmit = self.transmits.pop_front()?;
        self.counters.sent.count(&transmit.payload);
        Some(transmit)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_timeout
    }

    fn settle_timeouts(&mut self) {
        let links = Links { quic: &self.quic, entrances: &self.entrances };
        self.peers.settle(|id, peer| links.timeout(id, peer));
        debug_assert!(
            self.peers.iter().count() > 8
                || self.peers.first_deadline()
                    == self.peers.iter().filter_map(|(id, peer)| links.timeout(id, peer)).min(),
            "somebody changed what a peer's deadline hangs on and did not touch the peer"
        );
        if std::mem::replace(&mut self.is_stirred, true) {
            self.rest_timeout = self.first_of_rest();
        }
        debug_assert_eq!(
            self.rest_timeout,
            self.first_of_rest(),
            "a step that only carried data changed more"
        );
        let all = [self.rest_timeout, self.quic.poll_timeout(), self.peers.first_deadline()];
        self.next_timeout = all.into_iter().flatten().min();
    }

    fn first_of_rest(&self) -> Option<Instant> {
        [
            self.detector.as_ref().and_then(Detector::poll_timeout),
            self.entrances_timeout(),
            self.relays.poll_timeout(),
            self.gossip_timeout(),
            self.lookups_timeout(),
            self.freshness.poll_timeout(),
            self.sessions.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn class(&self) -> NatClass {
        match &self.detection {
            Some(detection) => detection.name,
            None if self.config.service.coordinates() => NatClass::Public,
            None => NatClass::Unknown,
        }
    }

    fn ask(&mut self, now: Instant, whom: PeerId, request: &Request, pending: Pending) {
        if let Some(id) = self.quic.request(now, &whom, encoded(request)) {
            self.pending.insert((whom, id), pending);
        }
    }

    fn notify(&mut self, now: Instant, peer: &PeerId, notice: &Notice) {
        self.quic.notify(now, peer, encoded(notice));
    }

    /// Sends what connections have to say.
    fn send_packets(&mut self, now: Instant) {
        self.quic.write(now);
        while let Some(packet) = self.quic.poll_transmit() {
            self.send_packet(now, packet);
        }
    }

    /// Works off what one step has set in motion.
    fn drive(&mut self, now: Instant) {
        if let Some(detector) = &mut self.detector {
            while let Some(transmit) = detector.poll_transmit() {
                self.transmits.push_back(transmit);
            }
            if let Some(detection) = detector.result() {
                self.end_detection(now, detection);
            }
        }
        while let Some(event) = self.quic.poll_event() {
            // What is said by then takes the way that there is by then.
            if !event.is_data() {
                self.send_packets(now);
            }
            self.handle_quic(now, event);
        }
        self.now = now;
        self.review_horizon(now);
        self.settle_timeouts();
    }

    /// Works off what peers had to wait for.
    fn drive_peers(&mut self, now: Instant) {
        for id in self.peers.due(now) {
            self.drive_contact(now, id);
            self.drive_path(now, id);
        }
    }

    fn handle_connected(&mut self, now: Instant, peer: PeerId) {
        self.gossip_connected(now, peer);
        self.entrance_connected(now, &peer);
        self.contact_connected(now, peer);
    }

    /// A connection is gone, and with it all that hung on it.
    fn handle_lost(&mut self, now: Instant, peer: PeerId, loss: Loss) {
        let reason = loss.to_string();
        let resumed = self.take_to_resume(now, &peer, &loss);
        // Its questions are gone, too: on its next connection their streams are other ones.
        self.pending
            .retain(|_, pending| !matches!(pending, Pending::Offer { requester, .. } if *requester == peer));
        let unanswered: Vec<(PeerId, RequestId)> =
            self.pending.keys().filter(|(whom, _)| *whom == peer).copied().collect();
        for key in unanswered {
            if let Some(pending) = self.pending.remove(&key) {
                let reason = reason.clone();
                self.handle_reply(now, peer, pending, Reply::Refused { reason });
            }
        }
        if resumed.is_none() {
            for (message, _) in self.messages.again(&peer) {
                self.fail_message(peer, message, &reason);
            }
        }
        self.gossip_lost(&peer);
        self.report_loss(now, peer, &loss);
        self.end_sessions_of(now, &peer);
        self.entrance_lost(now, &peer);
        self.leave_relay(now, &peer, "the relay is gone");
        if resumed.is_some() {
            self.tell_disconnected(&peer, reason);
        } else {
            self.contact_lost(now, &peer, reason);
        }
        self.forget_peer(now, &peer);
        if resumed.is_some() {
            self.peer(peer).contact = resumed;
            self.drive_contact(now, peer);
        }
    }

    fn handle_stream(&mut self, now: Instant, peer: PeerId, event: StreamEvent) {
        match event {
            StreamEvent::Notice(notice) => {
                if let Ok(notice) = minicbor::decode(&notice) {
                    self.handle_notice(now, peer, notice);
                }
            }
            StreamEvent::Request(stream, body) => {
                let request = minicbor::decode(&body);
                if let Some(reply) = self.handle_request(now, peer, stream, request.ok()) {
                    self.quic.respond(now, &peer, stream, encoded(&reply));
                }
            }
            StreamEvent::Answer(id, body) => {
                let Some(pending) = self.pending.remove(&(peer, id)) else {
                    return;
                };
                let reply = body
                    .and_then(|body| minicbor::decode(&body).ok())
                    .unwrap_or(Reply::Refused { reason: "no answer".to_owned() });
                self.handle_reply(now, peer, pending, reply);
            }
            event => self.handle_message(now, peer, event),
        }
    }

    fn handle_reply(&mut self, now: Instant, from: PeerId, pending: Pending, reply: Reply) {
        match pending {
            Pending::Announce => self.handle_announced(now, from, reply),
            Pending::Lookup { peer } => self.handle_lookup(now, from, peer, reply),
            Pending::Recent { target } => self.handle_recent(now, from, target, reply),
            Pending::Check { peer } => self.handle_checked(now, peer, reply),
            Pending::Compare => {
                if let Reply::Compared { held, differing } = reply {
                    self.handle_compared(now, from, held, differing);
                }
            }
            Pending::Want { rest } => {
                if let Reply::Facts { facts } = reply {
                    self.handle_wanted(now, from, facts, rest);
                }
            }
            Pending::Survey { peer } => self.handle_acquainted(now, from, peer, reply),
            Pending::Ping { since } => self.handle_pong(now, from, since, &reply),
            Pending::Session { peer } => self.handle_session(now, from, peer, reply),
            Pending::Offer { session, requester, stream } => {
                let reply = self.conclude_offer(session, reply);
                self.quic.respond(now, &requester, stream, encoded(&reply));
            }
        }
    }

    fn handle_notice(&mut self, now: Instant, peer: PeerId, notice: Notice) {
        match notice {
            Notice::Facts { facts } => self.hear_facts(now, peer, facts),
            Notice::PathFailed { peer: of, path, hops } => self.hear_of_failure(now, peer, of, path, hops),
            Notice::Routed { routed } => self.take_routed(now, peer, routed),
            Notice::Horizon { bits } => self.gossip.set_horizon(&peer, bits),
            Notice::Contact => self.handle_contact_notice(now, peer),
            Notice::Settled { kind } => self.handle_settled_notice(now, peer, kind),
            Notice::Outcome { target, success, probes } => {
                self.take_outcome(now, peer, target, success, probes);
            }
            Notice::SessionClosed { session } => {
                let ours = |membership: &&Membership| membership.relay == peer;
                if let Some(&membership) = self.memberships.get(&session).filter(ours) {
                    self.lose_session(now, &membership.peer, session, "the relay has ended the session");
                }
            }
            Notice::CloseSession { session } => {
                self.leave_session(now, peer, session);
            }
        }
    }

    fn open_socket(&mut self) -> SocketId {
        let socket = SocketId(self.next_socket);
        self.next_socket += 1;
        self.sockets.push_back(SocketRequest::Open(socket));
        socket
    }

    fn sent_by(&self, peer: &PeerId) -> PathKind {
        self.peers.get(peer).and_then(|peer| peer.carrying).unwrap_or(PathKind::Relay)
    }

    fn received_by(&self, peer: &PeerId) -> PathKind {
        self.peers.get(peer).and_then(|peer| peer.received).unwrap_or(PathKind::Relay)
    }

    /// Where what a connected node says comes from.
    fn address_of(&self, id: &PeerId) -> SocketAddr {
        let direct = |id: &PeerId| Some(self.peers.get(id)?.direct?.remote);
        let relayed = || direct(&self.peers.get(id)?.sessions.first()?.relay);
        direct(id).or_else(relayed).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// The round trip time to a connected node, or a guess.
    fn round_trip(&self, peer: &PeerId) -> Duration {
        self.quic.rtt(peer).unwrap_or(Duration::from_millis(100))
    }
}
