//! What happens while a run goes on.

use serde::{Deserialize, Serialize};

use crate::{Cell, RunInfo, Step, Totals};

/// Takes events, from any thread.
pub trait Sink: Send + Sync {
    /// Takes one; it should be quick.
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Sink for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the run started.
    pub at_ms: f64,
    /// The cell it belongs to, by its index in the run; none for events of the run itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<usize>,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// A cell that is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its ID.
    pub id: String,
    /// The gateway profiles, site 1 first.
    pub nats: Vec<String>,
    /// Which site's peer dials: 1 or 2.
    pub initiator: u8,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
#[non_exhaustive]
pub enum What {
    /// The run begins.
    RunStarted {
        /// About the run.
        info: Box<RunInfo>,
        /// Its cells, in order.
        cells: Vec<Planned>,
    },
    /// Something worth waiting for is being made, such as an image or a template.
    Preparing {
        /// What, as a phrase.
        message: String,
    },
    /// A cell begins.
    CellStarted {
        /// Its title.
        title: String,
    },
    /// A cell has come to a step.
    StepStarted {
        /// The step.
        step: Step,
    },
    /// A node under test reported something.
    Node {
        /// The machine.
        machine: String,
        /// Its event, as the node wrote it.
        event: serde_json::Value,
    },
    /// A line that a program in a machine wrote and that is no event.
    Log {
        /// The machine.
        machine: String,
        /// The line.
        line: String,
    },
    /// The lab did something on purpose.
    Fault {
        /// What, as a phrase.
        message: String,
    },
    /// Something about a cell that whoever asked for it should know.
    Note {
        /// What, as a sentence.
        message: String,
    },
    /// A cell ended.
    CellFinished {
        /// Its record.
        cell: Box<Cell>,
    },
    /// The run ended.
    RunFinished {
        /// How many cells ended in which way.
        totals: Totals,
        /// Whether it was interrupted.
        interrupted: bool,
    },
}
