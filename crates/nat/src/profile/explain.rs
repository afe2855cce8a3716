//! A profile in plain words.

use std::{fmt::Write as _, time::Duration};

use super::{Allocation, Hairpin, Pooling, Profile, Refresh, Unsolicited};
use crate::{Filtering, Mapping};

pub(super) fn text(profile: &Profile) -> String {
    let mut lines = Vec::new();
    match profile.mapping {
        None => lines.push("No NAT: addresses and ports stay as they are.".to_owned()),
        Some(mapping) => {
            lines.push(mapped(mapping).to_owned());
            ports(profile, &mut lines);
            lines.push(pooled(profile));
        }
    }
    lines.push(filtered(profile).to_owned());
    // Where all passes, nothing is remembered that could end, be refused or be too much.
    if profile.mapping.is_some() || profile.filtering != Filtering::EndpointIndependent {
        timers(profile, &mut lines);
        lines.push(unsolicited(profile.unsolicited).to_owned());
        lines.push(limits(profile));
    }
    if profile.mapping.is_some() {
        lines.push(hairpin(profile.hairpin).to_owned());
    }
    if profile.udp_blocked {
        lines.push("UDP does not pass at all; only TCP and ICMP do.".to_owned());
    }
    match profile.kernel_can() {
        Ok(()) => lines.push("Stock nftables reaches all of this.".to_owned()),
        Err(lacks) => {
            lines.push("Stock nftables does not reach this; natrig's engine does:".to_owned());
            lines.extend(lacks.iter().map(|lack| format!("  {lack}")));
        }
    }
    lines.iter().fold(format!("{}\n", profile.name), |mut text, line| {
        let _ = writeln!(text, "  {line}");
        text
    })
}

fn mapped(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::EndpointIndependent => {
            "Mapping EIM: an inside endpoint has one outside endpoint, whatever it talks to, as RFC 4787 REQ-1 \
             demands. Peers can be told where it is."
        }
        Mapping::AddressDependent => {
            "Mapping ADM: an inside endpoint has another outside endpoint for each address it talks to, against \
             RFC 4787 REQ-1. What STUN says is not what a peer will see."
        }
        Mapping::AddressAndPortDependent => {
            "Mapping APDM: an inside endpoint has another outside endpoint for each address and port it talks to, \
             against RFC 4787 REQ-1. What STUN says is not what a peer will see."
        }
    }
}

fn ports(profile: &Profile, lines: &mut Vec<String>) {
    let ports = &profile.ports;
    let range = ports.range;
    lines.push(match ports.allocation {
        Allocation::Preserving => {
            format!("Ports: kept; who comes second to a port, or has one outside {range}, gets none.")
        }
        Allocation::PreservingUntilCollision => {
            format!("Ports: kept; who comes second to a port gets a random one from {range}.")
        }
        Allocation::Random => format!("Ports: random, from {range}."),
        Allocation::Sequential { delta } => {
            format!("Ports: each {delta} above the last, from {range}. They can be predicted.")
        }
    });
    if let Some(block) = ports.block {
        let blocks =
            if block.most == 1 { "one block".to_owned() } else { format!("up to {} blocks", block.most) };
        lines.push(format!(
            "Blocks: a host has {blocks} of {} ports to itself (RFC 7422), which also bounds it (RFC 6888 REQ-4).",
            block.size
        ));
    }
    if ports.parity {
        lines.push("Parity: even ports stay even, odd ones odd (RFC 4787 REQ-4).".to_owned());
    }
    if ports.overload {
        lines.push(
            "Overloading: two hosts may have the same outside endpoint towards different destinations, against \
             RFC 4787 REQ-3."
                .to_owned(),
        );
    }
}

fn pooled(profile: &Profile) -> String {
    match (profile.pool.addresses, profile.pool.pooling) {
        (1, _) => "Addresses: one.".to_owned(),
        (count, Pooling::Paired) => {
            format!("Addresses: {count}; a host keeps one for all its mappings (RFC 4787 REQ-2).")
        }
        (count, Pooling::Arbitrary) => {
            format!("Addresses: {count}, and a host's mappings are spread over them, against RFC 4787 REQ-2.")
        }
    }
}

