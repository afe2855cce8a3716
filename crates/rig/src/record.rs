//! A scenario that was run and judged.

use std::{fmt, ops::Deref};

use natrig_record::{Cell, Kind, Outcome, Path};

use crate::{Error, folder::Folder};

/// The record of a scenario that was run: the cell that `natrig run` writes into results.json.
///
/// Its `outcome` is never a lab error: that is an [`Error::Unjudged`], so that a test which wants something else than "as expected"
/// cannot take a broken lab for it.
#[derive(Debug)]
#[must_use = "nobody has looked at the outcome yet"]
pub struct Record {
    cell: Cell,
    folder: Folder,
}

impl Record {
    pub(crate) fn new(cell: Cell, folder: Folder) -> Self {
        Record { cell, folder }
    }

    /// It, if it holds a judgement.
    pub(crate) fn judged(self) -> Result<Self, Error> {
        if self.cell.outcome == Outcome::LabError {
            self.folder.keep();
            return Err(Error::Unjudged(Box::new(self)));
        }
        Ok(self)
    }

    /// Which way the lab's bytes took on the wire.
    pub fn path(&self) -> Path {
        self.cell.verdict.as_ref().map_or(Path::None, |verdict| verdict.path)
    }

    /// How that way came to be; none where the bytes took no way or several.
    pub fn kind(&self) -> Option<Kind> {
        self.cell.verdict.as_ref()?.kind
    }

    /// Where the captures, logs and rulesets are, for as long as this lives; and after it if something failed.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}

impl Deref for Record {
    type Target = Cell;

    fn deref(&self) -> &Cell {
        &self.cell
    }
}

/// What came of it, and of what failed where and why.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { id, outcome, expected, failure, .. } = &self.cell;
        write!(f, "{id}: {outcome}; expected {expected}, the wire shows ")?;
        match self.kind() {
            Some(kind) => write!(f, "{kind}")?,
            None => write!(f, "{}", self.path())?,
        }
        if let Some(failure) = failure {
            write!(f, "\n{}: {}", failure.step, failure.message)?;
            failure.lines.iter().try_for_each(|line| write!(f, "\n  {line}"))?;
        }
        write!(f, "\nevidence: {}", self.folder.path().display())?;
        failure
            .iter()
            .filter_map(|failure| failure.hint.as_ref())
            .try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}
