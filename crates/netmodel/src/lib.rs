//! Seeded, sans-IO link conditions.
//!
//! A [`Link`] is one direction of a cable. Whoever carries frames (the switch, the simulator, a unit test) asks it
//! what becomes of each one and does the waiting itself: the link has no clock and sees only the `now` it is given,
//! a time since any fixed point. The same seed, conditions and calls give the same fates, on any platform: times are
//! integers, and chance is made of integers and of those operations on floats that are exact by IEEE 754.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::iter_over_hash_type)
)]

mod conditions;
mod distribution;
mod fate;
mod line;
mod link;
pub mod netem;
mod probability;
mod source;

pub use conditions::{Conditions, GilbertElliott, Jitter, Queue, Rate};
pub use distribution::Distribution;
pub use fate::{Bit, Cause, Departure, Departures, Fate};
pub use link::{Link, seed_for};
pub use probability::{Chance, Probability, ProbabilityError};
