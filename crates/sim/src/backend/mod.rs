//! The simulator as a [`Backend`]: the scenarios of the machines, their stations, their proofs and their verdicts, in a
//! [`World`](crate::World).
//!
//! Nothing here reads the host's clock: a cell's record is the same each time.

mod experimenter;
mod faults;
mod fill;
mod gateway;
mod life;
mod needs;
mod node;
mod run;
mod stage;
mod stations;
mod watch;

use std::path::Path;

use natrig_lab::{Backend, Halt};
use natrig_netmodel::seed_for;
use natrig_record::{Cell, What};
use natrig_scenario::{Machine, Scenario};

pub use experimenter::Experimenter;
pub use needs::needs_a_kernel;
pub use watch::{Stop, UnknownStop};

/// Runs scenarios in virtual time.
#[derive(Debug, Clone, Default)]
pub struct Simulator {
    seed: u64,
    traced: Vec<Machine>,
    stop: Option<Stop>,
}

impl Simulator {
    /// A simulator in which all that is random comes from a seed.
    pub fn new(seed: u64) -> Self {
        Simulator { seed, ..Simulator::default() }
    }

    /// Has everything be written down that comes to a machine and that it does.
    pub fn trace(mut self, machine: Machine) -> Self {
        self.traced.push(machine);
        self
    }

    /// Has time stop, and the state of everything be written down.
    pub fn stop_at(mut self, stop: Stop) -> Self {
        self.stop = Some(stop);
        self
    }

    /// The seed that repeats a repetition as a run of its own: the first one's is the run's.
    pub fn seed_of(&self, repetition: u32) -> u64 {
        match repetition {
            0 | 1 => self.seed,
            number => seed_for(self.seed, &format!("repetition {number}")),
        }
    }
}

impl Backend for Simulator {
    fn run(
        &self,
        scenario: &Scenario,
        repetition: u32,
        evidence: &Path,
        events: &dyn Fn(What),
        halt: &Halt,
    ) -> Cell {
        run::cell(self, scenario, self.seed_of(repetition), evidence, events, halt)
    }
}
