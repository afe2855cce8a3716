//! Calls: datagrams from the server to an outside endpoint whose owner did not ask for them.
//!
//! Another socket with the same outside address asks for them (RESPONSE-PORT), so that nothing is sent by the owner.

use std::net::{IpAddr, SocketAddr};

use natrig_stun::ChangeRequest;

use super::Step;
use crate::{
    Expected, Failed, SocketId,
    bench::{Answer, Request},
};

/// How many sockets are tried until one has the outside address that is wanted.
const TRIES: usize = 12;

/// How often calls are asked for again because the socket that asks has got another outside address.
const ROUNDS: usize = 3;

/// A datagram to ask for.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// From which of the server's endpoints, in relation to its primary one.
    pub from: ChangeRequest,
    /// To which outside endpoint.
    pub to: SocketAddr,
    /// Whose that is.
    pub owner: Option<SocketId>,
    /// Whether it may have become somebody else's by now.
    pub stale: bool,
}

/// Has calls made; none if no socket has the outside address of one of them.
pub async fn make(step: &Step, calls: &[Call]) -> Result<Option<Vec<Answer>>, Failed> {
    for _ in 0..ROUNDS {
        let mut callers: Vec<(IpAddr, SocketId)> = Vec::new();
        let mut requests = Vec::new();
        for call in calls {
            let Some(socket) = caller(step, call.to.ip()).await? else {
                return Ok(None);
            };
            if !callers.contains(&(call.to.ip(), socket)) {
                callers.push((call.to.ip(), socket));
            }
            let request = Request::stranger(socket, step.plan.server, call.from);
            let request = request.answered_at(call.to.port(), call.owner);
            requests.push(if call.stale { request.unaimed() } else { request });
        }
        requests.extend(callers.iter().map(|(_, socket)| Request::plain(*socket, step.plan.server)));
        let mut answers = step.bench.exchange(requests).await?;
        let allowed = answers.split_off(calls.len());
        let mut moved = false;
        for ((outside, _), answer) in callers.iter().zip(&allowed) {
            if answer.mapped().map(|mapped| mapped.ip()) != Some(*outside) {
                step.bench.no_caller(*outside);
                moved = true;
            }
        }
        if moved {
            continue;
        }
        for (call, answer) in calls.iter().zip(&answers) {
            step.bench.expect(Expected {
                from: step.endpoint(call.from),
                to: Some(call.to),
                transaction: answer.transaction,
                arrived: answer.came(),
            });
        }
        return Ok(Some(answers));
    }
    Ok(None)
}

/// A socket with an outside address.
pub async fn caller(step: &Step, outside: IpAddr) -> Result<Option<SocketId>, Failed> {
    for host in step.hosts().into_iter().cycle().take(TRIES) {
        if let Some(socket) = step.bench.known_caller(outside) {
            return Ok(Some(socket));
        }
        let socket = step.bench.fresh(host);
        let mapped = step.bench.ask(socket, step.plan.server).await?;
        step.bench.is_caller(mapped.ip(), socket);
    }
    Ok(step.bench.known_caller(outside))
}
