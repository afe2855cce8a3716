//! What runs scenarios.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use natrig_record::{Cell, What};
use natrig_scenario::Scenario;

/// Runs scenarios: on virtual machines, or in a simulator.
pub trait Backend: Sync {
    /// Runs one for the n-th time (from 1), leaves its evidence in a folder that exists, and reports on the way. What goes
    /// wrong in the lab is a [`natrig_record::Outcome::LabError`] of the cell, never a panic.
    ///
    /// Where all chance is from a seed, another repetition has another one.
    fn run(
        &self,
        scenario: &Scenario,
        repetition: u32,
        evidence: &Path,
        events: &dyn Fn(What),
        halt: &Halt,
    ) -> Cell;
}

/// Says that a run shall end now; clones say the same.
#[derive(Debug, Clone, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Ends it.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it shall end.
    pub fn raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
