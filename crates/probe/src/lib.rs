//! What NAT is this: a sans-IO prober.
//!
//! [`Prober`] measures mapping (I to III), filtering (I to III) and whether an early packet moves a port, against a
//! STUN server with two addresses and two ports (RFC 5780). It owns no socket and no clock: the caller carries out its
//! [`Action`]s and feeds it datagrams and the time. Drain [`Prober::poll_action`] after every call, and call
//! [`Prober::handle_timeout`] when [`Prober::poll_timeout`] is reached.
//!
//! Silence is never concluded from time: every request whose answer may be filtered is followed by one whose answer is
//! allowed, and only when that has arrived is the other one called missing. Whether the missing one really came to the
//! gateway is for a witness on the wire; [`Expected`] names what to look for.

#![forbid(unsafe_code)]

mod exchange;
mod prober;
mod report;

pub use prober::{Action, Plan, Prober, SocketId};
pub use report::{Expected, Failed, Report};
