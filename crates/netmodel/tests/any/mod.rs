//! Conditions of every kind, for tests of what holds under all of them.

use std::num::NonZeroU64;
use std::time::Duration;

use natrig_netmodel::{Chance, Conditions, Distribution, GilbertElliott, Jitter, Probability, Queue, Rate};
use proptest::option;
use proptest::prelude::*;

pub fn probability() -> impl Strategy<Value = Probability> {
    let thousandths = prop_oneof![4 => 0..=1000u32, 1 => Just(0), 1 => Just(1000)];
    thousandths.prop_map(|n| Probability::new(f64::from(n) / 1000.0).unwrap())
}

pub fn chance() -> impl Strategy<Value = Chance> {
    let some =
        (probability(), probability()).prop_map(|(chance, correlation)| Chance { chance, correlation });
    prop_oneof![Just(Chance::NEVER), some]
}

pub fn distribution() -> impl Strategy<Value = Distribution> {
    prop_oneof![Just(Distribution::Uniform), Just(Distribution::Normal), Just(Distribution::Pareto)]
}

/// Up to half a minute, which is long beside the gaps that tests leave between frames.
fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), (0..30_000_000_000u64).prop_map(Duration::from_nanos)]
}

pub fn rate() -> impl Strategy<Value = Rate> {
    let bytes = prop_oneof![0..3000u64, 0..100_000u64];
    let queue = prop_oneof![bytes.prop_map(Queue::Bytes), time().prop_map(Queue::Time)];
    let bits = prop_oneof![1..1_000_000_000_000u64, 1_000..1_000_000u64];
    (bits, queue).prop_map(|(bits, queue)| Rate { bits_per_second: NonZeroU64::new(bits).unwrap(), queue })
}

pub fn conditions() -> impl Strategy<Value = Conditions> {
    let jitter = (time(), distribution(), probability(), any::<bool>()).prop_map(
        |(spread, distribution, correlation, overtaking)| Jitter {
            spread,
            distribution,
            correlation,
            overtaking,
        },
    );
    let bursts = (probability(), probability(), probability(), probability()).prop_map(
        |(to_bad, to_good, loss_good, loss_bad)| GilbertElliott { to_bad, to_good, loss_good, loss_bad },
    );
    (option::of(rate()), time(), jitter, chance(), option::of(bursts), chance(), chance(), chance()).prop_map(
        |(rate, delay, jitter, loss, bursts, duplicate, reorder, corrupt)| Conditions {
            cut: false,
            rate,
            delay,
            jitter,
            loss,
            bursts,
            duplicate,
            reorder,
            corrupt,
        },
    )
}

/// When frames come, and how long they are: some at once, some after a pause.
pub fn frames() -> impl Strategy<Value = Vec<(Duration, usize)>> {
    let gap = prop_oneof![Just(0), 0..2_000_000u64, 0..20_000_000_000u64];
    prop::collection::vec((gap, 0..2000usize), 0..150).prop_map(|steps| {
        let mut now = 0;
        let frames = steps.into_iter().map(|(gap, length)| {
            now += gap;
            (Duration::from_nanos(now), length)
        });
        frames.collect()
    })
}
