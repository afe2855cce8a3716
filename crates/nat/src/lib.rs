//! RFC 4787 vocabulary, gateway profiles, and their nftables rulesets.

#![forbid(unsafe_code)]

mod behaviour;
mod preset;
pub mod ruleset;

pub use behaviour::{Filtering, Mapping};
pub use preset::{Preset, UnknownPreset};
