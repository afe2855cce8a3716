//! What holds of every profile and every order of packets.

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natrig_nat::{
    Engine, Filtering, Mapping, Profile,
    engine::{Addresses, Content, IcmpError, Packet, Protocol, Side, TcpFlags, Verdict},
    profile::{Allocation, Block, Hairpin, Limits, Pool, Pooling, PortRange, Refresh, Unsolicited},
};
use proptest::prelude::*;

/// A step of a trace, on small numbers so that things meet.
#[derive(Debug, Clone)]
enum Step {
    Wait(u16),
    Out { host: u8, port: u16, remote: u8, remote_port: u16, content: Content },
    In { remote: u8, remote_port: u16, at: Target, content: Content },
    Rebind,
    Reboot,
}

/// Where a packet from outside goes: to the n-th endpoint that was seen, or anywhere.
#[derive(Debug, Clone)]
enum Target {
    Seen(usize),
    Any(u8, u16),
}

fn content() -> impl Strategy<Value = Content> {
    let flags = any::<[bool; 4]>().prop_map(|[syn, ack, fin, rst]| TcpFlags { syn, ack, fin, rst });
    prop_oneof![
        6 => Just(Content::Udp),
        3 => flags.prop_map(Content::Tcp),
        1 => Just(Content::EchoRequest),
        1 => Just(Content::EchoReply),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let target = prop_oneof![
        9 => any::<usize>().prop_map(Target::Seen),
        1 => (0u8..6, 995u16..1060).prop_map(|(ip, port)| Target::Any(ip, port)),
    ];
    prop_oneof![
        2 => (0u16..50).prop_map(Step::Wait),
        10 => (0u8..6, 1000u16..1006, 0u8..4, 1u16..4, content()).prop_map(
            |(host, port, remote, remote_port, content)| Step::Out { host, port, remote, remote_port, content }
        ),
        10 => (0u8..4, 1u16..4, target, content())
            .prop_map(|(remote, remote_port, at, content)| Step::In { remote, remote_port, at, content }),
        1 => prop_oneof![8 => Just(Step::Wait(1)), 1 => Just(Step::Rebind), 1 => Just(Step::Reboot)],
    ]
}

fn profile() -> impl Strategy<Value = Profile> {
    let behaviour = (
        prop_oneof![
            Just(None),
            Just(Some(Mapping::EndpointIndependent)),
            Just(Some(Mapping::AddressDependent)),
            Just(Some(Mapping::AddressAndPortDependent)),
        ],
        prop_oneof![
            Just(Filtering::EndpointIndependent),
            Just(Filtering::AddressDependent),
            Just(Filtering::AddressAndPortDependent),
        ],
        prop_oneof![Just(Refresh::Both), Just(Refresh::Outbound)],
        prop_oneof![Just(Hairpin::None), Just(Hairpin::InternalSource), Just(Hairpin::ExternalSource)],
        prop_oneof![Just(Unsolicited::Drop), Just(Unsolicited::Reject), Just(Unsolicited::Poison)],
    );
    let allocation = prop_oneof![
        Just(Allocation::Preserving),
        Just(Allocation::PreservingUntilCollision),
        Just(Allocation::Random),
        (1u16..4).prop_map(|delta| Allocation::Sequential { delta }),
    ];
    let block = (1u16..10, 1u16..3).prop_map(|(size, most)| Block { size, most });
    let ports = (allocation, 1u16..60, proptest::option::of(block), any::<bool>(), any::<bool>());
    let rest = (
        1u16..4,
        prop_oneof![Just(Pooling::Paired), Just(Pooling::Arbitrary)],
        proptest::option::of(60u64..200),
        proptest::option::of(1u32..8),
        prop_oneof![Just(5u32), Just(1000)],
    );
    (behaviour, ports, rest).prop_filter_map("contradictory", |(behaviour, ports, rest)| {
        let mut profile = Profile::default();
        (profile.mapping, profile.filtering, profile.refresh, profile.hairpin, profile.unsolicited) =
            behaviour;
        let (allocation, count, block, parity, overload) = ports;
        profile.ports.allocation = allocation;
        profile.ports.range = PortRange::new(1000, 999 + count).ok()?;
        profile.ports.block = block;
        profile.ports.parity = parity;
        profile.ports.overload = overload;
        let (addresses, pooling, lifetime, per_host, flows) = rest;
        profile.pool = Pool { addresses, pooling };
        profile.timers.lifetime = lifetime.map(Duration::from_secs);
        profile.limits = Limits { per_host, mappings: 40, flows };
        if profile.mapping.is_none() {
            // Most of the axes mean nothing then.
            profile.ports = Default::default();
            profile.pool = Pool::default();
            profile.hairpin = Hairpin::None;
            if profile.unsolicited == Unsolicited::Poison {
                profile.unsolicited = Unsolicited::Drop;
            }
        }
        profile.validate().ok()?;
        Some(profile)
    })
}

const INSIDE: [u8; 3] = [10, 0, 0];

fn host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(INSIDE[0], INSIDE[1], INSIDE[2], number + 2)
}

