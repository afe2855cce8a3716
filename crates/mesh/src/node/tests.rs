//! Whatever members of the mesh say, in whatever order: nothing panics, and nothing grows without bound.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::announce::{Passed, encoded};
use crate::config::{Bootstrap, Config, Service};
use crate::control::{Notice, Reply, Request};
use crate::coordination::{Coordination, Predicted, Side};
use crate::crypto::RustlsCrypto;
use crate::event::Kind;
use crate::identity::{Identity, PeerId};
use crate::nat::{Mapping, NatClass};
use crate::net::{Path, SocketId};
use crate::probe::{Probe, ProbeAnswer, ProbeEcho, Token};
use crate::quic::StreamRef;
use crate::relay::{SessionId, frame};
use crate::wire::Kind as DatagramKind;

use super::{Node, Pending};

const MEMBERS: u8 = 4;

/// Something that a member says, or that happens.
#[derive(Debug, Clone)]
enum Deed {
    Datagram(DatagramKind, Vec<u8>),
    /// What a coordinator of ours says, as it is after all checks of who says it.
    Coordinated(Vec<u8>),
    Frame(Vec<u8>),
    Stun(Vec<u8>),
    Request(Vec<u8>),
    Reply(u8, Vec<u8>),
    Notice(Vec<u8>),
    Connect(u8),
    Wait(u64),
}

fn member(number: u8) -> PeerId {
    Identity::from_seed(&[number % MEMBERS + 1; 32]).id()
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, number % MEMBERS + 1], 4400 + u16::from(number / 64)))
}

fn peers() -> impl Strategy<Value = PeerId> {
    (0..MEMBERS).prop_map(member)
}

fn tokens() -> impl Strategy<Value = Token> {
    prop_oneof![select(vec![[1; 16], [2; 16]]), any::<Token>()]
}

fn endpoints() -> impl Strategy<Value = SocketAddr> {
    let any_at_all = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    prop_oneof![3 => any::<u8>().prop_map(address), 1 => any_at_all]
}

fn sides() -> impl Strategy<Value = Side> {
    use NatClass::*;
    let class = select(vec![Public, FullCone, AddrRestrict, PortRestrict, Symmetric, Unknown]);
    let predicted = proptest::option::of(any::<(u16, i32)>());
    (class, any::<(bool, bool)>(), predicted, vec(endpoints(), 0..12)).prop_map(
        |(class, (birthday, prediction), predicted, candidates)| Side {
            class,
            mapping: Mapping::Unknown,
            birthday,
            prediction,
            predicted: predicted.map(|(port, delta)| Predicted { port, delta }),
            candidates,
        },
    )
}

fn coordinations() -> impl Strategy<Value = Coordination> {
    let parts = (tokens(), peers(), endpoints(), sides(), any::<u32>());
    (0..5, parts).prop_map(|(which, (transaction, peer, endpoint, side, wait))| match which {
        0 => Coordination::Ask { transaction, target: peer, side },
        1 => Coordination::Call { transaction, asker: peer, endpoint, side, wait },
        2 => Coordination::Called { transaction, asker: peer, side },
        3 => Coordination::Answer { transaction, target: peer, endpoint, side },
        _ => Coordination::Refused { transaction, target: peer },
    })
}

fn datagrams() -> impl Strategy<Value = Deed> {
    use DatagramKind as K;
    let probe =
        tokens().prop_map(|transaction| (K::Probe, encoded(&Probe { transaction, padding: [0; 24] })));
    let answer = (tokens(), endpoints(), tokens()).prop_map(|(transaction, observed, nonce)| {
        (K::ProbeAnswer, encoded(&ProbeAnswer { transaction, observed, nonce }))
    });
    let echo = (tokens(), tokens())
        .prop_map(|(transaction, nonce)| (K::ProbeEcho, encoded(&ProbeEcho { transaction, nonce })));
    let coordinate = coordinations().prop_map(|message| (K::Coordinate, encoded(&message)));
    let junk = (select(vec![K::Probe, K::ProbeAnswer, K::ProbeEcho, K::Coordinate, K::Lookup]), junk());
    prop_oneof![probe, answer, echo, coordinate, junk].prop_map(|(kind, body)| Deed::Datagram(kind, body))
}

fn junk() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..80)
}

fn facts() -> impl Strategy<Value = Vec<Passed>> {
    let fact = (any::<u64>(), any::<u8>(), junk());
    vec(fact.prop_map(|(age, hops, signed)| Passed { age, hops, signed }), 0..4)
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        junk().prop_map(|signed| encoded(&Request::Announce { signed })),
        peers().prop_map(|peer| encoded(&Request::Lookup { peer })),
        peers().prop_map(|peer| encoded(&Request::OpenSession { peer })),
        (any::<u64>(), peers())
            .prop_map(|(session, peer)| encoded(&Request::Offer { session: SessionId(session), peer })),
        peers().prop_map(|peer| encoded(&Request::Acquainted { peer })),
        junk(),
    ]
}

fn replies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (junk(), proptest::option::of(endpoints()))
            .prop_map(|(signed, observed)| encoded(&Reply::Found { signed, observed })),
        any::<u64>().prop_map(|session| encoded(&Reply::Session {
            session: SessionId(session),
            load: Default::default()
        })),
        (endpoints(), any::<u64>())
            .prop_map(|(observed, round_trip)| encoded(&Reply::Acquainted { observed, round_trip })),
        facts().prop_map(|facts| encoded(&Reply::Facts { facts })),
        Just(encoded(&Reply::Accepted)),
        junk(),
    ]
}

