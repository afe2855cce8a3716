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
//! state of its own. What it says of addresses is what it has seen itself.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use crate::identity::PeerId;
use crate::nat::NatClass;
use crate::probe::Token;

/// What a side says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Side {
    /// What it found its NAT to be.
    #[n(0)]
    pub class: NatClass,
    /// Whether it takes part in birthday searches.
    #[n(1)]
    pub birthday: bool,
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
