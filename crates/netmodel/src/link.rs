//! The fate of each frame on a link.

use std::fmt;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::{Conditions, Probability};

/// One direction of a cable: conditions, and the state and randomness they need.
///
/// Frames leave in the order in which they came, also across a change of conditions to a shorter delay.
#[derive(Debug, Clone)]
pub struct Link {
    conditions: Conditions,
    /// One source per random condition, so that switching one on does not reshuffle another.
    loss: Pcg64Mcg,
    /// When the latest frame arrives at the far end.
    latest: Duration,
}

impl Link {
    /// A link under `conditions` whose randomness is a function of `seed`.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self { conditions, loss: Pcg64Mcg::seed_from_u64(seed), latest: Duration::ZERO }
    }

    /// The conditions in force.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Puts other conditions in force for the frames to come; the randomness goes on where it was.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Decides the fate of a frame of `length` bytes that enters the link at `now`.
    pub fn decide(&mut self, now: Duration, length: usize) -> Fate {
        let _ = length; // A rate will need it.
        if self.conditions.cut {
            return Fate::Lost(Cause::Cut);
        }
        if happens(self.conditions.loss, &mut self.loss) {
            return Fate::Lost(Cause::Loss);
        }
        let at = now.saturating_add(self.conditions.delay).max(self.latest);
        self.latest = at;
        Fate::Departs(Departures { first: Some(at) })
    }
}

fn happens(probability: Probability, randomness: &mut Pcg64Mcg) -> bool {
    // No draw for what is switched off: a perfect link costs nothing.
    probability > Probability::NEVER && randomness.random::<f64>() < probability.value()
}

/// The seed of the link with a name, from the seed of the whole network.
///
/// It depends on nothing else, so a link that is added leaves the randomness of the others as it was.
pub fn seed_for(network: u64, link: &str) -> u64 {
    // FNV-1a; the generator mixes its seed further.
    let bytes = network.to_le_bytes();
    bytes
        .iter()
        .chain(link.as_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What becomes of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is lost.
    Lost(Cause),
    /// It leaves the link, once for each departure.
    Departs(Departures),
}

/// Why a frame is lost on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The cable is cut.
    Cut,
    /// The conditions took it.
    Loss,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Loss => "loss",
        })
    }
}

/// The times at which a frame leaves the link, none earlier than the `now` of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departures {
    first: Option<Duration>,
}

impl Iterator for Departures {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.first.take()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: usize = 1514;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn departures(fate: Fate) -> Vec<Duration> {
        match fate {
            Fate::Lost(_) => Vec::new(),
            Fate::Departs(departures) => departures.collect(),
        }
    }

    #[test]
    fn a_perfect_link_delivers_at_once() {
        let mut link = Link::new(Conditions::default(), 1);
        assert_eq!(departures(link.decide(ms(7), FRAME)), [ms(7)]);
    }

    #[test]
    fn a_cut_link_delivers_nothing_until_it_is_healed() {
        let mut link = Link::new(Conditions { cut: true, ..Conditions::default() }, 1);
        assert_eq!(link.decide(ms(1), FRAME), Fate::Lost(Cause::Cut));
        link.set_conditions(Conditions::default());
        assert_eq!(departures(link.decide(ms(2), FRAME)), [ms(2)]);
    }

    #[test]
    fn a_shorter_delay_lets_no_frame_overtake() {
        let mut link = Link::new(Conditions::delayed(ms(100)), 1);
        assert_eq!(departures(link.decide(ms(0), FRAME)), [ms(100)]);
        link.set_conditions(Conditions::delayed(ms(10)));
        assert_eq!(departures(link.decide(ms(1), FRAME)), [ms(100)]);
        assert_eq!(departures(link.decide(ms(95), FRAME)), [ms(105)]);
    }

    #[test]
    fn certain_loss_takes_all_and_no_loss_takes_none() {
        let mut all = Link::new(Conditions::lossy(Probability::ALWAYS), 3);
        let mut none = Link::new(Conditions::lossy(Probability::NEVER), 3);
        for n in 0..1000 {
            assert_eq!(all.decide(ms(n), FRAME), Fate::Lost(Cause::Loss));
            assert_eq!(departures(none.decide(ms(n), FRAME)).len(), 1);
        }
    }

    #[test]
    fn a_quarter_of_the_frames_is_lost_at_a_quarter_loss() {
        let mut link = Link::new(Conditions::lossy(Probability::new(0.25).unwrap()), 5);
        let lost = (0..40_000).filter(|n| departures(link.decide(ms(*n), FRAME)).is_empty()).count();
        // Nine standard deviations (87 each) on either side; the seed is fixed, so this cannot come and go.
        assert!((9_200..=10_800).contains(&lost), "{lost}");
    }

    #[test]
    fn links_of_one_network_have_seeds_of_their_own() {
        let seeds = [seed_for(1, "peer1"), seed_for(1, "peer2"), seed_for(2, "peer1"), seed_for(2, "peer2")];
        for (index, seed) in seeds.iter().enumerate() {
            assert!(!seeds[..index].contains(seed));
        }
        assert_eq!(seed_for(1, "peer1"), seeds[0]);
    }

    proptest! {
        #[test]
        fn one_seed_gives_one_history(seed: u64, loss in 0.0..=1.0f64, gaps in prop::collection::vec(0u64..50, 0..200)) {
            let conditions = Conditions { loss: Probability::new(loss).unwrap(), ..Conditions::delayed(ms(5)) };
            let history = || {
                let mut link = Link::new(conditions, seed);
                let mut now = Duration::ZERO;
                gaps.iter().map(|gap| { now += ms(*gap); link.decide(now, FRAME) }).collect::<Vec<_>>()
            };
            prop_assert_eq!(history(), history());
        }

        #[test]
        fn frames_leave_in_order_and_never_before_they_came(
            seed: u64,
            steps in prop::collection::vec((0u64..50, 0u64..200, 0.0..=1.0f64), 0..200),
        ) {
            let mut link = Link::new(Conditions::default(), seed);
            let (mut now, mut latest) = (Duration::ZERO, Duration::ZERO);
            for (gap, delay, loss) in steps {
                now += ms(gap);
                link.set_conditions(Conditions { loss: Probability::new(loss).unwrap(), ..Conditions::delayed(ms(delay)) });
                for at in departures(link.decide(now, FRAME)) {
                    prop_assert!(at >= now + ms(delay));
                    prop_assert!(at >= latest);
                    latest = at;
                }
            }
        }
    }
}
