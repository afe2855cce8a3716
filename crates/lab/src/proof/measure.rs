//! Gateways measured between stations that the lab plays.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use natrig_capture::{Trace, Transport};
use natrig_nat::{Profile, engine::TcpFlags};
use natrig_probe::{Failed, Plan, Report, Steps};
use natrig_record::{Proof, ProofSide};
use natrig_scenario::{Gateway, Machine, Scenario};

use super::{Untold, Witness, prove};
use crate::{
    PROOF_PORT, Place, Stand, Topology, Trouble,
    station::{Net, packet, probe},
};

/// The ports of the server that a proof is measured against.
const SERVER: [u16; 2] = [3478, 3479];

/// A port of its primary address where nobody listens.
pub const CLOSED: u16 = 9;

/// A table with less room cannot be measured wholly.
const ROOM: u32 = 512;

/// Tell the transactions of a chain from those of its gateways, and those of one round from those of another.
const COMPOSED: u64 = 1 << 32;
const ROUND: u32 = 33;

/// How often a measurement is done again whose frames are lost, and where the number is in that of the round.
const AGAIN: u32 = 10;
const AGAIN_BITS: u32 = 16;

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

/// Gateways that were measured wholly in a run and hold.
#[derive(Debug, Default)]
pub struct Held(Mutex<Vec<Gateway>>);

impl Held {
    /// How much of a gateway is to be measured: the whole once in a run, and the fast steps in every cell.
    pub fn depth(&self, gateway: &Gateway) -> Depth {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains(gateway) { Depth::Fast } else { Depth::Whole }
    }

    /// Takes note that a scenario's gateways hold, as far as [`Held::depth`] asked.
    pub fn hold(&self, scenario: &Scenario) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for gateway in scenario.nats.iter().flat_map(|nat| &nat.gateways) {
            if !held.contains(gateway) {
                held.push(gateway.clone());
            }
        }
    }
}

/// What is measured at once: a gateway, or one behind another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span<'a> {
    inner: &'a Place,
    outer: &'a Place,
    profile: Profile,
    stands: [Stand; 2],
    round: u32,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Found(What);

#[derive(Debug, Clone, PartialEq)]
enum What {
    Report(Box<Report>),
    /// An answer that no gateway keeps back did not come.
    Silence(Failed),
    /// Whether UDP passed a gateway that is to pass none.
    Udp(bool),
}

impl<'a> Span<'a> {
    /// A gateway from its own two segments.
    pub fn of(topology: &Topology, place: &'a Place) -> Self {
        Span {
            inner: place,
            outer: place,
            profile: place.gateway.profile.clone(),
            stands: topology.stands(place),
            round: 0,
        }
    }

    /// What gateways are together, where one is behind another.
    pub fn chains(topology: &'a Topology, scenario: &Scenario) -> Vec<Self> {
        let mut chains = Vec::new();
        for pair in topology.gateways().windows(2) {
            let [inner, outer] = pair else { continue };
            if inner.site != outer.site || pair.iter().any(|place| place.gateway.profile.udp_blocked) {
                continue;
            }
            let [inside, _] = topology.stands(inner);
            let [_, outside] = topology.stands(outer);
            let profile = scenario.nats[inner.site.index()].composed();
            chains.push(Span { inner, outer, profile, stands: [inside, outside], round: 0 });
        }
        chains
    }

    /// The same, to be measured once more in one run: the wire shows which datagram belongs to which round.
    pub fn in_round(self, round: u32) -> Self {
        Span { round, ..self }
    }

    /// Where the stations are that it is measured from: behind it, and in front of it.
    pub fn stands(&self) -> &[Stand; 2] {
        &self.stands
    }

    /// Measures it, as far as is asked for, with the stations at its stands, in their order; a chain with the fast steps.
    pub fn measure(&self, net: &mut impl Net, depth: Depth) -> Result<Found, Trouble> {
        if self.profile.udp_blocked {
            return udp_passes(net, &self.stands).map(|passes| Found(What::Udp(passes)));
        }
        match probe(net, [0, 1], self.plan(depth))? {
            Ok(report) => Ok(Found(What::Report(Box::new(report)))),
            Err(silent @ Failed::Silent { .. }) => Ok(Found(What::Silence(silent))),
            Err(failed) => Err(Trouble::lab(failed)),
        }
    }

