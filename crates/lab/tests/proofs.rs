//! Proofs, with forged captures as the witness.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use bytes::Bytes;
use etherparse::PacketBuilder;
use natrig_capture::{LinkId, Sighting, Trace, What};
use natrig_lab::{
    Topology, Trouble,
    proof::{Depth, Span, Untold, Witness, prove, until_told},
    station::{Arrival, Net, Seat},
};
use natrig_nat::{Filtering, Mapping, Preset, Profile};
use natrig_probe::{Answered, Expected, Report, Steps};
use natrig_scenario::Scenario;

const WAN: usize = 0;
const LAN: usize = 1;
const SERVER: usize = 2;
const HOST: usize = 3;

/// Frames between a server, a gateway and a host.
#[derive(Default)]
struct Wire(Vec<Sighting>);

impl Wire {
    fn frame(&mut self, from: usize, to: usize, data: Bytes) -> &mut Self {
        let frame = self.0.len() as u64 + 1;
        for (link, what) in [(from, What::Entered), (to, What::Delivered)] {
            let (link, data) = (LinkId::new(link), data.clone());
            self.0.push(Sighting { frame, link, at_ns: frame * 1000, what, data });
        }
        self
    }

    fn stun(&mut self, from: usize, to: usize, ends: [&str; 2], transaction: u8) -> &mut Self {
        let mut payload = vec![0; 20];
        payload[8..].fill(transaction);
        self.frame(from, to, udp(ends, &payload))
    }

    /// What a stranger sends to the gateway, which sends it on or not.
    fn stranger(&mut self, from: &str, transaction: u8, passes: bool) -> &mut Self {
        self.stun(SERVER, WAN, [from, "192.0.2.1:61001"], transaction);
        if passes {
            self.stun(LAN, HOST, [from, "10.0.1.2:61001"], transaction);
        }
        self
    }

    /// What a stranger sends to the gateway and comes with a bit turned over.
    fn damaged(&mut self, from: &str, transaction: u8) -> &mut Self {
        self.stun(SERVER, WAN, [from, "192.0.2.1:61001"], transaction).turn_over()
    }

    /// The gateway's answer to what a stranger has sent.
    fn refusal(&mut self, from: &str) -> &mut Self {
        self.frame(WAN, SERVER, unreachable(["192.0.2.1", "198.51.100.4"], [from, "192.0.2.1:61001"]))
    }

    /// The server's answer to what the host has sent to a port where nobody listens.
    fn closed(&mut self) -> &mut Self {
        let data = unreachable(["198.51.100.3", "192.0.2.1"], ["192.0.2.1:61001", "198.51.100.3:9"]);
        self.frame(SERVER, WAN, data)
    }

    /// The last frame comes with a bit turned over.
    fn turn_over(&mut self) -> &mut Self {
        if let Some(delivered) = self.0.last_mut() {
            let mut data = delivered.data.to_vec();
            data[40] ^= 1;
            delivered.data = data.into();
        }
        self
    }

    fn trace(&mut self) -> Trace {
        let links = ["nat1.wan", "nat1.lan", "relay.wan", "peer1.lan"].map(str::to_owned);
        Trace::join(links.into(), std::mem::take(&mut self.0)).unwrap()
    }
}

fn udp([from, to]: [&str; 2], payload: &[u8]) -> Bytes {
    let [from, to]: [SocketAddrV4; 2] = [from, to].map(|end| end.parse().unwrap());
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(from.ip().octets(), to.ip().octets(), 60)
        .udp(from.port(), to.port());
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame.into()
}

fn unreachable([from, to]: [&str; 2], about: [&str; 2]) -> Bytes {
    let [from, to]: [Ipv4Addr; 2] = [from, to].map(|address| address.parse().unwrap());
    let kind =
        etherparse::Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Port);
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from.octets(), to.octets(), 60).icmpv4(kind);
    let mut frame = Vec::new();
    builder.write(&mut frame, &udp(about, &[0; 20])[14..]).unwrap();
    frame.into()
}

const BOTH: &str = "198.51.100.4:3479";
const PORT: &str = "198.51.100.3:3479";

fn report(arrived: [bool; 2]) -> Report {
    let outside = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 61_001));
    let stranger = |(from, number, arrived): (&str, u8, bool)| Expected {
        from: from.parse().unwrap(),
        to: Some(outside),
        transaction: [number; 12],
        arrived,
    };
    let strangers: Vec<Expected> =
        [(BOTH, 1, arrived[0]), (PORT, 2, arrived[1])].into_iter().map(stranger).collect();
    Report {
        steps: Steps::Fast,
        mapping: Some(Mapping::EndpointIndependent),
        filtering: Report::filtering_of(&strangers),
        early_packet_harmless: Some(true),
        mapped: [outside; 3],
        true_sources: Some(true),
        collision: None,
        ports: None,
        pooling: None,
        outside: vec![],
        hairpin: None,
        icmp_errors: None,
        unsolicited: None,
        expiry: None,
        strangers,
        notes: vec![],
    }
}

