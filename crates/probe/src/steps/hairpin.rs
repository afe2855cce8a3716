//! Two inside hosts that send to each other's outside endpoints.

use std::net::{IpAddr, SocketAddr};

use natrig_nat::{Filtering, Mapping, profile::Hairpin};

use super::Step;
use crate::{Failed, bench::Request};

/// What inside hosts see of each other; none where it cannot be told.
pub async fn measure(
    step: &Step,
    (mapping, filtering): (Mapping, Filtering),
    early_packet_harmless: Option<bool>,
    addresses: &[IpAddr],
) -> Result<Option<Hairpin>, Failed> {
    if mapping != Mapping::EndpointIndependent && filtering != Filtering::EndpointIndependent {
        step.bench.note(
            "whether packets are turned back cannot be told: each would come from an endpoint that is open to nobody yet"
                .to_owned(),
        );
        return Ok(None);
    }
    let hosts = step.hosts();
    let one = step.bench.fresh(hosts[0]);
    let other = step.bench.fresh(*hosts.last().unwrap_or(&hosts[0]));
    let outside =
        [step.bench.ask(one, step.plan.server).await?, step.bench.ask(other, step.plan.server).await?];
    // The first opens the other's filter and may be filtered itself.
    let answers = step
        .bench
        .exchange(vec![
            Request::turned_back(other, outside[0], one),
            Request::turned_back(one, outside[1], other),
            Request::plain(one, step.plan.server),
        ])
        .await?;
    let locals = [other, one].map(|socket| step.bench.local(socket));
    for (answer, local) in answers.iter().zip(locals) {
        let Some(arrival) = answer.arrival() else { continue };
        step.bench.note(format!(
            "what {local} sent to an outside endpoint was turned back and came from {}",
            arrival.from
        ));
        return Ok(Some(if arrival.from == local {
            Hairpin::InternalSource
        } else {
            if !addresses.contains(&arrival.from.ip()) {
                step.bench.false_source(what_came(local, arrival.from));
            }
            Hairpin::ExternalSource
        }));
    }
    if early_packet_harmless == Some(false) {
        step.bench.note(
            "nothing was turned back, but the packet that opened the filter may have moved the port"
                .to_owned(),
        );
        return Ok(None);
    }
    if hosts.len() < 2 {
        // A kernel throws away what comes from outside with its own address.
        step.bench.note(
            "nothing was turned back, but with one host its inside address would not be seen".to_owned(),
        );
        return Ok(None);
    }
    step.bench.note(format!("nothing was turned back at {} or {}", outside[0], outside[1]));
    Ok(Some(Hairpin::None))
}

fn what_came(local: SocketAddr, from: SocketAddr) -> String {
    format!(
        "what {local} sent was turned back and came from {from}, which is neither its inside nor its outside address"
    )
}