    /// Compares what was measured with what is declared; the wire is the witness of every silence.
    pub fn prove(&self, found: &Found, trace: &Trace) -> Result<Proof, Untold> {
        match &found.0 {
            What::Udp(passes) => Ok(blocked(self.inner, *passes)),
            What::Silence(silent) => Err(Untold { trouble: Trouble::lab(silent), is_lost: true }),
            What::Report(report) => {
                let witness = Witness { trace, wan: self.outer.wan.name(), lan: self.inner.lan.name() };
                prove(&self.name(), &self.profile, report, witness)
            }
        }
    }

    fn is_chain(&self) -> bool {
        self.inner.machine != self.outer.machine
    }

    /// What it is called: `nat1`, or `nat1 behind cgn1`.
    pub fn name(&self) -> String {
        match self.is_chain() {
            true => format!("{} behind {}", self.inner.machine, self.outer.machine),
            false => self.inner.machine.name().to_owned(),
        }
    }

    fn plan(&self, depth: Depth) -> Plan {
        let [inside, outside] = &self.stands;
        let profile = &self.inner.gateway.profile;
        let limits = &profile.limits;
        let room = limits.mappings.min(limits.flows).min(limits.per_host.unwrap_or(u32::MAX));
        let depth = if self.is_chain() { Depth::Fast } else { depth };
        let salt = if self.is_chain() { COMPOSED } else { 0 };
        Plan {
            server: outside.endpoint(0, SERVER[0]).into(),
            other: outside.endpoint(1, SERVER[1]).into(),
            inside: inside.endpoint(0, PROOF_PORT).into(),
            second: Some((*inside.endpoint(1, 0).ip()).into()),
            steps: if depth == Depth::Fast || room < ROOM { Steps::Fast } else { Steps::Whole },
            closed: Some(outside.endpoint(0, CLOSED).into()),
            timers: (depth == Depth::Timed).then_some(profile.timers),
            eyes: true,
            seed: number(self.inner.machine) ^ salt ^ u64::from(self.round) << ROUND,
        }
    }
}

/// A gateway's number among all, so that each is measured with other transactions.
fn number(gateway: Machine) -> u64 {
    let number = gateway.site().map_or(0, |site| u64::from(site.number()));
    2 * number + u64::from(matches!(gateway, Machine::Cgn(_)))
}

/// Measures in a round, and where links lose frames again, from empty tables and up to ten times, until nothing
/// is missing that the proof must see come to a gateway. What was seen is never measured again, whatever it says.
pub fn until_told<L>(
    lab: &mut L,
    scenario: &Scenario,
    round: u32,
    measure: impl Fn(&mut L, u32) -> Result<Vec<Proof>, Untold>,
    empty: impl Fn(&mut L) -> Result<(), Trouble>,
) -> Result<Vec<Proof>, Trouble> {
    let is_lossy = scenario.links.iter().any(|impairment| impairment.conditions.is_lossy());
    let mut lost = 0;
    loop {
        match measure(lab, round | lost << AGAIN_BITS) {
            Ok(mut proofs) => {
                if lost > 0 {
                    let note = format!(
                        "measured again, since frames were lost on the way to a gateway: {lost} times"
                    );
                    proofs.iter_mut().for_each(|proof| proof.notes.push(note.clone()));
                }
                return Ok(proofs);
            }
            Err(Untold { is_lost: true, .. }) if is_lossy && lost < AGAIN => {
                empty(lab)?;
                lost += 1;
            }
            Err(Untold { trouble, is_lost: true }) if is_lossy => {
                return Err(trouble.hint(
                    "what `links` says holds while gateways are proven; have what loses so much begin with a fault \
                     (`after: settled, impair: ...`)",
                ));
            }
            Err(Untold { trouble, .. }) => return Err(trouble),
        }
    }
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
