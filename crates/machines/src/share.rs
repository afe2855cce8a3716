//! What a busy host lets machines have of its processors: too little of it looks like a fault of the node.

use std::time::Duration;

use natrig_lab::cell::millis;
use natrig_record::Cell;

use crate::{Lab, Trouble};

/// Less waiting than this explains nothing.
const NOTABLE: Duration = Duration::from_secs(1);

/// Machines that wait so many times as long as they run are slow. Where a host has as many cells as cores it is twice.
const MANY: u32 = 3;

/// How long machines had a processor, and how long they waited for one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Share {
    had: Duration,
    /// None where the host does not count it.
    waited: Option<Duration>,
}

impl Share {
    /// Of machines that have not run.
    pub const NOTHING: Share = Share { had: Duration::ZERO, waited: Some(Duration::ZERO) };

    /// Of all machines of a lab so far.
    pub fn of(lab: &Lab) -> Result<Self, Trouble> {
        Ok(Share { had: lab.processor_time()?, waited: lab.processor_wait() })
    }

    /// What came since an earlier time. A machine that was started anew begins from nothing.
    pub fn since(&self, before: &Share) -> Self {
        let waited = self.waited.zip(before.waited);
        Share {
            had: self.had.saturating_sub(before.had),
            waited: waited.map(|(now, before)| now.saturating_sub(before)),
        }
    }

    /// As figures of a cell.
    pub fn figures(&self) -> impl Iterator<Item = (String, f64)> {
        let had = ("processor_time_of_machines".to_owned(), millis(self.had));
        let waited = self.waited.map(|waited| ("processor_wait_of_machines".to_owned(), millis(waited)));
        std::iter::once(had).chain(waited)
    }

    /// Says of a cell that failed that its machines waited much longer than they ran, if they did.
    pub fn explain(&self, cell: &mut Cell) {
        let Share { had, waited: Some(waited) } = *self else { return };
        let Some(failure) = cell.failure.as_mut().filter(|_| waited > had * MANY && waited > NOTABLE) else {
            return;
        };
        failure.lines.push(format!(
            "the host was too busy: the machines had a processor for {:.1} s and waited {:.1} s for one",
            had.as_secs_f64(),
            waited.as_secs_f64()
        ));
        failure.hint.get_or_insert_with(|| "run fewer cells at once, with --jobs".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use natrig_record::{Failure, Step};

    use super::*;

    fn share(had: u64, waited: Option<u64>) -> Share {
        Share { had: Duration::from_millis(had), waited: waited.map(Duration::from_millis) }
    }

    fn explained(share: &Share, hint: Option<&str>) -> Failure {
        let failure = Failure {
            step: Step::Connect,
            message: "late".to_owned(),
            lines: vec!["first".to_owned()],
            hint: hint.map(str::to_owned),
        };
        let mut cell = Cell { failure: Some(failure), ..Cell::default() };
        share.explain(&mut cell);
        cell.failure.unwrap()
    }

    #[test]
    fn a_failure_on_a_busy_host_says_so() {
        let busy = explained(&share(12_500, Some(39_700)), None);
        let told = "the host was too busy: the machines had a processor for 12.5 s and waited 39.7 s for one";
        assert_eq!(busy.lines, ["first", told]);
        assert_eq!(busy.hint.as_deref(), Some("run fewer cells at once, with --jobs"));
        assert_eq!(explained(&share(1, Some(2_000)), Some("other")).hint.as_deref(), Some("other"));
    }

    #[test]
    fn a_failure_on_an_idle_host_is_left_alone() {
        for share in [share(12_500, Some(30_000)), share(100, Some(900)), share(12_500, None)] {
            assert_eq!(explained(&share, None).lines, ["first"], "{share:?}");
        }
        let mut cell = Cell::default();
        share(1, Some(9_000)).explain(&mut cell);
        assert_eq!(cell, Cell::default(), "nothing failed");
    }

    #[test]
    fn what_was_before_does_not_count() {
        let since = share(5_000, Some(7_000)).since(&share(2_000, Some(6_500)));
        assert_eq!(since, share(3_000, Some(500)));
        assert_eq!(share(1, None).since(&share(0, Some(1))).waited, None);
    }
}
