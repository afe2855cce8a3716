//! `natrig run`, and how cells are run.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime},
};

use natrig_capture::Limits;
use natrig_lab::{
    Backend, Halt,
    cell::{MERGED, SESSION_KEYS},
};
use natrig_record::{Cell, Event, Evidence, Outcome, Results, RunInfo, Sink, What};
use natrig_report::{Progress, Style, Told};
use natrig_scenario::{App, Scenario};

#[cfg(feature = "machines")]
use crate::virtualize;
use crate::{
    cli::{BackendName, Keep, RunArguments, RunOptions},
    failure::Failure,
    folder, host,
    interrupt::{self, Interrupt},
    output::print,
    plan, simulate,
    web::{self, Web},
};

/// With more repetitions than these, the evidence of those that failed is enough.
const FEW: u32 = 10;

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

/// The same scenarios with another node, if one is named.
pub(crate) fn with_app(scenarios: Vec<Scenario>, file: Option<&Path>) -> Result<Vec<Scenario>, Failure> {
    let Some(file) = file else { return Ok(scenarios) };
    let app = Arc::new(App::load(file)?);
    let with = |scenario: Scenario| match app.suits(&scenario) {
        Ok(()) => Ok(Scenario { app: Some(Arc::clone(&app)), ..scenario }),
        Err(unfit) => Err(Failure::Usage(format!("{}: {unfit}\nhint: {}", scenario.id, unfit.remedy()))),
    };
    scenarios.into_iter().map(with).collect()
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
    let scenarios = with_app(scenarios, options.app.as_deref())?;
    let scenarios = match options.shard {
        Some(shard) => shard.of(scenarios),
        None => scenarios,
    };
    let web = Web::open(&options.web)?;
    let progress = Progress::stderr(told(&options));
    let interrupt = Interrupt::watch();
    let results = match &web {
        None => conduct(&scenarios, subject, &options, &progress, &interrupt)?,
        Some(web) => {
            let results = conduct(&scenarios, subject, &options, &web.beside(&progress), &interrupt);
            web.end(results.as_ref());
            results?
        }
    };
    show(&results, options.json)?;
    Ok(if results.interrupted { interrupt::CODE } else { results.totals.exit_code() })
}

pub(crate) fn told(options: &RunOptions) -> Told {
    match (options.quiet, options.verbose) {
        (true, _) => Told::Failures,
        (_, true) => Told::Everything,
        _ => Told::Progress,
    }
}

/// Runs cells and leaves the results in a folder.
pub(crate) fn conduct(
    scenarios: &[Scenario],
    subject: Subject,
    options: &RunOptions,
    sink: &dyn Sink,
    interrupt: &Interrupt,
) -> Result<Results, Failure> {
    folder::check(options.out.as_deref())?;
    let run = Conduct {
        seed: options.seed.unwrap_or_else(rand::random),
        runs: Runs::new(scenarios, options),
        scenarios,
        subject,
        started: Instant::now(),
        interrupt,
        options,
        sink,
    };
    match options.backend {
        BackendName::Sim => simulate::run(&run),
        #[cfg(feature = "machines")]
        BackendName::Vm => virtualize::run(&run),
    }
}

/// A run as it was asked for, whatever runs it.
pub(crate) struct Conduct<'a> {
    pub options: &'a RunOptions,
    pub scenarios: &'a [Scenario],
    pub subject: Subject,
    pub seed: u64,
    runs: Runs<'a>,
    started: Instant,
    interrupt: &'a Interrupt,
    sink: &'a dyn Sink,
}

impl Conduct<'_> {
    /// Says that something is being made that is worth waiting for.
    #[cfg(feature = "machines")]
    pub fn preparing(&self, message: &str) {
        self.emit(None, What::Preparing { message: message.to_owned() });
    }

    /// How many runs there are, repetitions and all.
    pub fn count(&self) -> usize {
        self.runs.all.len()
    }

    /// Runs everything with a backend, so many side by side, and leaves the results in the run's folder. What is known of
    /// the circumstances is completed.
    pub fn with(&self, backend: &dyn Backend, jobs: usize, about: RunInfo) -> Result<Results, Failure> {
        let folder = folder::create(self.options.out.as_deref())?;
        let halt = self.interrupt.orderly();
        let mut info = RunInfo {
            natrig: env!("CARGO_PKG_VERSION").to_owned(),
            backend: self.options.backend.to_string(),
            host: host::describe(),
            command: web::unwatched(std::env::args()),
            seed: self.seed,
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            folder: folder.display().to_string(),
            ..about
        };
        let (planned, maps) = plan::of(self.runs.all.iter().map(|run| (run.scenario, run.repetition)));
        self.emit(None, What::RunStarted { info: Box::new(info.clone()), cells: planned, maps });
        let cells = cells(backend, &self.runs, &folder, jobs, halt, &|cell, what| self.emit(cell, what))?;
        info.elapsed_ms = self.started.elapsed().as_secs_f64() * 1000.0;
        let results = Results::of(info, cells, halt.raised());
        self.emit(None, What::RunFinished { totals: results.totals, interrupted: results.interrupted });
        natrig_report::write_all(&folder, &results)?;
        Ok(results)
    }

    fn emit(&self, cell: Option<usize>, what: What) {
        let at_ms = self.started.elapsed().as_secs_f64() * 1000.0;
        self.sink.event(Event { at_ms, cell, what });
    }
}

