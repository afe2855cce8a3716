//! QUIC connections that belong to peers, not to addresses.
//!
//! quinn-proto sees one made-up IPv6 address for each peer; which path a packet takes is the node's business. So a
//! connection outlives every change of path, and only a real switch is told to it ([`Quic::path_changed`]).

mod congestion;
mod data;
mod streams;

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use foldhash::fast::FixedState;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionEvent, ConnectionHandle, ConnectionId,
    ConnectionIdGenerator, DatagramEvent, Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig,
    TransportConfig, ValidationTokenConfig, VarInt,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::crypto::{QuicCrypto, SeededKey};
use crate::deadlines::{Deadline, Deadlines};
use crate::identity::PeerId;
use crate::table::Table;

use congestion::PathByPath;
pub use data::{DatagramFault, OwnedStream};
use streams::Streams;
pub use streams::{OwnedChange, ReadStream, StreamFault};
pub(crate) use streams::{RequestId, Sizes, StreamEvent, StreamRef};

/// Both sides ping after this much silence. A ping without an answer is repeated, the first times sooner than after 1, 2
/// and 4 s: QUIC's probe timeout begins at two round trips and doubles.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A connection is dead when this long after the first unanswered packet no answer has come: with the silence before a
/// ping, a dead peer is noticed within 30 s.
const UNANSWERED: Duration = Duration::from_secs(14);
/// QUIC's own limit runs when nothing is asked, too, and so has to be longer than the silence between pings.
const IDLE: Duration = Duration::from_secs(30);
/// A connection attempt from a peer, this soon after our own has succeeded, is the loser of two that crossed.
const CROSSING: Duration = Duration::from_secs(3);
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// The code of a connection that is closed because it does not work.
const BROKEN: u32 = 2;
const CONNECTION_ID_LENGTH: usize = 8;
/// Requests that a peer may have open at once.
const REQUESTS: u32 = 16;
const MAX_STREAMS: usize = 1024;
/// Bytes of the owner's datagrams that wait to be sent; older ones give way.
const DATAGRAMS_TO_SEND: usize = 256 << 10;

/// What the connections tell the node.
#[derive(Debug)]
pub(crate) enum QuicEvent {
    /// Established, and the peer has proven its ID.
    Connected(PeerId),
    /// Gone.
    Lost(PeerId, Loss),
    /// Something on a stream.
    Stream(PeerId, StreamEvent),
    /// Something about an owners' stream.
    Owned(OwnedStream, OwnedChange),
    /// A datagram for the owner.
    Datagram(PeerId, Bytes),
}

impl QuicEvent {
    /// Whether it is of the owners' data only.
    pub fn is_data(&self) -> bool {
        match self {
            Self::Stream(_, event) => matches!(event, StreamEvent::Message(_) | StreamEvent::Delivered(_)),
            Self::Owned(..) | Self::Datagram(..) => true,
            Self::Connected(_) | Self::Lost(..) => false,
        }
    }
}

/// Why a connection is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The other side has ended it, as it said.
    Ended(String),
    /// The peer has started anew and knows nothing of it.
    BegunAnew,
    /// It broke: nothing came for too long, or what came was wrong.
    Broken(String),
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended(reason) | Self::Broken(reason) => f.write_str(reason),
            Self::BegunAnew => f.write_str("the peer has begun anew"),
        }
    }
}

/// A QUIC packet for a peer.
pub(crate) struct Packet {
    pub peer: PeerId,
    pub payload: Vec<u8>,
    /// Whether the peer will answer it if it comes; an acknowledgement alone it does not.
    pub asks: bool,
}

struct Slot {
    connection: Connection,
    peer: PeerId,
    streams: Streams,
    established: Option<Instant>,
    deadline: Deadline,
    /// Frames sent that ask for an acknowledgement.
    asked: u64,
    /// Acknowledgements that came.
    answers: u64,
    /// When the first packet was sent that is not acknowledged.
    unanswered: Option<Instant>,
    /// Tells this connection from others with the same peer.
    number: u64,
    /// Whether it may have packets to write.
    is_unwritten: bool,
}

/// Connections by their handles, which are small numbers that are used again.
#[derive(Default)]
struct Slots(Vec<Option<Box<Slot>>>);

