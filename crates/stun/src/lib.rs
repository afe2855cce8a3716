//! STUN messages (RFC 8489) and behaviour discovery attributes (RFC 5780), sans-IO.
//!
//! [`Message`] is a Binding request or answer as a value; [`Server`] answers requests for a server with two addresses
//! and two ports. Neither owns a socket.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::iter_over_hash_type)
)]

mod message;
mod server;

pub use message::{ChangeRequest, Class, DecodeError, MAGIC_COOKIE, Message, TransactionId, is_stun};
pub use server::{Endpoint, Reply, Server};
