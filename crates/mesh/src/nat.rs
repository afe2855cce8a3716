//! What a node knows of the NAT it is behind, in the words of RFC 4787.

use std::net::IpAddr;

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

/// Which outside port a NAT gives to a new mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Allocation {
    /// The inside port.
    Preserving,
    /// One so far above (or below) the last.
    Sequential {
        /// How far.
        delta: i32,
    },
    /// No rule was seen.
    Random,
    /// Not found out.
    #[default]
    Unknown,
}

/// Steps up to this are no chance: that three random ports lie so close happens once in millions.
const MAX_DELTA: i32 = 64;

impl Allocation {
    /// The rule behind ports in the order in which they were given.
    pub(crate) fn of_sequence(ports: &[u16]) -> Self {
        let step = |pair: &[u16]| match pair {
            [a, b] => i32::from(*b) - i32::from(*a),
            _ => 0,
        };
        let steps: Vec<i32> = ports.windows(2).map(step).collect();
        let Some(&first) = steps.first() else {
            return Self::Unknown;
        };
        let is_small = |step: &i32| *step != 0 && step.abs() <= MAX_DELTA && step.signum() == first.signum();
        // Others behind the same NAT may have got ports in between, so the smallest step is the rule.
        match steps.iter().min_by_key(|step| step.abs()) {
            Some(&delta) if steps.iter().all(is_small) => Self::Sequential { delta },
            _ => Self::Random,
        }
    }
}

/// Whether an address means something at its own site only.
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_a_row_are_told_from_random_ones() {
        assert_eq!(Allocation::of_sequence(&[700, 701, 702, 703]), Allocation::Sequential { delta: 1 });
        assert_eq!(Allocation::of_sequence(&[700, 704, 706]), Allocation::Sequential { delta: 2 });
        assert_eq!(Allocation::of_sequence(&[700, 690, 680]), Allocation::Sequential { delta: -10 });
        assert_eq!(Allocation::of_sequence(&[700, 9000, 4000]), Allocation::Random);
        assert_eq!(Allocation::of_sequence(&[700, 701, 699]), Allocation::Random);
        assert_eq!(Allocation::of_sequence(&[700, 700]), Allocation::Random);
        assert_eq!(Allocation::of_sequence(&[700]), Allocation::Unknown);
    }

    #[test]
    fn private_addresses_are_those_of_homes_and_carriers() {
        for private in ["10.1.2.3", "192.168.0.1", "172.20.0.1", "100.64.0.1", "100.127.255.255", "fd00::1"] {
            assert!(is_private(private.parse().expect("an address")), "{private}");
        }
        for public in ["100.128.0.1", "172.32.0.1", "203.0.113.1", "2001:db8::1"] {
            assert!(!is_private(public.parse().expect("an address")), "{public}");
        }
    }
}
