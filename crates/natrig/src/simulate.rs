//! Runs in the simulator.

use natrig_lab::Backend;
use natrig_record::{Results, RunInfo};
use natrig_scenario::Machine;
use natrig_sim::backend::{Experimenter, Simulator};

use crate::{
    failure::Failure,
    run::{Conduct, Subject, jobs},
};

/// Runs scenarios; nothing must be there before.
pub fn run(run: &Conduct<'_>) -> Result<Results, Failure> {
    refuse_what_is_for_machines(run)?;
    if let Some(app) = run.scenarios.iter().find_map(|scenario| scenario.app.as_ref()) {
        return Err(Failure::Usage(format!(
            "the simulator knows no other node than omerta-mesh, and {} is one\nhint: --backend vm",
            app.name
        )));
    }
    let jobs = jobs(run.options.jobs, usize::MAX, run.count())?;
    let mut simulator = Simulator::new(run.seed);
    for name in &run.options.trace {
        simulator = simulator.trace(machine(name, run)?);
    }
    if let Some(stop) = &run.options.stop_at {
        simulator = simulator.stop_at(stop.clone());
    }
    let experimenter = Experimenter::new(&simulator);
    let backend: &dyn Backend = match run.subject {
        Subject::Nodes => &simulator,
        Subject::Gateways => &experimenter,
    };
    run.with(backend, jobs, RunInfo::default())
}

/// A machine that at least one of the cells has.
fn machine(name: &str, run: &Conduct<'_>) -> Result<Machine, Failure> {
    let there: Vec<Machine> =
        Machine::all().filter(|machine| run.scenarios.iter().any(|one| one.layout().has(*machine))).collect();
    let found = there.iter().find(|machine| machine.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = there.iter().map(|machine| machine.name()).collect();
        Failure::Usage(format!("there is no machine `{name}` to trace\nhint: there are {}", names.join(", ")))
    })
}

#[cfg(feature = "machines")]
fn refuse_what_is_for_machines(run: &Conduct<'_>) -> Result<(), Failure> {
    let given = [("--fresh", run.options.fresh), ("--packages", run.options.packages.is_some())];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Failure::Usage(format!("{option} is for machines; the simulator has none"))),
        None => Ok(()),
    }
}

#[cfg(not(feature = "machines"))]
fn refuse_what_is_for_machines(_: &Conduct<'_>) -> Result<(), Failure> {
    Ok(())
}