impl Slots {
    fn get(&self, handle: ConnectionHandle) -> Option<&Slot> {
        self.0.get(handle.0)?.as_deref()
    }

    fn get_mut(&mut self, handle: ConnectionHandle) -> Option<&mut Slot> {
        self.0.get_mut(handle.0)?.as_deref_mut()
    }

    fn insert(&mut self, handle: ConnectionHandle, slot: Slot) {
        if self.0.len() <= handle.0 {
            self.0.resize_with(handle.0 + 1, || None);
        }
        self.0[handle.0] = Some(Box::new(slot));
    }

    fn remove(&mut self, handle: ConnectionHandle) {
        if let Some(slot) = self.0.get_mut(handle.0) {
            *slot = None;
        }
    }

    fn handles(&self) -> Vec<ConnectionHandle> {
        let held = self.0.iter().enumerate().filter(|(_, slot)| slot.is_some());
        held.map(|(at, _)| ConnectionHandle(at)).collect()
    }
}

/// A connection as a snapshot shows it. Times are microseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionState {
    begun_by: &'static str,
    established: Option<i64>,
    rtt: u64,
    window: u64,
    packets_sent: u64,
    packets_lost: u64,
}

/// What is held for each connection.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub sizes: Sizes,
    /// Bytes of datagrams that wait for the owner; 0 refuses them.
    pub datagrams: usize,
}

/// All connections of a node.
pub(crate) struct Quic {
    own: PeerId,
    endpoint: Endpoint,
    client: ClientConfig,
    server: ServerConfig,
    crypto: Arc<dyn QuicCrypto>,
    slots: Slots,
    deadlines: Deadlines<ConnectionHandle>,
    /// The one connection of each peer that counts; others are on their way out.
    current: Table<PeerId, ConnectionHandle>,
    /// Connections that may have packets to write: as late as can be, so that an answer and the acknowledgement of what is
    /// answered go in one.
    unwritten: Vec<ConnectionHandle>,
    /// Where a packet is written, before it is known how long it is.
    scratch: Vec<u8>,
    transmits: VecDeque<Packet>,
    events: VecDeque<QuicEvent>,
    settings: Settings,
    /// Connections so far.
    count: u64,
}

impl Quic {
    pub fn new(
        own: PeerId,
        crypto: Arc<dyn QuicCrypto>,
        rng: &mut StdRng,
        hashes: FixedState,
        settings: &Settings,
    ) -> Self {
        let mut config = EndpointConfig::new(Arc::new(SeededKey::new(rng.random())));
        let cid_seed: [u8; 32] = rng.random();
        config
            .grease_quic_bit(false)
            .rng_seed(Some(rng.random()))
            .cid_generator(move || Box::new(SeededCids(StdRng::from_seed(cid_seed))));

        let mut server = ServerConfig::new(crypto.server(), Arc::new(SeededKey::new(rng.random())));
        let mut no_tokens = ValidationTokenConfig::default();
        no_tokens.sent(0);
        server.migration(false).validation_token_config(no_tokens).max_incoming(256);

        let mut client = ClientConfig::new(crypto.client());
        let initial_ids = Mutex::new(SeededCids(StdRng::from_seed(rng.random())));
        client.initial_dst_cid_provider(Arc::new(move || {
            let mut ids = initial_ids.lock().unwrap_or_else(|broken| broken.into_inner());
            ids.generate_cid()
        }));

        Self {
            own,
            endpoint: Endpoint::new(Arc::new(config), Some(Arc::new(server.clone())), false, None),
            client,
            server,
            crypto,
            slots: Slots::default(),
            deadlines: Deadlines::new(),
            current: Table::with_hasher(hashes),
            unwritten: Vec::new(),
            scratch: Vec::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            settings: *settings,
            count: 0,
        }
    }

    /// Begins a connection to `peer`, unless there is one already.
    pub fn connect(&mut self, now: Instant, peer: PeerId) {
        if self.current.contains_key(&peer) {
            return;
        }
        let address = address(&peer);
        let name = self.crypto.server_name(&peer);
        let mut client = self.client.clone();
        client.transport_config(Arc::new(transport(&self.settings)));
        match self.endpoint.connect(now, client, address, &name) {
            Ok((handle, connection)) => self.install(now, handle, connection, peer),
            Err(error) => {
                let reason = format!("cannot begin a QUIC connection: {error}");
                self.events.push_back(QuicEvent::Lost(peer, Loss::Broken(reason)));
            }
        }
    }

