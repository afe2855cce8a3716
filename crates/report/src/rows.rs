//! What is shown as one: a cell, or all repetitions of it.

use natrig_record::{Cell, Outcome, Repeats, Results};

/// A cell that was run once, or one that stands for its repetitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Of several, one that ended as all of them together.
    pub cell: &'a Cell,
    pub repeats: Option<&'a Repeats>,
}

impl<'a> Row<'a> {
    /// All of a run, in order.
    pub fn all(results: &'a Results) -> Vec<Self> {
        let once = results.cells.iter().filter(|cell| cell.repetition.is_none());
        let once = once.map(|cell| Row { cell, repeats: None });
        let repeated = results.repeats.iter().filter_map(|repeats| {
            let mut same = results.cells.iter().filter(|cell| cell.id == repeats.id);
            let alike = |cell: &&Cell| cell.outcome == repeats.outcome();
            Some(Row { cell: same.find(alike)?, repeats: Some(repeats) })
        });
        once.chain(repeated).collect()
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        self.cell.outcome
    }

    /// How it ended, in words.
    pub fn ending(&self) -> String {
        let Some(repeats) = self.repeats else {
            return self.cell.outcome.to_string();
        };
        let word = if repeats.flaky() { "FLAKY".to_owned() } else { self.cell.outcome.to_string() };
        format!("{word} {}", share(repeats))
    }

    /// How many of its repetitions were as expected.
    pub fn count(&self) -> Option<String> {
        let totals = &self.repeats?.totals;
        Some(format!("{}/{}", totals.as_expected, totals.runs()))
    }
}

/// How many were as expected, and what that says of all that could have been run.
pub(crate) fn share(repeats: &Repeats) -> String {
    let totals = &repeats.totals;
    let [low, high] = repeats.interval.map(|end| end * 100.0);
    let errors = match totals.lab_error {
        0 => String::new(),
        n => format!(", {n} lab errors"),
    };
    format!("{}/{} ({low:.1} to {high:.1} %{errors})", totals.as_expected, totals.runs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Style, failures, grid, junit, markdown, sample, table};

    #[test]
    fn repetitions_are_one_row_and_a_flaky_cell_has_not_passed() {
        let results = sample::repeated();
        assert_eq!(Row::all(&results).len(), 4);
        insta::assert_snapshot!(table(&results, Style::PLAIN));
        insta::assert_snapshot!("repetitions_in_a_grid", grid(&results, Style::PLAIN).unwrap());
        let junit = junit(&results).unwrap();
        assert_eq!((junit.matches("<testcase").count(), junit.matches("<failure").count()), (4, 1));
        assert!(markdown(&results).contains("**FLAKY 5/10 (23.7 to 76.3 %)**"));
    }

    #[test]
    fn not_every_failed_repetition_is_told_at_length() {
        let text = failures(&sample::repeated(), Style::PLAIN);
        assert_eq!(text.matches("NOT as expected").count(), 3, "{text}");
        assert!(text.contains("[port-restrict-port-restrict, repetition 6]"), "{text}");
    }
}