fn proof(preset: Preset, arrived: [bool; 2], wire: &mut Wire) -> Result<natrig_record::Proof, Untold> {
    let trace = wire.trace();
    let witness = Witness { trace: &trace, wan: "nat1.wan", lan: "nat1.lan" };
    prove("nat1", &Profile::of(preset), &report(arrived), witness)
}

#[test]
fn silence_that_the_wire_shows_is_proof() {
    let proof = proof(
        Preset::PortRestrict,
        [false, false],
        Wire::default().stranger(BOTH, 1, false).stranger(PORT, 2, false),
    )
    .unwrap();
    assert!(proof.holds, "{:?}", proof.side_by_side());
    assert_eq!((proof.measured.filtering.as_str(), proof.steps.as_str()), ("APDF", "fast"));
    assert_eq!(proof.measured.other["unsolicited"], "dropped");
}

#[test]
fn silence_without_anything_on_the_wire_is_none() {
    let error =
        proof(Preset::PortRestrict, [false, false], Wire::default().stranger(BOTH, 1, false)).unwrap_err();
    let told = &error.trouble.message;
    assert!(error.is_lost && told.contains(PORT) && told.contains("proves nothing"), "{told}");
}

#[test]
fn what_came_damaged_is_lost_and_not_filtered() {
    let mut wire = Wire::default();
    let error = proof(Preset::PortRestrict, [false, false], wire.damaged(BOTH, 1).stranger(PORT, 2, false));
    assert!(error.unwrap_err().is_lost);
}

#[test]
fn an_icmp_error_is_not_passed_only_if_it_came() {
    let proof = |wire: &mut Wire| {
        let trace = wire.stranger(BOTH, 1, false).stranger(PORT, 2, false).trace();
        let witness = Witness { trace: &trace, wan: "nat1.wan", lan: "nat1.lan" };
        let report = Report { icmp_errors: Some(false), ..report([false, false]) };
        prove("nat1", &Profile::of(Preset::PortRestrict), &report, witness)
    };
    let came = proof(Wire::default().closed()).unwrap();
    assert_eq!(came.measured.other["icmp_errors"], "not passed");
    for wire in [&mut Wire::default(), Wire::default().closed().turn_over()] {
        let untold = proof(wire).unwrap_err();
        assert!(untold.is_lost && untold.trouble.to_string().contains("to port 9"), "{untold:?}");
    }
}

#[test]
fn what_comes_in_from_nowhere_was_not_lost() {
    let mut wire = Wire::default();
    wire.stranger(BOTH, 1, true).stranger(PORT, 2, false);
    let trace = wire.trace();
    // Behind the gateway only.
    let witness = Witness { trace: &trace, wan: "nat2.wan", lan: "nat1.lan" };
    let profile = Profile::of(Preset::FullCone);
    assert!(!prove("nat1", &profile, &report([false, false]), witness).unwrap_err().is_lost);
}

fn lossy(loss: &str) -> Scenario {
    let text = format!(
        "name: x\nid: x\nnat1: port-restrict\nnat2: none\nexpected: direct\nlinks: [{{link: nat1.wan, {loss}}}]\n"
    );
    Scenario::parse("x.yaml", &text).unwrap().remove(0)
}

/// Measures a gateway to which nothing comes the first `lost` times; gives the rounds and how often it was emptied.
fn measured(
    scenario: &Scenario,
    lost: usize,
) -> (Vec<u32>, usize, Result<Vec<natrig_record::Proof>, Trouble>) {
    let measure = |(rounds, _): &mut (Vec<u32>, usize), round| {
        rounds.push(round);
        let mut wire = Wire::default();
        if rounds.len() > lost {
            wire.stranger(BOTH, 1, false).stranger(PORT, 2, false);
        }
        proof(Preset::PortRestrict, [false, false], &mut wire).map(|proof| vec![proof])
    };
    let mut lab = (Vec::new(), 0);
    let told = until_told(&mut lab, scenario, 3, measure, |(_, emptied)| {
        *emptied += 1;
        Ok(())
    });
    (lab.0, lab.1, told)
}

#[test]
fn what_a_lossy_link_took_is_measured_again_from_an_empty_table() {
    for loss in ["loss: 5%", "corrupt: 1%", "bursts: {loss: 2%, length: 4}", "like: hotel-wifi"] {
        let (rounds, emptied, told) = measured(&lossy(loss), 2);
        let proof = told.unwrap().remove(0);
        assert!(proof.holds && proof.notes.last().unwrap().contains("2 times"), "{loss}: {:?}", proof.notes);
        assert_eq!((rounds.len(), emptied, rounds[0]), (3, 2, 3), "{loss}");
        assert!(rounds[1] != rounds[0] && rounds[2] != rounds[1], "each round is told from the others");
    }
}