    /// Takes a QUIC packet that came over a path of `peer`; whether it acknowledges something.
    pub fn handle_datagram(&mut self, now: Instant, peer: PeerId, packet: &[u8]) -> bool {
        let address = address(&peer);
        let mut response = Vec::new();
        let data = BytesMut::from(packet);
        match self.endpoint.handle(now, address, None, None, data, &mut response) {
            // A packet counts for the peer's own connections only.
            Some(DatagramEvent::ConnectionEvent(handle, event))
                if self.slots.get(handle).is_some_and(|slot| slot.peer == peer) =>
            {
                return self.connection_event(now, handle, event);
            }
            Some(DatagramEvent::ConnectionEvent(..)) | None => {}
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.handle_incoming(now, peer, incoming, &mut response);
            }
            Some(DatagramEvent::Response(transmit)) => {
                response.truncate(transmit.size);
                self.transmits.push_back(Packet { peer, payload: response, asks: false });
            }
        }
        false
    }

    /// Both dialled: the connection that the smaller ID began stays. A new one from a peer that has one already means
    /// that the peer has started anew.
    fn handle_incoming(&mut self, now: Instant, peer: PeerId, incoming: Incoming, response: &mut Vec<u8>) {
        let current = self.current.get(&peer).and_then(|&handle| self.slots.get(handle));
        let dialled = current.is_some_and(|slot| {
            slot.connection.side().is_client() && slot.established.is_none_or(|since| now < since + CROSSING)
        });
        if dialled && self.own < peer {
            self.endpoint.ignore(incoming);
            return;
        }
        let mut server = self.server.clone();
        server.transport_config(Arc::new(transport(&self.settings)));
        match self.endpoint.accept(incoming, now, response, Some(Arc::new(server))) {
            Ok((handle, connection)) => {
                if let Some(old) = self.current.remove(&peer) {
                    if self.slots.get(old).is_some_and(|slot| slot.established.is_some()) {
                        self.events.push_back(QuicEvent::Lost(peer, Loss::BegunAnew));
                    }
                    self.abandon(now, old, b"superseded");
                }
                self.install(now, handle, connection, peer);
            }
            Err(error) => {
                if let Some(transmit) = error.response {
                    response.truncate(transmit.size);
                    self.transmits.push_back(Packet { peer, payload: std::mem::take(response), asks: false });
                }
            }
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        for handle in self.deadlines.due(now) {
            let Some(slot) = self.slots.get_mut(handle) else {
                continue;
            };
            slot.connection.handle_timeout(now);
            let peer = slot.peer;
            let is_dead = slot.unanswered.is_some_and(|since| since + UNANSWERED <= now);
            self.drive(now, handle);
            if is_dead {
                self.lose(now, handle, peer);
            }
        }
    }

    /// Gives up a connection on which nothing is answered.
    fn lose(&mut self, now: Instant, handle: ConnectionHandle, peer: PeerId) {
        if let Some(slot) = self.slots.get_mut(handle) {
            slot.unanswered = None;
        }
        if self.current.get(&peer) == Some(&handle) {
            self.current.remove(&peer);
            self.events.push_back(QuicEvent::Lost(peer, Loss::Broken("timed out".to_owned())));
        }
        self.abandon(now, handle, b"timed out");
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first()
    }

    /// Whether there may be packets that are not written or not taken.
    pub fn has_packets(&self) -> bool {
        !self.unwritten.is_empty() || !self.transmits.is_empty()
    }

    /// Writes the packets of all that was done since.
    pub fn write(&mut self, now: Instant) {
        let mut unwritten = std::mem::take(&mut self.unwritten);
        for handle in unwritten.drain(..) {
            self.write_packets(now, handle);
        }
        // Kept for its memory.
        self.unwritten = unwritten;
    }

    /// The next packet.
    pub fn poll_transmit(&mut self) -> Option<Packet> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<QuicEvent> {
        self.events.pop_front()
    }

    /// Tells the connection that its packets take another way from now on.
    pub fn path_changed(&mut self, now: Instant, peer: &PeerId) {
        if let Some((handle, slot)) = self.slot(peer) {
            slot.connection.path_changed(now);
            // The new path's round trip time is known one ping later. Without it a first stall would last 0.3 s, and
            // stalls come: quinn-proto holds acknowledgements back while its window is full, so two sides that both
            // begin to send much wait for each other until a probe timeout.
            slot.connection.ping();
            self.drive(now, handle);
        }
    }

    /// Asks `peer` for a sign of life.
    pub fn ping(&mut self, now: Instant, peer: &PeerId) {
        if let Some((handle, slot)) = self.slot(peer) {
            slot.connection.ping();
            self.drive(now, handle);
        }
    }

    /// Whether there is an established connection with `peer`.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.current
            .get(peer)
            .and_then(|&handle| self.slots.get(handle))
            .is_some_and(|slot| slot.established.is_some())
    }

    /// Whether there is a connection with `peer`, if only a beginning one.
    pub fn has_connection(&self, peer: &PeerId) -> bool {
        self.current.contains_key(peer)
    }

    /// Whether `peer` began the connection that there is with it.
    pub fn is_begun_by_peer(&self, peer: &PeerId) -> bool {
        self.current
            .get(peer)
            .and_then(|&handle| self.slots.get(handle))
            .is_some_and(|slot| slot.connection.side().is_server())
    }

    /// What connections are protected with.
    pub fn crypto(&self) -> &dyn QuicCrypto {
        self.crypto.as_ref()
    }

    /// The smoothed round trip time to `peer`.
    pub fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        let slot = self.slots.get(*self.current.get(peer)?)?;
        slot.established.map(|_| slot.connection.rtt())
    }

    /// The connection with `peer` as a snapshot shows it.
    pub fn state(&self, now: Instant, peer: &PeerId) -> Option<ConnectionState> {
        let slot = self.slots.get(*self.current.get(peer)?)?;
        let stats = slot.connection.stats();
        Some(ConnectionState {
            begun_by: if slot.connection.side().is_client() { "us" } else { "peer" },
            established: slot.established.map(|at| -(now.saturating_duration_since(at).as_micros() as i64)),
            rtt: stats.path.rtt.as_micros() as u64,
            window: stats.path.cwnd,
            packets_sent: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
        })
    }

    /// Ends the connection with `peer`.
    pub fn close(&mut self, now: Instant, peer: &PeerId, reason: &'static [u8]) {
        if let Some(handle) = self.current.remove(peer) {
            self.abandon(now, handle, reason);
        }
    }

    /// Drops the connection with `peer` as lost, before QUIC itself would.
    pub fn give_up(&mut self, now: Instant, peer: &PeerId, loss: Loss) {
        if let Some(handle) = self.current.remove(peer) {
            self.events.push_back(QuicEvent::Lost(*peer, loss));
            self.abandon(now, handle, b"given up");
        }
    }

    /// Ends all connections.
    pub fn close_all(&mut self, now: Instant, reason: &'static [u8]) {
        self.current.clear();
        for handle in self.slots.handles() {
            self.abandon(now, handle, reason);
        }
    }

    /// Says something that has no answer.
    pub fn notify(&mut self, now: Instant, peer: &PeerId, notice: Vec<u8>) {
        if let Some((handle, slot)) = self.slot(peer) {
            slot.streams.notify(&mut slot.connection, notice);
            self.drive(now, handle);
        }
    }

    /// Sends a message of our owner; false without a connection.
    pub fn send_message(&mut self, now: Instant, peer: &PeerId, data: Bytes, tag: u64) -> bool {
        let Some((handle, slot)) = self.slot(peer) else {
            return false;
        };
        slot.streams.send_message(&mut slot.connection, data, tag);
        self.drive(now, handle);
        true
    }

    /// Asks something; the answer comes as an event with the same number.
    pub fn request(&mut self, now: Instant, peer: &PeerId, body: Vec<u8>) -> Option<RequestId> {
        let (handle, slot) = self.slot(peer)?;
        let id = slot.streams.request(&mut slot.connection, body);
        self.drive(now, handle);
        Some(id)
    }

    /// Answers a request.
    pub fn respond(&mut self, now: Instant, peer: &PeerId, to: StreamRef, body: Vec<u8>) {
        if let Some((handle, slot)) = self.slot(peer) {
            slot.streams.respond(&mut slot.connection, to, body);
            self.drive(now, handle);
        }
    }

    fn slot(&mut self, peer: &PeerId) -> Option<(ConnectionHandle, &mut Slot)> {
        let handle = *self.current.get(peer)?;
        Some((handle, self.slots.get_mut(handle)?))
    }

    fn install(&mut self, now: Instant, handle: ConnectionHandle, connection: Connection, peer: PeerId) {
        self.count += 1;
        self.slots.insert(
            handle,
            Slot {
                connection,
                peer,
                streams: Streams::new(self.settings.sizes),
                established: None,
                deadline: Deadline::default(),
                asked: 0,
                answers: 0,
                unanswered: None,
                number: self.count,
                is_unwritten: false,
            },
        );
        self.current.insert(peer, handle);
        self.drive(now, handle);
    }

    fn abandon(&mut self, now: Instant, handle: ConnectionHandle, reason: &'static [u8]) {
        if let Some(slot) = self.slots.get_mut(handle) {
            // Only a goodbye says that the connection is not wanted any more.
            let code = match reason {
                b"superseded" | b"forgotten" | b"timed out" => BROKEN,
                _ => 0,
            };
            slot.connection.close(now, VarInt::from_u32(code), Bytes::from_static(reason));
            self.drive(now, handle);
            // Soon nobody may know the way to the peer.
            self.write_packets(now, handle);
        }
    }

    fn connection_event(&mut self, now: Instant, handle: ConnectionHandle, event: ConnectionEvent) -> bool {
        let Some(slot) = self.slots.get_mut(handle) else {
            return false;
        };
        slot.connection.handle_event(event);
        let answers = slot.connection.stats().frame_rx.acks;
        let is_answer = std::mem::replace(&mut slot.answers, answers) != answers;
        if is_answer {
            slot.unanswered = None;
        }
        self.drive(now, handle);
        is_answer
    }

    /// Lets a connection that was touched say what it has to say. Its packets are written later.
    fn drive(&mut self, now: Instant, handle: ConnectionHandle) {
        let Some(slot) = self.slots.get_mut(handle) else {
            return;
        };
        if !std::mem::replace(&mut slot.is_unwritten, true) {
            self.unwritten.push(handle);
        }
        let is_current = self.current.get(&slot.peer) == Some(&handle);
        let peer = slot.peer;
        let mut lost = None;
        while let Some(event) = slot.connection.poll() {
            match event {
                quinn_proto::Event::Connected => match self.crypto.peer(slot.connection.crypto_session()) {
                    Some(proven) if proven == peer => {
                        slot.established = Some(now);
                        if is_current {
                            self.events.push_back(QuicEvent::Connected(peer));
                        }
                    }
                    _ => {
                        let reason = Bytes::from_static(b"not the peer that was expected");
                        slot.connection.close(now, VarInt::from_u32(1), reason);
                        let reason = "the other side is not the peer it should be";
                        lost = Some(Loss::Broken(reason.to_owned()));
                    }
                },
                quinn_proto::Event::ConnectionLost { reason } => {
                    lost.get_or_insert(loss(&reason));
                }
                quinn_proto::Event::Stream(event) if slot.established.is_some() => {
                    slot.streams.handle_event(&mut slot.connection, event);
                }
                quinn_proto::Event::DatagramReceived if slot.established.is_some() => {
                    while let Some(data) = slot.connection.datagrams().recv() {
                        if is_current {
                            self.events.push_back(QuicEvent::Datagram(peer, data));
                        }
                    }
                }
                _ => {}
            }
        }
        while let Some(event) = slot.streams.poll_event() {
            if is_current {
                self.events.push_back(match event {
                    StreamEvent::Owned(id, change) => {
                        QuicEvent::Owned(OwnedStream { peer, connection: slot.number, id }, change)
                    }
                    event => QuicEvent::Stream(peer, event),
                });
            }
        }
        if let Some(reason) = lost
            && is_current
        {
            self.write_packets(now, handle);
            self.current.remove(&peer);
            self.events.push_back(QuicEvent::Lost(peer, reason));
        }
    }

    /// Writes the packets of a connection, and notes when it wants attention.
    fn write_packets(&mut self, now: Instant, handle: ConnectionHandle) {
        let Some(slot) = self.slots.get_mut(handle).filter(|slot| slot.is_unwritten) else {
            return;
        };
        let peer = slot.peer;
        loop {
            while let Some(transmit) = slot.connection.poll_transmit(now, 1, &mut self.scratch) {
                let payload = self.scratch.get(..transmit.size).unwrap_or_default().to_vec();
                let asked = frames_that_ask(&slot.connection);
                let asks = std::mem::replace(&mut slot.asked, asked) != asked;
                if asks {
                    slot.unanswered.get_or_insert(now);
                }
                self.transmits.push_back(Packet { peer, payload, asks });
                self.scratch.clear();
            }
            let mut quiet = true;
            while let Some(event) = slot.connection.poll_endpoint_events() {
                quiet = false;
                if let Some(answer) = self.endpoint.handle_event(handle, event) {
                    slot.connection.handle_event(answer);
                }
            }
            if quiet {
                break;
            }
        }
        slot.is_unwritten = false;
        let drained = slot.connection.is_drained();
        let dead = slot.unanswered.map(|since| since + UNANSWERED);
        let timeout = slot.connection.poll_timeout().into_iter().chain(dead).min().filter(|_| !drained);
        self.deadlines.change(handle, &mut slot.deadline, timeout);
        if drained {
            self.slots.remove(handle);
        }
    }
}

