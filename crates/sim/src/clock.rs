//! Time: the world's, and what a host takes for it.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

const BILLION: i128 = 1_000_000_000;

/// A host's clock. The world has one time, which no host sees: each has a clock that was set wrong and goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// How far it is ahead of the world's calendar, in nanoseconds.
    pub offset_ns: i64,
    /// How much it gains, in parts of a billion.
    pub drift_ppb: i32,
}

impl Clock {
    /// What has passed for the host when this much has passed in the world; rounded down.
    pub fn elapsed(self, world: Duration) -> Duration {
        if self.drift_ppb == 0 {
            return world;
        }
        let world = nanos(world);
        duration(world + world * i128::from(self.drift_ppb) / BILLION)
    }

    /// When, in the world's time, this much has passed for the host: the first moment that is not before.
    pub fn world(self, elapsed: Duration) -> Duration {
        if self.drift_ppb == 0 {
            return elapsed;
        }
        let rate = BILLION + i128::from(self.drift_ppb);
        let mut at = duration((nanos(elapsed) * BILLION).div_euclid(rate.max(1)));
        while self.elapsed(at) < elapsed {
            at += Duration::from_nanos(1);
        }
        at
    }

    /// Microseconds since 1970 by this clock.
    pub fn calendar_us(self, world: Duration) -> u64 {
        let ns = i128::from(START_NS) + nanos(self.elapsed(world)) + i128::from(self.offset_ns);
        u64::try_from(ns / 1000).unwrap_or(0)
    }
}

/// When every world starts, in nanoseconds since 1970: 2026-01-01.
pub const START_NS: u64 = 1_767_225_600_000_000_000;

/// A host's time as programs take it that count in [`Instant`]s. Only what lies between two of them means anything.
pub fn instant(elapsed: Duration) -> Instant {
    static ZERO: OnceLock<Instant> = OnceLock::new();
    #[allow(
        clippy::disallowed_methods,
        reason = "an Instant cannot be had otherwise; all are counted from this one"
    )]
    let zero = *ZERO.get_or_init(Instant::now);
    zero + elapsed
}

/// The same way back.
pub fn elapsed(at: Instant) -> Duration {
    at.saturating_duration_since(instant(Duration::ZERO))
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn duration(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_gains_is_ahead() {
        let clock = Clock { offset_ns: 5_000, drift_ppb: 100_000 };
        let hour = Duration::from_secs(3600);
        assert_eq!(clock.elapsed(hour), hour + Duration::from_millis(360));
        assert_eq!(clock.calendar_us(Duration::ZERO), START_NS / 1000 + 5);
    }

    #[test]
    fn a_timer_fires_when_the_host_thinks_it_is_time_and_not_before() {
        for drift_ppb in [-200_000, -1, 0, 1, 7, 200_000] {
            let clock = Clock { offset_ns: 0, drift_ppb };
            for elapsed in [0, 1, 999_999_937, 10_000_000_019, 3_600_000_000_000].map(Duration::from_nanos) {
                let at = clock.world(elapsed);
                assert!(clock.elapsed(at) >= elapsed, "{drift_ppb} {elapsed:?}");
                let before = at.saturating_sub(Duration::from_nanos(1));
                assert!(at.is_zero() || clock.elapsed(before) < elapsed, "{drift_ppb} {elapsed:?}");
            }
        }
    }
}