fn filtered(profile: &Profile) -> &'static str {
    match (profile.mapping, profile.filtering) {
        (None, Filtering::EndpointIndependent) => {
            "Filtering: none; everybody outside reaches everything inside."
        }
        (_, Filtering::EndpointIndependent) => {
            "Filtering EIF: anybody may send to an outside endpoint (RFC 4787 REQ-8: best where applications \
             matter most)."
        }
        (_, Filtering::AddressDependent) => {
            "Filtering ADF: only addresses that were sent to may answer, from any port (RFC 4787 REQ-8: where \
             strictness matters most)."
        }
        (_, Filtering::AddressAndPortDependent) => {
            "Filtering APDF: only the very endpoints that were sent to may answer; both sides must send (stricter \
             than RFC 4787 REQ-8 recommends)."
        }
    }
}

fn timers(profile: &Profile, lines: &mut Vec<String>) {
    let timers = &profile.timers;
    let enough = Duration::from_secs(120);
    let enough = match (timers.unreplied >= enough, timers.stream >= enough) {
        (true, _) => "as RFC 4787 REQ-5 wants",
        (false, true) => "RFC 4787 REQ-5 wants at least 2 min for both",
        (false, false) => "against RFC 4787 REQ-5, which wants at least 2 min",
    };
    lines.push(format!(
        "UDP timers: {} without an answer, {} with one; {enough}.",
        seconds(timers.unreplied),
        seconds(timers.stream)
    ));
    if let Some(lifetime) = timers.lifetime {
        lines.push(format!(
            "Lifetime: a mapping ends after {}, however busy it is; no keepalive helps.",
            seconds(lifetime)
        ));
    }
    lines.push(
        match profile.refresh {
            Refresh::Both => "Refresh: by packets of both directions (RFC 4787 REQ-6 allows it).",
            Refresh::Outbound => {
                "Refresh: by packets from inside only (RFC 4787 REQ-6); the inner side must send the keepalives."
            }
        }
        .to_owned(),
    );
    let tcp = if timers.tcp_established < Duration::from_secs(7440)
        || timers.tcp_transitory < Duration::from_secs(240)
    {
        "against RFC 5382 REQ-5, which wants at least 2 h 4 min and 4 min"
    } else {
        "as RFC 5382 REQ-5 wants"
    };
    lines.push(format!(
        "TCP timers: {} while open, {} while opening or closing, {tcp}.",
        seconds(timers.tcp_established),
        seconds(timers.tcp_transitory)
    ));
}

fn hairpin(hairpin: Hairpin) -> &'static str {
    match hairpin {
        Hairpin::None => {
            "Hairpin: none, against RFC 4787 REQ-9; two hosts behind this gateway do not meet at their outside \
             endpoints."
        }
        Hairpin::InternalSource => {
            "Hairpin: with the sender's inside endpoint, against RFC 4787 REQ-9; the answer does not come back \
             through the gateway."
        }
        Hairpin::ExternalSource => "Hairpin: with the sender's outside endpoint, as RFC 4787 REQ-9 demands.",
    }
}

fn unsolicited(unsolicited: Unsolicited) -> &'static str {
    match unsolicited {
        Unsolicited::Drop => "Unsolicited input: dropped in silence.",
        Unsolicited::Reject => {
            "Unsolicited input: answered with ICMP port unreachable, a SYN after a while (RFC 5382 REQ-4)."
        }
        Unsolicited::Poison => {
            "Unsolicited input: taken for the gateway's own. A peer's early packet takes the wanted flow, and the \
             inside gets another port to that peer: hole punching fails."
        }
    }
}

fn limits(profile: &Profile) -> String {
    let limits = &profile.limits;
    let per_host =
        limits.per_host.map_or(String::new(), |most| format!(", {most} for a host (RFC 6888 REQ-4)"));
    format!("Limits: {} mappings{per_host}, {} flows.", limits.mappings, limits.flows)
}

/// A time as people say it, without the spaces of exactness.
fn seconds(time: Duration) -> String {
    humantime_serde::re::humantime::format_duration(time).to_string()
}
