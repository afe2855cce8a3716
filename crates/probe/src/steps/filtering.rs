//! Filtering, tests I to III (RFC 5780 section 4.4), and the packet that comes too early.

use natrig_nat::{Filtering, Mapping};

use super::{BOTH, PORT, Step};
use crate::{
    Answered, Expected, Failed,
    bench::{Answer, Request},
};

/// What these steps found.
#[derive(Debug)]
pub struct Measured {
    pub filtering: Filtering,
    pub early_packet_harmless: Option<bool>,
    pub unsolicited: Option<Answered>,
    pub strangers: Vec<Expected>,
}

/// A fresh port that has asked the primary endpoint only wants answers from strangers; a plain answer follows them. Then
/// the port asks one of the strangers.
pub async fn measure(step: &Step, mapping: Option<Mapping>) -> Result<Measured, Failed> {
    let server = step.plan.server;
    let socket = step.bench.fresh(step.host());
    let answers = step
        .bench
        .exchange(vec![
            Request::stranger(socket, server, BOTH),
            Request::stranger(socket, server, PORT),
            Request::plain(socket, server),
        ])
        .await?;
    let before = answers.last().and_then(Answer::mapped);
    let sources = [step.plan.other, step.other_port()];
    let strangers: Vec<Expected> = answers
        .iter()
        .zip(sources)
        .map(|(answer, from)| Expected {
            from,
            to: before,
            transaction: answer.transaction,
            arrived: answer.arrived(),
        })
        .collect();
    for stranger in &strangers {
        step.bench.note(format!(
            "an answer from {}, to which nothing was sent, {}",
            stranger.from,
            if stranger.arrived { "arrived" } else { "did not arrive before the allowed one" }
        ));
    }
    let after = step.bench.ask(socket, step.plan.other).await?;
    if let Some(before) = before {
        step.bench.note(format!(
            "after an early packet from {} the port that was {before} is {after} to it",
            step.plan.other
        ));
    }
    let filtering = match strangers.as_slice() {
        [both, _] if both.arrived => Filtering::EndpointIndependent,
        [_, port] if port.arrived => Filtering::AddressDependent,
        _ => Filtering::AddressAndPortDependent,
    };
    let tellable = matches!(mapping, None | Some(Mapping::EndpointIndependent));
    Ok(Measured {
        filtering,
        early_packet_harmless: tellable.then_some(before == Some(after)),
        unsolicited: unsolicited(step, &strangers),
        strangers,
    })
}

/// What filtered packets were answered with. An answer left the gateway before the last exchange did.
fn unsolicited(step: &Step, strangers: &[Expected]) -> Option<Answered> {
    let filtered = || strangers.iter().filter(|stranger| !stranger.arrived);
    if !step.plan.eyes || filtered().next().is_none() {
        return None;
    }
    let refused =
        |stranger: &Expected| stranger.to.is_some_and(|to| step.bench.was_refused(stranger.from, to));
    Some(if filtered().any(refused) { Answered::Icmp } else { Answered::Silence })
}
