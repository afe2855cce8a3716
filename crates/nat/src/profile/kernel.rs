//! What stock nftables reaches.

use super::{Allocation, Hairpin, Profile, Refresh};
use crate::{Filtering, Mapping};

/// Something that stock nftables does not reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{axis}: {why}")]
pub struct Lack {
    /// The field of the profile.
    pub axis: &'static str,
    /// What is missing.
    pub why: &'static str,
}

pub(super) fn reach(profile: &Profile) -> Result<(), Vec<Lack>> {
    let mut lacks = Vec::new();
    let mut lack = |missing: bool, axis, why| {
        if missing {
            lacks.push(Lack { axis, why });
        }
    };
    lack(profile.refresh == Refresh::Outbound, "refresh", "conntrack is refreshed by both directions");
    lack(profile.timers.lifetime.is_some(), "timers.lifetime", "conntrack ends idle flows only");
    lack(
        profile.timers.stream_after != super::Timers::default().stream_after,
        "timers.stream-after",
        "conntrack's 2 s are fixed",
    );
    if let Some(mapping) = profile.mapping {
        translation(profile, mapping, &mut lack);
    }
    if lacks.is_empty() { Ok(()) } else { Err(lacks) }
}

fn translation(profile: &Profile, mapping: Mapping, lack: &mut dyn FnMut(bool, &'static str, &'static str)) {
    let ports = &profile.ports;
    let open = profile.filtering != Filtering::AddressAndPortDependent;
    let eim = mapping == Mapping::EndpointIndependent;
    let preserving =
        matches!(ports.allocation, Allocation::Preserving | Allocation::PreservingUntilCollision);
    let sequential = matches!(ports.allocation, Allocation::Sequential { .. });
    lack(ports.parity, "ports.parity", "no rule draws a port of the same parity");
    lack(
        sequential && mapping != Mapping::AddressAndPortDependent,
        "ports.allocation",
        "a sequence steps with every flow, so it gives every destination another port",
    );
    lack(
        mapping == Mapping::AddressDependent && ports.allocation != Allocation::Random,
        "ports.allocation",
        "ADM comes from a hash that chooses the port",
    );
    lack(
        mapping == Mapping::AddressAndPortDependent && preserving,
        "ports.allocation",
        "a preserved port is preserved for every destination, which is EIM",
    );
    lack(
        ports.allocation == Allocation::Preserving,
        "ports.allocation",
        "where a port is taken, the kernel draws another one",
    );
    lack(
        ports.block.is_some_and(|block| block.most > 1),
        "ports.block.most",
        "a rule gives a host one range of ports",
    );
    lack(ports.block.is_some() && open, "ports.block", "the maps that open the filter know no blocks");
    lack(
        profile.pool.addresses > 1 && open,
        "pool.addresses",
        "the maps that open the filter are kept by port, for one address",
    );
    lack(
        profile.hairpin != Hairpin::None && (profile.filtering != Filtering::EndpointIndependent || !eim),
        "hairpin",
        "a packet is turned back by the map that EIM with EIF fills",
    );
    lack(
        profile.limits.per_host.is_some() && eim,
        "limits.per-host",
        "the kernel counts flows, and a mapping has one for each destination",
    );
}