/// Remotes 0 to 2 are outside, 3 is the gateway's first address.
fn remote(number: u8) -> Ipv4Addr {
    if number == 3 { own(1) } else { Ipv4Addr::new(198, 51, 100, number) }
}

fn own(number: u16) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number as u8)
}

fn engine(profile: &Profile, seed: u64) -> Engine {
    let outside = (1..=profile.pool.addresses).map(own).collect();
    Engine::new(profile.clone(), Addresses { outside, inside: "10.0.0.0/24".parse().unwrap() }, seed).unwrap()
}

/// What a slow observer knows: who has which outside endpoint, and whom each was used for.
#[derive(Default)]
struct Oracle {
    /// Remote endpoints an outside one was used for, since it last stood for another inside one.
    used: HashMap<(Protocol, SocketAddrV4), (SocketAddrV4, HashSet<SocketAddrV4>)>,
}

struct Trace {
    engine: Engine,
    oracle: Oracle,
    now: Duration,
    seen: Vec<SocketAddrV4>,
    verdicts: Vec<Verdict>,
}

impl Trace {
    fn run(profile: &Profile, seed: u64, steps: &[Step]) -> Trace {
        let mut trace = Trace {
            engine: engine(profile, seed),
            oracle: Oracle::default(),
            now: Duration::ZERO,
            seen: Vec::new(),
            verdicts: Vec::new(),
        };
        steps.iter().for_each(|step| trace.step(step));
        trace
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(seconds) => {
                self.now += Duration::from_secs((*seconds).into());
                while let Some(refusal) = self.engine.poll(self.now) {
                    assert!(matches!(refusal.content, Content::Error(_)));
                }
            }
            Step::Rebind => self.engine.rebind(self.now),
            Step::Reboot => self.engine.reboot(self.now),
            Step::Out { host: from, port, remote: to, remote_port, content } => {
                let ports = match content {
                    Content::EchoRequest => (*port, 0),
                    Content::EchoReply => (0, *port),
                    _ => (*port, *remote_port),
                };
                let packet = Packet {
                    source: SocketAddrV4::new(host(*from), ports.0),
                    destination: SocketAddrV4::new(remote(*to), ports.1),
                    content: *content,
                };
                self.out(packet);
            }
            Step::In { remote: from, remote_port, at, content } => {
                let to = match at {
                    Target::Seen(index) if !self.seen.is_empty() => self.seen[index % self.seen.len()],
                    Target::Seen(_) => return,
                    Target::Any(ip, port) => SocketAddrV4::new(own((*ip).into()), *port),
                };
                let ports = match content {
                    Content::EchoRequest => (to.port(), 0),
                    Content::EchoReply => (0, to.port()),
                    _ => (*remote_port, to.port()),
                };
                let packet = Packet {
                    source: SocketAddrV4::new(remote(*from), ports.0),
                    destination: SocketAddrV4::new(*to.ip(), ports.1),
                    content: *content,
                };
                self.back(packet);
            }
        }
        self.bounded();
    }

    fn out(&mut self, packet: Packet) {
        let protocol = packet.protocol().unwrap();
        let known = self.engine.outside_of(self.now, protocol, packet.source, packet.destination);
        let verdict = self.engine.outbound(self.now, packet);
        self.verdicts.push(verdict);
        let profile = self.engine.profile().clone();
        let stateless = profile.mapping.is_none() && profile.filtering == Filtering::EndpointIndependent;
        if stateless {
            return;
        }
        let after = self.engine.outside_of(self.now, protocol, packet.source, packet.destination);
        let Some(outside) = after else { return };
        if profile.mapping.is_none() {
            assert_eq!(outside, packet.source);
        }
        if let Some(known) = known {
            let poisoned = profile.unsolicited == Unsolicited::Poison;
            assert!(known == outside || poisoned, "a living mapping moved from {known} to {outside}");
        }
        if let Verdict::Forward { to: Side::Outside, packet: sent } = verdict {
            assert_eq!(sent, Packet { source: outside, ..packet });
            self.seen.push(outside);
        }
        let ports = &profile.ports;
        if profile.mapping.is_some() {
            assert!(ports.range.contains(outside.port()));
            assert!(self.engine.addresses().outside.contains(outside.ip()));
            if ports.parity && protocol != Protocol::Echo {
                assert_eq!(outside.port() % 2, packet.source.port() % 2);
            }
        }
        let used = self.oracle.used.entry((protocol, outside)).or_insert((packet.source, HashSet::new()));
        if used.0 != packet.source && !ports.overload {
            // Another host has it now; the one before must have lost it.
            let (before, _) = std::mem::replace(used, (packet.source, HashSet::new()));
            for remote in self.remotes() {
                let still = self.engine.outside_of(self.now, protocol, before, remote);
                assert_ne!(still, Some(outside), "{before} and {} share {outside}", packet.source);
            }
        }
        let used = self.oracle.used.entry((protocol, outside)).or_insert((packet.source, HashSet::new()));
        // What was dropped on its way out opens nothing; what was turned back may have been dropped on its way in.
        if !matches!(verdict, Verdict::Drop(_)) || packet.destination.ip() == &own(1) {
            used.1.insert(packet.destination);
        }
    }

    fn back(&mut self, packet: Packet) {
        let verdict = self.engine.inbound(self.now, packet);
        self.verdicts.push(verdict);
        let Verdict::Forward { to, packet: passed } = verdict else { return };
        let profile = self.engine.profile();
        assert_eq!(to, Side::Inside);
        assert_eq!(
            (passed.source, passed.content),
            (packet.source, packet.content),
            "the sender is as it was"
        );
        if profile.mapping.is_none() && profile.filtering == Filtering::EndpointIndependent {
            return;
        }
        let protocol = packet.protocol().unwrap();
        let (owner, used) = &self.oracle.used[&(protocol, packet.destination)];
        if !profile.ports.overload {
            assert_eq!(*owner, passed.destination, "it went to another than the endpoint's owner");
        }
        let open = match profile.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => used.iter().any(|remote| remote.ip() == packet.source.ip()),
            Filtering::AddressAndPortDependent => used.contains(&packet.source),
        };
        assert!(open, "{:?} let {} in", profile.filtering, packet.source);
    }

    fn remotes(&self) -> Vec<SocketAddrV4> {
        (0..4).flat_map(|ip| (0..4).map(move |port| SocketAddrV4::new(remote(ip), port))).collect()
    }

    fn bounded(&mut self) {
        let limits = self.engine.profile().limits;
        assert!(self.engine.mappings(self.now) <= limits.mappings as usize);
        assert!(self.engine.flows(self.now) <= limits.flows as usize);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_trace_breaks_a_profile(
        profile in profile(),
        seed: u64,
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let mut trace = Trace::run(&profile, seed, &steps);
        let end = trace.now + Duration::from_secs(100_000);
        prop_assert_eq!((trace.engine.mappings(end), trace.engine.flows(end)), (0, 0));
    }

    #[test]
    fn the_seed_decides(
        profile in profile(),
        seed: u64,
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let verdicts = || Trace::run(&profile, seed, &steps).verdicts;
        prop_assert_eq!(verdicts(), verdicts());
    }

    #[test]
    fn no_packet_makes_it_panic(
        profile in profile(),
        packets in proptest::collection::vec(
            (any::<bool>(), any::<[u8; 12]>(), any::<[u16; 4]>(), any::<(u8, u8)>(), 0u8..3, content(), any::<u64>()),
            0..40,
        ),
    ) {
        let mut engine = engine(&profile, 1);
        for (out, ips, ports, (kind, code), protocol, content, now) in packets {
            // Half of the addresses are ones the gateway knows.
            let ip = |at: usize| match ips[at] % 4 {
                0 => host(ips[at + 1] % 4),
                1 => own(1 + u16::from(ips[at + 1] % 3)),
                _ => Ipv4Addr::new(ips[at], ips[at + 1], ips[at + 2], 1),
            };
            let end = |at: usize| SocketAddrV4::new(ip(at * 3), ports[at]);
            let protocol = [Protocol::Udp, Protocol::Tcp, Protocol::Echo][usize::from(protocol)];
            let error = IcmpError { kind, code, protocol, source: end(2), destination: end(3) };
            let content = if kind % 3 == 0 { Content::Error(error) } else { content };
            let packet = Packet { source: end(0), destination: end(1), content };
            let now = Duration::from_nanos(now);
            if out { engine.outbound(now, packet) } else { engine.inbound(now, packet) };
            engine.poll(now);
        }
    }
}
