//! Whether what goes one way is answered: from the first question without an answer to the verdict that the way has failed.
//!
//! A question is asked when a packet goes out that its receiver acknowledges. Half of the patience later the way is checked,
//! a few times; when the patience is over it has failed. Whoever has no other way goes on checking, after 1, 2 and 4 s.

use std::time::{Duration, Instant};

/// Least time that a question may stay unanswered.
const MIN_PATIENCE: Duration = Duration::from_secs(1);
/// Checks between suspicion and failure.
const CHECKS: u32 = 4;
const FIRST_REST: Duration = Duration::from_secs(1);
const MAX_REST: Duration = Duration::from_secs(4);

/// How long a question may stay unanswered on a way with this round trip time.
pub(crate) fn patience(round_trip: Duration) -> Duration {
    // Three probe timeouts, each about two round trips.
    MIN_PATIENCE.max(6 * round_trip)
}

/// The answers and the silence on a way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// Nothing is open.
    #[default]
    Quiet,
    /// Something was asked.
    Asked { since: Instant },
    /// It stays unanswered, and checks are under way.
    Suspect { since: Instant, sent: u32, next: Instant },
    /// It stayed unanswered for too long.
    Failed { rest: Duration, next: Instant },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Wait,
    /// Ask in another manner.
    Check,
    /// Take another way, if there is one.
    Fail,
}

impl Liveness {
    /// Something was sent that asks for an answer.
    pub fn ask(&mut self, now: Instant) {
        if *self == Self::Quiet {
            *self = Self::Asked { since: now };
        }
    }

    /// An answer came.
    pub fn answer(&mut self) {
        *self = Self::Quiet;
    }

    /// There is a reason to check at once.
    pub fn suspect(&mut self, now: Instant) {
        if matches!(self, Self::Quiet | Self::Asked { .. }) {
            *self = Self::Suspect { since: now, sent: 0, next: now };
        }
    }

    /// Whether an answer is missed.
    pub fn is_suspect(&self) -> bool {
        matches!(self, Self::Suspect { .. } | Self::Failed { .. })
    }

    /// Whether it was given up.
    pub fn has_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// When the first open question was asked.
    pub fn asked(&self) -> Option<Instant> {
        match self {
            Self::Asked { since } | Self::Suspect { since, .. } => Some(*since),
            Self::Quiet | Self::Failed { .. } => None,
        }
    }

    /// Checks sent since it became suspect.
    pub fn checks(&self) -> Option<u32> {
        match self {
            Self::Suspect { sent, .. } => Some(*sent),
            Self::Failed { .. } => Some(CHECKS),
            Self::Quiet | Self::Asked { .. } => None,
        }
    }

    /// When [`Self::poll`] has something to say.
    pub fn poll_timeout(&self, patience: Duration) -> Option<Instant> {
        match self {
            Self::Quiet => None,
            Self::Asked { since } => Some(*since + patience / 2),
            Self::Suspect { next, .. } | Self::Failed { next, .. } => Some(*next),
        }
    }

    /// What is due now.
    pub fn poll(&mut self, now: Instant, patience: Duration) -> Step {
        match *self {
            Self::Asked { since } if now >= since + patience / 2 => {
                *self = Self::Suspect { since, sent: 0, next: now };
                self.poll(now, patience)
            }
            Self::Suspect { since, sent, next } if now >= next => {
                if sent < CHECKS {
                    // The first half of the time is over, unless the suspicion came from elsewhere.
                    let next = now + patience / 8;
                    *self = Self::Suspect { since, sent: sent + 1, next };
                    Step::Check
                } else {
                    *self = Self::Failed { rest: FIRST_REST, next: now + FIRST_REST };
                    Step::Fail
                }
            }
            Self::Failed { rest, next } if now >= next => {
                let rest = (2 * rest).min(MAX_REST);
                *self = Self::Failed { rest, next: now + rest };
                Step::Check
            }
            _ => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// What happens after a question at zero that nobody answers, in milliseconds.
    fn unanswered(patience: Duration, until: Duration) -> Vec<(u128, Step)> {
        let start = Instant::now();
        let mut liveness = Liveness::default();
        liveness.ask(start);
        let mut steps = Vec::new();
        while let Some(at) = liveness.poll_timeout(patience).filter(|at| *at < start + until) {
            steps.push(((at - start).as_millis(), liveness.poll(at, patience)));
        }
        steps
    }

    #[test]
    fn a_way_fails_when_its_patience_is_over_and_is_checked_before() {
        let steps = unanswered(PATIENCE, Duration::from_millis(1500));
        let checks = [500, 625, 750, 875].map(|at| (at, Step::Check));
        assert_eq!(steps[..4], checks);
        assert_eq!(steps[4..], [(1000, Step::Fail)]);
    }

    #[test]
    fn who_has_no_other_way_asks_again_after_1_2_and_4_seconds() {
        let steps = unanswered(PATIENCE, Duration::from_secs(17));
        let later: Vec<u128> = steps[5..].iter().map(|(at, _)| at / 1000).collect();
        assert_eq!(later, [2, 4, 8, 12, 16]);
    }

    #[test]
    fn an_answer_ends_all_suspicion() {
        let now = Instant::now();
        let mut liveness = Liveness::default();
        liveness.suspect(now);
        assert_eq!(liveness.poll(now, PATIENCE), Step::Check);
        liveness.answer();
        assert_eq!(liveness.poll_timeout(PATIENCE), None);
        assert!(!liveness.is_suspect());
    }

    #[test]
    fn a_long_way_is_given_its_time() {
        assert_eq!(patience(Duration::from_millis(10)), Duration::from_secs(1));
        assert_eq!(patience(Duration::from_millis(500)), Duration::from_secs(3));
    }

    proptest! {
        /// However long the way, silence is noticed in its patience, and a question asked once more changes nothing.
        #[test]
        fn silence_is_noticed_in_time(round_trip in 0u64..2000, again in proptest::collection::vec(0u64..900, 0..10)) {
            let patience = patience(Duration::from_millis(round_trip));
            let start = Instant::now();
            let mut liveness = Liveness::default();
            liveness.ask(start);
            let mut again: Vec<Instant> = again.iter().map(|at| start + Duration::from_millis(*at)).collect();
            again.sort();
            let mut failed = None;
            while failed.is_none() {
                let at = liveness.poll_timeout(patience).expect("something is open");
                again.retain(|asked| {
                    if *asked < at {
                        liveness.ask(*asked);
                    }
                    *asked >= at
                });
                prop_assert!(at <= start + patience);
                if liveness.poll(at, patience) == Step::Fail {
                    failed = Some(at);
                }
            }
            prop_assert_eq!(failed, Some(start + patience));
        }
    }
}
