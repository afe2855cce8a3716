//! A token bucket: so many at once, so many a second.

use std::time::Instant;

pub(crate) struct Budget {
    rate: f64,
    burst: f64,
    left: f64,
    filled: Instant,
}

impl Budget {
    pub fn new(now: Instant, rate: f64, burst: f64) -> Self {
        Self { rate, burst, left: burst, filled: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + passed * self.rate).min(self.burst);
        self.filled = self.filled.max(now);
        let granted = self.left >= 1.0;
        if granted {
            self.left -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_is_granted_and_then_the_rate() {
        let now = Instant::now();
        let mut budget = Budget::new(now, 10.0, 3.0);
        let granted = |budget: &mut Budget, at: Instant| (0..20).filter(|_| budget.take(at)).count();
        assert_eq!(granted(&mut budget, now), 3);
        assert_eq!(granted(&mut budget, now + Duration::from_millis(210)), 2);
        assert_eq!(granted(&mut budget, now + Duration::from_secs(60)), 3);
    }
}
