//! What NAT is this: a sans-IO prober.
//!
//! [`Prober`] measures a gateway from behind it, against a STUN server with two addresses and two ports (RFC 5780) that
//! knows CHANGE-REQUEST and RESPONSE-PORT, such as `natrig_stun::Server`. [`Steps::Fast`] is mapping (I to III),
//! filtering (I to III) and whether an early packet moves a port; [`Steps::Whole`] is all of RFC 4787 that can be seen
//! from there, and [`Plan::timers`] has state watched while it ends.
//!
//! # How to drive it
//!
//! It owns no socket and no clock. Whatever the driver is (a process with sockets, or a lab that plays the hosts itself),
//! it does this:
//!
//! 1. [`Prober::new`] with a [`Plan`] and the time.
//! 2. After every call, drain [`Prober::poll_action`] and do what each [`Action`] says, in order. A socket is bound to a
//!    local endpoint of one of the inside hosts and stays open.
//! 3. Tell it what comes: [`Prober::handle_datagram`] with the socket and the *source address* of a datagram,
//!    [`Prober::handle_icmp_error`] when a socket is told that one of its datagrams was refused, and, where
//!    [`Plan::eyes`] says so, [`Prober::handle_refusal`] when the server's side gets an ICMP error about one of its own.
//! 4. Call [`Prober::handle_timeout`] when [`Prober::poll_timeout`] is reached; calling it earlier does no harm.
//! 5. Stop when there is an [`Prober::outcome`].
//!
//! What nobody bound has to stay closed: a host answers a datagram to an unbound port as hosts do, or not at all, but
//! nothing may be delivered to a socket that is bound elsewhere. The server answers in the order of the requests.
//!
//! # What it believes
//!
//! Silence is never concluded from time alone: every request whose answer may be filtered is followed by one whose
//! answer is allowed, and only when that has arrived, and the other one has then had as long again as answers are seen
//! to differ, is it called missing. Whether the missing one really came to the gateway is for a witness on the wire;
//! [`Expected`] names what to look for. The end of a flow is told as a [`Life`], an interval between what was seen alive
//! and what was seen dead, so that a slow host widens it and never makes it wrong.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::iter_over_hash_type)
)]

mod bench;
mod plan;
mod prober;
mod report;
mod steps;

pub use plan::{Action, PORTS, Plan, SocketId, Steps};
pub use prober::Prober;
pub use report::{Answered, Collision, Expected, Expiry, Failed, Life, PortUse, Ports, Report, Second, Span};
