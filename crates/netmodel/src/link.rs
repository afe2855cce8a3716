//! The fate of each frame on a link.

use std::time::Duration;

use crate::line::Line;
use crate::source::{Coin, Weather, Wobble};
use crate::{Cause, Conditions, Departures, Fate};

/// One direction of a cable: conditions, and the state and randomness they need.
///
/// Frames leave in the order in which they came, also across a change of conditions to a shorter delay, except where
/// [`Conditions::reorder`] or [`crate::Jitter::overtaking`] says otherwise.
///
/// A link that at most delays is small, draws nothing and allocates nothing.
#[derive(Debug, Clone)]
pub struct Link {
    seed: u64,
    delay: Duration,
    /// When the latest of the frames that keep their order arrives at the far end.
    latest: Duration,
    /// All but the delay, once there has been any of it. It stays then: its randomness goes on where it was.
    rest: Option<Box<Rest>>,
}

impl Link {
    /// A link under `conditions` whose randomness is a function of `seed`.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        let mut link = Self { seed, delay: Duration::ZERO, latest: Duration::ZERO, rest: None };
        link.set_conditions(conditions);
        link
    }

    /// The conditions in force.
    pub fn conditions(&self) -> Conditions {
        self.rest.as_ref().map_or(Conditions::delayed(self.delay), |rest| rest.conditions)
    }

    /// Puts other conditions in force for the frames to come; the randomness goes on where it was.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.delay = conditions.delay;
        match &mut self.rest {
            Some(rest) => rest.change(conditions),
            None if conditions.is_delay() => {}
            None => self.rest = Some(Box::new(Rest::new(conditions, self.seed))),
        }
    }

    /// Decides the fate of a frame of `length` bytes that enters the link at `now`.
    #[inline]
    pub fn decide(&mut self, now: Duration, length: usize) -> Fate {
        match &mut self.rest {
            Some(rest) => rest.decide(now, length, &mut self.latest),
            None => {
                self.latest = now.saturating_add(self.delay).max(self.latest);
                Fate::Departs(Departures::once(self.latest, None))
            }
        }
    }
}

/// What few links have. Each random condition has a source of its own, so that switching one on does not reshuffle another.
#[derive(Debug, Clone)]
struct Rest {
    conditions: Conditions,
    line: Line,
    loss: Coin,
    bursts: Weather,
    jitter: Wobble,
    reorder: Coin,
    duplicate: Coin,
    corrupt: Coin,
    corrupt_copy: Coin,
}

impl Rest {
    fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            line: Line::default(),
            loss: Coin::new(seed, "loss"),
            bursts: Weather::new(seed),
            jitter: Wobble::new(seed),
            reorder: Coin::new(seed, "reorder"),
            duplicate: Coin::new(seed, "duplicate"),
            corrupt: Coin::new(seed, "corrupt"),
            corrupt_copy: Coin::new(seed, "corrupt copy"),
        }
    }

    fn change(&mut self, conditions: Conditions) {
        let rate = |conditions: &Conditions| conditions.rate.map(|rate| rate.bits_per_second);
        if rate(&conditions) != rate(&self.conditions) {
            self.line.change();
        }
        self.conditions = conditions;
    }

    fn decide(&mut self, now: Duration, length: usize, latest: &mut Duration) -> Fate {
        let conditions = &self.conditions;
        if conditions.cut {
            return Fate::Lost(Cause::Cut);
        }
        let sent = match &conditions.rate {
            Some(rate) => self.line.send(now, length, rate),
            None => Some(now),
        };
        // Each of them draws for every frame, whatever the others have decided, so that none changes what another does
        // to the frames to come.
        let lost_alone = self.loss.toss(&conditions.loss);
        let lost_in_burst = conditions.bursts.is_some_and(|bursts| self.bursts.takes(&bursts));
        let deviation = self.jitter.draw(&conditions.jitter);
        let hurried = self.reorder.toss(&conditions.reorder);
        let flipped = self.corrupt.flip(&conditions.corrupt, length);
        let copy = self
            .duplicate
            .toss(&conditions.duplicate)
            .then(|| self.corrupt_copy.flip(&conditions.corrupt, length));

        let Some(sent) = sent else { return Fate::Lost(Cause::QueueFull) };
        let mut at = sent;
        if !hurried {
            at = sent.saturating_add(off_by(conditions.delay, deviation));
            if !conditions.jitter.overtaking {
                at = at.max(*latest);
            }
            // A frame that is lost keeps its place, so that loss changes nothing of the others.
            *latest = at.max(*latest);
        }
        if lost_alone || lost_in_burst {
            return Fate::Lost(Cause::Loss);
        }
        Fate::Departs(match copy {
            None => Departures::once(at, flipped),
            Some(of_copy) => Departures::twice(at, [flipped, of_copy]),
        })
    }
}

/// A delay that is longer or shorter by some nanoseconds, but not negative.
fn off_by(delay: Duration, deviation: i64) -> Duration {
    let by = Duration::from_nanos(deviation.unsigned_abs());
    if deviation < 0 { delay.saturating_sub(by) } else { delay.saturating_add(by) }
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