/// A packet is taken for lost when so many have arrived that were sent after it.
const OVERTAKEN: u32 = 32;

/// How one connection of ours behaves; its congestion control knows it from others.
fn transport(settings: &Settings) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // On lines where packets overtake each other three of them are soon past one that is not lost. What is lost is noticed by the
    // time that passes as well, an eighth of a round trip later (RFC 9002, section 6.1.2).
    transport.packet_threshold(OVERTAKEN);
    transport
        .congestion_controller_factory(Arc::new(PathByPath::default()))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(Some(KEEPALIVE))
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(
            REQUESTS + settings.sizes.streams.min(MAX_STREAMS) as u32,
        ))
        .max_concurrent_uni_streams(VarInt::from_u32(64))
        .datagram_receive_buffer_size((settings.datagrams > 0).then_some(settings.datagrams))
        .datagram_send_buffer_size(DATAGRAMS_TO_SEND);
    transport
}

fn loss(reason: &ConnectionError) -> Loss {
    match reason {
        ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from_u32(BROKEN) => {
            Loss::Broken(reason.to_string())
        }
        ConnectionError::ApplicationClosed(_) => Loss::Ended(reason.to_string()),
        ConnectionError::Reset => Loss::BegunAnew,
        _ => Loss::Broken(reason.to_string()),
    }
}

