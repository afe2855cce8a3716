//! What cannot be true at once.

use std::{fmt, time::Duration};

use super::{Allocation, Hairpin, Profile, Unsolicited};
use crate::{Filtering, Mapping};

/// Two things a profile says that cannot both be true, or one that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Contradiction {
    /// The field to change.
    pub field: &'static str,
    /// Why, and what to write instead.
    pub why: String,
}

/// All contradictions of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradictions {
    /// The profile's name.
    pub profile: String,
    /// At least one.
    pub found: Vec<Contradiction>,
}

impl fmt::Display for Contradictions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the gateway profile `{}` contradicts itself", self.profile)?;
        self.found.iter().try_for_each(|contradiction| write!(f, "\n  {contradiction}"))
    }
}

impl std::error::Error for Contradictions {}

pub(super) fn all(profile: &Profile) -> Result<(), Contradictions> {
    let mut found = Vec::new();
    let mut hold = |truth: bool, field: &'static str, why: &str| {
        if !truth {
            found.push(Contradiction { field, why: why.to_owned() });
        }
    };
    match profile.mapping {
        None => without_nat(profile, &mut hold),
        Some(mapping) => ports(profile, mapping, &mut hold),
    }
    timers(profile, &mut hold);
    limits(profile, &mut hold);
    if found.is_empty() { Ok(()) } else { Err(Contradictions { profile: profile.name.clone(), found }) }
}

type Hold<'a> = dyn FnMut(bool, &'static str, &str) + 'a;

fn without_nat(profile: &Profile, hold: &mut Hold<'_>) {
    let ports = &profile.ports;
    hold(!ports.parity, "ports.parity", "without NAT all ports stay as they are");
    hold(!ports.overload, "ports.overload", "without NAT no outside endpoint is shared");
    hold(ports.block.is_none(), "ports.block", "without NAT no ports are given out");
    hold(profile.pool.addresses <= 1, "pool.addresses", "without NAT there is no address pool");
    hold(
        profile.hairpin == Hairpin::None,
        "hairpin",
        "without NAT there is no outside endpoint to turn back at",
    );
    hold(profile.unsolicited != Unsolicited::Poison, "unsolicited", "without NAT no port can be taken");
}

fn ports(profile: &Profile, mapping: Mapping, hold: &mut Hold<'_>) {
    let ports = &profile.ports;
    let preserving =
        matches!(ports.allocation, Allocation::Preserving | Allocation::PreservingUntilCollision);
    hold(profile.pool.addresses > 0, "pool.addresses", "a NAT needs an outside address; write at least 1");
    if let Allocation::Sequential { delta } = ports.allocation {
        hold(delta > 0, "ports.allocation", "a delta of 0 gives the same port again; write at least 1");
        hold(
            u32::from(delta) < ports.range.count(),
            "ports.allocation",
            "the delta is as large as the port range; every step comes to the same port",
        );
        hold(
            !ports.parity || delta % 2 == 0,
            "ports.parity",
            "an odd delta changes the parity at every step; write an even one, or `parity: false`",
        );
    }
    if let Some(block) = ports.block {
        hold(block.size > 0, "ports.block.size", "a block without ports serves nobody");
        hold(block.most > 0, "ports.block.most", "a host that may have no block gets no mapping");
        hold(
            u32::from(block.size) <= ports.range.count(),
            "ports.block.size",
            "the block is larger than the port range",
        );
        hold(
            !preserving,
            "ports.block",
            "a host's own ports lie outside its block; allocate `random` or `sequential` ports in blocks",
        );
        hold(!ports.parity || block.size > 1, "ports.parity", "a block of one port has one parity only");
    }
    hold(!ports.parity || ports.range.count() > 1, "ports.parity", "a range of one port has one parity only");
    hold(
        ports.allocation != Allocation::Preserving
            || mapping == Mapping::EndpointIndependent
            || ports.overload,
        "ports.allocation",
        "a second destination needs a second port where mapping depends on it; write \
         `preserving-until-collision`",
    );
    if ports.overload {
        hold(
            profile.filtering == Filtering::AddressAndPortDependent,
            "ports.overload",
            "a shared endpoint can only tell its owners apart by the destination's address and port; filter by \
             APDF",
        );
        hold(
            mapping != Mapping::AddressDependent,
            "ports.overload",
            "a shared endpoint is given out for each destination's address and port; map by EIM or APDM",
        );
        hold(
            preserving == (mapping == Mapping::EndpointIndependent),
            "ports.overload",
            "a shared endpoint is chosen anew for each destination: EIM only where ports are preserved, APDM \
             only where they are not",
        );
    }
}

/// Longer than anybody waits, and short enough to be added to any clock.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

fn timers(profile: &Profile, hold: &mut Hold<'_>) {
    let timers = &profile.timers;
    for (field, timer) in [
        ("timers.unreplied", timers.unreplied),
        ("timers.stream", timers.stream),
        ("timers.tcp-established", timers.tcp_established),
        ("timers.tcp-transitory", timers.tcp_transitory),
        ("timers.icmp", timers.icmp),
    ]
    .into_iter()
    .chain(timers.lifetime.map(|lifetime| ("timers.lifetime", lifetime)))
    {
        hold(!timer.is_zero(), field, "state that lives 0 s never translates an answer");
        hold(
            timer <= LONGEST,
            field,
            "nothing in a gateway lives longer than 10 years; write at most `3650days`",
        );
    }
    hold(
        timers.stream_after <= LONGEST,
        "timers.stream-after",
        "no flow grows so old; write at most `3650days`",
    );
    hold(
        timers.tcp_unsolicited <= LONGEST,
        "timers.tcp-unsolicited",
        "no SYN is kept so long; write at most `3650days`",
    );
    hold(
        timers.unreplied <= timers.stream,
        "timers.stream",
        "an answer would shorten the flow's life; write at least the time of `timers.unreplied`",
    );
}

fn limits(profile: &Profile, hold: &mut Hold<'_>) {
    let limits = &profile.limits;
    hold(limits.mappings > 0, "limits.mappings", "a gateway without mappings passes nothing");
    hold(limits.flows > 0, "limits.flows", "a gateway without flows passes nothing");
    hold(limits.per_host != Some(0), "limits.per-host", "a host without mappings passes nothing");
    hold(
        limits.per_host.is_none_or(|most| most <= limits.mappings),
        "limits.per-host",
        "one host may have more than there are in all; write at most `limits.mappings`",
    );
}
