//! What has happened so far, in numbers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use omerta_mesh_core::Event;

/// Counts since the start.
#[derive(Default)]
pub struct Counts(Mutex<Totals>);

/// The numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// By the event's name.
    pub events: BTreeMap<String, u64>,
    /// Bytes of messages that were acknowledged, and that came.
    pub sent: u64,
    pub received: u64,
}

impl Counts {
    /// Counts an event.
    pub fn count(&self, event: &Event) {
        let name = match serde_json::to_value(event).ok().as_mut().and_then(|value| value.get_mut("event")) {
            Some(serde_json::Value::String(name)) => std::mem::take(name),
            _ => return,
        };
        let mut totals = self.totals_mut();
        *totals.events.entry(name).or_default() += 1;
        match event {
            Event::Sent { bytes, .. } => totals.sent += bytes,
            Event::MessageReceived { data, .. } => totals.received += data.len() as u64,
            _ => {}
        }
    }

    /// The numbers so far.
    pub fn totals(&self) -> Totals {
        self.totals_mut().clone()
    }

    fn totals_mut(&self) -> MutexGuard<'_, Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
