//! Proofs, with forged captures as the witness.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use bytes::Bytes;
use etherparse::PacketBuilder;
use natrig_capture::{LinkId, Sighting, Trace, What};
use natrig_lab::proof::{Witness, prove};
use natrig_nat::{Filtering, Mapping, Preset, Profile};
use natrig_probe::{Answered, Expected, Report, Steps};

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

    /// The gateway's answer to what a stranger has sent.
    fn refusal(&mut self, from: &str) -> &mut Self {
        let about = udp([from, "192.0.2.1:61001"], &[0; 20]);
        let kind =
            etherparse::Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Port);
        let builder =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [198, 51, 100, 4], 60).icmpv4(kind);
        let mut frame = Vec::new();
        builder.write(&mut frame, &about[14..]).unwrap();
        self.frame(WAN, SERVER, frame.into())
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

fn proof(preset: Preset, arrived: [bool; 2], wire: &mut Wire) -> Result<natrig_record::Proof, String> {
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
    assert!(error.contains(PORT) && error.contains("proves nothing"), "{error}");
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
