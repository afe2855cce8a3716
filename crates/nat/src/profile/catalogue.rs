//! Gateways by name: the five presets and those beyond, and real equipment.

use std::{sync::LazyLock, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Allocation, Block, Hairpin, Limits, Profile, Unsolicited, read, similar};
use crate::{Filtering, Mapping, Preset};

/// One gateway or several behind each other, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// What it is, in a line.
    pub summary: String,
    /// The gateways a packet passes on its way out, in this order.
    pub chain: Vec<Profile>,
    /// What it rests on, where it is real equipment.
    pub sources: Vec<Source>,
    /// Axes (or groups of them, as `timers`) of which no source says anything.
    pub assumed: Vec<String>,
}

/// Where it is written that a gateway behaves so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What it is called.
    pub title: String,
    /// Where it is.
    pub url: String,
    /// When it was read.
    pub retrieved: String,
    /// What it says.
    pub says: String,
    /// The axes (or groups of them) that it speaks of.
    pub axes: Vec<String>,
}

/// A name that no profile has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no gateway profile is called `{}`; {}", similar::shorten(name), self.hint())]
pub struct UnknownProfile {
    /// The name.
    pub name: String,
    known: Vec<String>,
}

impl UnknownProfile {
    /// What was probably meant, or else what there is.
    pub fn hint(&self) -> String {
        similar::meant(&self.name, self.known.iter().map(String::as_str))
    }
}

/// Real equipment and operators, each with the sources it rests on.
const EQUIPMENT: [&str; 12] = [
    include_str!("../../profiles/linux-masquerade.yaml"),
    include_str!("../../profiles/openwrt.yaml"),
    include_str!("../../profiles/mikrotik.yaml"),
    include_str!("../../profiles/pf.yaml"),
    include_str!("../../profiles/pf-static-port.yaml"),
    include_str!("../../profiles/cisco-asa.yaml"),
    include_str!("../../profiles/windows-winnat.yaml"),
    include_str!("../../profiles/qemu-user.yaml"),
    include_str!("../../profiles/aws-nat-gateway.yaml"),
    include_str!("../../profiles/google-cloud-nat.yaml"),
    include_str!("../../profiles/azure-nat-gateway.yaml"),
    include_str!("../../profiles/rfc-cgn.yaml"),
];

impl Named {
    /// All: the five presets, those beyond, and real equipment.
    pub fn all() -> Vec<Named> {
        Named::known().to_vec()
    }

    /// The one with this name, or with an alias of one of the five presets.
    pub fn find(name: &str) -> Result<Named, UnknownProfile> {
        find(name, Named::known()).cloned()
    }

    /// How the whole chain maps and filters for who is outside it: the worse mapping, the stricter filter.
    pub fn composed(&self) -> (Option<Mapping>, Filtering) {
        let mapping = self.chain.iter().filter_map(|profile| profile.mapping).max();
        let filtering = self.chain.iter().map(|profile| profile.filtering).max();
        (mapping, filtering.unwrap_or(Filtering::EndpointIndependent))
    }

    pub(super) fn known() -> &'static [Named] {
        static KNOWN: LazyLock<Vec<Named>> = LazyLock::new(|| {
            let mut known = presets();
            for text in EQUIPMENT {
                known
                    .push(read::parse(text, &known).expect("profiles that come with natrig are well-formed"));
            }
            known
        });
        &KNOWN
    }

    /// A gateway without a name of its own.
    pub(super) fn custom(profile: Profile) -> Named {
        named("custom", "", profile)
    }
}

/// The one of these with this name.
pub(super) fn find<'a>(name: &str, known: &'a [Named]) -> Result<&'a Named, UnknownProfile> {
    let wanted = match name.parse::<Preset>() {
        Ok(preset) => preset.name().to_owned(),
        Err(_) => name.trim().to_ascii_lowercase().replace(['_', ' '], "-"),
    };
    known.iter().find(|named| named.name == wanted).ok_or_else(|| UnknownProfile {
        name: name.to_owned(),
        known: known.iter().map(|named| named.name.clone()).collect(),
    })
}

fn presets() -> Vec<Named> {
    let five = Preset::ALL.map(|preset| named(preset.name(), summary(preset), Profile::of(preset)));
    five.into_iter().chain(beyond()).collect()
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

fn named(name: &str, summary: &str, profile: Profile) -> Named {
    let profile = Profile { name: name.to_owned(), ..profile };
    chain(name, summary, vec![profile])
}

fn chain(name: &str, summary: &str, chain: Vec<Profile>) -> Named {
    let (sources, assumed) = Default::default();
    Named { name: name.to_owned(), summary: summary.to_owned(), chain, sources, assumed }
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
    let cgn = chain(
        "cgn",
        "a home router behind a carrier's NAT, with 100.64.0.0/10 between them",
        vec![Profile { name: "cgn-home".to_owned(), ..home() }, carrier],
    );
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
