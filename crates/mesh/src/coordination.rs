//! What goes to, through and from a coordinator (bare datagrams of kind 7).
//!
//! ```text
//! initiator -> coordinator  Ask      who shall be brought together with me
//! coordinator -> responder  Call     who asks, and where it was seen
//! responder -> coordinator  Called
//! coordinator -> initiator  Answer   where the responder was seen
//! ```
//!
//! The initiator repeats its question until the answer is there; all else follows from it, so a coordinator keeps no
//! state of its own. What it says of endpoints is what it has seen itself. What the sides claim beyond that it passes on as
//! far as it can be theirs: see [`Side::claimed_from`].

use std::net::{IpAddr, SocketAddr};

use minicbor::{Decode, Encode};

use crate::announce::is_possible;
use crate::identity::PeerId;
use crate::nat::{Mapping, NatClass, is_private};
use crate::probe::Token;

/// Claimed candidates that are listened to.
pub(crate) const MAX_CANDIDATES: usize = 8;

/// What a side says of itself.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Side {
    /// What it found its NAT to be.
    #[n(0)]
    pub class: NatClass,
    /// How it maps: where that depends on the destination, the port of its observed endpoint is void.
    #[n(1)]
    pub mapping: Mapping,
    /// Whether it takes part in birthday searches.
    #[n(2)]
    pub birthday: bool,
    /// Whether it takes part in port predictions.
    #[n(3)]
    pub prediction: bool,
    /// Where it expects the other to see it.
    #[n(4)]
    pub predicted: Option<Predicted>,
    /// Where it may be reached besides: addresses in its LAN, ports that its gateway has opened for it.
    #[n(5)]
    pub candidates: Vec<SocketAddr>,
}

/// A port that a mapping to come is expected to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Predicted {
    #[n(0)]
    pub port: u16,
    /// How far the next one would lie from it.
    #[n(1)]
    pub delta: i32,
}

impl Predicted {
    /// The ports to try, the likeliest first: some mappings of others may come in between, hardly one be missing.
    pub fn ports(self) -> Vec<u16> {
        let steps = [0, 1, 2, -1, 3, 4, 5, 6];
        let port = |step: i32| {
            let port = i32::from(self.port).checked_add(self.delta.checked_mul(step)?)?;
            u16::try_from(port).ok().filter(|port| *port != 0)
        };
        let mut ports = Vec::new();
        for port in steps.into_iter().filter_map(port) {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports
    }
}

impl Side {
    /// The same with those candidates only that can be of a node seen at `seen`, for one that is seen at `receiver`:
    /// ports of the very address that was seen, and private addresses if both share one outside address.
    pub fn claimed_from(mut self, seen: IpAddr, receiver: IpAddr) -> Self {
        let is_its_own = |candidate: &SocketAddr| {
            is_possible(candidate)
                && (candidate.ip() == seen || is_private(candidate.ip()) && seen == receiver)
        };
        self.candidates.retain(is_its_own);
        self.candidates.truncate(MAX_CANDIDATES);
        self
    }
}

/// A message about a third node.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(crate) enum Coordination {
    #[n(0)]
    Ask {
        #[cbor(n(0), with = "minicbor::bytes")]
        transaction: Token,
        #[n(1)]
        target: PeerId,
        #[n(2)]
        side: Side,
    },
    #[n(1)]
    Call {
        #[cbor(n(0), with = "minicbor::bytes")]
        transaction: Token,
        #[n(1)]
        asker: PeerId,
        #[n(2)]
        endpoint: SocketAddr,
        #[n(3)]
        side: Side,
        /// Microseconds until the asker will have heard of the call: then both begin.
        #[n(4)]
        wait: u32,
    },
    #[n(2)]
    Called {
        #[cbor(n(0), with = "minicbor::bytes")]
        transaction: Token,
        #[n(1)]
        asker: PeerId,
        #[n(2)]
        side: Side,
    },
    #[n(3)]
    Answer {
        #[cbor(n(0), with = "minicbor::bytes")]
        transaction: Token,
        #[n(1)]
        target: PeerId,
        #[n(2)]
        endpoint: SocketAddr,
        #[n(3)]
        side: Side,
    },
    #[n(4)]
    Refused {
        #[cbor(n(0), with = "minicbor::bytes")]
        transaction: Token,
        #[n(1)]
        target: PeerId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn side(candidates: &[&str]) -> Side {
        Side {
            class: NatClass::PortRestrict,
            mapping: Mapping::EndpointIndependent,
            birthday: true,
            prediction: true,
            predicted: None,
            candidates: candidates.iter().map(|text| text.parse().expect("an address")).collect(),
        }
    }

    fn kept(candidates: &[&str], seen: &str, receiver: &str) -> Vec<String> {
        let [seen, receiver] = [seen, receiver].map(|text| text.parse().expect("an address"));
        let side = side(candidates).claimed_from(seen, receiver);
        side.candidates.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn claims_are_passed_on_as_far_as_they_can_be_true() {
        let (lan, mapped, victim) = ("192.168.1.7:4400", "198.51.100.1:555", "203.0.113.9:80");
        let claims = [lan, mapped, victim, "127.0.0.1:1"];
        assert_eq!(kept(&claims, "198.51.100.1", "198.51.100.2"), [mapped]);
        assert_eq!(kept(&claims, "198.51.100.1", "198.51.100.1"), [lan, mapped]);
        assert_eq!(kept(&[lan; 20], "198.51.100.1", "198.51.100.1").len(), MAX_CANDIDATES);
    }

    #[test]
    fn a_prediction_is_a_handful_of_ports_around_the_expected_one() {
        assert_eq!(Predicted { port: 700, delta: 2 }.ports(), [700, 702, 704, 698, 706, 708, 710, 712]);
        assert_eq!(Predicted { port: 65535, delta: 1 }.ports(), [65535, 65534]);
        assert_eq!(Predicted { port: 9, delta: 0 }.ports(), [9]);
    }

    proptest! {
        #[test]
        fn no_prediction_is_beyond_all_bounds(port: u16, delta: i32) {
            let ports = Predicted { port, delta }.ports();
            prop_assert!(ports.len() <= 8 && !ports.contains(&0));
        }

        #[test]
        fn nobody_is_sent_where_a_side_was_not_seen(ips: Vec<(u32, u16)>, seen: [u8; 4], receiver: [u8; 4]) {
            let mut claims = side(&[]);
            claims.candidates = ips.iter().map(|(ip, port)| SocketAddr::from((ip.to_be_bytes(), *port))).collect();
            let (seen, receiver) = (IpAddr::from(seen), IpAddr::from(receiver));
            for candidate in claims.claimed_from(seen, receiver).candidates {
                prop_assert!(candidate.ip() == seen || is_private(candidate.ip()) && seen == receiver);
            }
        }
    }
}
