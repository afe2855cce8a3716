//! A gateway as a point in the whole space of behaviours.

mod axes;
mod catalogue;
mod contradiction;
mod explain;
mod kernel;
mod read;
mod rebound;
pub mod similar;
mod write;

use serde::{Deserialize, Serialize};

use crate::{Filtering, Mapping, Preset};

pub use axes::{
    Allocation, Block, Hairpin, Limits, Pool, Pooling, PortRange, Ports, Refresh, Timers, Unsolicited,
    WrongRange,
};
pub use catalogue::{Named, Source, UnknownProfile};
pub use contradiction::{Contradiction, Contradictions};
pub use kernel::Lack;
pub use read::{LONGEST_CHAIN, Mistake, WrongProfile};

/// All that is said of one gateway's behaviour.
///
/// What is left out is as on a common home router: EIM and APDF, ports kept until two hosts collide, 30 s for a flow
/// without an answer and 2 min for one with, unsolicited input dropped, no hairpin.
///
/// ```
/// # use natrig_nat::profile::{Allocation, Profile};
/// # use natrig_nat::Mapping;
/// let mut profile = Profile { mapping: Some(Mapping::AddressDependent), ..Profile::default() };
/// profile.ports.allocation = Allocation::Sequential { delta: 2 };
/// assert!(profile.validate().is_ok());
/// assert!(profile.explain().contains("RFC 4787 REQ-1"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// What it is called.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Which outside endpoint an inside one gets; none without NAT.
    #[serde(with = "axes::mapping_or_none")]
    pub mapping: Option<Mapping>,
    /// Which outsiders may use a mapping.
    pub filtering: Filtering,
    /// Which port a mapping gets.
    pub ports: Ports,
    /// Which address a mapping gets.
    pub pool: Pool,
    /// How long state lives.
    pub timers: Timers,
    /// Which direction's UDP packets keep a mapping alive.
    pub refresh: Refresh,
    /// Whether inside hosts reach each other by their outside endpoints.
    pub hairpin: Hairpin,
    /// What becomes of a packet from outside that nothing lets in.
    pub unsolicited: Unsolicited,
    /// How much state there may be.
    pub limits: Limits,
    /// No UDP passes, in either direction.
    pub udp_blocked: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Profile {
            name: "custom".to_owned(),
            mapping: Some(Mapping::EndpointIndependent),
            filtering: Filtering::AddressAndPortDependent,
            ports: Ports::default(),
            pool: Pool::default(),
            timers: Timers::default(),
            refresh: Refresh::default(),
            hairpin: Hairpin::default(),
            unsolicited: Unsolicited::default(),
            limits: Limits::default(),
            udp_blocked: false,
        }
    }
}

impl Profile {
    /// The profile of one of the five presets.
    pub fn of(preset: Preset) -> Self {
        let mut profile = Profile {
            name: preset.name().to_owned(),
            mapping: preset.mapping(),
            filtering: preset.filtering(),
            ..Profile::default()
        };
        if preset == Preset::Symmetric {
            profile.ports.allocation = Allocation::Random;
        }
        profile
    }

    /// Refuses what cannot be true at once; all contradictions are named.
    pub fn validate(&self) -> Result<(), Contradictions> {
        contradiction::all(self)
    }

    /// What this gateway does, in plain words, and where that stands in the RFCs.
    pub fn explain(&self) -> String {
        explain::text(self)
    }

    /// Whether stock nftables reaches this profile; otherwise all that it does not reach. What is lacking is done by
    /// the [engine](crate::engine).
    pub fn kernel_can(&self) -> Result<(), Vec<Lack>> {
        kernel::reach(self)
    }
}

/// The names of all axes, those in groups with the group before a dot.
pub const AXES: [&str; 24] = [
    "mapping",
    "filtering",
    "ports.allocation",
    "ports.range",
    "ports.block",
    "ports.parity",
    "ports.overload",
    "pool.addresses",
    "pool.pooling",
    "timers.unreplied",
    "timers.stream",
    "timers.stream-after",
    "timers.lifetime",
    "timers.tcp-established",
    "timers.tcp-transitory",
    "timers.tcp-unsolicited",
    "timers.icmp",
    "refresh",
    "hairpin",
    "unsolicited",
    "limits.per-host",
    "limits.mappings",
    "limits.flows",
    "udp-blocked",
];
