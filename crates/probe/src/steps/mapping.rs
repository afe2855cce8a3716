//! Mapping, tests I to III (RFC 5780 section 4.3).

use std::net::SocketAddr;

use natrig_nat::Mapping;

use super::Step;
use crate::{
    Failed,
    bench::{Answer, Request},
};

/// How often mappings that follow no rule, or one that chance can feign, are measured again on a fresh port.
const ROUNDS: usize = 3;

/// How the gateway maps, and where one socket was seen.
pub async fn measure(step: &Step) -> Result<(Option<Mapping>, [SocketAddr; 3]), Failed> {
    let mut rounds: Vec<[SocketAddr; 3]> = Vec::new();
    loop {
        let socket = step.bench.fresh(step.host());
        let asked = [step.plan.server, step.other_address(), step.plan.other];
        let answers = step.bench.exchange(asked.map(|to| Request::plain(socket, to)).into()).await?;
        let mapped: Vec<SocketAddr> = answers.iter().filter_map(Answer::mapped).collect();
        let Ok(mapped) = <[SocketAddr; 3]>::try_from(mapped) else {
            return Err(Failed::Inconsistent(rounds));
        };
        let [a, b, c] = mapped;
        step.bench.note(format!(
            "one socket is {a} to the server, {b} to its other address, {c} to its other address and port"
        ));
        rounds.push(mapped);
        let mapping = if a == b && b == c {
            (a != step.bench.local(socket)).then_some(Mapping::EndpointIndependent)
        } else if a != b && b != c && a != c {
            Some(Mapping::AddressAndPortDependent)
        } else if rounds.len() < ROUNDS {
            // Two equal ports can be chance on a gateway that draws them.
            continue;
        } else if rounds.iter().all(|[a, b, c]| a != b && b == c) {
            Some(Mapping::AddressDependent)
        } else {
            return Err(Failed::Inconsistent(rounds));
        };
        return Ok((mapping, mapped));
    }
}
