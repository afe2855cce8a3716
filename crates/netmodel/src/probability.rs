//! Chances.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A chance between 0 (never) and 1 (always).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Probability(f64);

impl Probability {
    /// It never happens.
    pub const NEVER: Self = Self(0.0);
    /// It always happens.
    pub const ALWAYS: Self = Self(1.0);

    /// Takes a chance between 0 and 1.
    pub fn new(chance: f64) -> Result<Self, ProbabilityError> {
        if (0.0..=1.0).contains(&chance) { Ok(Self(chance)) } else { Err(ProbabilityError { chance }) }
    }

    /// The chance as a number between 0 and 1.
    pub fn value(self) -> f64 {
        self.0
    }

    /// Whether it never happens.
    pub fn is_never(self) -> bool {
        self == Self::NEVER
    }
}

impl TryFrom<f64> for Probability {
    type Error = ProbabilityError;

    fn try_from(chance: f64) -> Result<Self, ProbabilityError> {
        Self::new(chance)
    }
}

impl From<Probability> for f64 {
    fn from(probability: Probability) -> f64 {
        probability.0
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0 * 100.0)
    }
}

/// A number that is no probability.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{chance} is no probability: give a number from 0 (never) to 1 (always)")]
pub struct ProbabilityError {
    /// What was given.
    pub chance: f64,
}

/// How often something befalls a frame, and how much that depends on the frame before.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chance {
    /// The share of frames it befalls in the long run, whatever the correlation.
    pub chance: Probability,
    /// How often a frame just fares as the one before it did; 0 is independent. Two frames that are `k` apart are
    /// correlated by this to the power of `k`.
    pub correlation: Probability,
}

impl Chance {
    /// It never happens.
    pub const NEVER: Self = Self { chance: Probability::NEVER, correlation: Probability::NEVER };

    /// It never happens.
    pub fn is_never(&self) -> bool {
        self.chance.is_never()
    }
}

impl From<Probability> for Chance {
    /// Of each frame by itself.
    fn from(chance: Probability) -> Self {
        Self { chance, correlation: Probability::NEVER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_chance_is_refused() {
        for chance in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Probability::new(chance).is_err(), "{chance}");
        }
        let error = serde_json::from_str::<Chance>(r#"{"chance": 25}"#).unwrap_err();
        assert!(error.to_string().contains("from 0 (never) to 1 (always)"), "{error}");
    }
}
