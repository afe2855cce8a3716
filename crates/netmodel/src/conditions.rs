//! What a direction of a link does to the frames on it.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Chance, Distribution, Probability};

/// What one direction of a link does to the frames on it; the default is a perfect cable.
///
/// A frame waits for its turn where there is a [`Rate`], and on the way behind it the rest befalls it: it is lost, delayed,
/// copied, damaged. What happens there takes none of the rate's time or gives it back: frames that arrive do so at the
/// same times, whether others are lost, copied or damaged or not.
///
/// Fields that a text leaves out keep their default, fields it misspells are an error. Each condition has a field of
/// its own, so that a new one breaks no file.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// Whether the cable is cut: nothing arrives.
    pub cut: bool,
    /// How many bits pass in a second, and how many wait.
    pub rate: Option<Rate>,
    /// How long every frame is under way.
    #[serde(with = "humantime_serde")]
    pub delay: Duration,
    /// By how much the delay varies.
    pub jitter: Jitter,
    /// Frames that are lost, each by itself.
    pub loss: Chance,
    /// Frames that are lost in bursts; a frame arrives if neither this nor `loss` takes it.
    pub bursts: Option<GilbertElliott>,
    /// Frames that arrive twice, the second time right behind the first.
    pub duplicate: Chance,
    /// Frames that are not delayed, and so overtake those that are. Without delay there is nothing to overtake.
    pub reorder: Chance,
    /// Frames of which one bit arrives turned over, any with the same chance.
    pub corrupt: Chance,
}

impl Conditions {
    /// A cable that only delays.
    pub fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// A cable that only loses.
    pub fn lossy(loss: Probability) -> Self {
        Self { loss: loss.into(), ..Self::default() }
    }

    /// Whether frames pass at once and unharmed.
    pub fn is_perfect(&self) -> bool {
        *self == Self::default()
    }

    /// Whether frames may be sent that nobody takes: lost, or damaged.
    pub fn is_lossy(&self) -> bool {
        let burst = self.bursts.is_some_and(|bursts| !bursts.loss().is_never());
        burst || !self.loss.is_never() || !self.corrupt.is_never()
    }

    /// Whether all they do is to delay each frame by the same time.
    pub fn is_delay(&self) -> bool {
        *self == Self::delayed(self.delay)
    }
}

/// How a delay varies from frame to frame.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jitter {
    /// By how much: what it means is the distribution's. A delay does not become negative.
    #[serde(with = "humantime_serde")]
    pub spread: Duration,
    /// How likely is which delay.
    pub distribution: Distribution,
    /// How often a frame is under way just as long as the one before it; 0 is independent. The distribution stays what
    /// it is; two frames that are `k` apart are correlated by this to the power of `k`.
    pub correlation: Probability,
    /// Whether a frame with a short delay overtakes one with a long delay. If not, it waits behind it, so that delays are
    /// longer on average where frames follow each other faster than the spread.
    pub overtaking: bool,
}

/// The Gilbert-Elliott model of losses in bursts: a link is good or bad, and loses otherwise in the one state than in the
/// other.
///
/// It begins good. Each frame is lost or not by the state it finds, and then the state may change. A bad state lasts
/// for `1 / to_good` frames on average, a good one for `1 / to_bad`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GilbertElliott {
    /// The chance that the good state ends with a frame.
    pub to_bad: Probability,
    /// The chance that the bad state ends with a frame.
    pub to_good: Probability,
    /// The chance of a frame to be lost in the good state; none if left out.
    #[serde(default)]
    pub loss_good: Probability,
    /// The chance of a frame to be lost in the bad state; certain if left out.
    #[serde(default = "always")]
    pub loss_bad: Probability,
}

fn always() -> Probability {
    Probability::ALWAYS
}

impl GilbertElliott {
    /// Bursts that take all frames, `length` in a row on average (at least 1), and in the long run a share `loss` of all:
    /// Gilbert's model. None if there is no such thing, since good and bad must both last for a frame at least.
    pub fn simple(loss: Probability, length: f64) -> Option<Self> {
        let to_good = Probability::new(1.0 / length).ok().filter(|chance| !chance.is_never())?;
        let to_bad = to_good.value() * loss.value() / (1.0 - loss.value());
        let to_bad = Probability::new(to_bad).ok()?;
        Some(Self { to_bad, to_good, loss_good: Probability::NEVER, loss_bad: Probability::ALWAYS })
    }

