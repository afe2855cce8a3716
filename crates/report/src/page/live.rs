//! The page of a run while it goes on: the same page, which is told of cells as they come.
//!
//! Whoever serves it sends what these make: the page, in brief a cell that is planned and one that has ended, a part of a cell
//! when it is opened, and the run as a whole when it is over.

use std::path::Path;

use natrig_record::{Cell, Planned, Results, RunInfo};
use serde::Serialize;
use serde_json::Value;

pub use super::pieces::Part;
use super::{
    MAIN, SCRIPTS, STYLE,
    brief::{Brief, Summary, anchor},
    filled, pieces, policy, script, script_safe,
};
use crate::wording::{gateways, printable};

/// What only a page needs that is told of a run.
pub(super) const LIVE: [&str; 5] = [
    include_str!("topology.js"),
    include_str!("progress.js"),
    include_str!("faults.js"),
    include_str!("live_cell.js"),
    include_str!("live.js"),
];

const LIVE_STYLE: &str = include_str!("live.css");

/// A page and the policy that a server sends with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The page.
    pub html: String,
    /// What it may do, as `Content-Security-Policy`.
    pub policy: String,
}

/// A page that knows nothing yet, and asks whoever served it.
pub fn page() -> Result<Page, serde_json::Error> {
    let nothing = Results::of(RunInfo::default(), Vec::new(), false);
    let summary = script_safe(&serde_json::to_string(&Summary::live(&nothing))?);
    let script = script(SCRIPTS.into_iter().chain(LIVE).chain([MAIN]).chain([BEGIN]));
    let policy = policy(&script, "'self'");
    let style = [STYLE, LIVE_STYLE].join("\n");
    let html = filled(&summary, "", &script, &policy, &style);
    // Only a header can say who may frame a page.
    Ok(Page { html, policy: format!("{policy}; frame-ancestors 'none'") })
}

/// After everything is drawn the page may begin to learn.
const BEGIN: &str = "beginLive();";

/// A cell that has not been run.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Coming<'a> {
    anchor: String,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition: Option<u32>,
    name: String,
    nats: &'a [String],
    gateways: String,
    expected: &'a str,
    pair: &'a [String],
    map: Option<usize>,
}

/// A planned cell in brief.
pub fn coming(planned: &Planned) -> Result<Value, serde_json::Error> {
    serde_json::to_value(Coming {
        anchor: anchor(&planned.id, planned.repetition),
        id: &planned.id,
        repetition: planned.repetition,
        name: printable(&planned.name),
        nats: &planned.nats,
        gateways: gateways(&planned.nats, planned.initiator),
        expected: &planned.expected,
        pair: &planned.pair,
        map: planned.map,
    })
}

/// A cell that has ended, in brief.
pub fn brief(run: &RunInfo, cell: &Cell) -> Result<Value, serde_json::Error> {
    serde_json::to_value(Brief::of(run, cell, None))
}

/// A run that is over, without its cells.
pub fn closing(results: &Results) -> Result<Value, serde_json::Error> {
    serde_json::to_value(Summary::without_cells(results))
}

/// A part of a cell as JSON, from a run's folder; or a sentence that says why there is none.
pub fn part(cell: &Cell, part: Part, folder: &Path) -> Result<Result<Vec<u8>, String>, serde_json::Error> {
    pieces::json(cell, part, folder)
}
