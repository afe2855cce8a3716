//! What NAT a machine is behind, asked from the machine itself: the prober as a process, the STUN server on the relay.

use std::{net::SocketAddr, time::Duration};

use natrig_lab::{
    PROOF_PORT,
    proof::{CLOSED, compare},
};
use natrig_nat::profile::Timers;
use natrig_probe::{Plan, Report, Steps};
use natrig_record::Proof;
use natrig_scenario::Machine;

use crate::{Live, Trouble, gateway::expect_within};

/// A peer's second address while it is asked; nobody else's in its LAN.
const SECOND: u8 = 3;

/// How long all measurements but those of timers may take in an emulated machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures what a peer is behind, and holds it against what stands before the site that it is in; the report is what was
/// found, the proof what it means.
///
/// Nobody looks on from outside: what a node alone cannot tell is left out. With `timers` their expiry is waited for.
pub fn measure(live: &Live, peer: Machine, steps: Steps, timers: bool) -> Result<(Report, Proof), Trouble> {
    let site = if matches!(peer, Machine::Peer(..)) { live.site_of(peer) } else { None };
    let nats = live.nats();
    let (site, nat) = site.and_then(|site| Some((site, nats.get(site.index())?))).ok_or_else(|| {
        Trouble::lab(format!("{peer} is behind no gateway")).hint("ask peer1 or peer2 what they are behind")
    })?;
    let topology = live.topology();
    let profile = nat.composed();
    let (_, (address, _), _) = topology.roamed(peer, site);
    let [a, b, c, _] = address.octets();
    let second = std::net::Ipv4Addr::new(a, b, c, SECOND);
    let [server, other] = topology.stun();
    let plan = Plan {
        server: server.into(),
        other: other.into(),
        inside: SocketAddr::from((address, PROOF_PORT)),
        second: Some(second.into()),
        steps,
        closed: Some(SocketAddr::from((*server.ip(), CLOSED))),
        timers: timers.then_some(profile.timers),
        eyes: false,
        seed: rand::random(),
    };
    let patience = if timers { PATIENCE + longest(&profile.timers) } else { PATIENCE };
    let plan = serde_json::to_string(&plan)?;
    // The address goes whatever becomes of the prober.
    let script = format!(
        "ip addr add {second}/24 dev lan && prober \"$1\"; code=$?; ip addr del {second}/24 dev lan; exit $code"
    );
    let output = expect_within(&live.agent(peer)?, &["sh", "-c", &script, "sh", &plan], patience)
        .map_err(|trouble| trouble.at(peer))?;
    let report: Report = serde_json::from_slice(&output.stdout)
        .map_err(|error| Trouble::lab(format!("the prober in {peer} says what cannot be read: {error}")))?;
    let proof = compare(&format!("what {peer} is behind"), &profile, &report);
    Ok((report, proof))
}

/// More than all waits for timers take together.
fn longest(timers: &Timers) -> Duration {
    let lifetime = timers.lifetime.unwrap_or_default();
    4 * (timers.unreplied + timers.stream + lifetime)
}
