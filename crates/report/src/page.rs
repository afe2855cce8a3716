//! A run as one page: `report.html`.
//!
//! The page has all it needs in itself and asks nobody for anything. What every cell has in brief stands in it as JSON;
//! the rest (record, story, logs, tables) is packed in pieces that are opened with the cell. Whatever comes from a run is
//! data to it, never markup: scripts set text, and the policy below lets none run but the page's own.

mod again;
mod brief;
mod files;
pub mod live;
mod pieces;

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use natrig_record::Results;
use sha2::{Digest, Sha256};

use self::{brief::Summary, pieces::Pieces};

/// How large a page may become, in bytes, by the pieces in it.
pub const BUDGET: usize = 16_000_000;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");

/// In the order in which they build on each other; they share one scope.
const SCRIPTS: [&str; 9] = [
    include_str!("page/dom.js"),
    include_str!("page/model.js"),
    include_str!("page/grid.js"),
    include_str!("page/overview.js"),
    include_str!("page/sequence.js"),
    include_str!("page/clock.js"),
    include_str!("page/plots.js"),
    include_str!("page/gateways.js"),
    include_str!("page/cell.js"),
];

/// What draws the first time, when all others are there.
const MAIN: &str = include_str!("page/main.js");

/// The page of a run whose evidence lies in a folder, with pieces of so many bytes at most.
pub fn page(results: &Results, folder: &Path, budget: usize) -> Result<String, serde_json::Error> {
    let pieces = Pieces::gather(results, folder, budget)?;
    let summary = script_safe(&serde_json::to_string(&Summary::of(results, &pieces, budget))?);
    let script = script(SCRIPTS.into_iter().chain([MAIN]));
    Ok(filled(&summary, pieces.markup(), &script, &policy(&script, "'none'"), STYLE))
}

fn filled(summary: &str, pieces: &str, script: &str, policy: &str, style: &str) -> String {
    fill(TEMPLATE, |name| match name {
        "policy" => policy,
        "style" => style,
        "run" => summary,
        "pieces" => pieces,
        "script" => script,
        // The template is ours, and a test fills it.
        _ => "",
    })
}

fn script(scripts: impl Iterator<Item = &'static str>) -> String {
    format!("\"use strict\";\n(() => {{\n{}\n}})();\n", scripts.collect::<Vec<_>>().join("\n"))
}

/// Nothing is loaded but from where it is said, and no script runs but the one with this hash.
fn policy(script: &str, connect: &str) -> String {
    let hash = BASE64_STANDARD.encode(Sha256::digest(script));
    format!(
        "default-src 'none'; script-src 'sha256-{hash}'; style-src 'unsafe-inline'; img-src data:; \
         connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
}

/// JSON that can stand in a script element: nothing in it ends the element or begins a comment.
fn script_safe(json: &str) -> String {
    // In JSON this sign occurs in strings only.
    json.replace('<', "\\u003c")
}

/// Fills the `{{names}}` of a template, in one pass, so that what is filled in is not looked at again.
fn fill<'a>(template: &'a str, value: impl Fn(&'a str) -> &'a str) -> String {
    let mut pieces = template.split("{{");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or(("", piece));
        text += value(name);
        text += rest;
    }
    text
}

#[cfg(test)]
mod tests;
