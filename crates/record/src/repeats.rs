//! How cells fare that run more than once.

use serde::{Deserialize, Serialize};

use crate::{Cell, Outcome, Totals};

/// The normal distribution's quantile for an interval of 95 per cent.
const Z: f64 = 1.959_963_984_540_054;

/// All repetitions of one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repeats {
    /// The cell's.
    pub id: String,
    /// How many ended in which way.
    pub totals: Totals,
    /// Between what shares of as-expected runs the true one lies, with 95 per cent confidence (Wilson's interval), among
    /// all runs but lab errors, which say nothing about the node.
    pub interval: [f64; 2],
}

impl Repeats {
    /// Those of the cells that were repeated, in the order in which they first stand.
    pub fn of(cells: &[Cell]) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        let repeated = cells.iter().filter(|cell| cell.repetition.is_some());
        for cell in repeated {
            if !found.iter().any(|repeats| repeats.id == cell.id) {
                let same: Vec<&Cell> = cells.iter().filter(|other| other.id == cell.id).collect();
                found.push(Self::new(&cell.id, Totals::of(same)));
            }
        }
        found
    }

    fn new(id: &str, totals: Totals) -> Self {
        let judged = totals.runs() - totals.lab_error;
        Self { id: id.to_owned(), totals, interval: wilson(totals.as_expected, judged) }
    }

    /// What they come to: as expected only if all of them were, and otherwise the gravest outcome.
    pub fn outcome(&self) -> Outcome {
        let Totals { not_as_expected, disagree, lab_error, .. } = self.totals;
        [
            (not_as_expected, Outcome::NotAsExpected),
            (disagree, Outcome::Disagree),
            (lab_error, Outcome::LabError),
        ]
        .into_iter()
        .find_map(|(count, outcome)| (count > 0).then_some(outcome))
        .unwrap_or(Outcome::AsExpected)
    }

    /// Whether the node does now this, now that: some were as expected, and some were not.
    pub fn flaky(&self) -> bool {
        self.totals.as_expected > 0 && self.totals.not_as_expected + self.totals.disagree > 0
    }
}

/// Wilson's interval of 95 per cent for a share of which a sample is known.
pub fn wilson(hits: u32, of: u32) -> [f64; 2] {
    if of == 0 {
        return [0.0, 1.0];
    }
    let (hits, of) = (f64::from(hits), f64::from(of));
    let (share, square) = (hits / of, Z * Z);
    let middle = share + square / (2.0 * of);
    let reach = Z * (share * (1.0 - share) / of + square / (4.0 * of * of)).sqrt();
    [middle - reach, middle + reach].map(|end| (end / (1.0 + square / of)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: [f64; 2], known: [f64; 2]) {
        assert!(found.iter().zip(known).all(|(a, b)| (a - b).abs() < 5e-4), "{found:?} is not {known:?}");
    }

    #[test]
    fn the_interval_is_wilsons() {
        // Agresti and Coull, "Approximate is better than exact", and R's binom.confint(method = "wilson").
        close(wilson(0, 10), [0.0, 0.2775]);
        close(wilson(5, 10), [0.2366, 0.7634]);
        close(wilson(10, 10), [0.7225, 1.0]);
        close(wilson(200, 200), [0.9812, 1.0]);
        close(wilson(81, 263), [0.2553, 0.3662]);
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }

    #[test]
    fn a_cell_that_failed_once_is_flaky_and_has_not_passed() {
        use Outcome::*;
        let repeats = |outcomes: &[Outcome]| {
            let cell = |(outcome, repetition)| Cell {
                id: "T2.M.7".to_owned(),
                outcome,
                repetition: Some(repetition),
                ..Cell::default()
            };
            let cells: Vec<Cell> = outcomes.iter().copied().zip(1..).map(cell).collect();
            Repeats::of(&cells).remove(0)
        };
        for (outcomes, outcome, flaky) in [
            (&[AsExpected, AsExpected][..], AsExpected, false),
            (&[AsExpected, NotAsExpected], NotAsExpected, true),
            (&[AsExpected, Disagree, LabError], Disagree, true),
            (&[AsExpected, LabError], LabError, false),
            (&[NotAsExpected, NotAsExpected], NotAsExpected, false),
        ] {
            let repeats = repeats(outcomes);
            assert_eq!((repeats.outcome(), repeats.flaky()), (outcome, flaky), "{outcomes:?}");
        }
        // A lab error says nothing about the node, for better or worse.
        assert_eq!(repeats(&[AsExpected, LabError]).interval, wilson(1, 1));
    }

    #[test]
    fn what_was_not_repeated_has_no_repeats() {
        assert_eq!(Repeats::of(&[Cell::default(), Cell::default()]), []);
    }
}
