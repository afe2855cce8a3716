//! Stories as packets tell them: a birthday punch, a fall back to the relay, a link that loses and breaks.

use std::net::SocketAddrV4;

use natrig_record::{Basis, Column, End, Journey, Leg, Moment, MomentKind, Role, Story, Throughput};

fn end(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

/// A datagram that sets out; its legs follow.
fn sent(at_ms: f64, what: &str, bytes: u32, count: u32) -> Journey {
    Journey { at_ms, what: what.into(), bytes, count, legs: Vec::new(), end: End::Arrived }
}

/// Parts of a journey, one after the other.
trait Way {
    fn leg(self, way: (&str, &str), ends: (&str, &str)) -> Self;
    fn dropped(self, at: &str, why: &str, basis: Basis) -> Self;
}

impl Way for Journey {
    fn leg(mut self, (from, to): (&str, &str), (source, destination): (&str, &str)) -> Self {
        let left_ms = self.legs.last().and_then(|leg| leg.arrived_ms).unwrap_or(self.at_ms);
        self.legs.push(Leg {
            from: from.into(),
            to: Some(to.into()),
            left_ms,
            arrived_ms: Some(left_ms + 0.6),
            source: end(source),
            destination: end(destination),
            frame: 2000 + (self.at_ms * 10.0) as u64 + self.legs.len() as u64,
        });
        self
    }

    fn dropped(mut self, at: &str, why: &str, basis: Basis) -> Self {
        if let Some(leg) = self.legs.last_mut().filter(|leg| leg.to.as_deref() != Some(at)) {
            leg.arrived_ms = None;
        }
        self.end = End::Dropped { at: at.into(), why: why.into(), basis };
        self
    }
}

fn moment(at_ms: f64, machine: Option<&str>, kind: MomentKind, what: &str) -> Moment {
    Moment { at_ms, machine: machine.map(str::to_owned), kind, what: what.into() }
}

fn machines(nat1: &str, nat2: &str) -> Vec<Column> {
    let column = |name: &str, role, detail: &str| Column { name: name.into(), role, detail: detail.into() };
    vec![
        column("peer1", Role::Peer, "1"),
        column("nat1", Role::Gateway, nat1),
        column("relay", Role::Public, ""),
        column("nat2", Role::Gateway, nat2),
        column("peer2", Role::Peer, "2"),
    ]
}

const PEER1: &str = "10.0.1.2:4400";
const PEER2: &str = "10.0.2.2:4400";
const NAT1: &str = "192.168.100.1:4400";
const RELAY: &str = "192.168.100.3:4400";

/// What a probe that meets no mapping is dropped for.
pub const REASON: &str = "APDF: port 33034 had sent nothing to 192.168.100.1:4400";

/// Port-restrict to symmetric: the first probes are dropped on both sides, then one of many meets a port.
pub fn punch() -> Story {
    let guessed = "192.168.100.2:51877";
    let journeys = vec![
        sent(-62.0, "STUN", 48, 5)
            .leg(("peer1", "nat1"), (PEER1, "192.168.100.3:3478"))
            .leg(("nat1", "relay"), (NAT1, "192.168.100.3:3478")),
        sent(0.4, "coordination", 148, 1)
            .leg(("peer1", "nat1"), (PEER1, RELAY))
            .leg(("nat1", "relay"), (NAT1, RELAY)),
        sent(2.1, "coordination", 148, 1)
            .leg(("relay", "nat2"), (RELAY, "192.168.100.2:40117"))
            .leg(("nat2", "peer2"), (RELAY, PEER2)),
        sent(3.0, "probe", 56, 3)
            .leg(("peer1", "nat1"), (PEER1, "192.168.100.2:33034"))
            .leg(("nat1", "nat2"), (NAT1, "192.168.100.2:33034"))
            .dropped("nat2", REASON, Basis::Inferred),
        sent(4.2, "probe", 56, 2)
            .leg(("peer2", "nat2"), (PEER2, NAT1))
            .leg(("nat2", "nat1"), (guessed, NAT1))
            .dropped("nat1", "APDF: port 4400 had sent nothing to 192.168.100.2:51877", Basis::Inferred),
        sent(301.0, "probe", 56, 256)
            .leg(("peer2", "nat2"), (PEER2, NAT1))
            .leg(("nat2", "nat1"), ("192.168.100.2:22410", NAT1))
            .dropped("nat1", "APDF: port 4400 had sent nothing to 192.168.100.2:22410", Basis::Inferred),
        sent(302.2, "probe", 56, 630)
            .leg(("peer1", "nat1"), (PEER1, "192.168.100.2:1511"))
            .leg(("nat1", "nat2"), (NAT1, "192.168.100.2:1511"))
            .dropped("nat2", "no mapping has port 1511", Basis::Observed),
        sent(1752.9, "probe", 56, 1)
            .leg(("peer1", "nat1"), (PEER1, guessed))
            .leg(("nat1", "nat2"), (NAT1, guessed))
            .leg(("nat2", "peer2"), (NAT1, PEER2)),
        sent(1754.1, "probe", 56, 1)
            .leg(("peer2", "nat2"), (PEER2, NAT1))
            .leg(("nat2", "nat1"), (guessed, NAT1))
            .leg(("nat1", "peer1"), (guessed, PEER1)),
        sent(1755.9, "QUIC handshake", 1200, 4)
            .leg(("peer1", "nat1"), (PEER1, guessed))
            .leg(("nat1", "nat2"), (NAT1, guessed))
            .leg(("nat2", "peer2"), (NAT1, PEER2)),
    ];
    use MomentKind::*;
    let moments = vec![
        moment(-94.0, None, Step, "nodes start"),
        moment(
            -1.5,
            Some("nat1"),
            Table,
            "new: udp 10.0.1.2:4400 → 192.168.100.3:4400 as 192.168.100.1:4400",
        ),
        moment(0.0, None, Step, "peer1 is told to connect to peer2"),
        moment(0.3, Some("peer1"), Node, "punchStarted, strategy dial"),
        moment(
            3.1,
            Some("nat1"),
            Table,
            "new: udp 10.0.1.2:4400 → 192.168.100.2:33034 as 192.168.100.1:4400",
        ),
        moment(
            4.3,
            Some("nat2"),
            Table,
            "new: udp 10.0.2.2:4400 → 192.168.100.1:4400 as 192.168.100.2:51877",
        ),
        moment(300.8, Some("peer1"), Node, "punchStarted, strategy birthday"),
        moment(1755.6, Some("peer1"), Path, "direct (birthday)"),
        moment(1756.7, Some("peer2"), Path, "direct (birthday)"),
    ];
    Story {
        origin_ns: 1_767_225_600_094_400_000,
        machines: machines("port-restrict", "symmetric"),
        journeys,
        untold: 0,
        moments,
        carried_ms: Some([1756.2, 1791.2]),
        throughput: Throughput {
            from_ms: 0.0,
            span_ms: 50.0,
            direct_there: (0..36).map(|span| if span == 35 { 262_144 } else { 300 + span * 20 }).collect(),
            direct_back: (0..36).map(|span| if span == 35 { 259_000 } else { 200 }).collect(),
            third: (0..36).map(|span| if span < 2 { 1800 } else { 0 }).collect(),
        },
        latencies_ms: (0..60).map(|n| [1756.0 + f64::from(n) * 0.6, 1.7 + f64::from(n % 7) * 0.09]).collect(),
    }
}

/// Symmetric to symmetric: no probe passes, and the relay forwards.
pub fn relay() -> Story {
    let (nat1, nat2) = ("192.168.100.1:61840", "192.168.100.2:20993");
    let probe = |at| {
        [
            sent(at, "probe", 56, 5)
                .leg(("peer1", "nat1"), (PEER1, "192.168.100.2:33034"))
                .leg(("nat1", "nat2"), ("192.168.100.1:17820", "192.168.100.2:33034"))
                .dropped("nat2", "APDF: port 33034 had sent nothing to 192.168.100.1:17820", Basis::Inferred),
            sent(at + 0.9, "probe", 56, 5)
                .leg(("peer2", "nat2"), (PEER2, "192.168.100.1:54012"))
                .leg(("nat2", "nat1"), ("192.168.100.2:48301", "192.168.100.1:54012"))
                .dropped("nat1", "APDF: port 54012 had sent nothing to 192.168.100.2:48301", Basis::Inferred),
        ]
    };
    let mut journeys: Vec<Journey> = [2.0, 250.0, 750.0].into_iter().flat_map(probe).collect();
    journeys.push(
        sent(1000.4, "data", 1210, 230)
            .leg(("peer1", "nat1"), (PEER1, RELAY))
            .leg(("nat1", "relay"), (nat1, RELAY)),
    );
    journeys.push(
        sent(1001.8, "data", 1210, 230)
            .leg(("relay", "nat2"), (RELAY, nat2))
            .leg(("nat2", "peer2"), (RELAY, PEER2)),
    );
    use MomentKind::*;
    Story {
        origin_ns: 1_767_225_600_094_400_000,
        machines: machines("symmetric", "symmetric"),
        journeys,
        untold: 12,
        moments: vec![
            moment(0.0, None, Step, "peer1 is told to connect to peer2"),
            moment(4.0, Some("peer1"), Path, "relay"),
            moment(4.4, Some("peer2"), Path, "relay"),
            moment(1000.0, Some("peer1"), Node, "punchResult, success false, 15 probes"),
        ],
        carried_ms: Some([1002.0, 1080.0]),
        throughput: Throughput {
            from_ms: 1000.0,
            span_ms: 10.0,
            direct_there: vec![0; 9],
            direct_back: vec![0; 9],
            third: vec![0, 61_000, 74_000, 75_000, 75_000, 75_000, 74_000, 75_000, 21_000],
        },
        latencies_ms: (0..200)
            .map(|n| [1002.0 + f64::from(n) * 0.38, 2.9 + f64::from(n % 11) * 0.21])
            .collect(),
    }
}

/// A link that loses some, is cut, and heals; the path goes to the relay and comes back.
pub fn lossy() -> Story {
    let nat2 = "192.168.100.2:4400";
    let lost = |at: f64| {
        sent(at, "keepalive", 60, 1)
            .leg(("peer1", "nat1"), (PEER1, nat2))
            .leg(("nat1", "nat2"), (NAT1, nat2))
            .dropped("nat1.wan", "loss of 20 %", Basis::Observed)
    };
    let carried = |at: f64| {
        sent(at, "keepalive", 60, 2)
            .leg(("peer1", "nat1"), (PEER1, nat2))
            .leg(("nat1", "nat2"), (NAT1, nat2))
            .leg(("nat2", "peer2"), (NAT1, PEER2))
    };
    let mut journeys = vec![carried(5.0), lost(1005.0), carried(2005.0)];
    journeys.extend((0..3).map(|n| {
        sent(4005.0 + f64::from(n) * 500.0, "data", 1210, 4)
            .leg(("peer1", "nat1"), (PEER1, nat2))
            .leg(("nat1", "nat2"), (NAT1, nat2))
            .dropped("nat1.wan", "the link is cut", Basis::Observed)
    }));
    journeys.push(carried(9005.0));
    use MomentKind::*;
    Story {
        origin_ns: 1_767_225_600_094_400_000,
        machines: machines("addr-restrict", "full-cone"),
        journeys,
        untold: 0,
        moments: vec![
            moment(0.0, None, Step, "peer1 is told to connect to peer2"),
            moment(2.0, Some("peer1"), Path, "direct"),
            moment(2.3, Some("peer2"), Path, "direct"),
            moment(900.0, None, Fault, "impair nat1.wan: loss 20%"),
            moment(4000.0, None, Fault, "cut nat1.wan for 4s"),
            moment(6100.0, Some("peer2"), Path, "relay"),
            moment(8000.0, None, Fault, "heal nat1.wan"),
            moment(8900.0, Some("peer2"), Path, "direct"),
        ],
        carried_ms: None,
        throughput: Throughput {
            from_ms: 0.0,
            span_ms: 500.0,
            direct_there: (0..20)
                .map(|span| if (8..16).contains(&span) { 0 } else { 24_000 + span * 200 })
                .collect(),
            direct_back: (0..20).map(|span| if (8..17).contains(&span) { 0 } else { 20_000 }).collect(),
            third: (0..20).map(|span| if (12..18).contains(&span) { 15_000 } else { 0 }).collect(),
        },
        latencies_ms: (0..300).map(|n| [f64::from(n) * 12.0, 2.0 + f64::from(n * n % 97) * 0.2]).collect(),
    }
}
