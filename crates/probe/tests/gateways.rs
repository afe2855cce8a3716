//! The prober against small gateways in memory.

mod way;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use natrig_nat::{
    Filtering, Mapping,
    engine::{Packet, Side},
};
use natrig_probe::{Action, Failed, Prober, Report};
use natrig_stun::{Endpoint, Server};
use way::{Way, fast as plan, v4};

const EIM: Option<Mapping> = Some(Mapping::EndpointIndependent);
const ADM: Option<Mapping> = Some(Mapping::AddressDependent);
const APDM: Option<Mapping> = Some(Mapping::AddressAndPortDependent);

/// A gateway with one host behind it.
struct Gateway {
    mapping: Option<Mapping>,
    filtering: Filtering,
    /// Early packets are confirmed and take the tuple, as on a box with open input.
    poisoned: bool,
    /// Every n-th datagram is lost, either way.
    lose: usize,
    count: usize,
    next: u16,
    ports: HashMap<(SocketAddr, String), SocketAddr>,
    sent: HashSet<(SocketAddr, SocketAddr)>,
    early: HashSet<(SocketAddr, SocketAddr)>,
}

impl Gateway {
    fn new(mapping: Option<Mapping>, filtering: Filtering) -> Self {
        Gateway {
            mapping,
            filtering,
            poisoned: false,
            lose: usize::MAX,
            count: 0,
            next: 20_000,
            ports: HashMap::new(),
            sent: HashSet::new(),
            early: HashSet::new(),
        }
    }

    fn lost(&mut self) -> bool {
        self.count += 1;
        self.count.is_multiple_of(self.lose)
    }

    fn outbound(&mut self, inside: SocketAddr, to: SocketAddr) -> SocketAddr {
        let key = match self.mapping {
            None => return inside,
            Some(Mapping::EndpointIndependent) => String::new(),
            Some(Mapping::AddressDependent) => to.ip().to_string(),
            Some(Mapping::AddressAndPortDependent) => to.to_string(),
        };
        let preserved = SocketAddr::new("192.0.2.1".parse().unwrap(), inside.port());
        let key = if self.early.contains(&(preserved, to)) { to.to_string() } else { key };
        let next = &mut self.next;
        let fresh = self.mapping != EIM || !key.is_empty();
        let outside = *self.ports.entry((inside, key)).or_insert_with(|| {
            *next += 1;
            let port = if fresh { *next } else { inside.port() };
            SocketAddr::new("192.0.2.1".parse().unwrap(), port)
        });
        self.sent.insert((outside, to));
        outside
    }

    fn inbound(&mut self, from: SocketAddr, outside: SocketAddr) -> Option<SocketAddr> {
        let inside = self
            .ports
            .iter()
            .find_map(|((inside, _), port)| (*port == outside).then_some(*inside))
            .or((self.mapping.is_none()).then_some(outside))?;
        let open = self.mapping.is_none()
            || match self.filtering {
                Filtering::EndpointIndependent => true,
                Filtering::AddressDependent => {
                    self.sent.iter().any(|(o, to)| *o == outside && to.ip() == from.ip())
                }
                Filtering::AddressAndPortDependent => self.sent.contains(&(outside, from)),
            };
        if !open && self.poisoned {
            self.early.insert((outside, from));
        }
        open.then_some(inside)
    }
}

impl Way for Gateway {
    fn pass(&mut self, _: Duration, from: Side, packet: Packet) -> Vec<(Side, Packet)> {
        if self.lost() {
            return Vec::new();
        }
        let (source, destination) = (packet.source.into(), packet.destination.into());
        match from {
            Side::Inside => {
                let source = v4(self.outbound(source, destination));
                vec![(Side::Outside, Packet { source, ..packet })]
            }
            Side::Outside => self
                .inbound(source, destination)
                .map(|inside| (Side::Inside, Packet { destination: v4(inside), ..packet }))
                .into_iter()
                .collect(),
        }
    }
}

fn measure(gateway: &mut Gateway) -> Result<Report, Failed> {
    way::measure(plan(7), gateway)
}

