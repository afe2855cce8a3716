//! Filtering, tests I to III (RFC 5780 section 4.4), and the packet that comes too early.

use natrig_nat::{Filtering, Mapping};

use super::{BOTH, PORT, Step};
use crate::{
    Answered, Expected, Failed, Report, SocketId,
    bench::{Answer, Request},
};

/// What these steps found.
#[derive(Debug)]
pub struct Measured {
    pub filtering: Filtering,
    pub early_packet_harmless: Option<bool>,
    pub unsolicited: Option<Answered>,
}

/// How often a packet to a stranger may be lost before its flow is called taken.
const ROUNDS: usize = 3;

/// A fresh port that has asked the primary endpoint only wants answers from strangers; a plain answer follows them. Then
/// the port asks one of the strangers.
pub async fn measure(step: &Step, mapping: Option<Mapping>) -> Result<Measured, Failed> {
    let (mut strangers, mut early) = (Vec::new(), None);
    for _ in 0..ROUNDS {
        let socket = step.bench.fresh(step.host());
        strangers = ask_strangers(step, socket).await?;
        early = meet_stranger(step, socket, &strangers).await?;
        if early.is_some() {
            break;
        }
    }
    for stranger in &strangers {
        step.bench.expect(stranger.clone());
    }
    let tellable = matches!(mapping, None | Some(Mapping::EndpointIndependent));
    Ok(Measured {
        filtering: Report::filtering_of(&strangers),
        early_packet_harmless: tellable.then_some(early == Some(true)),
        unsolicited: unsolicited(step, &strangers),
    })
}

async fn ask_strangers(step: &Step, socket: SocketId) -> Result<Vec<Expected>, Failed> {
    let server = step.plan.server;
    let requests = vec![
        Request::stranger(socket, server, BOTH),
        Request::stranger(socket, server, PORT),
        Request::plain(socket, server),
    ];
    let answers = step.bench.exchange(requests).await?;
    let to = answers.last().and_then(Answer::mapped);
    let sources = [step.plan.other, step.endpoint(PORT)];
    let mut strangers = Vec::new();
    for (answer, from) in answers.iter().zip(sources) {
        let arrived = answer.arrived();
        step.bench.note(format!(
            "an answer from {from}, to which nothing was sent, {}",
            if arrived { "arrived" } else { "did not arrive before the allowed one" }
        ));
        strangers.push(Expected { from, to, transaction: answer.transaction, arrived });
    }
    Ok(strangers)
}

/// Whether the port stays the same towards the stranger that has sent to it; none if nothing comes back from there.
async fn meet_stranger(
    step: &Step,
    socket: SocketId,
    strangers: &[Expected],
) -> Result<Option<bool>, Failed> {
    let (server, other) = (step.plan.server, step.plan.other);
    let requests = vec![Request::plain(socket, other).optional(), Request::plain(socket, server)];
    let answers = step.bench.exchange(requests).await?;
    let before = strangers.first().and_then(|stranger| stranger.to);
    let after = answers.first().and_then(Answer::mapped);
    if let Some(before) = before {
        let now = after.map_or("nothing".to_owned(), |after| after.to_string());
        step.bench
            .note(format!("after an early packet from {other} the port that was {before} is {now} to it"));
    }
    Ok(after.map(|after| before == Some(after)))
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
