//! Why something could not be done, as a failed test shows it.

use std::{fmt, io, path::PathBuf};

use natrig_machines::{RigError, Trouble, Who};
use natrig_scenario::Problem;

use crate::Record;

/// Why a lab is not to be had, or did not do what it was asked for.
///
/// `{:?}` shows it as `{}` does, with its place and what to do: a test that ends with `?` then says all that there is to say.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A scenario or a fault has mistakes; each is shown where it stands.
    #[error("{}", .0.render(false).trim_end())]
    Mistakes(Box<Problem>),
    /// One scenario was asked for, and there is another number of them.
    #[error(
        "{name} holds {} cells: {}\nhint: Scenario::load reads them all; hand over one of these",
        ids.len(),
        ids.join(", ")
    )]
    Cells {
        /// The file.
        name: String,
        /// What is in it.
        ids: Vec<String>,
    },
    /// A lab has no such machine.
    #[error("no machine is called `{name}`\nhint: there are {}", there.join(", "))]
    Machine {
        /// What it was called.
        name: String,
        /// Those that there are.
        there: Vec<&'static str>,
    },
    /// Nothing can be run here: QEMU, the guests' image, or a program is missing.
    #[error("{}", of_rig(.0))]
    Rig(#[from] RigError),
    /// The lab failed, or cannot do what was asked for: this says nothing about a node.
    #[error("{}", told(.0))]
    Lab(Box<Trouble>),
    /// A node did not do in time what it should have done.
    #[error("{}", told(.0))]
    Node(Box<Trouble>),
    /// The lab failed while a scenario was run, so that there is no judgement. The evidence stays.
    #[error("{0}")]
    Unjudged(Box<Record>),
    /// There is no place for what a lab leaves.
    #[error("cannot make {}: {source}\nhint: Rig::keeping names another place", path.display())]
    Folder {
        /// Where it should have been.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A harness writes `Error: ` before it, which would move the first line of a text that is pointed into.
        if let Error::Mistakes(_) = self {
            writeln!(f)?;
        }
        write!(f, "{self}")
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Error::Mistakes(Box::new(problem))
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble.who {
            Who::Lab => Error::Lab(Box::new(trouble)),
            Who::Node => Error::Node(Box::new(trouble)),
        }
    }
}

/// What went wrong, the lines that matter, and what to do.
fn told(trouble: &Trouble) -> String {
    let lines = trouble.lines.iter().map(|line| format!("  {line}"));
    let hint = trouble.hint.iter().map(|hint| format!("hint: {hint}"));
    [trouble.message.clone()].into_iter().chain(lines).chain(hint).collect::<Vec<_>>().join("\n")
}

fn of_rig(error: &RigError) -> String {
    match error {
        // Its text ends with the remedy; a test program has another one beside it.
        RigError::Program { .. } => format!("{error}, and NATRIG_PROGRAMS says in which folder it is"),
        _ => error.to_string(),
    }
}