fn check(mapping: Option<Mapping>, filtering: Filtering) {
    let report = measure(&mut Gateway::new(mapping, filtering)).unwrap();
    assert_eq!((report.mapping, report.filtering), (mapping, filtering));
    let told = matches!(mapping, None | EIM).then_some(true);
    assert_eq!(report.early_packet_harmless, told, "{mapping:?} {filtering:?}");
}

#[test]
fn every_class_is_told() {
    for mapping in [EIM, ADM, APDM] {
        check(mapping, Filtering::EndpointIndependent);
        check(mapping, Filtering::AddressDependent);
        check(mapping, Filtering::AddressAndPortDependent);
    }
    check(None, Filtering::EndpointIndependent);
}

#[test]
fn a_poisoned_gateway_is_told_by_its_moving_port() {
    let mut gateway = Gateway::new(EIM, Filtering::AddressAndPortDependent);
    gateway.poisoned = true;
    assert_eq!(measure(&mut gateway).unwrap().early_packet_harmless, Some(false));
}

#[test]
fn one_equal_port_by_chance_is_measured_again() {
    let mut gateway = Gateway::new(APDM, Filtering::AddressAndPortDependent);
    let other = SocketAddr::new(plan(7).other.ip(), plan(7).server.port());
    let first = gateway.outbound(plan(7).inside, plan(7).server);
    gateway.ports.insert((plan(7).inside, other.to_string()), first);
    let report = measure(&mut gateway).unwrap();
    assert_eq!(report.mapping, APDM);
}

#[test]
fn lost_datagrams_are_sent_again() {
    let mut gateway = Gateway::new(EIM, Filtering::EndpointIndependent);
    gateway.lose = 4;
    assert_eq!(measure(&mut gateway).unwrap().mapping, EIM);
}

#[test]
fn a_silent_server_is_named() {
    let mut gateway = Gateway::new(EIM, Filtering::EndpointIndependent);
    gateway.lose = 1;
    assert!(matches!(measure(&mut gateway), Err(Failed::Silent { tries: 6, .. })));
}

#[test]
fn a_server_with_one_address_is_refused() {
    let now = Duration::ZERO;
    let mut prober = Prober::new(plan(7), now);
    let server = Server::new(plan(7).server, None);
    while let Some(action) = prober.poll_action() {
        if let Action::Send { socket, datagram, .. } = action {
            let reply = server.answer(Endpoint::default(), plan(7).inside, &datagram).unwrap();
            prober.handle_datagram(now, socket, plan(7).server, &reply.datagram);
        }
    }
    assert!(matches!(prober.outcome(), Some(Err(Failed::Refused { code: 400, .. }))));
}

proptest::proptest! {
    /// Whatever comes, to whichever socket, the prober neither panics nor goes on for ever.
    #[test]
    fn no_input_harms(
        came in proptest::collection::vec((0u16..40, 0u64..9000, proptest::collection::vec(proptest::num::u8::ANY, 0..80), 0u8..4), 0..200),
        seed: u64,
    ) {
        let plan = way::whole(seed);
        let mut now = Duration::ZERO;
        let mut prober = Prober::new(plan, now);
        let mut own: Vec<Vec<u8>> = Vec::new();
        for (socket, wait, mut bytes, kind) in came {
            while let Some(action) = prober.poll_action() {
                if let Action::Send { datagram, .. } = action {
                    own.push(datagram);
                }
            }
            now += Duration::from_millis(wait);
            match kind {
                0 => prober.handle_icmp_error(now, socket, plan.server),
                1 => prober.handle_refusal(now, plan.server, plan.inside),
                // An answer to one of its own, or its own, with some bytes changed.
                2 => if let Some(mut known) = own.get(bytes.len() % own.len().max(1)).cloned() {
                    known[0] = *bytes.first().unwrap_or(&1) & 1;
                    known.append(&mut bytes);
                    prober.handle_datagram(now, socket, plan.other, &known);
                },
                _ => prober.handle_datagram(now, socket, plan.server, &bytes),
            }
            prober.handle_timeout(now);
        }
        for _ in 0..100 {
            match prober.poll_timeout() {
                Some(then) => prober.handle_timeout(then),
                None => break,
            }
        }
        proptest::prop_assert!(prober.outcome().is_some());
    }
}
