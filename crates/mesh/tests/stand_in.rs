//! The stand-in for QUIC's cryptography beside rustls: what must be the same, and what it must refuse.

mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use omerta_mesh_core::{Event, Identity, QuicCrypto};
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint,
    EndpointConfig, ServerConfig, VarInt,
};
use world::nat::{FULL, PORT, PUBLIC, SYMMETRIC};
use world::talk::connected;
use world::{A, B, Crypto, Frame, Setup};

const STEP: Duration = Duration::from_millis(10);

/// One end of a QUIC connection on a wire of its own.
struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    lost: Option<ConnectionError>,
    connected: bool,
}

/// Two ends and all that went between them.
struct Pair {
    now: Instant,
    ends: [End; 2],
    /// Sender and content of each datagram.
    log: Vec<(usize, Vec<u8>)>,
    /// Flips a bit of the datagrams that it says so of.
    damage: fn(usize) -> bool,
    crypto: [Arc<dyn QuicCrypto>; 2],
}

const ADDRESSES: [([u8; 4], u16); 2] = [([10, 0, 0, 1], 1), ([10, 0, 0, 2], 1)];

fn identity(n: usize) -> Identity {
    Identity::from_seed(&[n as u8 + 1; 32])
}

impl Pair {
    /// End 0 calls end 1, which it takes for `sought`.
    fn new(crypto: [Crypto; 2], sought: &Identity) -> Self {
        let now = Instant::now();
        let crypto = [0, 1].map(|n| crypto[n].of(&identity(n), &[n as u8 + 7; 32], None));
        let mut ends = [0, 1].map(|n| {
            let mut config = EndpointConfig::default();
            config.grease_quic_bit(false).rng_seed(Some([n as u8; 32]));
            let server = ServerConfig::with_crypto(crypto[n].server());
            let endpoint = Endpoint::new(Arc::new(config), Some(Arc::new(server)), false, None);
            End { endpoint, connection: None, lost: None, connected: false }
        });
        let name = crypto[0].server_name(&sought.id());
        let client = ClientConfig::new(crypto[0].client());
        let connection = ends[0].endpoint.connect(now, client, SocketAddr::from(ADDRESSES[1]), &name);
        ends[0].connection = Some(connection.expect("begins"));
        Self { now, ends, log: Vec::new(), damage: |_| false, crypto }
    }

    fn of(crypto: Crypto) -> Self {
        Self::new([crypto; 2], &identity(1))
    }

    fn connection(&mut self, end: usize) -> &mut Connection {
        &mut self.ends[end].connection.as_mut().expect("a connection").1
    }

    fn run(&mut self, steps: usize) -> &mut Self {
        for _ in 0..steps {
            let sent: Vec<_> = (0..2).flat_map(|end| self.drain(end)).collect();
            self.now += STEP;
            for (from, mut datagram) in sent {
                self.log.push((from, datagram.clone()));
                if (self.damage)(self.log.len()) {
                    let at = datagram.len() / 2;
                    datagram[at] ^= 1;
                }
                self.deliver(1 - from, SocketAddr::from(ADDRESSES[from]), &datagram);
            }
            for end in &mut self.ends {
                if let Some((_, connection)) = &mut end.connection
                    && connection.poll_timeout().is_some_and(|at| at <= self.now)
                {
                    connection.handle_timeout(self.now);
                }
            }
        }
        self
    }

