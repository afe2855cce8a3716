//! What a node knows of the NAT it is behind, in the words of RFC 4787.

use minicbor::{Decode, Encode};
use serde::Serialize;

/// How a NAT chooses the outside port for one inside socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
pub enum Mapping {
    /// One port for all destinations.
    #[n(0)]
    #[serde(rename = "EIM")]
    EndpointIndependent,
    /// One port for each destination address.
    #[n(1)]
    #[serde(rename = "ADM")]
    AddressDependent,
    /// One port for each destination address and port.
    #[n(2)]
    #[serde(rename = "APDM")]
    AddressAndPortDependent,
    /// Not found out.
    #[default]
    #[n(3)]
    #[serde(rename = "unknown")]
    Unknown,
}

impl Mapping {
    /// Whether an observed port says nothing about the port that another destination sees.
    pub fn is_dependent(self) -> bool {
        matches!(self, Self::AddressDependent | Self::AddressAndPortDependent)
    }
}

/// Whose datagrams a NAT lets in to a mapped port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
pub enum Filtering {
    /// Anybody's.
    #[n(0)]
    #[serde(rename = "EIF")]
    EndpointIndependent,
    /// Those of addresses that the inside socket has sent to.
    #[n(1)]
    #[serde(rename = "ADF")]
    AddressDependent,
    /// Those of addresses and ports that the inside socket has sent to.
    #[n(2)]
    #[serde(rename = "APDF")]
    AddressAndPortDependent,
    /// Not found out.
    #[default]
    #[n(3)]
    #[serde(rename = "unknown")]
    Unknown,
}

/// The familiar names, by which the strategies are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "kebab-case")]
pub enum NatClass {
    /// Not translated and not filtered.
    #[n(0)]
    Public,
    /// Endpoint-independent mapping and filtering.
    #[n(1)]
    FullCone,
    /// Endpoint-independent mapping, filtered by address.
    #[n(2)]
    AddrRestrict,
    /// Endpoint-independent mapping, filtered by address and port.
    #[n(3)]
    PortRestrict,
    /// Dependent mapping.
    #[n(4)]
    Symmetric,
    /// Not found out.
    #[default]
    #[n(5)]
    Unknown,
}

impl NatClass {
    /// The name of a mapping and a filtering; `translated` is false where the socket's own address was seen outside.
    pub fn of(mapping: Mapping, filtering: Filtering, translated: bool) -> Self {
        match (mapping, filtering) {
            (Mapping::Unknown, _) => Self::Unknown,
            (Mapping::AddressDependent | Mapping::AddressAndPortDependent, _) => Self::Symmetric,
            (_, Filtering::Unknown) => Self::Unknown,
            (_, Filtering::EndpointIndependent) if translated => Self::FullCone,
            (_, Filtering::EndpointIndependent) => Self::Public,
            (_, Filtering::AddressDependent) => Self::AddrRestrict,
            (_, Filtering::AddressAndPortDependent) => Self::PortRestrict,
        }
    }

    /// Whether anybody can send to this node's known endpoint without a packet from it first.
    pub fn is_reachable(self) -> bool {
        matches!(self, Self::Public | Self::FullCone)
    }
}
