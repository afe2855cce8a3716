//! What a direction of a link does to the frames on it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one direction of a link does to the frames on it; the default is a perfect cable.
///
/// Fields that a text leaves out keep their default, fields it misspells are an error. Each condition has a field of
/// its own, so that a new one breaks no file.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// Whether the cable is cut: nothing arrives.
    pub cut: bool,
    /// How long every frame is under way.
    #[serde(with = "humantime_serde")]
    pub delay: Duration,
    /// The chance of each frame to be lost, independent of the others.
    pub loss: Probability,
}

impl Conditions {
    /// A cable that only delays.
    pub fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// A cable that only loses.
    pub fn lossy(loss: Probability) -> Self {
        Self { loss, ..Self::default() }
    }

    /// Whether frames pass at once and unharmed.
    pub fn is_perfect(&self) -> bool {
        *self == Self::default()
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_given_and_keeps_the_rest_perfect() {
        let read: Conditions = serde_json::from_str(r#"{"delay": "20ms", "loss": 0.25}"#).unwrap();
        let expected = Conditions { cut: false, delay: Duration::from_millis(20), loss: Probability(0.25) };
        assert_eq!(read, expected);
        assert!(serde_json::from_str::<Conditions>("{}").unwrap().is_perfect());
    }

    #[test]
    fn refuses_an_unknown_condition_and_an_impossible_chance() {
        assert!(serde_json::from_str::<Conditions>(r#"{"dealy": "20ms"}"#).is_err());
        for chance in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Probability::new(chance).is_err(), "{chance}");
        }
        let error = serde_json::from_str::<Conditions>(r#"{"loss": 25}"#).unwrap_err();
        assert!(error.to_string().contains("from 0 (never) to 1 (always)"), "{error}");
    }

    #[test]
    fn survives_serialisation() {
        let conditions = Conditions { cut: true, delay: Duration::from_micros(1500), loss: Probability(0.5) };
        let text = serde_json::to_string(&conditions).unwrap();
        assert_eq!(serde_json::from_str::<Conditions>(&text).unwrap(), conditions);
    }
}
