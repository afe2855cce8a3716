//! A profile in plain words.

use std::{fmt::Write as _, time::Duration};

use super::{Allocation, Hairpin, Named, Pooling, Profile, Refresh, Unsolicited};
use crate::{Filtering, Mapping};

/// What is said of some axes.
struct Line {
    axes: &'static [&'static str],
    text: String,
}

impl Named {
    /// What these gateways do, in plain words: each axis with the clause of the RFC it stands under and the source it
    /// rests on, what can make them behave so, and the sources.
    pub fn explain(&self) -> String {
        let mut text = match self.summary.as_str() {
            "" => format!("{}\n", self.name),
            summary => format!("{}: {summary}\n", self.name),
        };
        if self.chain.len() > 1 {
            let _ =
                writeln!(text, "  {} gateways behind each other, the inside one first.", self.chain.len());
        }
        for profile in &self.chain {
            if self.chain.len() > 1 {
                let _ = writeln!(text, "\n{}", profile.name);
            }
            for line in lines(profile) {
                let _ = writeln!(text, "  {}{}", line.text, self.basis(line.axes));
            }
            engine(profile, &mut text);
        }
        self.rests_on(&mut text);
        text
    }

    /// The numbers of the sources that speak of these axes, and those of which none does.
    fn basis(&self, axes: &[&str]) -> String {
        let mut numbers: Vec<usize> = Vec::new();
        for (source, number) in self.sources.iter().zip(1..) {
            if axes.iter().any(|axis| source.axes.iter().any(|of| covers(of, axis))) {
                numbers.push(number);
            }
        }
        let assumed: Vec<&str> =
            axes.iter().filter(|axis| self.assumed.iter().any(|of| covers(of, axis))).copied().collect();
        let mut basis = String::new();
        if !numbers.is_empty() {
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            let _ = write!(basis, " [{}]", numbers.join(", "));
        }
        match assumed.as_slice() {
            [] => {}
            all if all.len() == axes.len() => basis.push_str(" (assumed)"),
            some => {
                let _ = write!(basis, " (assumed: {})", some.join(", "));
            }
        }
        basis
    }

    fn rests_on(&self, text: &mut String) {
        if !self.sources.is_empty() {
            text.push_str("\nSources\n");
        }
        for (source, number) in self.sources.iter().zip(1..) {
            let _ = writeln!(text, "  [{number}] {} ({})", source.title, source.retrieved);
            let _ = writeln!(
                text,
                "      {}\n      {}",
                source.url,
                source.says.trim_end().replace('\n', "\n      ")
            );
        }
        if !self.assumed.is_empty() {
            let _ = writeln!(text, "\nAssumed, since no source speaks of it: {}.", self.assumed.join(", "));
        }
    }
}

/// Whether an axis is the one named, or one of the group named.
pub(super) fn covers(named: &str, axis: &str) -> bool {
    named == axis || axis.split_once('.').is_some_and(|(group, _)| group == named)
}

pub(super) fn text(profile: &Profile) -> String {
    let mut text = format!("{}\n", profile.name);
    for line in lines(profile) {
        let _ = writeln!(text, "  {}", line.text);
    }
    engine(profile, &mut text);
    text
}

fn engine(profile: &Profile, text: &mut String) {
    match profile.kernel_can() {
        Ok(()) => {
            text.push_str("  Engine: the kernel's nftables reach all of this, and so does natrig's model.\n")
        }
        Err(lacks) => {
            text.push_str("  Engine: natrig's model. Stock nftables do not reach\n");
            for lack in lacks {
                let _ = writeln!(text, "    {lack}");
            }
        }
    }
}

fn lines(profile: &Profile) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut say = |axes: &'static [&'static str], text: String| lines.push(Line { axes, text });
    match profile.mapping {
        None => say(&["mapping"], "No NAT: addresses and ports stay as they are.".to_owned()),
        Some(mapping) => {
            say(&["mapping"], mapped(mapping).to_owned());
            ports(profile, &mut say);
            say(&["pool.addresses", "pool.pooling"], pooled(profile));
        }
    }
    say(&["filtering"], filtered(profile).to_owned());
    // Where all passes, nothing is remembered that could end, be refused or be too much.
    if profile.mapping.is_some() || profile.filtering != Filtering::EndpointIndependent {
        timers(profile, &mut say);
        say(&["unsolicited"], unsolicited(profile.unsolicited).to_owned());
        say(&["limits.per-host", "limits.mappings", "limits.flows"], limits(profile));
    }
    if profile.mapping.is_some() {
        say(&["hairpin"], hairpin(profile.hairpin).to_owned());
    }
    if profile.udp_blocked {
        say(&["udp-blocked"], "UDP does not pass at all; only TCP and ICMP do.".to_owned());
    }
    lines
}

