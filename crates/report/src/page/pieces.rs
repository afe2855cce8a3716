//! What a page has of each cell beside its brief: packed, and within a budget.

use std::{fmt::Write as _, fs, io::Write as _, num::NonZero, path::Path, thread};

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use natrig_record::{Cell, Outcome, Results, STORY, Story};
use serde::Serialize;

use super::files::{Shown, within};

/// A story that is longer is not taken in.
const LONGEST_STORY: u64 = 32 << 20;

/// How many are packed before it is asked again whether there is room.
const BATCH: usize = 64;

/// The parts of a cell, opened apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its record in `results.json`.
    Record,
    /// What went over its wires.
    Story,
    /// Logs, tables and rulesets.
    Files,
}

/// Whether each part of a cell is in the page, and why if it is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Has {
    /// None if it is there; else a sentence.
    pub record: Option<String>,
    /// As above.
    pub story: Option<String>,
    /// As above.
    pub files: Option<String>,
}

impl Part {
    /// The part that a page calls so.
    pub fn named(word: &str) -> Option<Self> {
        [Part::Record, Part::Story, Part::Files].into_iter().find(|part| name(*part) == word)
    }
}

impl Has {
    fn set(&mut self, part: Part, sentence: Option<String>) {
        *match part {
            Part::Record => &mut self.record,
            Part::Story => &mut self.story,
            Part::Files => &mut self.files,
        } = sentence;
    }
}

/// All that is packed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pieces {
    has: Vec<Has>,
    markup: String,
}

impl Pieces {
    /// Packs what there is room for, what matters most first: all of the cells that failed, then the others' records, then the rest.
    pub fn gather(results: &Results, folder: &Path, budget: usize) -> Result<Self, serde_json::Error> {
        let cells = &results.cells;
        let mut pieces = Pieces { has: vec![Has::default(); cells.len()], markup: String::new() };
        let order = order(cells);
        let mut batches = order.chunks(BATCH);
        for batch in batches.by_ref() {
            let packed = pack_all(batch, cells, folder)?;
            let mut full = true;
            for (&(index, part), packed) in batch.iter().zip(packed) {
                let sentence = match packed {
                    Packed::Whole(text) if pieces.markup.len() + text.len() + OVERHEAD <= budget => {
                        full = false;
                        let _ = writeln!(
                            pieces.markup,
                            "<script type=\"text/plain\" id=\"piece-{index}-{}\">{text}</script>",
                            name(part)
                        );
                        None
                    }
                    Packed::Whole(_) => Some(no_room(&cells[index], part, budget)),
                    Packed::Missing(why) => {
                        full = false;
                        Some(why)
                    }
                };
                pieces.has[index].set(part, sentence);
            }
            if full {
                break;
            }
        }
        for &(index, part) in batches.flatten() {
            pieces.has[index].set(part, Some(no_room(&cells[index], part, budget)));
        }
        Ok(pieces)
    }

    /// Of each cell, what is there.
    pub fn has(&self) -> &[Has] {
        &self.has
    }

    /// The elements that hold them.
    pub fn markup(&self) -> &str {
        &self.markup
    }
}

/// What the element of a piece takes beside its text.
const OVERHEAD: usize = 70;

/// All parts of all cells, what matters most first.
fn order(cells: &[Cell]) -> Vec<(usize, Part)> {
    let of = |failed: bool, part: Part| {
        let some =
            cells.iter().enumerate().filter(move |(_, cell)| (cell.outcome != Outcome::AsExpected) == failed);
        some.map(move |(index, _)| (index, part))
    };
    of(true, Part::Record)
        .chain(of(true, Part::Story))
        .chain(of(true, Part::Files))
        .chain(of(false, Part::Record))
        .chain(of(false, Part::Story))
        .chain(of(false, Part::Files))
        .collect()
}

enum Packed {
    Whole(String),
    /// A sentence says why there is nothing.
    Missing(String),
}

/// Packs side by side, in order.
fn pack_all(
    batch: &[(usize, Part)],
    cells: &[Cell],
    folder: &Path,
) -> Result<Vec<Packed>, serde_json::Error> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(8);
    let share = batch.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = batch
            .chunks(share)
            .map(|some| {
                scope.spawn(move || {
                    some.iter()
                        .map(|&(index, part)| pack(&cells[index], part, folder))
                        .collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        let mut all = Vec::with_capacity(batch.len());
        for part in parts {
            match part.join() {
                Ok(packed) => all.extend(packed?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}

fn pack(cell: &Cell, part: Part, folder: &Path) -> Result<Packed, serde_json::Error> {
    Ok(match json(cell, part, folder)? {
        Ok(json) => Packed::Whole(BASE64_STANDARD.encode(gzip(&json))),
        Err(why) => Packed::Missing(why),
    })
}

/// A part as JSON, or a sentence that says why there is none.
pub(crate) fn json(
    cell: &Cell,
    part: Part,
    folder: &Path,
) -> Result<Result<Vec<u8>, String>, serde_json::Error> {
    Ok(Ok(match part {
        Part::Record => serde_json::to_vec(cell)?,
        Part::Story => match story(cell, folder) {
            Ok(story) => serde_json::to_vec(&story)?,
            Err(why) => return Ok(Err(why)),
        },
        Part::Files => match files(cell, folder) {
            Ok(files) => serde_json::to_vec(&files)?,
            Err(why) => return Ok(Err(why)),
        },
    }))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(5));
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// The cell's folder in the run's, or why there is none.
fn place<'a>(cell: &'a Cell, folder: &Path) -> Result<&'a str, String> {
    let own = cell.evidence.folder.as_str();
    if own.is_empty() {
        return Err("The evidence of this cell was not kept.".to_owned());
    }
    match within(folder, own) {
        Ok(_) => Ok(own),
        Err(error) => Err(format!("The cell's folder {own} could not be looked into: {error}.")),
    }
}

fn story(cell: &Cell, folder: &Path) -> Result<Story, String> {
    let path = format!("{}/{STORY}", place(cell, folder)?);
    let wrong = |error: &dyn std::fmt::Display| format!("{path} could not be read: {error}.");
    let file = match within(folder, &path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(format!("The packets of this cell were not told: there is no {path}."));
        }
        Err(error) => return Err(wrong(&error)),
    };
    let length = fs::metadata(&file).map_err(|error| wrong(&error))?.len();
    if length > LONGEST_STORY {
        return Err(format!("{path} is too long for this page: {} MB.", length / 1_000_000));
    }
    let text = fs::read(&file).map_err(|error| wrong(&error))?;
    serde_json::from_slice(&text).map_err(|error| wrong(&error))
}

fn files(cell: &Cell, folder: &Path) -> Result<Vec<Shown>, String> {
    let folder = folder.join(place(cell, folder)?);
    let gateways = cell.evidence.gateways.iter().map(|path| Shown::gateway(&folder, path));
    let logs = cell.evidence.logs.iter().map(|path| Shown::log(&folder, path));
    Ok(gateways.chain(logs).collect())
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Record => "record",
        Part::Story => "story",
        Part::Files => "files",
    }
}

fn no_room(cell: &Cell, part: Part, budget: usize) -> String {
    let own = &cell.evidence.folder;
    let (what, place) = match part {
        Part::Record => ("The record of this cell", "results.json".to_owned()),
        Part::Story => ("What went over the wires", format!("{own}/{STORY}")),
        Part::Files => ("Logs and tables", format!("{own}/")),
    };
    let megabytes = budget as f64 / 1e6;
    format!("{what} did not fit into this page of at most {megabytes} MB; see {place} in the run's folder.")
}
