//! What happens while a run goes on.

use serde::{Deserialize, Serialize};

use crate::{Cell, Column, RunInfo, Step, Totals};

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
    /// The scenario's name.
    #[serde(default)]
    pub name: String,
    /// Which of its cell's repetitions it is, from 1; none if the cell is run once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<u32>,
    /// What the scenario expects, in its own word.
    #[serde(default)]
    pub expected: String,
    /// The peers whose path is judged, the one that dials first.
    #[serde(default)]
    pub pair: Vec<String>,
    /// Which of the run's maps shows its machines and links; none if they are not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<usize>,
}

/// The machines of cells and what connects them, as they are at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// The machines: of each site its peers and then its gateways outwards, then public ones.
    pub machines: Vec<Column>,
    /// The cables.
    pub links: Vec<Cable>,
}

/// A machine's cable into a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cable {
    /// Its name, such as `nat1.wan`.
    pub name: String,
    /// Whose it is.
    pub machine: String,
    /// What it leads to, such as `internet` or `lan1`.
    pub segment: String,
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
        /// What the cells are made of; cells that are alike share one.
        #[serde(default)]
        maps: Vec<Map>,
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
        /// Its record. The event has the cell's number under `cell`.
        #[serde(rename = "record")]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn again(event: &Event) -> Event {
        serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap()
    }

    #[test]
    fn events_are_read_as_they_were_written() {
        let finished = What::CellFinished { cell: Box::new(Cell { id: "T2.M.1".into(), ..Cell::default() }) };
        let started = What::RunStarted {
            info: Box::default(),
            cells: vec![Planned::default()],
            maps: vec![Map::default()],
        };
        for what in [finished, started] {
            let event = Event { at_ms: 1.5, cell: Some(3), what };
            assert_eq!(again(&event), event);
        }
    }

    #[test]
    fn a_plan_of_an_earlier_natrig_is_read() {
        let planned: Planned =
            serde_json::from_str(r#"{"id": "x", "nats": ["public"], "initiator": 1}"#).unwrap();
        assert_eq!(
            planned,
            Planned { id: "x".into(), nats: vec!["public".into()], initiator: 1, ..Planned::default() }
        );
    }
}
