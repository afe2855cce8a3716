//! How likely is which deviation from a delay.
//!
//! All is made of `+ - * /` on floats of IEEE 754, which give the same bits everywhere. The logarithms, exponentials and
//! cosines of a platform's mathematics do not.

use serde::{Deserialize, Serialize};

/// How the delays of a link are spread around their mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Each deviation up to the spread, either way, is as likely as any other. netem's without a table.
    #[default]
    Uniform,
    /// The bell curve whose standard deviation is the spread, cut off at four of them.
    Normal,
    /// Most frames a little faster than the mean and a few much slower: Pareto's distribution of shape 3 (netem's), whose
    /// standard deviation is the spread. With `v` uniform in (0, 1] the deviation is
    /// `(1 / cbrt(v) - 3/2) * 2/sqrt(3)` spreads: never below -0.58, above 3.6 for one frame in a hundred and above
    /// 9.8 for one in a thousand.
    Pareto,
}

impl Distribution {
    /// The deviation, in spreads, that 64 random bits stand for.
    pub(crate) fn deviation(self, bits: u64) -> f64 {
        match self {
            Self::Uniform => unit(bits) * 2.0 - 1.0,
            Self::Normal => normal(bits),
            Self::Pareto => (inverse_cube_root((bits >> 32) as u32) - 1.5) * TWO_BY_ROOT_3,
        }
    }
}

const TWO_BY_ROOT_3: f64 = 1.154_700_538_379_251_5;
/// The integral over the bell curve from 0 is this times that over `exp(-x * x / 2)`, counted for both halves.
const ROOT_2_BY_PI: f64 = 0.797_884_560_802_865_4;

/// A number in [0, 1) from random bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// How many parts of equal likelihood half the bell curve is cut into.
const PARTS: usize = 1024;

/// Where those parts begin, and where the last one ends.
static BELL: [f64; PARTS + 1] = bell();

const fn bell() -> [f64; PARTS + 1] {
    let mut table = [0.0; PARTS + 1];
    table[PARTS] = 4.0;
    let step = 1.0 / 1024.0;
    // The curve at one step is that at the last one times a factor, which shrinks by the same part every time.
    let (mut height, mut factor) = (ROOT_2_BY_PI, exp_of_minus(step * step / 2.0));
    let shrink = exp_of_minus(step * step);
    let (mut x, mut mass, mut part) = (0.0, 0.0, 1);
    while part < PARTS {
        let next = height * factor;
        let slice = step * (height + next) / 2.0;
        let edge = part as f64 / PARTS as f64;
        if mass + slice >= edge {
            // No part is narrower than a step.
            table[part] = x + step * (edge - mass) / slice;
            part += 1;
        }
        x += step;
        mass += slice;
        height = next;
        factor *= shrink;
    }
    table
}

/// `exp(-x)` for an `x` near 0.
const fn exp_of_minus(x: f64) -> f64 {
    1.0 - x + x * x / 2.0 - x * x * x / 6.0
}

fn normal(bits: u64) -> f64 {
    // A bit for the side, ten for the part, the rest for the place in it.
    let part = (bits >> 53) as usize % PARTS;
    let place = (bits & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64;
    let (begin, end) = match BELL.get(part..part + 2) {
        Some(&[begin, end]) => (begin, end),
        _ => (0.0, 0.0),
    };
    let deviation = begin + (end - begin) * place;
    if bits >> 63 == 0 { deviation } else { -deviation }
}

/// One by the cube root of `(n + 1) / 2^32`.
fn inverse_cube_root(n: u32) -> f64 {
    let n = u64::from(n) + 1;
    let v = n as f64 / (1u64 << 32) as f64;
    // A power of two to begin with, at most a quarter off, then Newton's method without a division.
    let halvings = n.leading_zeros().saturating_sub(32);
    let third = [1.0, 1.259_921_049_894_873_2, 1.587_401_051_968_199_4];
    let mut y = (1u64 << (halvings / 3)) as f64 * third[halvings as usize % 3];
    for _ in 0..6 {
        y = y * (4.0 - v * y * y * y) / 3.0;
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cube_root_is_right_to_the_last_digits() {
        for n in (0..32).flat_map(|bit| [1u32 << bit, (1 << bit) - 1, (1 << bit) + 1]).chain([u32::MAX]) {
            let v = (f64::from(n) + 1.0) / 4_294_967_296.0;
            let (is, should) = (inverse_cube_root(n), 1.0 / v.cbrt());
            assert!((is / should - 1.0).abs() < 1e-13, "{n}: {is}, not {should}");
        }
    }

    #[test]
    fn the_bell_curve_has_its_known_marks() {
        // Half of all within 0.6745 deviations, three quarters within 1.1503, fifteen sixteenths within 1.8627.
        for (part, mark) in [(512, 0.674_489_75), (768, 1.150_349_38), (960, 1.862_731_87)] {
            assert!((BELL[part] - mark).abs() < 1e-6, "{part}: {}", BELL[part]);
        }
        assert!(BELL.is_sorted());
    }

    #[test]
    fn every_distribution_has_its_mean_deviation_and_ends() {
        for (distribution, deviation, least, most) in [
            (Distribution::Uniform, 1.0 / 3f64.sqrt(), -1.0, 1.0),
            (Distribution::Normal, 1.0, -4.0, 4.0),
            (Distribution::Pareto, 1.0, -0.577_350_3, 1876.0),
        ] {
            // Evenly through all that the bits can be.
            let steps = 1u64 << 20;
            let values: Vec<_> = (0..steps).map(|n| distribution.deviation((n << 44) + (1 << 43))).collect();
            let mean = values.iter().sum::<f64>() / steps as f64;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / steps as f64;
            assert!(mean.abs() < 1e-3, "{distribution:?}: mean {mean}");
            // The far end of a Pareto is a large part of its variance, and in no sample of this size.
            let allowed = if distribution == Distribution::Pareto { 0.02 } else { 1e-3 };
            assert!((variance.sqrt() - deviation).abs() < allowed, "{distribution:?}: {}", variance.sqrt());
            for bits in [0, u64::MAX, u64::MAX >> 1, 1 << 63] {
                let value = distribution.deviation(bits);
                assert!((least - 1e-6..=most).contains(&value), "{distribution:?}: {value}");
            }
        }
    }
}
