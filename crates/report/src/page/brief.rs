//! What a page knows of a run and of every cell before any is opened.

use natrig_record::{Cell, Metric, Outcome, Results, RunInfo, Step, Totals};
use serde::Serialize;

use super::{
    again::again,
    pieces::{Has, Pieces},
};
use crate::{
    failures::{hint, told},
    rows::share,
    wording::{came_to, claims, nats, printable, summary, wire},
};

/// How much of a line is shown in brief; all of it is in the record.
const LONGEST_LINE: usize = 600;

/// The run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary<'a> {
    run: &'a RunInfo,
    /// The run's; as a number a script would round it.
    seed: String,
    totals: Totals,
    interrupted: bool,
    /// Totals, time and place in a line.
    line: String,
    metrics: &'a [Metric],
    repeats: Vec<Repeated<'a>>,
    /// How large the page may be, in bytes.
    budget: usize,
    cells: Vec<Brief<'a>>,
    /// Whether the page is told of the run while it goes on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    live: bool,
}

impl<'a> Summary<'a> {
    /// A run with what of it is in the page.
    pub fn of(results: &'a Results, pieces: &'a Pieces, budget: usize) -> Self {
        let cells = results.cells.iter().zip(pieces.has());
        let cells = cells.map(|(cell, has)| Brief::of(&results.run, cell, Some(has))).collect();
        Summary { cells, budget, ..Summary::without_cells(results) }
    }

    /// A run of which a page learns while it goes on.
    pub fn live(results: &'a Results) -> Self {
        Summary { live: true, ..Summary::without_cells(results) }
    }

    /// What is known of a run as a whole.
    pub fn without_cells(results: &'a Results) -> Self {
        let repeated = results.repeats.iter().map(|repeats| Repeated {
            id: &repeats.id,
            flaky: repeats.flaky(),
            outcome: repeats.outcome(),
            share: share(repeats),
        });
        Summary {
            run: &results.run,
            seed: results.run.seed.to_string(),
            totals: results.totals,
            interrupted: results.interrupted,
            line: summary(results),
            metrics: &results.metrics,
            repeats: repeated.collect(),
            budget: 0,
            cells: Vec::new(),
            live: false,
        }
    }
}

/// All repetitions of a cell.
#[derive(Debug, Clone, Serialize)]
struct Repeated<'a> {
    id: &'a str,
    flaky: bool,
    outcome: Outcome,
    share: String,
}

/// A cell in brief: what the grid, the list and the first screen show of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Brief<'a> {
    /// What leads to it, after `#cell-`.
    anchor: String,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition: Option<u32>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'a str>,
    nats: &'a [String],
    /// The gateways in a phrase.
    gateways: String,
    expected: &'a str,
    outcome: Outcome,
    /// The kind of path, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    came_to: Option<String>,
    wire: String,
    claims: String,
    /// Milliseconds to the first usable path.
    connect_ms: Option<f64>,
    /// The step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
    more: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    besides: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    folder: &'a str,
    again: String,
    /// Which parts are in the page; none if they are fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    has: Option<&'a Has>,
}

impl<'a> Brief<'a> {
    /// A cell that has ended.
    pub fn of(run: &RunInfo, cell: &'a Cell, has: Option<&'a Has>) -> Self {
        let failed = cell.outcome != Outcome::AsExpected;
        let told = if failed { told(cell) } else { Default::default() };
        Brief {
            anchor: anchor(&cell.id, cell.repetition),
            id: &cell.id,
            repetition: cell.repetition,
            name: printable(&cell.name),
            priority: cell.priority.as_deref(),
            nats: &cell.nats,
            gateways: nats(cell),
            expected: &cell.expected,
            outcome: cell.outcome,
            came_to: came_to(cell),
            wire: wire(cell),
            claims: claims(cell),
            connect_ms: cell.connect_ms,
            step: cell.failure.as_ref().map(|failure| failure.step),
            reason: told.reason,
            lines: told.lines.iter().map(|line| cut(line)).collect(),
            more: told.more,
            besides: told.besides.iter().map(|line| cut(line)).collect(),
            hint: hint(cell).filter(|_| failed),
            folder: &cell.evidence.folder,
            again: again(run, cell),
            has,
        }
    }
}

/// What leads to a cell.
pub(crate) fn anchor(id: &str, repetition: Option<u32>) -> String {
    match repetition {
        None => id.to_owned(),
        Some(number) => format!("{id}/{number}"),
    }
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
