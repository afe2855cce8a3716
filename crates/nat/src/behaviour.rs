//! The words of RFC 4787.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which external endpoint an internal one gets (RFC 4787 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mapping {
    /// The same one for every destination.
    #[serde(rename = "EIM")]
    EndpointIndependent,
    /// The same one for every port of a destination's address.
    #[serde(rename = "ADM")]
    AddressDependent,
    /// Another one for each destination.
    #[serde(rename = "APDM")]
    AddressAndPortDependent,
}

/// Which outsiders may use a mapping (RFC 4787 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Filtering {
    /// All.
    #[serde(rename = "EIF")]
    EndpointIndependent,
    /// Those whose address it was used for.
    #[serde(rename = "ADF")]
    AddressDependent,
    /// Those whose address and port it was used for.
    #[serde(rename = "APDF")]
    AddressAndPortDependent,
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mapping::EndpointIndependent => "EIM",
            Mapping::AddressDependent => "ADM",
            Mapping::AddressAndPortDependent => "APDM",
        })
    }
}

impl fmt::Display for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Filtering::EndpointIndependent => "EIF",
            Filtering::AddressDependent => "ADF",
            Filtering::AddressAndPortDependent => "APDF",
        })
    }
}
