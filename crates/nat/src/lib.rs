//! RFC 4787 vocabulary, gateway profiles, their nftables rulesets, and a NAT of our own.
//!
//! [`Preset`] names the five gateways of the truth table; [`Profile`] is any gateway. [`Ruleset`](ruleset::Ruleset) makes
//! a Linux kernel behave like a preset, [`Engine`] behaves like any profile, and [`bytes::Gateway`] does so to packets on the
//! wire.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::iter_over_hash_type)
)]

mod behaviour;
pub mod bytes;
pub mod engine;
mod preset;
pub mod profile;
pub mod ruleset;

pub use behaviour::{Filtering, Mapping};
pub use engine::Engine;
pub use preset::{Preset, UnknownPreset};
pub use profile::Profile;