    fn drain(&mut self, n: usize) -> Vec<(usize, Vec<u8>)> {
        let end = &mut self.ends[n];
        let Some((handle, connection)) = &mut end.connection else {
            return Vec::new();
        };
        while let Some(event) = connection.poll() {
            match event {
                quinn_proto::Event::Connected => end.connected = true,
                quinn_proto::Event::ConnectionLost { reason } => end.lost = Some(reason),
                _ => {}
            }
        }
        let (mut sent, mut buffer) = (Vec::new(), Vec::new());
        while let Some(transmit) = connection.poll_transmit(self.now, 1, &mut buffer) {
            buffer.truncate(transmit.size);
            sent.push((n, std::mem::take(&mut buffer)));
        }
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(answer) = end.endpoint.handle_event(*handle, event) {
                connection.handle_event(answer);
            }
        }
        sent
    }

    fn deliver(&mut self, to: usize, from: SocketAddr, datagram: &[u8]) {
        let (end, mut response) = (&mut self.ends[to], Vec::new());
        match end.endpoint.handle(self.now, from, None, None, BytesMut::from(datagram), &mut response) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                // A damaged first packet begins nothing.
                if let Ok(accepted) = end.endpoint.accept(incoming, self.now, &mut response, None) {
                    end.connection = Some(accepted);
                }
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                self.connection(to).handle_event(event);
            }
            _ => {}
        }
    }

    /// Sender and length of each datagram, without the noise of the sides' own random values.
    fn lengths(&self) -> Vec<(usize, usize)> {
        self.log.iter().map(|(from, datagram)| (*from, datagram.len())).collect()
    }

    fn say(&mut self, end: usize, text: &'static [u8]) {
        let connection = self.connection(end);
        let stream = connection.streams().open(Dir::Uni).expect("a stream");
        let mut stream = connection.send_stream(stream);
        stream.write(text).expect("room");
        stream.finish().expect("open");
    }

    fn heard(&mut self, end: usize) -> Option<Vec<u8>> {
        let connection = self.connection(end);
        let stream = connection.streams().accept(Dir::Uni)?;
        let mut stream = connection.recv_stream(stream);
        let mut chunks = stream.read(true).ok()?;
        let chunk = chunks.next(usize::MAX).ok()??;
        Some(chunk.bytes.to_vec())
    }

    fn peer(&mut self, end: usize) -> Option<omerta_mesh_core::PeerId> {
        let crypto = self.crypto[end].clone();
        crypto.peer(self.connection(end).crypto_session())
    }
}

fn both(run: impl Fn(Crypto) -> Pair) -> [Pair; 2] {
    [run(Crypto::Rustls), run(Crypto::StandIn)]
}

#[test]
fn the_handshake_names_both_sides() {
    let mut pair = Pair::of(Crypto::StandIn);
    pair.run(10);
    assert!(pair.ends.iter().all(|end| end.connected));
    assert_eq!(pair.peer(0), Some(identity(1).id()));
    assert_eq!(pair.peer(1), Some(identity(0).id()));
}

#[test]
fn every_flight_is_as_long_as_with_rustls() {
    let [rustls, stand_in] = both(|crypto| {
        let mut pair = Pair::of(crypto);
        pair.run(10);
        pair.say(0, b"hello");
        pair.run(5);
        pair.connection(0).force_key_update();
        pair.say(0, b"under the next key");
        pair.run(5);
        pair.say(1, b"and back");
        pair.run(5);
        let now = pair.now;
        pair.connection(0).close(now, VarInt::from_u32(3), Bytes::from_static(b"goodbye"));
        pair.run(5);
        let closed = matches!(&pair.ends[1].lost, Some(ConnectionError::ApplicationClosed(_)));
        assert!(closed, "{:?}", pair.ends[1].lost);
        pair
    });
    assert!(stand_in.log.len() > 8, "{:?}", stand_in.lengths());
    assert_eq!(stand_in.lengths(), rustls.lengths());
}

#[test]
fn keys_change_as_often_as_they_are_told_to() {
    let mut pair = Pair::of(Crypto::StandIn);
    pair.run(10);
    for round in 0..6 {
        let from = round % 2;
        pair.connection(from).force_key_update();
        pair.say(from, b"round");
        pair.run(100);
        assert_eq!(pair.heard(1 - from).as_deref(), Some(&b"round"[..]), "round {round}");
    }
    assert!(pair.ends.iter().all(|end| end.lost.is_none()));
}

#[test]
fn a_server_that_is_not_the_one_sought_is_refused_as_in_tls() {
    let [rustls, stand_in] = both(|crypto| {
        let mut pair = Pair::new([crypto; 2], &identity(5));
        pair.run(20);
        assert!(pair.ends.iter().all(|end| !end.connected));
        pair
    });
    assert_eq!(stand_in.lengths(), rustls.lengths());
    for end in [0, 1] {
        let [a, b] = [&rustls, &stand_in].map(|pair| format!("{:?}", pair.ends[end].lost));
        assert_eq!(a, b);
        assert!(a.contains("NotValidForName"), "{a}");
    }
}