#[test]
fn what_a_link_takes_that_loses_nothing_is_an_error() {
    let (rounds, emptied, told) = measured(&lossy("delay: 5ms"), 2);
    assert_eq!((rounds.len(), emptied), (1, 0));
    assert!(told.unwrap_err().message.contains("proves nothing"));
}

/// Stations whose cables are cut.
struct Cut(Duration);

impl Net for Cut {
    fn now(&self) -> Duration {
        self.0
    }

    fn send(&mut self, _: Seat, _: Vec<u8>) -> Result<(), Trouble> {
        Ok(())
    }

    fn receive(&mut self, until: Duration) -> Result<Option<Arrival>, Trouble> {
        self.0 = self.0.max(until);
        Ok(None)
    }
}

#[test]
fn a_measurement_without_an_answer_was_lost() {
    let scenario = lossy("like: congested");
    let topology = Topology::of(&scenario);
    let span = Span::of(&topology, &topology.gateways()[0]);
    let found = span.measure(&mut Cut(Duration::ZERO), Depth::Whole).unwrap();
    let untold = span.prove(&found, &Wire::default().trace()).unwrap_err();
    assert!(untold.is_lost && untold.trouble.message.contains("no answer"), "{untold:?}");
}

#[test]
fn a_link_that_lets_nothing_through_is_given_up_with_a_remedy() {
    let (rounds, _, told) = measured(&lossy("loss: 5%"), usize::MAX);
    assert_eq!(rounds.len(), 11);
    assert!(told.unwrap_err().hint.unwrap().contains("after: settled"));
}

#[test]
fn an_answer_that_came_in_late_has_arrived() {
    let wire = |passes| {
        let mut wire = Wire::default();
        wire.stranger(BOTH, 1, passes).stranger(PORT, 2, true);
        wire
    };
    let slow = proof(Preset::FullCone, [false, true], &mut wire(true)).unwrap();
    assert!(slow.holds, "{:?}", slow.side_by_side());
    assert!(slow.notes.iter().any(|note| note.contains("late")), "{:?}", slow.notes);
    let another = proof(Preset::FullCone, [false, true], &mut wire(false)).unwrap();
    assert_eq!(another.differs, ["filtering"]);
    assert_eq!(another.measured.filtering, "ADF");
}

#[test]
fn what_the_gateway_answers_itself_is_seen_on_the_wire() {
    let mut wire = Wire::default();
    wire.stranger(BOTH, 1, false).refusal(BOTH).stranger(PORT, 2, false);
    let open = proof(Preset::PortRestrict, [false, false], &mut wire).unwrap();
    assert_eq!(open.differs, ["unsolicited"]);
    let lines = open.side_by_side();
    assert!(
        lines.iter().any(|line| line.contains("dropped") && line.contains("answered with ICMP")),
        "{lines:?}"
    );
    let mut told = report([false, false]);
    told.unsolicited = Some(Answered::Silence);
    wire.stranger(BOTH, 1, false).refusal(BOTH).stranger(PORT, 2, false);
    let trace = wire.trace();
    let witness = Witness { trace: &trace, wan: "nat1.wan", lan: "nat1.lan" };
    assert!(
        prove("nat1", &Profile::of(Preset::PortRestrict), &told, witness).unwrap().holds,
        "eyes know better"
    );
}

#[test]
fn a_hidden_sender_is_a_reason_and_no_contradiction() {
    let mut wire = Wire::default();
    wire.stun(SERVER, WAN, [BOTH, "192.0.2.1:61001"], 1).stun(
        LAN,
        HOST,
        ["10.0.1.1:3479", "10.0.1.2:61001"],
        1,
    );
    wire.stun(SERVER, WAN, [PORT, "192.0.2.1:61001"], 2).stun(
        LAN,
        HOST,
        ["10.0.1.1:3479", "10.0.1.2:61001"],
        2,
    );
    let mut report = report([true, true]);
    report.true_sources = Some(false);
    let trace = wire.trace();
    let witness = Witness { trace: &trace, wan: "nat1.wan", lan: "nat1.lan" };
    let proof = prove("nat1", &Profile::of(Preset::FullCone), &report, witness).unwrap();
    assert_eq!(proof.differs, ["true_sources"]);
}

#[test]
fn a_gateway_that_should_block_udp_and_does_not_is_refused() {
    let blocked = Profile { udp_blocked: true, ..Profile::of(Preset::PortRestrict) };
    let proof = natrig_lab::proof::compare("nat1", &blocked, &report([false, false]));
    assert!(proof.differs.contains(&"udp".to_owned()));
    assert_eq!(proof.measured.filtering, Filtering::AddressAndPortDependent.to_string());
}
