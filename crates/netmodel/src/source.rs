//! Sources of chance, one for each condition.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::fate::Bit;
use crate::{Chance, GilbertElliott, Jitter, Probability, seed_for};

/// A sequence of random bits that belongs to one condition of one link.
#[derive(Debug, Clone)]
struct Source(Pcg64Mcg);

impl Source {
    fn new(seed: u64, condition: &str) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed_for(seed, condition)))
    }

    /// Draws nothing for what is certain either way.
    fn happens(&mut self, chance: Probability) -> bool {
        !chance.is_never() && (chance == Probability::ALWAYS || self.0.random::<f64>() < chance.value())
    }
}

/// Decides frame by frame whether something befalls it.
#[derive(Debug, Clone)]
pub(crate) struct Coin {
    source: Source,
    previous: Option<bool>,
}

impl Coin {
    pub(crate) fn new(seed: u64, condition: &str) -> Self {
        Self { source: Source::new(seed, condition), previous: None }
    }

    pub(crate) fn toss(&mut self, chance: &Chance) -> bool {
        if chance.is_never() {
            return false;
        }
        let result = match self.previous {
            Some(previous) if self.source.happens(chance.correlation) => previous,
            _ => self.source.happens(chance.chance),
        };
        self.previous = Some(result);
        result
    }

    /// The bit that is turned over of a frame of `length` bytes, if one is.
    pub(crate) fn flip(&mut self, chance: &Chance, length: usize) -> Option<Bit> {
        if !self.toss(chance) {
            return None;
        }
        let bits = u32::try_from(length).unwrap_or(u32::MAX).saturating_mul(8);
        let place = (u64::from(self.source.0.random::<u32>()) * u64::from(bits)) >> 32;
        (bits > 0).then(|| Bit::new(place as u32))
    }
}

/// Decides frame by frame by how much its delay is off.
#[derive(Debug, Clone)]
pub(crate) struct Wobble {
    source: Source,
    previous: Option<f64>,
}

impl Wobble {
    pub(crate) fn new(seed: u64) -> Self {
        Self { source: Source::new(seed, "jitter"), previous: None }
    }

    /// In nanoseconds.
    pub(crate) fn draw(&mut self, jitter: &Jitter) -> i64 {
        if jitter.spread.is_zero() {
            return 0;
        }
        let deviation = match self.previous {
            Some(previous) if self.source.happens(jitter.correlation) => previous,
            _ => jitter.distribution.deviation(self.source.0.random()),
        };
        self.previous = Some(deviation);
        // The one conversion of a float to time; it saturates.
        (jitter.spread.as_nanos() as f64 * deviation) as i64
    }
}

/// The state of a link that loses in bursts.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    source: Source,
    bad: bool,
}

impl Weather {
    pub(crate) fn new(seed: u64) -> Self {
        Self { source: Source::new(seed, "bursts"), bad: false }
    }

    /// Whether the next frame is lost.
    pub(crate) fn takes(&mut self, model: &GilbertElliott) -> bool {
        let (loss, change) =
            if self.bad { (model.loss_bad, model.to_good) } else { (model.loss_good, model.to_bad) };
        let lost = self.source.happens(loss);
        self.bad ^= self.source.happens(change);
        lost
    }
}
