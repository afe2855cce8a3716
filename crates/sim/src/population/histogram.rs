//! Many times in little memory.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// Buckets to each doubling: a value is told to within 4.5 %.
const FINE: u32 = 16;

/// How often which times were seen, each rounded to microseconds and then to within 4.5 %.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u32>,
    count: u64,
    sum_us: u64,
    most_us: u64,
}

impl Histogram {
    /// Adds a time.
    pub fn add(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let at = bucket(us);
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.most_us = self.most_us.max(us);
    }

    /// Adds all of another one.
    pub fn merge(&mut self, other: &Histogram) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
        self.count += other.count;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.most_us = self.most_us.max(other.most_us);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time that this share of all does not exceed; none if there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        })?;
        Some(Duration::from_micros(upper(at).min(self.most_us)))
    }

    /// Each time with the share of all that do not exceed it.
    pub fn cumulative(&self) -> Vec<(Duration, f64)> {
        let mut seen = 0;
        let steps = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        steps
            .map(|(at, count)| {
                seen += u64::from(*count);
                (Duration::from_micros(upper(at).min(self.most_us)), seen as f64 / self.count as f64)
            })
            .collect()
    }
}

fn bucket(us: u64) -> usize {
    if us < u64::from(FINE) {
        return us as usize;
    }
    let octave = us.ilog2() - FINE.ilog2();
    (octave * FINE + (us >> octave) as u32) as usize
}

/// The largest value in a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let fine = u64::from(FINE);
    if bucket < fine {
        return bucket;
    }
    let octave = bucket / fine - 1;
    ((bucket % fine + fine + 1) << octave) - 1
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let quantile = |share| self.quantile(share).map(|time| ms(time.as_micros() as u64));
        let mut fields = serializer.serialize_struct("Histogram", 7)?;
        fields.serialize_field("count", &self.count)?;
        let mean = (self.count > 0).then(|| ms(self.sum_us) / self.count as f64);
        fields.serialize_field("mean", &mean)?;
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            fields.serialize_field(name, &quantile(share))?;
        }
        fields.serialize_field("most", &(self.count > 0).then(|| ms(self.most_us)))?;
        let cumulative: Vec<(f64, f64)> =
            self.cumulative().into_iter().map(|(at, share)| (ms(at.as_micros() as u64), share)).collect();
        fields.serialize_field("cumulative", &cumulative)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_quantile_is_told_to_within_a_sixteenth(mut times in prop::collection::vec(0u64..100_000_000, 1..300), share in 0.0..=1.0f64) {
            let mut histogram = Histogram::default();
            times.iter().for_each(|us| histogram.add(Duration::from_micros(*us)));
            times.sort_unstable();
            let place = ((share * times.len() as f64).ceil().max(1.0) as usize) - 1;
            let (told, exact) = (histogram.quantile(share).unwrap().as_micros() as u64, times[place]);
            prop_assert!(told >= exact && told - exact <= exact / 16, "{told} {exact}");
        }

        #[test]
        fn buckets_lie_side_by_side(us in 0u64..u64::MAX / 4) {
            let at = bucket(us);
            prop_assert!(us <= upper(at));
            prop_assert!(at == 0 || us > upper(at - 1));
        }
    }
}
