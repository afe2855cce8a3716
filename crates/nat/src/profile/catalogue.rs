//! Gateways by name: the five presets and those beyond.

use std::time::Duration;

use super::{Allocation, Block, Hairpin, Limits, Profile, Unsolicited};
use crate::{Filtering, Mapping, Preset};

/// One gateway or several behind each other, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// What it is, in a line.
    pub summary: &'static str,
    /// The gateways a packet passes on its way out, in this order.
    pub chain: Vec<Profile>,
}

/// A name that no profile has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no gateway profile is called `{name}`; there are {known}")]
pub struct UnknownProfile {
    /// The name.
    pub name: String,
    known: String,
}

impl Named {
    /// All, the five presets first.
    pub fn all() -> Vec<Named> {
        let presets = Preset::ALL.map(|preset| named(preset.name(), summary(preset), Profile::of(preset)));
        presets.into_iter().chain(beyond()).collect()
    }

    /// The one with this name, or with an alias of one of the five presets.
    pub fn find(name: &str) -> Result<Named, UnknownProfile> {
        let wanted = match name.parse::<Preset>() {
            Ok(preset) => preset.name().to_owned(),
            Err(_) => name.trim().to_ascii_lowercase().replace(['_', ' '], "-"),
        };
        let all = Named::all();
        let known = all.iter().map(|named| named.name.as_str()).collect::<Vec<_>>().join(", ");
        all.into_iter()
            .find(|named| named.name == wanted)
            .ok_or_else(|| UnknownProfile { name: name.to_owned(), known })
    }

    /// How the whole chain maps and filters for who is outside it: the worse mapping, the stricter filter.
    pub fn composed(&self) -> (Option<Mapping>, Filtering) {
        let mapping = self.chain.iter().filter_map(|profile| profile.mapping).max();
        let filtering = self.chain.iter().map(|profile| profile.filtering).max();
        (mapping, filtering.unwrap_or(Filtering::EndpointIndependent))
    }
}

fn summary(preset: Preset) -> &'static str {
    match preset {
        Preset::Public => "a router without NAT; what is behind it is reachable from everywhere",
        Preset::FullCone => "one outside endpoint for each inside one, open to all",
        Preset::AddrRestrict => "one outside endpoint for each inside one, open to addresses it was used for",
        Preset::PortRestrict => "one outside endpoint for each inside one, open to endpoints it was used for",
        Preset::Symmetric => "another random port for each destination, open to that destination only",
    }
}

fn named(name: &str, summary: &'static str, profile: Profile) -> Named {
    let profile = Profile { name: name.to_owned(), ..profile };
    Named { name: name.to_owned(), summary, chain: vec![profile] }
}

fn beyond() -> Vec<Named> {
    let home = || Profile::of(Preset::PortRestrict);
    let mut sequential = Profile::of(Preset::Symmetric);
    sequential.ports.allocation = Allocation::Sequential { delta: 1 };
    let mut short = home();
    short.timers.stream = Duration::from_secs(30);
    let mut blocks = home();
    blocks.ports.allocation = Allocation::Random;
    blocks.ports.block = Some(Block { size: 512, most: 1 });
    let carrier = Profile {
        name: "cgn-carrier".to_owned(),
        hairpin: Hairpin::ExternalSource,
        ..Profile::of(Preset::FullCone)
    };
    let cgn = Named {
        name: "cgn".to_owned(),
        summary: "a home router behind a carrier's NAT, with 100.64.0.0/10 between them",
        chain: vec![Profile { name: "cgn-home".to_owned(), ..home() }, carrier],
    };
    vec![
        named(
            "symmetric-sequential",
            "another port for each destination, each one above the last",
            sequential,
        ),
        cgn,
        named("short-timer", "as port-restrict, and UDP flows end after 30 s, answered or not", short),
        named("udp-blocked", "passes no UDP", Profile { udp_blocked: true, ..home() }),
        named(
            "reject",
            "as port-restrict, and unsolicited input is answered with ICMP",
            Profile { unsolicited: Unsolicited::Reject, ..home() },
        ),
        named(
            "poison",
            "as port-restrict, but a packet that comes too early moves the port it was sent to",
            Profile { unsolicited: Unsolicited::Poison, ..home() },
        ),
        named(
            "small-table",
            "as port-restrict, with room for 256 flows",
            Profile { limits: Limits { per_host: None, mappings: 256, flows: 256 }, ..home() },
        ),
        named("block-allocated", "random ports from the host's own block of 512", blocks),
    ]
}