fn notices() -> impl Strategy<Value = Vec<u8>> {
    let kind = select(vec![Kind::Direct, Kind::Punch, Kind::Relay]);
    prop_oneof![
        Just(encoded(&Notice::Contact)),
        kind.prop_map(|kind| encoded(&Notice::Settled { kind })),
        any::<u64>().prop_map(|session| encoded(&Notice::SessionClosed { session: SessionId(session) })),
        any::<u64>().prop_map(|session| encoded(&Notice::CloseSession { session: SessionId(session) })),
        (peers(), any::<bool>(), any::<u64>())
            .prop_map(|(target, success, probes)| encoded(&Notice::Outcome { target, success, probes })),
        facts().prop_map(|facts| encoded(&Notice::Facts { facts })),
        any::<u8>().prop_map(|bits| encoded(&Notice::Horizon { bits })),
        junk(),
    ]
}

fn deeds() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => datagrams(),
        4 => coordinations().prop_map(|message| Deed::Coordinated(encoded(&message))),
        1 => (any::<u64>(), junk()).prop_map(|(session, packet)| Deed::Frame(frame(SessionId(session), &packet))),
        1 => junk().prop_map(Deed::Stun),
        2 => requests().prop_map(Deed::Request),
        2 => (0..4u8, replies()).prop_map(|(pending, reply)| Deed::Reply(pending, reply)),
        2 => notices().prop_map(Deed::Notice),
        1 => (0..MEMBERS).prop_map(Deed::Connect),
        3 => (0..3_000u64).prop_map(Deed::Wait),
    ]
}

/// A byte of what is said is another one, or the end is missing, or neither.
fn damaged(mut body: Vec<u8>, damage: Option<(usize, u8, bool)>) -> Vec<u8> {
    if let Some((at, flip, cut)) = damage
        && !body.is_empty()
    {
        let at = at % body.len();
        body[at] ^= flip;
        if cut {
            body.truncate(at);
        }
    }
    body
}

fn node(now: Instant, service: Service) -> Node {
    let identity = Identity::from_seed(&[99; 32]);
    let mut config = Config::new([7; 32], 1);
    config.service = service;
    config.stun = vec![address(3)];
    config.bootstrap = (0..2).map(|n| Bootstrap { id: member(n), address: address(n) }).collect();
    let crypto = Arc::new(RustlsCrypto::new(&identity).expect("TLS"));
    Node::new(now, identity, config, crypto)
}

impl Node {
    fn suffer(
        &mut self,
        now: Instant,
        from: PeerId,
        path: Path,
        deed: Deed,
        damage: Option<(usize, u8, bool)>,
    ) {
        match deed {
            Deed::Datagram(kind, body) => {
                let body = damaged(body, damage);
                self.handle_opened(now, from, path, kind, &body, body.len());
            }
            Deed::Coordinated(body) => {
                if let Ok(message) = minicbor::decode(&damaged(body, damage)) {
                    self.take_coordination(now, from, path, message);
                }
            }
            Deed::Frame(bytes) => {
                self.handle_datagram(now, path.socket, path.remote, &damaged(bytes, damage))
            }
            Deed::Stun(bytes) => self.handle_stun(now, path, &bytes),
            Deed::Request(body) => {
                let request = minicbor::decode(&damaged(body, damage));
                self.handle_request(now, from, StreamRef::any(), request.ok());
            }
            Deed::Reply(pending, body) => {
                let peer = member(pending);
                let pending = match pending {
                    0 => Pending::Announce,
                    1 => Pending::Lookup { peer },
                    2 => Pending::Survey { peer },
                    _ => Pending::Session { peer },
                };
                if let Ok(reply) = minicbor::decode(&damaged(body, damage)) {
                    self.handle_reply(now, from, pending, reply);
                }
            }
            Deed::Notice(body) => {
                if let Ok(notice) = minicbor::decode(&damaged(body, damage)) {
                    self.handle_notice(now, from, notice);
                }
            }
            Deed::Connect(number) => self.connect(now, member(number)),
            Deed::Wait(_) => {}
        }
        self.drive(now);
    }
}

proptest! {
    #[test]
    fn nothing_that_members_say_panics_or_grows(
        serves: bool,
        deeds in vec((0..MEMBERS, 0u32..3, deeds(), proptest::option::weighted(0.2, any::<(usize, u8, bool)>())), 1..60),
    ) {
        let start = Instant::now();
        let mut now = start;
        let service = if serves { Service::Relay { sessions: 5 } } else { Service::None };
        let mut node = node(now, service);
        let (mut sent, mut open) = (0, 0i64);
        for (from, socket, deed, damage) in deeds {
            if let Deed::Wait(millis) = deed {
                let until = now + Duration::from_millis(millis);
                while let Some(due) = node.poll_timeout().filter(|due| *due <= until) {
                    now = now.max(due);
                    node.handle_timeout(now);
                    sent += std::iter::from_fn(|| node.poll_transmit()).count();
                }
                now = until;
            } else {
                let path = Path { socket: SocketId(socket), remote: address(from) };
                node.suffer(now, member(from), path, deed, damage);
            }
            sent += std::iter::from_fn(|| node.poll_transmit()).count();
            while let Some(request) = node.poll_socket() {
                open += if matches!(request, crate::net::SocketRequest::Open(_)) { 1 } else { -1 };
            }
            while node.poll_event().is_some() {}
            // A detection's, four spreads', and one or two of each contact's.
            prop_assert!((0..=1 + 4 * 256 + 3 * i64::from(MEMBERS)).contains(&open), "{open} sockets");
        }
        // Searches send 500 a second together; all else is little.
        let seconds = (now - start).as_secs() as usize;
        prop_assert!(sent < 6_000 + 1_200 * (seconds + 1), "{sent} datagrams in {seconds} s");
    }
}
