//! Runs on virtual machines.

use natrig_lab::Backend;
use natrig_machines::{Experimenter, Rig};
use natrig_record::{Results, RunInfo};
use natrig_vmm::Slots;

use crate::{
    failure::Failure,
    prepare,
    run::{Conduct, Subject, jobs},
};

/// Runs scenarios; what must be there is made before.
pub fn run(run: &Conduct<'_>) -> Result<Results, Failure> {
    let options = run.options;
    if !options.trace.is_empty() || options.stop_at.is_some() {
        let option = if options.stop_at.is_some() { "--stop-at" } else { "--trace" };
        return Err(Failure::Usage(format!(
            "{option} is for the simulator; machines keep their own time\nhint: --backend sim"
        )));
    }
    let machines = run.scenarios.iter().map(|scenario| scenario.layout().machines().count()).max();
    let room = (Slots::of_host()? / machines.unwrap_or(1)).max(1);
    let jobs = jobs(options.jobs, room, run.count())?;
    let mut preparing = |message: &str| run.preparing(message);
    let mut rig = prepare::rig(options.packages.clone(), run.seed, &mut preparing)?;
    if options.fresh {
        rig.fresh();
    }
    rig.ready_for(run.scenarios, &mut preparing)?;
    let experimenter = Experimenter::new(&rig);
    let backend: &dyn Backend = match run.subject {
        Subject::Nodes => &rig,
        Subject::Gateways => &experimenter,
    };
    run.with(backend, jobs, about(&rig))
}

fn about(rig: &Rig) -> RunInfo {
    RunInfo {
        accelerator: rig.accelerator().accelerator.to_string(),
        qemu: rig.qemu().version().to_owned(),
        guest_kernel: rig.image().manifest().kernel.clone(),
        image: rig.image().id().chars().take(12).collect(),
        ..RunInfo::default()
    }
}
