//! Seeded, sans-IO link conditions.
//!
//! A [`Link`] is one direction of a cable. Whoever carries frames (the switch, the simulator, a unit test) asks it
//! what becomes of each one and does the waiting itself: the link has no clock and sees only the `now` it is given,
//! a time since any fixed point. The same seed, conditions and calls give the same fates.

#![forbid(unsafe_code)]

mod conditions;
mod link;

pub use conditions::{Conditions, Probability, ProbabilityError};
pub use link::{Cause, Departures, Fate, Link, seed_for};
