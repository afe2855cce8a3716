//! What went wrong, cell by cell.

use std::fmt::Write;

use natrig_record::{Cell, Outcome, Proof, Results};

use crate::{
    Style,
    style::Ink,
    wording::{nats, printable, reason, repeated_by},
};

/// Lines of a log or of reasons that are shown; the rest is in the evidence.
const MOST_LINES: usize = 12;

/// Repetitions of one cell that are shown; all are in results.json.
const MOST_REPETITIONS: usize = 3;

/// A paragraph for each cell that did not end as expected; empty if all did.
///
/// It says which step failed and why, shows the few lines that matter, where the evidence lies, and what to do about it.
pub fn failures(results: &Results, style: Style) -> String {
    let paragraphs = shown(results).map(|cell| paragraph(cell, &results.run.folder, style));
    paragraphs.collect::<Vec<_>>().join("\n")
}

/// The cells that did not end as expected; of the repetitions of one, some.
pub(crate) fn shown(results: &Results) -> impl Iterator<Item = &Cell> {
    let failed = |cell: &&Cell| cell.outcome != Outcome::AsExpected;
    results.cells.iter().enumerate().filter(move |(_, cell)| failed(cell)).filter_map(move |(index, cell)| {
        let earlier = results.cells[..index].iter().filter(failed).filter(|other| other.id == cell.id);
        (cell.repetition.is_none() || earlier.count() < MOST_REPETITIONS).then_some(cell)
    })
}

/// Which repetition it is.
pub(crate) fn which(cell: &Cell) -> String {
    cell.repetition.map_or_else(String::new, |number| format!(", repetition {number}"))
}

fn paragraph(cell: &Cell, run_folder: &str, style: Style) -> String {
    let outcome = style.paint(Ink::of(cell.outcome), &cell.outcome.to_string());
    let name = style.paint(Ink::Strong, &printable(&cell.name));
    let mut text = format!("{outcome}  {name}  {}  [{}{}]\n", nats(cell), cell.id, which(cell));
    for line in details(cell) {
        let _ = writeln!(text, "  {line}");
    }
    if !cell.evidence.folder.is_empty() {
        let path = match run_folder {
            "" => cell.evidence.folder.clone(),
            run => format!("{}/{}", run.trim_end_matches('/'), cell.evidence.folder),
        };
        let _ = writeln!(text, "  evidence: {path}");
    }
    if let Some(options) = repeated_by(cell) {
        let _ = writeln!(text, "  again: {options}");
    }
    if let Some(hint) = hint(cell) {
        let _ = writeln!(text, "  hint: {hint}");
    }
    text
}

/// What a report says of a cell that did not end as expected.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Told {
    /// One sentence; none if all was as expected.
    pub reason: Option<String>,
    /// The lines that matter, of logs, events or reasons.
    pub lines: Vec<String>,
    /// How many more there are.
    pub more: usize,
    /// What the captures do not show beside that, and a gateway that is not what it should be.
    pub besides: Vec<String>,
}

/// What there is to say of it.
pub(crate) fn told(cell: &Cell) -> Told {
    let reason = reason(cell);
    let lines = match (&cell.failure, &cell.verdict) {
        (Some(failure), _) if !failure.lines.is_empty() => failure.lines.as_slice(),
        (_, Some(verdict)) => verdict.because.as_slice(),
        _ => &[],
    };
    let shown = reason.clone().unwrap_or_default();
    let refuted = cell.assertions.iter().filter(|assertion| !assertion.holds);
    // The first one is the reason.
    let mut besides: Vec<String> = refuted
        .filter(|assertion| !shown.contains(&assertion.what))
        .map(|assertion| {
            format!(
                "not shown by the captures: {}: {}",
                printable(&assertion.what),
                printable(&assertion.detail)
            )
        })
        .collect();
    if lines.is_empty() {
        let refuted = cell.proofs.iter().filter(|proof| !proof.holds);
        besides.extend(refuted.flat_map(side_by_side));
    }
    Told {
        reason,
        lines: lines.iter().take(MOST_LINES).map(|line| printable(line)).collect(),
        more: lines.len().saturating_sub(MOST_LINES),
        besides,
    }
}

/// The same, line by line.
pub(crate) fn details(cell: &Cell) -> Vec<String> {
    let told = told(cell);
    let more = (told.more > 0).then(|| format!("… and {} more", told.more));
    let lines = told.lines.into_iter().chain(more).map(|line| format!("  | {line}"));
    told.reason.into_iter().chain(lines).chain(told.besides).collect()
}

/// A gateway as declared and as measured.
fn side_by_side(proof: &Proof) -> Vec<String> {
    let sides = proof.side_by_side().into_iter().map(|line| format!("  {}", printable(&line)));
    [format!("{} is not {}:", proof.gateway, proof.profile)].into_iter().chain(sides).collect()
}

pub(crate) fn hint(cell: &Cell) -> Option<String> {
    let recorded = cell.failure.as_ref().and_then(|failure| failure.hint.clone());
    recorded.or(match cell.outcome {
        Outcome::LabError if cell.seed.is_some() => {
            Some("a lab error says nothing about the node".to_owned())
        }
        Outcome::LabError => {
            Some("a lab error says nothing about the node; `natrig doctor` checks this host".to_owned())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use natrig_record::{About, Assertion, Failure, Step};

    use super::*;
    use crate::sample;

    #[test]
    fn each_failure_says_what_failed_and_where_to_look() {
        insta::assert_snapshot!(failures(&sample::four_outcomes(), Style::PLAIN));
    }

    #[test]
    fn what_the_captures_do_not_show_is_said_once() {
        let mut cell = sample::four_outcomes().cells.remove(2);
        let refuted = |what: &str| Assertion {
            about: About::Node,
            what: what.to_owned(),
            holds: false,
            detail: "0 frames".to_owned(),
        };
        cell.assertions = vec![refuted("a coordinator was asked"), refuted("both peers sent probes")];
        cell.failure = Some(Failure {
            step: Step::Verdict,
            message: "the captures do not show that a coordinator was asked: 0 frames".to_owned(),
            lines: vec![],
            hint: None,
        });
        let details = details(&cell).join("\n");
        assert_eq!(details.matches("a coordinator was asked").count(), 1, "{details}");
        assert!(details.contains("not shown by the captures: both peers sent probes: 0 frames"), "{details}");
    }

    #[test]
    fn nothing_is_said_where_nothing_failed() {
        let mut results = sample::four_outcomes();
        results.cells.truncate(1);
        assert_eq!(failures(&results, Style::PLAIN), "");
    }

    #[test]
    fn a_log_cannot_move_the_cursor() {
        let mut results = sample::four_outcomes();
        let failure = results.cells[1].failure.as_mut().unwrap();
        failure.lines = vec!["\x1b[2Jgone\r".to_owned()];
        assert!(!failures(&results, Style::PLAIN).contains(['\x1b', '\r']));
    }
}
