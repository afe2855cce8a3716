//! What waits for its turn on a link that has a rate.

use std::time::Duration;

use crate::{Queue, Rate};

/// A bit takes this many nanoseconds at one bit per second; a byte eight times as many.
const BYTE: u64 = 8_000_000_000;

/// When a link will have sent all that it has accepted: exactly, so that no rounding adds up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    free: Duration,
    /// What is to be added to `free`, in nanoseconds by the rate.
    rest: u64,
}

impl Line {
    /// Accepts a frame that comes at `now`, and tells when its last bit has passed; none if there is no room for it.
    pub(crate) fn send(&mut self, now: Duration, length: usize, rate: &Rate) -> Option<Duration> {
        let per_second = rate.bits_per_second.get();
        let work = u64::try_from(length).unwrap_or(u64::MAX).saturating_mul(BYTE);
        if self.free < now {
            *self = Self { free: now, rest: 0 };
        } else if !self.has_room(now, work, rate) {
            return None;
        }
        let work = work.saturating_add(self.rest);
        self.free = self.free.saturating_add(Duration::from_nanos(work / per_second));
        self.rest = work % per_second;
        Some(self.end())
    }

    fn has_room(&self, now: Duration, work: u64, rate: &Rate) -> bool {
        let per_second = u128::from(rate.bits_per_second.get());
        let before = (self.free.saturating_sub(now).as_nanos())
            .saturating_mul(per_second)
            .saturating_add(u128::from(self.rest));
        let (needed, room) = match rate.queue {
            Queue::Bytes(bytes) => {
                (before.saturating_add(u128::from(work)), u128::from(bytes).saturating_mul(u128::from(BYTE)))
            }
            Queue::Time(time) => (before, time.as_nanos().saturating_mul(per_second)),
        };
        before == 0 || needed <= room
    }

    /// Prepares for another rate: what was accepted stays so, and is sent when it would have been.
    pub(crate) fn change(&mut self) {
        *self = Self { free: self.end(), rest: 0 };
    }

    fn end(&self) -> Duration {
        self.free.saturating_add(Duration::from_nanos(u64::from(self.rest > 0)))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    fn rate(bits_per_second: u64, queue: Queue) -> Rate {
        Rate { bits_per_second: NonZeroU64::new(bits_per_second).unwrap(), queue }
    }

    #[test]
    fn no_rounding_adds_up() {
        // A byte takes 8/7 seconds: seven million bytes take eight million seconds to the nanosecond.
        let rate = rate(7, Queue::Time(Duration::MAX));
        let mut line = Line::default();
        let ends: Vec<_> = (0..7_000_000).map(|_| line.send(Duration::ZERO, 1, &rate).unwrap()).collect();
        assert_eq!(ends[0], Duration::from_nanos(1_142_857_143));
        assert_eq!(ends[6], Duration::from_secs(8));
        assert_eq!(ends[6_999_999], Duration::from_secs(8_000_000));
    }

    #[test]
    fn a_queue_of_bytes_takes_what_fits_behind_what_is_still_to_be_sent() {
        // A byte in a millisecond.
        let rate = rate(8000, Queue::Bytes(250));
        let mut line = Line::default();
        let ms = Duration::from_millis;
        // An idle line takes any frame.
        assert_eq!(line.send(ms(0), 1000, &rate), Some(ms(1000)));
        assert_eq!(line.send(ms(0), 1, &rate), None);
        assert_eq!(line.send(ms(849), 100, &rate), None);
        assert_eq!(line.send(ms(850), 100, &rate), Some(ms(1100)));
        assert_eq!(line.send(ms(850), 1, &rate), None);
        assert_eq!(line.send(ms(1100), 1000, &rate), Some(ms(2100)));
    }

    #[test]
    fn a_queue_of_time_takes_what_need_not_wait_longer() {
        let rate = rate(8000, Queue::Time(Duration::from_millis(50)));
        let mut line = Line::default();
        let ms = Duration::from_millis;
        assert_eq!(line.send(ms(0), 100, &rate), Some(ms(100)));
        assert_eq!(line.send(ms(49), 100, &rate), None);
        assert_eq!(line.send(ms(50), 100, &rate), Some(ms(200)));
        assert_eq!(line.send(ms(1000), 100, &rate), Some(ms(1100)));
    }

    #[test]
    fn another_rate_leaves_what_was_accepted() {
        let mut line = Line::default();
        let unlimited = Queue::Time(Duration::MAX);
        assert_eq!(
            line.send(Duration::ZERO, 1, &rate(7, unlimited)),
            Some(Duration::from_nanos(1_142_857_143))
        );
        line.change();
        let next = line.send(Duration::ZERO, 1, &rate(8_000_000_000, unlimited));
        assert_eq!(next, Some(Duration::from_nanos(1_142_857_144)));
    }
}
