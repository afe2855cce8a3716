//! The prober against the NAT engine: every profile is measured to be what it declares.

use std::{
    collections::VecDeque,
    net::{SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use natrig_nat::{
    Engine, Filtering, Mapping, Profile,
    engine::{Addresses, Packet, Side, Verdict},
    profile::{Allocation, Named, Unsolicited},
};
use natrig_probe::{Action, Failed, Plan, Prober, Report};
use natrig_stun::{Endpoint, Server};

/// Gateways behind each other, the host's own first.
struct Chain(Vec<Engine>);

impl Chain {
    fn new(profiles: &[Profile], seed: u64) -> Self {
        let inside = ["10.0.1.0/24", "100.64.0.0/10"];
        let outside = [[100, 64, 0, 1], [192, 0, 2, 1]];
        let last = profiles.len() - 1;
        let engine = |(place, profile): (usize, &Profile)| {
            let outside = if place == last { outside[1] } else { outside[0] };
            let addresses =
                Addresses { outside: vec![outside.into()], inside: inside[place].parse().unwrap() };
            Engine::new(profile.clone(), addresses, seed).unwrap()
        };
        Chain(profiles.iter().enumerate().map(engine).collect())
    }

    fn out(&mut self, now: Duration, packet: Packet) -> Option<Packet> {
        self.0.iter_mut().try_fold(packet, |packet, engine| match engine.outbound(now, packet) {
            Verdict::Forward { to: Side::Outside, packet } => Some(packet),
            _ => None,
        })
    }

    fn back(&mut self, now: Duration, packet: Packet) -> Option<Packet> {
        self.0.iter_mut().rev().try_fold(packet, |packet, engine| match engine.inbound(now, packet) {
            Verdict::Forward { to: Side::Inside, packet } => Some(packet),
            _ => None,
        })
    }
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address}"),
    }
}

fn measure(profiles: &[Profile], seed: u64) -> Result<Report, Failed> {
    let plan = Plan {
        server: "198.51.100.3:3478".parse().unwrap(),
        other: "198.51.100.4:3479".parse().unwrap(),
        inside: "10.0.1.2:61000".parse().unwrap(),
        seed,
    };
    let server = Server::new(plan.server, Some(plan.other));
    let mut chain = Chain::new(profiles, seed);
    let start = Instant::now();
    let mut now = start;
    let mut prober = Prober::new(plan, now);
    let mut inbox = VecDeque::new();
    for _ in 0..1000 {
        while let Some(action) = prober.poll_action() {
            let Action::Send { socket, to, datagram } = action else {
                continue;
            };
            let inside = SocketAddr::new(plan.inside.ip(), plan.inside.port() + u16::from(socket));
            let time = now - start;
            let Some(sent) = chain.out(time, Packet::udp(v4(inside), v4(to))) else {
                continue;
            };
            let at = Endpoint::ALL.into_iter().find(|at| server.address(*at) == Some(to)).unwrap();
            let reply = server.answer(at, sent.source.into(), &datagram).unwrap();
            let from = server.address(reply.from).unwrap();
            if let Some(came) = chain.back(time, Packet::udp(v4(from), v4(reply.to))) {
                assert_eq!(SocketAddr::from(came.destination), inside, "it came to another socket");
                assert_eq!(SocketAddr::from(came.source), from, "the sender is not the true one");
                inbox.push_back((socket, reply.datagram));
            }
        }
        if let Some((socket, datagram)) = inbox.pop_front() {
            now += Duration::from_millis(5);
            prober.handle_datagram(now, socket, &datagram);
        } else if let Some(at) = prober.poll_timeout() {
            now = at;
            prober.handle_timeout(now);
        }
        if let Some(outcome) = prober.outcome() {
            return outcome.clone();
        }
    }
    panic!("the prober does not end");
}

#[test]
fn every_named_profile_is_measured_as_declared() {
    for named in Named::all() {
        let outcome = measure(&named.chain, 5);
        if named.chain.iter().any(|profile| profile.udp_blocked) {
            assert!(matches!(outcome, Err(Failed::Silent { .. })), "{}: {outcome:?}", named.name);
            continue;
        }
        let report = outcome.unwrap_or_else(|failed| panic!("{}: {failed}", named.name));
        assert_eq!((report.mapping, report.filtering), named.composed(), "{}", named.name);
        let told = matches!(report.mapping, None | Some(Mapping::EndpointIndependent));
        let poisoned = named.chain.iter().any(|profile| profile.unsolicited == Unsolicited::Poison);
        assert_eq!(report.early_packet_harmless, told.then_some(!poisoned), "{}", named.name);
    }
}

#[test]
fn every_class_with_every_allocation_is_measured_as_declared() {
    let mappings =
        [Mapping::EndpointIndependent, Mapping::AddressDependent, Mapping::AddressAndPortDependent];
    let filterings =
        [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent];
    let allocations = [
        Allocation::PreservingUntilCollision,
        Allocation::Random,
        Allocation::Sequential { delta: 1 },
        Allocation::Sequential { delta: 2 },
    ];
    for (mapping, filtering, allocation) in mappings.into_iter().flat_map(|mapping| {
        filterings
            .into_iter()
            .flat_map(move |filtering| allocations.map(|allocation| (mapping, filtering, allocation)))
    }) {
        let mut profile = Profile { mapping: Some(mapping), filtering, ..Profile::default() };
        profile.ports.allocation = allocation;
        for seed in 0..20 {
            let report = measure(std::slice::from_ref(&profile), seed).unwrap();
            let measured = (report.mapping, report.filtering);
            assert_eq!(measured, (Some(mapping), filtering), "{allocation:?}, seed {seed}");
        }
    }
}

#[test]
fn a_firewall_without_nat_is_told_from_a_router() {
    for filtering in
        [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent]
    {
        let report = measure(&[Profile { mapping: None, filtering, ..Profile::default() }], 3).unwrap();
        assert_eq!((report.mapping, report.filtering), (None, filtering));
    }
}
