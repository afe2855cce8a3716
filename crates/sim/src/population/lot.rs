//! What is drawn by lot, the same on every machine: no function of the system's mathematics library is asked.

use std::time::Duration;

use natrig_scenario::population::{Distribution, Share};
use rand::Rng;

/// The longest time that is drawn.
const LONGEST: f64 = 7.0 * 86_400.0;

/// Draws one of several by their shares; its place.
pub fn one_of<T>(shares: &[Share<T>], random: &mut impl Rng) -> usize {
    let drawn: f64 = random.random();
    let mut sum = 0.0;
    let found = shares.iter().position(|one| {
        sum += one.share;
        drawn < sum
    });
    // The shares are a whole but for rounding.
    found.unwrap_or(shares.len().saturating_sub(1))
}

/// Draws a time.
pub fn time(distribution: Distribution, random: &mut impl Rng) -> Duration {
    // Above 0, so that it has a logarithm.
    let drawn: f64 = 1.0 - random.random::<f64>();
    let seconds = match distribution {
        Distribution::Fixed(time) => return time,
        Distribution::Uniform(least, most) => least.as_secs_f64() + (most - least).as_secs_f64() * drawn,
        Distribution::Exponential(mean) => -libm::log(drawn) * mean.as_secs_f64(),
        Distribution::Weibull { shape, scale } => {
            libm::pow(-libm::log(drawn), 1.0 / shape) * scale.as_secs_f64()
        }
        Distribution::LogNormal { median, sigma } => {
            // Box and Muller, 1958.
            let angle = std::f64::consts::TAU * random.random::<f64>();
            let normal = (-2.0 * libm::log(drawn)).sqrt() * libm::cos(angle);
            libm::exp(sigma * normal) * median.as_secs_f64()
        }
        Distribution::Pareto { shape, least } => libm::pow(drawn, -1.0 / shape) * least.as_secs_f64(),
    };
    Duration::from_secs_f64(seconds.clamp(0.001, LONGEST))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn half_of_the_times_are_below_the_median() {
        let second = |n| Duration::from_secs(n);
        let ln2 = std::f64::consts::LN_2;
        for (distribution, median) in [
            (Distribution::Uniform(second(10), second(20)), 15.0),
            (Distribution::Exponential(second(100)), 100.0 * ln2),
            (Distribution::Weibull { shape: 0.5, scale: second(100) }, 100.0 * ln2 * ln2),
            (Distribution::LogNormal { median: second(60), sigma: 1.5 }, 60.0),
            (Distribution::Pareto { shape: 1.0, least: second(30) }, 60.0),
        ] {
            let mut random = Pcg64Mcg::seed_from_u64(7);
            let below =
                (0..40_000).filter(|_| time(distribution, &mut random).as_secs_f64() < median).count();
            // Nine standard deviations (100 each).
            assert!((19_100..=20_900).contains(&below), "{distribution:?}: {below}");
        }
    }

    #[test]
    fn shares_are_kept() {
        let shares = [0.2, 0.5, 0.3].map(|share| Share { share, of: () });
        let mut random = Pcg64Mcg::seed_from_u64(7);
        let mut counts = [0; 3];
        (0..10_000).for_each(|_| counts[one_of(&shares, &mut random)] += 1);
        for (count, share) in counts.into_iter().zip([2_000i32, 5_000, 3_000]) {
            assert!((count - share).abs() < 450, "{counts:?}");
        }
    }
}
