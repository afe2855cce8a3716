//! The time in captures.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells times as nanoseconds since the Unix epoch, and never jumps: the host's clock is read once, and from then on
/// the monotonic clock counts.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_ns: u64,
}

impl Clock {
    /// Reads the host's clock.
    pub fn start() -> Self {
        // The narrowest of a few brackets: between two readings the thread may be off the processor.
        let (started, _, since_epoch) = (0..5)
            .map(|_| {
                let before = Instant::now();
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let width = before.elapsed();
                (before + width / 2, width, since_epoch)
            })
            .min_by_key(|(_, width, _)| *width)
            .unwrap_or((Instant::now(), Duration::ZERO, Duration::ZERO));
        Self { started, started_ns: nanoseconds(since_epoch) }
    }

    /// The time now.
    pub fn now(&self) -> u64 {
        self.time_of(Instant::now())
    }

    /// The time of a moment, also of one before the clock was started.
    pub fn time_of(&self, moment: Instant) -> u64 {
        match moment.checked_duration_since(self.started) {
            Some(since) => self.started_ns.saturating_add(nanoseconds(since)),
            None => self.started_ns.saturating_sub(nanoseconds(self.started - moment)),
        }
    }

    /// How long the clock had run at a moment.
    pub(crate) fn elapsed(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.started)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_hosts_clock_in_both_directions() {
        let clock = Clock::start();
        let host = nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        // The host's clock may be slewed or this thread be delayed, but not by a minute.
        assert!(clock.now().abs_diff(host) < 60_000_000_000);
        let moment = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(clock.time_of(moment + second) - clock.time_of(moment), 1_000_000_000);
        assert_eq!(clock.time_of(clock.started - second), clock.started_ns - 1_000_000_000);
    }
}
