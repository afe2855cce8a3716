//! ICMP errors: about what was sent out, and about what came unsolicited.

use std::net::SocketAddr;

use natrig_nat::{Filtering, Mapping};

use super::{BOTH, Step, calls};
use crate::{Answered, Failed, PORTS, bench::Request};

/// Whether the error about a packet to a port where nobody listens comes to its sender.
pub async fn pass(step: &Step, closed: SocketAddr) -> Result<bool, Failed> {
    let socket = step.bench.fresh(step.host());
    // A lost one is asked again.
    for _ in 0..2 {
        let requests =
            vec![Request::plain(socket, closed).optional(), Request::plain(socket, step.plan.server)];
        step.bench.exchange(requests).await?;
        if step.bench.was_unreachable(socket, closed) {
            step.bench.note(format!("the ICMP error about a datagram to {closed} came to its sender"));
            return Ok(true);
        }
    }
    step.bench.note(format!("no ICMP error about datagrams to {closed} came to their sender"));
    Ok(false)
}

/// What a call to an outside port that nobody has is answered with; none where it is no business of the gateway.
pub async fn unsolicited(
    step: &Step,
    outside: SocketAddr,
    (mapping, filtering): (Option<Mapping>, Filtering),
) -> Result<Option<Answered>, Failed> {
    if !step.plan.eyes || (mapping.is_none() && filtering == Filtering::EndpointIndependent) {
        return Ok(None);
    }
    let unused = match mapping {
        None => SocketAddr::new(step.host(), step.plan.inside.port().saturating_add(PORTS)),
        Some(_) => SocketAddr::new(outside.ip(), step.bench.unseen_port()),
    };
    let call = calls::Call { from: BOTH, to: unused, owner: None, stale: false };
    if calls::make(step, &[call]).await?.is_none() {
        return Ok(None);
    }
    // What the gateway answered left it before this did.
    let Some(caller) = calls::caller(step, unused.ip()).await? else {
        return Ok(None);
    };
    step.bench.ask(caller, step.plan.server).await?;
    let refused = step.bench.was_refused(step.endpoint(BOTH), unused);
    step.bench.note(format!(
        "a call to {unused}, which nobody has, was {}",
        if refused { "answered with an ICMP error" } else { "not answered" }
    ));
    Ok(Some(if refused { Answered::Icmp } else { Answered::Silence }))
}
