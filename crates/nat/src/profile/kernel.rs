//! What stock nftables reaches.

use std::time::Duration;

use super::{Allocation, Hairpin, Profile, Refresh, Timers, Unsolicited};
use crate::{Filtering, Mapping, ruleset::SEQUENCE};

/// Something that stock nftables does not reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{axis}: {why}")]
pub struct Lack {
    /// The field of the profile.
    pub axis: &'static str,
    /// What is missing.
    pub why: &'static str,
}

/// The longest time that conntrack's clock holds, whatever its tick.
const LONGEST: Duration = Duration::from_secs(2_147_483);

/// The most ports, blocks and addresses that rules may list one by one.
const LISTED: u32 = 65_536;

type Note<'a> = dyn FnMut(bool, &'static str, &'static str) + 'a;

pub(super) fn reach(profile: &Profile) -> Result<(), Vec<Lack>> {
    let mut lacks = Vec::new();
    let mut lack = |missing: bool, axis, why| {
        if missing {
            lacks.push(Lack { axis, why });
        }
    };
    // Where everything passes, nothing is remembered that could end or be too much.
    if profile.mapping.is_some() || profile.filtering != Filtering::EndpointIndependent {
        timers(profile, &mut lack);
        limits(profile, &mut lack);
    }
    if let Some(mapping) = profile.mapping {
        translation(profile, mapping, &mut lack);
    }
    if lacks.is_empty() { Ok(()) } else { Err(lacks) }
}

fn timers(profile: &Profile, lack: &mut Note<'_>) {
    let timers = &profile.timers;
    if !profile.udp_blocked {
        lack(
            profile.refresh == Refresh::Outbound,
            "refresh",
            "conntrack keeps a flow alive by packets of both directions",
        );
        lack(
            timers.stream != timers.unreplied && timers.stream_after != Timers::default().stream_after,
            "timers.stream-after",
            "conntrack's 2 s are fixed",
        );
    }
    lack(timers.lifetime.is_some(), "timers.lifetime", "conntrack ends idle flows only");
    for (axis, timer) in [
        ("timers.unreplied", timers.unreplied),
        ("timers.stream", timers.stream),
        ("timers.tcp-established", timers.tcp_established),
        ("timers.tcp-transitory", timers.tcp_transitory),
        ("timers.icmp", timers.icmp),
    ] {
        lack(timer.subsec_nanos() != 0, axis, "conntrack's timers are whole seconds");
        lack(timer > LONGEST, axis, "conntrack's timers end after 24 days");
    }
}

fn limits(profile: &Profile, lack: &mut Note<'_>) {
    // Only there is each flow of a host a mapping.
    let counted = profile.ports.overload || profile.mapping == Some(Mapping::AddressAndPortDependent);
    lack(
        profile.limits.per_host.is_some() && !counted,
        "limits.per-host",
        "the kernel counts a host's flows, and a mapping has one for each destination",
    );
}

fn translation(profile: &Profile, mapping: Mapping, lack: &mut Note<'_>) {
    let ports = &profile.ports;
    let for_each_address = match (ports.block, ports.allocation) {
        (Some(block), _) => ports.range.count() / u32::from(block.size.max(1)),
        (None, Allocation::Sequential { .. }) => ports.range.count().min(SEQUENCE),
        (None, _) => 1,
    };
    lack(
        for_each_address * u32::from(profile.pool.addresses) > LISTED,
        "pool.addresses",
        "rules list the addresses of a pool, with each one's blocks or sequence, up to 65,536 in all",
    );
    lack(
        ports.parity && ports.allocation != Allocation::Preserving,
        "ports.parity",
        "a rule draws any port of a range, not every second one",
    );
    if let Some(block) = ports.block {
        lack(block.most > 1, "ports.block.most", "no rule sees that a block is full");
        lack(
            matches!(ports.allocation, Allocation::Sequential { .. }),
            "ports.allocation",
            "a rule counts for all hosts together, not in each host's block",
        );
    }
    lack(
        profile.hairpin == Hairpin::InternalSource && profile.filtering != Filtering::EndpointIndependent,
        "hairpin",
        "a packet that keeps its inside source has no outside one to filter by",
    );
    if profile.unsolicited == Unsolicited::Poison
        && !ports.overload
        && mapping != Mapping::AddressAndPortDependent
    {
        lack(
            !matches!(ports.allocation, Allocation::Preserving | Allocation::PreservingUntilCollision),
            "unsolicited",
            "a taken tuple is known by its outside port, which is the inside one only where ports are preserved",
        );
        lack(
            profile.pool.addresses > 1,
            "unsolicited",
            "a taken tuple is known by its port, for one address",
        );
    }
}