type Say<'a> = dyn FnMut(&'static [&'static str], String) + 'a;

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

fn ports(profile: &Profile, say: &mut Say<'_>) {
    let ports = &profile.ports;
    let range = ports.range;
    let found = match ports.allocation {
        Allocation::Preserving => {
            format!("Ports: kept; who comes second to a port, or has one outside {range}, gets none.")
        }
        Allocation::PreservingUntilCollision if ports.overload => {
            format!(
                "Ports: kept; who has one outside {range}, or comes second to a port for one destination, gets a \
                 random one."
            )
        }
        Allocation::PreservingUntilCollision => {
            format!("Ports: kept; who comes second to a port gets a random one from {range}.")
        }
        Allocation::Random => format!("Ports: random, from {range}."),
        Allocation::Sequential { delta } => {
            format!("Ports: each {delta} above the last, from {range}. They can be predicted.")
        }
    };
    say(&["ports.allocation", "ports.range"], found);
    if let Some(block) = ports.block {
        let blocks =
            if block.most == 1 { "one block".to_owned() } else { format!("up to {} blocks", block.most) };
        say(
            &["ports.block"],
            format!(
                "Blocks: a host has {blocks} of {} ports to itself (RFC 7422), which also bounds it (RFC 6888 \
                 REQ-4).",
                block.size
            ),
        );
    }
    let parity = match ports.parity {
        true => "Parity: even ports stay even, odd ones odd (RFC 4787 REQ-4).",
        false => "Parity: not minded (RFC 4787 REQ-4 recommends it; RFC 7857 lets it be).",
    };
    say(&["ports.parity"], parity.to_owned());
    let overload = match ports.overload {
        true => {
            "Overloading: two hosts may have the same outside endpoint towards different destinations, against \
             RFC 4787 REQ-3."
        }
        false => "Overloading: none, as RFC 4787 REQ-3 demands; an outside endpoint has one owner.",
    };
    say(&["ports.overload"], overload.to_owned());
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

fn timers(profile: &Profile, say: &mut Say<'_>) {
    let timers = &profile.timers;
    let enough = Duration::from_secs(120);
    let enough = match (timers.unreplied >= enough, timers.stream >= enough) {
        (true, _) => "as RFC 4787 REQ-5 wants",
        (false, true) => "RFC 4787 REQ-5 wants at least 2 min for both",
        (false, false) => "against RFC 4787 REQ-5, which wants at least 2 min",
    };
    let old = match (timers.stream == timers.unreplied, timers.stream_after) {
        (true, _) | (_, Duration::ZERO) => String::new(),
        (false, age) => format!(" once it is {} old", seconds(age)),
    };
    say(
        &["timers.unreplied", "timers.stream", "timers.stream-after"],
        format!(
            "UDP timers: a flow lives {} without an answer, {} with one{old}; {enough}.",
            seconds(timers.unreplied),
            seconds(timers.stream)
        ),
    );
    if let Some(lifetime) = timers.lifetime {
        let lifetime = seconds(lifetime);
        say(
            &["timers.lifetime"],
            format!("Lifetime: a mapping ends after {lifetime}, however busy it is; no keepalive helps."),
        );
    }
    let refresh = match profile.refresh {
        Refresh::Both => "Refresh: by packets of both directions (RFC 4787 REQ-6 allows it).",
        Refresh::Outbound => {
            "Refresh: by packets from inside only (RFC 4787 REQ-6); the inner side must send the keepalives."
        }
    };
    say(&["refresh"], refresh.to_owned());
    let short = timers.tcp_established < Duration::from_secs(7440)
        || timers.tcp_transitory < Duration::from_secs(240);
    let tcp = match short {
        true => "against RFC 5382 REQ-5, which wants at least 2 h 4 min and 4 min",
        false => "as RFC 5382 REQ-5 wants",
    };
    say(
        &["timers.tcp-established", "timers.tcp-transitory"],
        format!(
            "TCP timers: {} while open, {} while opening or closing, {tcp}.",
            seconds(timers.tcp_established),
            seconds(timers.tcp_transitory)
        ),
    );
    let waits = match timers.tcp_unsolicited >= Duration::from_secs(6) {
        true => "as RFC 5382 REQ-4 demands",
        false => "against RFC 5382 REQ-4, which demands 6 s",
    };
    say(
        &["timers.tcp-unsolicited"],
        format!(
            "A SYN from outside waits {} for the inside's own, {waits}.",
            seconds(timers.tcp_unsolicited)
        ),
    );
    let echo = match timers.icmp >= Duration::from_secs(60) {
        true => "as RFC 5508 REQ-1 wants",
        false => "against RFC 5508 REQ-1, which wants at least 1 min",
    };
    say(&["timers.icmp"], format!("An ICMP query lives {}, {echo}.", seconds(timers.icmp)));
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

#[cfg(test)]
mod tests {
    use super::{super::AXES, *};

    #[test]
    fn every_axis_is_spoken_of() {
        let mut profile = Profile { udp_blocked: true, ..Profile::default() };
        profile.ports.allocation = Allocation::Random;
        profile.ports.block = Some(super::super::Block { size: 64, most: 1 });
        profile.timers.lifetime = Some(Duration::from_secs(60));
        let mut spoken: Vec<&str> = lines(&profile).iter().flat_map(|line| line.axes).copied().collect();
        let mut axes = AXES;
        spoken.sort();
        axes.sort();
        assert_eq!(spoken, axes);
    }
}
