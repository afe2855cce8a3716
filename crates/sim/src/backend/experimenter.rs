//! The raw experiment in a world: the gateways of a cell without its nodes.

use std::{path::Path, time::Duration};

use natrig_lab::{
    Backend, Halt, Trouble,
    cell::{self, blank},
    experiment,
    proof::{Depth, refuse},
};
use natrig_record::{Cell, Step, What};
use natrig_scenario::{Machine, Scenario};

use super::{
    Simulator, gateway,
    needs::{modelled, needs_a_kernel},
    run::Progress,
    stage::{Stage, Surroundings},
    stations::Stations,
};

/// Runs the gateways of scenarios between hosts that the lab plays: what they come to, held against what is expected.
#[derive(Debug)]
pub struct Experimenter<'a>(&'a Simulator);

impl<'a> Experimenter<'a> {
    /// With the settings of a simulator.
    pub fn new(simulator: &'a Simulator) -> Self {
        Experimenter(simulator)
    }
}

impl Backend for Experimenter<'_> {
    fn run(
        &self,
        scenario: &Scenario,
        repetition: u32,
        evidence: &Path,
        events: &dyn Fn(What),
        halt: &Halt,
    ) -> Cell {
        let seed = self.0.seed_of(repetition);
        let around = Surroundings { folder: evidence, halt, events };
        let mut progress = Progress::new(around);
        let mut cell = blank(scenario, evidence);
        cell.seed = Some(seed);
        let tried = needs_a_kernel(scenario)
            .and_then(|()| whole(self.0, &modelled(scenario), seed, &mut progress, around, &mut cell));
        if let Err(trouble) = tried {
            cell::fail(&mut cell, trouble, progress.step);
        }
        cell::list_evidence(&mut cell, evidence);
        progress.figures(&mut cell);
        cell
    }
}

fn whole<'s>(
    simulator: &Simulator,
    scenario: &Scenario,
    seed: u64,
    progress: &mut Progress<'s>,
    around: Surroundings<'s>,
    cell: &mut Cell,
) -> Result<(), Trouble> {
    progress.enter(Step::Machines, Duration::ZERO)?;
    let topology = natrig_lab::Topology::of(scenario);
    let is_gateway = |machine: Machine| topology.gateways().iter().any(|place| place.machine == machine);
    let mut stage = Stage::new(simulator, scenario, seed, is_gateway, around)?;
    let tried = among(&mut stage, scenario, seed, progress, around, cell);
    let ended = stage.end();
    tried?;
    if let Some(message) = ended? {
        (around.events)(What::Note { message });
    }
    Ok(())
}

fn among<'s>(
    stage: &mut Stage<'s>,
    scenario: &Scenario,
    seed: u64,
    progress: &mut Progress<'s>,
    around: Surroundings<'s>,
    cell: &mut Cell,
) -> Result<(), Trouble> {
    progress.enter(Step::Proof, stage.world.now())?;
    cell.proofs = gateway::measure(stage, scenario, 0, Depth::Whole)?;
    refuse(&cell.proofs)?;
    let proven = gateway::flush(stage, scenario)?;
    stage.impair_in_gateways(scenario)?;

    progress.enter(Step::Connect, stage.world.now())?;
    let (stands, parties) = experiment::seats(&stage.topology, scenario.pair())?;
    let birthday = scenario.node.birthday;
    let finding = experiment::find(&mut Stations::at(stage, &stands)?, parties, seed, birthday)?;

    progress.enter(Step::Verdict, stage.world.now())?;
    let pair = stage.topology.pair(scenario.pair());
    experiment::witness(&stage.trace()?, &pair, &finding)?;
    experiment::judge(cell, scenario, &finding);

    progress.enter(Step::Evidence, stage.world.now())?;
    cell.evidence.gateways = gateway::gather(stage, &proven, around.folder)?;
    progress.leave(stage.world.now());
    Ok(())
}
