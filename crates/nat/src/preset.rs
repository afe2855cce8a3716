//! Gateway behaviours by name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Filtering, Mapping};

/// A named gateway behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Preset {
    /// A router without NAT: what is behind it is reachable from everywhere.
    Public,
    /// EIM and EIF.
    FullCone,
    /// EIM and ADF.
    AddrRestrict,
    /// EIM and APDF.
    PortRestrict,
    /// APDM and APDF, random ports.
    Symmetric,
}

impl Preset {
    /// All, from the most to the least open.
    pub const ALL: [Preset; 5] =
        [Preset::Public, Preset::FullCone, Preset::AddrRestrict, Preset::PortRestrict, Preset::Symmetric];

    /// The name that is printed.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Public => "public",
            Preset::FullCone => "full-cone",
            Preset::AddrRestrict => "addr-restrict",
            Preset::PortRestrict => "port-restrict",
            Preset::Symmetric => "symmetric",
        }
    }

    /// How it maps; none without NAT.
    pub fn mapping(self) -> Option<Mapping> {
        match self {
            Preset::Public => None,
            Preset::Symmetric => Some(Mapping::AddressAndPortDependent),
            _ => Some(Mapping::EndpointIndependent),
        }
    }

    /// How it filters.
    pub fn filtering(self) -> Filtering {
        match self {
            Preset::Public | Preset::FullCone => Filtering::EndpointIndependent,
            Preset::AddrRestrict => Filtering::AddressDependent,
            Preset::PortRestrict | Preset::Symmetric => Filtering::AddressAndPortDependent,
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no preset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no gateway behaviour is called `{name}`; there are {}", list())]
pub struct UnknownPreset {
    /// The name.
    pub name: String,
}

fn list() -> String {
    Preset::ALL.map(Preset::name).join(", ")
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    /// Reads a name or one of its aliases: `none`, the long forms, and the words of RFC 3489.
    fn from_str(name: &str) -> Result<Self, UnknownPreset> {
        Ok(match name.to_ascii_lowercase().replace(['_', ' '], "-").as_str() {
            "public" | "none" | "open" => Preset::Public,
            "full-cone" | "full" => Preset::FullCone,
            "addr-restrict" | "addr-restricted" | "address-restrict" | "address-restricted"
            | "restricted-cone" | "restricted" | "addr" => Preset::AddrRestrict,
            "port-restrict" | "port-restricted" | "port-restricted-cone" | "port" => Preset::PortRestrict,
            "symmetric" => Preset::Symmetric,
            _ => {
                return Err(UnknownPreset { name: name.to_owned() });
            }
        })
    }
}

impl TryFrom<String> for Preset {
    type Error = UnknownPreset;

    fn try_from(name: String) -> Result<Self, UnknownPreset> {
        name.parse()
    }
}

impl From<Preset> for String {
    fn from(preset: Preset) -> String {
        preset.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_alias_is_read() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(preset));
        }
        assert_eq!("none".parse(), Ok(Preset::Public));
        assert_eq!("port-restricted".parse(), Ok(Preset::PortRestrict));
        assert_eq!("address-restricted".parse(), Ok(Preset::AddrRestrict));
        assert_eq!("Port Restricted Cone".parse(), Ok(Preset::PortRestrict));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "sticky".parse::<Preset>().unwrap_err().to_string();
        assert!(message.contains("`sticky`") && message.contains("addr-restrict"), "{message}");
    }
}