    /// The share of frames that is lost in the long run.
    pub fn loss(&self) -> Probability {
        let (to_bad, to_good) = (self.to_bad.value(), self.to_good.value());
        let bad = if to_bad > 0.0 { to_bad / (to_bad + to_good) } else { 0.0 };
        let loss = bad * self.loss_bad.value() + (1.0 - bad) * self.loss_good.value();
        Probability::new(loss).unwrap_or(Probability::ALWAYS)
    }
}

/// How fast a link carries bits, and how much waits when more come.
///
/// A frame departs when its last bit has passed. Frames that find no room in the queue are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// The bits of frames that pass in a second. Nothing is added to a frame for its preamble, gap or check sequence.
    pub bits_per_second: NonZeroU64,
    /// How much waits.
    pub queue: Queue,
}

/// How much waits for a link that is busy. A frame that finds it idle always passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    /// As long as this many bytes suffice for the frame and all that is still to be sent before it.
    Bytes(u64),
    /// As long as the frame's own turn comes within this time.
    Time(#[serde(with = "humantime_serde")] Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chance(chance: f64) -> Probability {
        Probability::new(chance).unwrap()
    }

    #[test]
    fn reads_what_is_given_and_keeps_the_rest_perfect() {
        let read: Conditions =
            serde_json::from_str(r#"{"delay": "20ms", "loss": {"chance": 0.25}}"#).unwrap();
        let expected = Conditions { delay: Duration::from_millis(20), ..Conditions::lossy(chance(0.25)) };
        assert_eq!(read, expected);
        assert!(serde_json::from_str::<Conditions>("{}").unwrap().is_perfect());
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for wrong in [
            r#"{"dealy": "20ms"}"#,
            r#"{"jitter": {"spraed": "1ms"}}"#,
            r#"{"jitter": {"distribution": "cauchy"}}"#,
            r#"{"rate": {"bits_per_second": 0, "queue": {"bytes": 1}}}"#,
            r#"{"bursts": {"to_bad": 0.1}}"#,
        ] {
            assert!(serde_json::from_str::<Conditions>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_changes_nothing_is_perfect() {
        let some = Chance::from(chance(0.1));
        let none = Conditions::default();
        let rate = Rate { bits_per_second: NonZeroU64::MIN, queue: Queue::Bytes(0) };
        let bursts = GilbertElliott::simple(chance(0.1), 3.0);
        let jitter = Jitter { spread: Duration::from_nanos(1), ..Jitter::default() };
        for imperfect in [
            Conditions { cut: true, ..none },
            Conditions { rate: Some(rate), ..none },
            Conditions { jitter, ..none },
            Conditions { loss: some, ..none },
            Conditions { bursts, ..none },
            Conditions { duplicate: some, ..none },
            Conditions { reorder: some, ..none },
            Conditions { corrupt: some, ..none },
        ] {
            assert!(!imperfect.is_delay() && !imperfect.is_perfect(), "{imperfect:?}");
        }
        assert!(none.is_perfect());
        let delayed = Conditions::delayed(Duration::from_nanos(1));
        assert!(delayed.is_delay() && !delayed.is_perfect());
    }

    #[test]
    fn bursts_are_made_of_their_share_and_length() {
        let bursts = GilbertElliott::simple(chance(0.05), 10.0).unwrap();
        assert_eq!(bursts.to_good, chance(0.1));
        assert!((bursts.loss().value() - 0.05).abs() < 1e-12);
        // Nine in ten cannot be lost by ones: between two losses there is a frame that arrives.
        assert_eq!(GilbertElliott::simple(chance(0.9), 1.0), None);
        for impossible in [0.5, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(GilbertElliott::simple(chance(0.1), impossible), None, "{impossible}");
        }
        assert_eq!(GilbertElliott::simple(Probability::ALWAYS, 10.0), None);
    }
}
