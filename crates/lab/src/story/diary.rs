//! What happened in a cell beside its packets.

use std::{collections::BTreeMap, time::Duration};

use natrig_record::{Moment, MomentKind, Step, What};
use serde_json::Value;

use super::ms_since;
use crate::node::NodeEvent;

/// Most moments that are kept; a node that floods must not fill a report.
const MOST: usize = 2_000;

/// How much of a field is told.
const LONGEST: usize = 120;

/// Events that say which way a node reaches another one.
const PATHS: [&str; 6] =
    ["connected", "pathChanged", "settled", "connectFailed", "pathFailed", "disconnected"];

/// What happened, and when.
///
/// Times are since the diary was begun; when that was by the captures' clock may be said later ([`Diary::began`]).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diary {
    began_ns: u64,
    entries: Vec<Entry>,
    left_out: usize,
    /// Whose node an ID is.
    names: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    at: Duration,
    machine: Option<String>,
    kind: MomentKind,
    what: Said,
}

#[derive(Debug, Clone, PartialEq)]
enum Said {
    Phrase(String),
    Event(NodeEvent),
}

impl Diary {
    /// It was begun then, in nanoseconds since the Unix epoch.
    pub fn began(self, began_ns: u64) -> Self {
        Diary { began_ns, ..self }
    }

    /// Takes what a run says of its cell, if that belongs here.
    pub fn take(&mut self, at: Duration, what: &What) {
        match what {
            What::StepStarted { step } => self.step(at, *step),
            What::Fault { message } => self.fault(at, message),
            What::Node { machine, event } => self.node(at, machine, &NodeEvent(event.clone())),
            _ => {}
        }
    }

    /// The cell has come to a step.
    pub fn step(&mut self, at: Duration, step: Step) {
        self.add(at, None, MomentKind::Step, Said::Phrase(step.to_string()));
    }

    /// The lab broke or mended something.
    pub fn fault(&mut self, at: Duration, what: &str) {
        self.add(at, None, MomentKind::Fault, Said::Phrase(what.to_owned()));
    }

    /// A machine's node reported something. One that says who it is is called by its machine's name.
    pub fn node(&mut self, at: Duration, machine: &str, event: &NodeEvent) {
        let name = event.text("event").unwrap_or_default();
        if let Some(id) = event.text("id").filter(|_| name == "started") {
            self.names.insert(id.to_owned(), machine.to_owned());
        }
        let kind = if PATHS.contains(&name) { MomentKind::Path } else { MomentKind::Node };
        self.add(at, Some(machine), kind, Said::Event(event.clone()));
    }

    /// All of them by time, in milliseconds since a moment.
    pub fn moments(&self, origin_ns: u64) -> Vec<Moment> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|entry| entry.at);
        let at_ms = |entry: &Entry| {
            let at_ns = u64::try_from(entry.at.as_nanos()).unwrap_or(u64::MAX);
            ms_since(origin_ns, self.began_ns.saturating_add(at_ns))
        };
        let told = entries.iter().map(|entry| Moment {
            at_ms: at_ms(entry),
            machine: entry.machine.clone(),
            kind: entry.kind,
            what: match &entry.what {
                Said::Phrase(phrase) => phrase.clone(),
                Said::Event(event) => self.phrase(event),
            },
        });
        let left_out = (self.left_out > 0).then(|| Moment {
            at_ms: entries.last().map_or(0.0, |last| at_ms(last)),
            machine: None,
            kind: MomentKind::Step,
            what: format!("{} more that are not told", self.left_out),
        });
        told.chain(left_out).collect()
    }

    fn add(&mut self, at: Duration, machine: Option<&str>, kind: MomentKind, what: Said) {
        // Faults are few, and what is looked for.
        if self.entries.len() >= MOST && kind != MomentKind::Fault {
            self.left_out += 1;
            return;
        }
        self.entries.push(Entry { at, machine: machine.map(str::to_owned), kind, what });
    }

    /// An event with its fields; when it was is told by the lab's clock.
    fn phrase(&self, event: &NodeEvent) -> String {
        let mut phrase = event.text("event").unwrap_or_default().to_owned();
        for (field, value) in event.0.as_object().into_iter().flatten() {
            if !["event", "ms"].contains(&field.as_str()) && !value.is_null() {
                phrase.push_str(&format!(", {field} {}", self.said(value)));
            }
        }
        phrase
    }

    fn said(&self, value: &Value) -> String {
        match value {
            Value::String(text) => {
                let text = self.names.get(text).unwrap_or(text);
                match text.char_indices().nth(LONGEST) {
                    Some((end, _)) => format!("{}...", &text[..end]),
                    None => text.clone(),
                }
            }
            Value::Array(items) if items.is_empty() => "none".to_owned(),
            Value::Array(items) => items.iter().map(|item| self.said(item)).collect::<Vec<_>>().join(" and "),
            other => other.to_string(),
        }
    }
}
