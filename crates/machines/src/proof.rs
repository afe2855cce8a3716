//! The proof of gateways: measured between stations that the lab plays, held against what their profiles declare.

use std::time::Duration;

use natrig_capture::Transport;
use natrig_lab::{
    PROOF_PORT, Place, Stand, Topology,
    proof::{Witness, prove},
};
use natrig_nat::{Profile, engine::TcpFlags};
use natrig_probe::{Plan, Report, Steps};
use natrig_record::{Proof, ProofSide};
use natrig_scenario::{Gateway, Scenario};

use crate::{
    Lab, Trouble,
    gateway::each_gateway,
    station::{Net, packet, probe},
};

/// The ports of the server that a proof is measured against, and one of its primary address where nobody listens.
const SERVER: [u16; 2] = [3478, 3479];
pub(crate) const CLOSED: u16 = 9;

/// A table with less room cannot be measured wholly.
const ROOM: u32 = 512;

/// Tells the transactions of a chain from those of its gateways.
const COMPOSED: u64 = 1 << 32;

/// How long a packet that must pass may take, and how often it is sent.
const PATIENCE: Duration = Duration::from_millis(500);
const TRIES: usize = 10;

/// How much of a gateway is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Mapping, filtering, early packet.
    Fast,
    /// All but what takes time.
    Whole,
    /// The end of flows too, which takes as long as they live.
    Timed,
}

/// What was measured of a gateway.
enum Found {
    Report(Box<Report>),
    /// Whether UDP passed a gateway that is to pass none.
    Udp(bool),
}

/// Measures each gateway from its own two segments, as far as is asked for, and compares with what its profile declares;
/// the wire is the witness of every silence.
pub fn measure(
    lab: &Lab,
    scenario: &Scenario,
    depth: impl Fn(&Gateway) -> Depth + Sync,
) -> Result<Vec<Proof>, Trouble> {
    let topology = Topology::of(scenario);
    let found = each_gateway(scenario, |place| {
        let stands = topology.stands(place);
        let mut net = lab.stations(&stands)?;
        if place.gateway.profile.udp_blocked {
            return udp_passes(&mut net, &stands).map(Found::Udp);
        }
        let plan = plan(place, &stands, depth(&place.gateway));
        probe(&mut net, [0, 1], plan).map(|report| Found::Report(Box::new(report)))
    })?;
    let composed = chains(lab, scenario, &topology)?;
    let trace = lab.trace()?;
    let proofs = topology.gateways().iter().zip(found).map(|(place, found)| match found {
        Found::Udp(passes) => Ok(blocked(place, passes)),
        Found::Report(report) => {
            let witness = Witness { trace: &trace, wan: place.wan.name(), lan: place.lan.name() };
            prove(place.machine.name(), &place.gateway.profile, &report, witness).map_err(untrue)
        }
    });
    let composed = composed.iter().map(|([home, carrier], profile, report)| {
        let witness = Witness { trace: &trace, wan: carrier.wan.name(), lan: home.lan.name() };
        let gateways = format!("{} behind {}", home.machine, carrier.machine);
        prove(&gateways, profile, report, witness).map_err(untrue)
    });
    proofs.chain(composed).collect()
}

/// A carrier's gateway and the one behind it, what they declare together, and what was measured.
type Chain<'a> = ([&'a Place; 2], Profile, Report);

/// Measures what gateways are together, where one is behind another, with the fast steps.
fn chains<'a>(lab: &Lab, scenario: &Scenario, topology: &'a Topology) -> Result<Vec<Chain<'a>>, Trouble> {
    let mut chains = Vec::new();
    for pair in topology.gateways().windows(2) {
        let [home, carrier] = pair else { continue };
        if home.side != carrier.side || pair.iter().any(|place| place.gateway.profile.udp_blocked) {
            continue;
        }
        let [inside, _] = topology.stands(home);
        let [_, outside] = topology.stands(carrier);
        let stands = [inside, outside];
        let mut plan = plan(home, &stands, Depth::Fast);
        plan.seed ^= COMPOSED;
        let report = probe(&mut lab.stations(&stands)?, [0, 1], plan)?;
        chains.push(([home, carrier], scenario.nats[home.side.index()].composed(), report));
    }
    Ok(chains)
}

fn untrue(reason: String) -> Trouble {
    Trouble::lab(reason).hint("see captures/ of this cell")
}

/// What a proof that does not hold is told as.
pub fn refuse(proofs: &[Proof]) -> Result<(), Trouble> {
    let Some(proof) = proofs.iter().find(|proof| !proof.holds) else {
        return Ok(());
    };
    Err(Trouble::lab(format!("{} is not the {} NAT it should be", proof.gateway, proof.profile))
        .lines(proof.side_by_side())
        .lines(proof.notes.iter().cloned())
        .hint("nothing was said about the node: no gateway is used that is not proven"))
}

/// How to measure a gateway between its two stands.
fn plan(place: &Place, [inside, outside]: &[Stand; 2], depth: Depth) -> Plan {
    let profile = &place.gateway.profile;
    let limits = &profile.limits;
    let room = limits.mappings.min(limits.flows).min(limits.per_host.unwrap_or(u32::MAX));
    Plan {
        server: outside.endpoint(0, SERVER[0]).into(),
        other: outside.endpoint(1, SERVER[1]).into(),
        inside: inside.endpoint(0, PROOF_PORT).into(),
        second: Some((*inside.endpoint(1, 0).ip()).into()),
        steps: if depth == Depth::Fast || room < ROOM { Steps::Fast } else { Steps::Whole },
        closed: Some(outside.endpoint(0, CLOSED).into()),
        timers: (depth == Depth::Timed).then_some(profile.timers),
        eyes: true,
        seed: place.machine as u64,
    }
}

/// Whether a datagram gets out; a TCP segment that was sent later must.
fn udp_passes(net: &mut impl Net, [inside, outside]: &[Stand; 2]) -> Result<bool, Trouble> {
    let (from, to) = (inside.endpoint(0, PROOF_PORT), outside.endpoint(0, SERVER[0]));
    let mut passes = false;
    for _ in 0..TRIES {
        net.send(0, packet::udp(from, to, b"natrig"))?;
        net.send(0, packet::tcp(from, to, TcpFlags::SYN, [1, 0], b""))?;
        let until = net.now() + PATIENCE;
        while let Some(arrival) = net.receive(until)? {
            match arrival.ipv4().map(|ipv4| ipv4.transport) {
                Some(Transport::Udp(udp)) => passes |= udp.destination == to,
                Some(Transport::Tcp(tcp)) if tcp.destination == to => return Ok(passes),
                _ => {}
            }
        }
    }
    Err(Trouble::lab(format!("a TCP segment from {from} to {to} did not arrive")))
}

fn blocked(place: &Place, passes: bool) -> Proof {
    let side = |passes: bool| {
        let word = if passes { "passes" } else { "blocked" };
        ProofSide { other: [("udp".to_owned(), word.to_owned())].into(), ..ProofSide::default() }
    };
    let Profile { name, .. } = &place.gateway.profile;
    Proof {
        gateway: place.machine.name().to_owned(),
        profile: name.clone(),
        steps: "fast".to_owned(),
        declared: side(false),
        measured: side(passes),
        differs: passes.then(|| "udp".to_owned()).into_iter().collect(),
        holds: !passes,
        notes: vec![format!(
            "a datagram {} before a TCP segment arrived",
            if passes { "arrived" } else { "did not arrive" }
        )],
    }
}