/// One in three, in no rhythm that repeats could fall into.
fn is_unlucky(n: usize) -> bool {
    ((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).is_multiple_of(3)
}

#[test]
fn a_damaged_packet_is_dropped_and_said_again() {
    let mut pair = Pair::of(Crypto::StandIn);
    pair.run(10);
    let so_far = pair.log.len();
    pair.damage = is_unlucky;
    let received = |pair: &mut Pair| pair.connection(1).stats().frame_rx.stream;
    for n in 0..20 {
        pair.say(0, b"is this whole?");
        let heard = (0..1000).find_map(|_| pair.run(1).heard(1));
        assert_eq!(heard.as_deref(), Some(&b"is this whole?"[..]), "message {n}");
        pair.run(100);
    }
    let damaged = (so_far + 1..=pair.log.len()).filter(|&n| is_unlucky(n)).count();
    assert!(damaged > 10, "{damaged}");
    assert_eq!(received(&mut pair), 20, "nothing damaged was read");
    assert!(pair.connection(0).stats().path.lost_packets > 0);
}

#[test]
fn a_handshake_survives_damage_too() {
    for nth in [1, 2, 3, 4] {
        let mut pair = Pair::of(Crypto::StandIn);
        pair.damage = [|n| n == 1, |n| n == 2, |n| n == 3, |n| n == 4][nth - 1];
        pair.run(300);
        assert!(pair.ends.iter().all(|end| end.connected && end.lost.is_none()), "datagram {nth}");
    }
}

#[test]
fn a_stand_in_and_a_real_node_never_come_to_a_connection() {
    for crypto in [[Crypto::StandIn, Crypto::Rustls], [Crypto::Rustls, Crypto::StandIn]] {
        let mut pair = Pair::new(crypto, &identity(1));
        pair.run(100);
        assert!(pair.ends.iter().all(|end| !end.connected), "{crypto:?}");
    }
}

/// What two nodes and their relay say to each other in five minutes: attempts, data, silence, more data.
fn conversation(crypto: Crypto, a: world::nat::Profile, b: world::nat::Profile) -> world::World {
    let setup = Setup { crypto, keep_payloads: true, ..Setup::default() };
    let (mut world, _) = connected(&setup, a, b);
    world.send(A, B, vec![1; 100_000]);
    world.send(B, A, vec![2; 100_000]);
    world.run_for(Duration::from_secs(60));
    for n in 0..200 {
        world.send(A, B, vec![3; 100 + n]);
        world.run_for(Duration::from_secs(1));
    }
    world.run_for(Duration::from_secs(40));
    assert_eq!(world.count(A, |event| matches!(event, Event::Sent { .. })), 201);
    world.shutdown(A);
    world.run_for(Duration::from_secs(30));
    world
}

#[test]
fn whole_conversations_of_nodes_look_the_same_from_outside() {
    for (a, b) in [(PUBLIC, PUBLIC), (FULL, PORT), (PORT, PORT), (SYMMETRIC, SYMMETRIC)] {
        let worlds = [Crypto::Rustls, Crypto::StandIn].map(|crypto| conversation(crypto, a, b));
        let [rustls, stand_in] = worlds.map(|world| (world.frames, world.events));
        let pairs = rustls.0.iter().zip(&stand_in.0);
        let differs = pairs.enumerate().find(|(_, (a, b))| a != b);
        let differs: Option<(usize, (&Frame, &Frame))> = differs;
        assert_eq!(differs, None, "{} to {}", a.name, b.name);
        assert_eq!(rustls.0.len(), stand_in.0.len());
        assert_eq!(rustls.1, stand_in.1);
    }
}

#[test]
fn one_seed_gives_the_same_bytes_twice_and_another_seed_others() {
    let [once, twice] = [(), ()].map(|()| conversation(Crypto::StandIn, PORT, PORT).payloads);
    assert!(once.len() > 500);
    assert!(once == twice);
    let setup = Setup { crypto: Crypto::StandIn, keep_payloads: true, seed: 2, ..Setup::default() };
    let (other, _) = connected(&setup, PORT, PORT);
    assert!(other.payloads[..] != once[..other.payloads.len()]);
}
