//! The raw experiment on real gateways: the machines of a cell without its nodes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use natrig_lab::{
    Backend, Halt, Topology,
    cell::{self, blank, millis},
    experiment,
    proof::refuse,
};
use natrig_record::{Cell, Step, What};
use natrig_scenario::Scenario;

use crate::{Lab, Rig, Trouble, gateway, proof};

/// Runs the gateways of scenarios between hosts that the lab plays: what they come to, held against what is expected.
#[derive(Debug)]
pub struct Experimenter<'a>(&'a Rig);

impl<'a> Experimenter<'a> {
    /// With the images and templates of a rig.
    pub fn new(rig: &'a Rig) -> Self {
        Experimenter(rig)
    }
}

impl Backend for Experimenter<'_> {
    fn run(&self, scenario: &Scenario, _: u32, evidence: &Path, events: &dyn Fn(What), halt: &Halt) -> Cell {
        let started = Instant::now();
        let mut run = Run {
            rig: self.0,
            scenario,
            folder: evidence,
            halt,
            events,
            step: Step::Machines,
            entered: started,
            queued: Duration::ZERO,
            cell: blank(scenario, evidence),
        };
        if let Err(trouble) = run.whole() {
            cell::fail(&mut run.cell, trouble, run.step);
        }
        cell::list_evidence(&mut run.cell, evidence);
        run.cell.figures.insert("queue".to_owned(), millis(run.queued));
        run.cell.figures.insert("total".to_owned(), millis(started.elapsed().saturating_sub(run.queued)));
        run.cell
    }
}

struct Run<'a> {
    rig: &'a Rig,
    scenario: &'a Scenario,
    folder: &'a Path,
    halt: &'a Halt,
    events: &'a dyn Fn(What),
    step: Step,
    entered: Instant,
    /// How long it has waited for other labs.
    queued: Duration,
    cell: Cell,
}

impl Run<'_> {
    fn whole(&mut self) -> Result<(), Trouble> {
        self.enter(Step::Machines)?;
        let topology = Topology::of(self.scenario);
        let is_gateway = |machine| topology.gateways().iter().any(|place| place.machine == machine);
        let mut lab = Lab::boot_only(self.rig, self.scenario, is_gateway, self.folder, self.halt)?;

        self.cell.kernels = lab.kernels()?;
        self.queued = lab.queued();
        self.entered += self.queued;

        self.enter(Step::Proof)?;
        gateway::load(&lab, self.scenario, self.folder)?;
        self.cell.proofs =
            proof::measure(&lab, self.scenario, |gateway| self.rig.depth(self.scenario, gateway))?;
        refuse(&self.cell.proofs)?;
        self.rig.holds(self.scenario);
        let proven = gateway::flush(&lab, self.scenario)?;
        lab.impair_in_gateways(&self.scenario.links)?;
        lab.set_up();

        self.enter(Step::Connect)?;
        let (stands, parties) = experiment::seats(&topology, self.scenario.pair())?;
        let birthday = self.scenario.node.birthday;
        let finding = experiment::find(&mut lab.stations(&stands)?, parties, self.rig.seed, birthday)?;

        self.enter(Step::Verdict)?;
        experiment::witness(&lab.trace()?, &topology.pair(self.scenario.pair()), &finding)?;
        experiment::judge(&mut self.cell, self.scenario, &finding);

        self.enter(Step::Evidence)?;
        self.cell.evidence.gateways = gateway::gather(&lab, self.scenario, Some(&proven), self.folder)?;
        self.leave();
        Ok(())
    }

    fn enter(&mut self, step: Step) -> Result<(), Trouble> {
        if step != Step::Machines {
            self.leave();
        }
        self.step = step;
        (self.events)(What::StepStarted { step });
        if self.halt.raised() { Err(Trouble::lab("interrupted")) } else { Ok(()) }
    }

    fn leave(&mut self) {
        let now = Instant::now();
        self.cell.figures.insert(self.step.to_string(), millis(now - self.entered));
        self.entered = now;
    }
}
