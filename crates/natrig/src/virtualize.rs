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
    let sizes = run.scenarios.iter().map(|scenario| scenario.layout().machines().count());
    let jobs = jobs(options.jobs, room(Slots::of_host()?, sizes), run.count())?;
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

/// How many cells there can be at once. A larger one waits until there is room for all its machines.
fn room(slots: usize, sizes: impl Iterator<Item = usize>) -> usize {
    (slots / sizes.min().unwrap_or(1).max(1)).max(1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_large_cell_does_not_make_all_others_wait_for_each_other() {
        assert_eq!(room(24, [5, 13, 5].into_iter()), 4);
        assert_eq!(room(24, [30].into_iter()), 1);
        assert_eq!(room(24, [].into_iter()), 24);
    }
}
