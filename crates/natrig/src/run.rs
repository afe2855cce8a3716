//! `natrig run`, and how cells are run.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime},
};

use natrig_lab::{Backend, Halt};
use natrig_machines::{Experimenter, Rig};
use natrig_record::{Cell, Event, Planned, Results, RunInfo, SCHEMA, Sink, Totals, What};
use natrig_report::{Progress, Style};
use natrig_scenario::Scenario;
use natrig_vmm::Slots;

use crate::{
    cli::{RunArguments, RunOptions},
    failure::Failure,
    folder, host,
    interrupt::{self, Interrupt},
    output::print,
    prepare,
};

/// Runs scenario files.
pub fn files(arguments: RunArguments) -> Result<u8, Failure> {
    let scenarios = natrig_scenario::load_all(&arguments.files)?;
    run(pick(scenarios, &arguments.only)?, Subject::Nodes, arguments.options)
}

/// The cells with some IDs; all, if none is asked for.
pub(crate) fn pick(scenarios: Vec<Scenario>, only: &[String]) -> Result<Vec<Scenario>, Failure> {
    if let Some(unknown) = only.iter().find(|id| !scenarios.iter().any(|scenario| scenario.id == **id)) {
        let known: Vec<&str> = scenarios.iter().map(|scenario| scenario.id.as_str()).collect();
        return Err(Failure::Usage(format!(
            "no cell has the ID `{unknown}`\nhint: there are {}",
            known.join(", ")
        )));
    }
    Ok(scenarios.into_iter().filter(|scenario| only.is_empty() || only.contains(&scenario.id)).collect())
}

/// What is tried in the cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The nodes.
    Nodes,
    /// The gateways alone.
    Gateways,
}

/// Runs cells, shows them and leaves the results in a folder; the exit code is theirs.
pub(crate) fn run(scenarios: Vec<Scenario>, subject: Subject, options: RunOptions) -> Result<u8, Failure> {
    let jobs = jobs(options.jobs, &scenarios)?;
    folder::check(options.out.as_deref())?;
    let interrupt = Interrupt::watch();
    let seed = options.seed.unwrap_or_else(rand::random);
    let started = Instant::now();
    let progress = Progress::stderr();
    let emit = |cell: Option<usize>, what: What| {
        progress.event(Event { at_ms: started.elapsed().as_secs_f64() * 1000.0, cell, what });
    };
    let mut preparing = |message: &str| emit(None, What::Preparing { message: message.to_owned() });
    let rig = prepare::rig(options.packages, seed, &mut preparing)?;
    rig.ready_for(&scenarios, &mut preparing)?;
    let folder = folder::create(options.out.as_deref())?;
    let halt = interrupt.orderly();
    let mut info = about(&rig, seed, &folder);
    let planned = scenarios.iter().map(planned).collect();
    emit(None, What::RunStarted { info: Box::new(info.clone()), cells: planned });
    let experimenter = Experimenter::new(&rig);
    let backend: &dyn Backend = match subject {
        Subject::Nodes => &rig,
        Subject::Gateways => &experimenter,
    };
    let cells = cells(backend, &scenarios, &folder, jobs, halt, &emit)?;
    info.elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
    let results = Results {
        schema: SCHEMA.to_owned(),
        run: info,
        totals: Totals::of(&cells),
        interrupted: halt.raised(),
        cells,
    };
    emit(None, What::RunFinished { totals: results.totals, interrupted: results.interrupted });
    natrig_report::write_all(&folder, &results)?;
    show(&results, options.json)?;
    Ok(if results.interrupted { interrupt::CODE } else { results.totals.exit_code() })
}

/// Runs cells side by side; the results are in the order of the scenarios. A cell that was never begun has none.
fn cells(
    backend: &dyn Backend,
    scenarios: &[Scenario],
    folder: &Path,
    jobs: usize,
    halt: &Halt,
    emit: &(dyn Fn(Option<usize>, What) + Sync),
) -> Result<Vec<Cell>, Failure> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Cell>>> = Mutex::new(vec![None; scenarios.len()]);
    let work = || -> Result<(), Failure> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(scenario) = scenarios.get(index).filter(|_| !halt.raised()) else {
                return Ok(());
            };
            let evidence = folder.join(&scenario.id);
            fs::create_dir_all(&evidence).map_err(|source| Failure::File {
                what: "make",
                path: evidence.clone(),
                source,
            })?;
            emit(Some(index), What::CellStarted { title: scenario.id.clone() });
            let cell = backend.run(scenario, &evidence, &|what| emit(Some(index), what), halt);
            emit(Some(index), What::CellFinished { cell: Box::new(cell.clone()) });
            if let Some(place) = done.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
                *place = Some(cell);
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(Failure::Lab("a worker panicked".to_owned())))
        })
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect())
}

/// As many cells as there are cores for, and slots for their machines.
fn jobs(asked: Option<usize>, scenarios: &[Scenario]) -> Result<usize, Failure> {
    let machines = scenarios.iter().map(|scenario| scenario.layout().machines().count()).max();
    let room = (Slots::of_host()? / machines.unwrap_or(1)).max(1);
    let jobs = match asked {
        Some(0) => return Err(Failure::Usage("--jobs 0 would run nothing".to_owned())),
        Some(jobs) => jobs.min(room),
        None => host::cores().min(room),
    };
    Ok(jobs.min(scenarios.len()).max(1))
}

fn planned(scenario: &Scenario) -> Planned {
    Planned {
        id: scenario.id.clone(),
        nats: scenario.nats.each_ref().map(|nat| nat.name.clone()).into(),
        initiator: scenario.initiator.number(),
    }
}

fn about(rig: &Rig, seed: u64, folder: &Path) -> RunInfo {
    RunInfo {
        natrig: env!("CARGO_PKG_VERSION").to_owned(),
        backend: "vm".to_owned(),
        accelerator: rig.accelerator().accelerator.to_string(),
        host: host::describe(),
        qemu: rig.qemu().version().to_owned(),
        guest_kernel: rig.image().manifest().kernel.clone(),
        image: rig.image().id().chars().take(12).collect(),
        command: std::env::args().collect(),
        seed,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        elapsed_ms: 0.0,
        folder: folder.display().to_string(),
    }
}

fn show(results: &Results, json: bool) -> Result<(), Failure> {
    let style = Style::of(&std::io::stdout());
    let text = if json {
        serde_json::to_string_pretty(results).map_err(natrig_report::WriteError::from)?
    } else {
        let mut text = String::new();
        if let Some(grid) = natrig_report::grid(results, style) {
            text.push_str(&grid);
            text.push('\n');
        }
        text.push_str(&natrig_report::table(results, style));
        text.push('\n');
        text.push_str(&natrig_report::failures(results, style));
        text.push_str(&natrig_report::summary(results));
        text.push('\n');
        text
    };
    print(&text)
}