/// Frames that a connection has sent and that are acknowledged when they come: all but acknowledgements, padding and the
/// closing.
fn frames_that_ask(connection: &Connection) -> u64 {
    let sent = connection.stats().frame_tx;
    sent.stream
        + sent.ping
        + sent.crypto
        + sent.immediate_ack
        + sent.ack_frequency
        + sent.datagram
        + u64::from(sent.handshake_done)
        + sent.max_data
        + sent.max_stream_data
        + sent.max_streams_bidi
        + sent.max_streams_uni
        + sent.data_blocked
        + sent.stream_data_blocked
        + sent.streams_blocked_bidi
        + sent.streams_blocked_uni
        + sent.new_connection_id
        + sent.new_token
        + sent.path_challenge
        + sent.path_response
        + sent.reset_stream
        + sent.retire_connection_id
        + sent.stop_sending
}

/// The made-up address of `peer`: what of its ID has room in one.
fn address(peer: &PeerId) -> SocketAddr {
    let mut octets = [0xfd; 16];
    octets[1..].copy_from_slice(&peer.as_bytes()[..15]);
    SocketAddr::from((Ipv6Addr::from(octets), 1))
}

/// Connection IDs from the node's seed.
struct SeededCids(StdRng);

impl ConnectionIdGenerator for SeededCids {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.random::<[u8; CONNECTION_ID_LENGTH]>())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