/// As many as are asked for, where there is room for them; not more than there is work for.
pub(crate) fn jobs(asked: Option<usize>, room: usize, runs: usize) -> Result<usize, Failure> {
    let jobs = match asked {
        Some(0) => return Err(Failure::Usage("--jobs 0 would run nothing".to_owned())),
        Some(jobs) => jobs,
        None => host::cores(),
    };
    Ok(jobs.min(room).min(runs).max(1))
}

/// All that is to be run.
struct Runs<'a> {
    all: Vec<Run<'a>>,
    keep: Keep,
    /// How much of captures is kept.
    limits: Limits,
}

/// A cell, or one repetition of it.
struct Run<'a> {
    scenario: &'a Scenario,
    repetition: Option<u32>,
}

impl<'a> Runs<'a> {
    /// Each cell once before any is repeated: what the host does at some time then befalls all cells alike.
    fn new(scenarios: &'a [Scenario], options: &RunOptions) -> Self {
        let once = |repetition| scenarios.iter().map(move |scenario| Run { scenario, repetition });
        let all = match options.repeat {
            None => once(None).collect(),
            Some(count) => (1..=count).flat_map(|number| once(Some(number))).collect(),
        };
        let few = options.repeat.is_none_or(|count| count <= FEW);
        let limits = Limits {
            snap: options.snap.and_then(|bytes| usize::try_from(bytes).ok()),
            ring: options.ring.map(|mebibytes| u64::from(mebibytes) << 20),
        };
        Runs { all, keep: options.keep.unwrap_or(if few { Keep::All } else { Keep::Failed }), limits }
    }
}

impl Run<'_> {
    fn title(&self) -> String {
        match self.repetition {
            None => self.scenario.id.clone(),
            Some(number) => format!("{}, repetition {number}", self.scenario.id),
        }
    }

    /// Its folder in the run's.
    fn folder(&self) -> String {
        match self.repetition {
            None => self.scenario.id.clone(),
            Some(number) => format!("{}/{number}", self.scenario.id),
        }
    }
}

/// Runs cells side by side; the results are in the order in which they were asked for. A cell that was never begun has
/// none.
fn cells(
    backend: &dyn Backend,
    runs: &Runs<'_>,
    folder: &Path,
    jobs: usize,
    halt: &Halt,
    emit: &(dyn Fn(Option<usize>, What) + Sync),
) -> Result<Vec<Cell>, Failure> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Cell>>> = Mutex::new(vec![None; runs.all.len()]);
    let work = || -> Result<(), Failure> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(run) = runs.all.get(index).filter(|_| !halt.raised()) else {
                return Ok(());
            };
            emit(Some(index), What::CellStarted { title: run.title() });
            let cell = cell(backend, run, folder, runs, halt, &|what| emit(Some(index), what))?;
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
    // The folder of a cell's repetitions, where none is left in it.
    for run in runs.all.iter().filter(|run| run.repetition == Some(1)) {
        let _ = fs::remove_dir(folder.join(&run.scenario.id));
    }
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect())
}

/// Runs one, and keeps its evidence or not.
fn cell(
    backend: &dyn Backend,
    run: &Run<'_>,
    folder: &Path,
    runs: &Runs<'_>,
    halt: &Halt,
    events: &dyn Fn(What),
) -> Result<Cell, Failure> {
    let name = run.folder();
    let evidence = folder.join(&name);
    let wrong = |what| {
        let path = evidence.clone();
        move |source| Failure::File { what, path, source }
    };
    fs::create_dir_all(&evidence).map_err(wrong("make"))?;
    let mut cell = backend.run(run.scenario, run.repetition.unwrap_or(1), &evidence, events, halt);
    cell.repetition = run.repetition;
    cell.evidence.folder = name;
    if runs.keep == Keep::Failed && cell.outcome == Outcome::AsExpected {
        fs::remove_dir_all(&evidence).map_err(wrong("remove"))?;
        cell.evidence = Evidence::default();
    } else if !runs.limits.is_none() {
        shorten(&cell, &evidence, runs.limits)?;
    }
    Ok(cell)
}

/// Keeps of a cell's captures what is within the limits, and the keys that decrypt it.
fn shorten(cell: &Cell, evidence: &Path, limits: Limits) -> Result<(), Failure> {
    let keys = fs::read_to_string(evidence.join(SESSION_KEYS));
    for name in &cell.evidence.captures {
        let path = evidence.join(name);
        let wrong = |error: String| Failure::Lab(format!("cannot shorten {}: {error}", path.display()));
        natrig_capture::shorten(&path, limits).map_err(|error| wrong(error.to_string()))?;
        if let Some(keys) = keys.as_ref().ok().filter(|_| name != MERGED) {
            natrig_capture::add_session_keys(&path, keys).map_err(|error| wrong(error.to_string()))?;
        }
    }
    Ok(())
}
pub(crate) fn show(results: &Results, json: bool) -> Result<(), Failure> {
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
