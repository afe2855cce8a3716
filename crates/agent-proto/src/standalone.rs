//! What the guest program and whoever exports a gateway's image must agree on.

/// What such a gateway can be, by name, as JSON; no other image has the file.
pub const PROFILES: &str = "etc/natrig/profiles.json";
