//! `natrig chaos`: faults by lot under load, on machines or in the simulator.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use natrig_lab::{
    Backend, Halt,
    chaos::{Base, Episode, NoChaos, faults, shrink},
};
use natrig_record::{Cell, Outcome, RunInfo};
use natrig_scenario::{Problem, Scenario};
use natrig_sim::backend::Simulator;
use serde_json::json;

use crate::{
    cli::{BackendName, ChaosArguments},
    failure::Failure,
    folder, host,
    interrupt::{self, Interrupt},
    output::{print, tell},
    run,
};

/// What became of one seed.
struct Ended {
    seed: u64,
    faults: usize,
    outcome: Outcome,
    /// The reason, and the file that shows it again, where it was not as expected.
    failed: Option<(String, PathBuf)>,
}

/// Runs a file with faults drawn from one seed or many; the exit code says whether all was as it must be.
pub fn chaos(arguments: ChaosArguments) -> Result<u8, Failure> {
    let file = arguments.file.display().to_string();
    let text = natrig_scenario::bounded(&arguments.file)
        .map_err(|error| Failure::from(Problem::Unreadable { path: arguments.file.clone(), error }))?;
    let base = Base::read(&file, &text).map_err(refused)?;
    let length = arguments.length.into();
    let first = arguments.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let seeds = first..first.saturating_add(arguments.seeds);
    let out = folder::create(arguments.out.as_deref())?;
    let interrupt = Interrupt::watch();
    let started = Instant::now();
    tell(&format!(
        "{} seeds from {first}, faults for {} each, {}",
        arguments.seeds,
        humantime::format_duration(length),
        host::describe()
    ));
    let jobs = run::jobs(arguments.jobs, usize::MAX, usize::try_from(arguments.seeds).unwrap_or(usize::MAX))?;
    let whole = Chaos { base: &base, length, out: &out, halt: interrupt.orderly() };
    let ended = match arguments.backend {
        BackendName::Sim => whole.many(seeds, jobs, &|seed| Box::new(Simulator::new(seed)))?,
        #[cfg(feature = "machines")]
        BackendName::Vm => {
            let mut rig = crate::prepare::rig(None, first, &mut |message: &str| tell(message))?;
            // A machine that much was done to serves nobody else.
            rig.fresh();
            let rig = std::sync::Arc::new(rig);
            whole.many(seeds, jobs.min(2), &|_| Box::new(Shared(rig.clone())))?
        }
    };
    if interrupt.orderly().raised() {
        return Ok(interrupt::CODE);
    }
    report(&arguments, &ended, &out, started.elapsed())?;
    Ok(code(&ended))
}

fn refused(error: NoChaos) -> Failure {
    match error {
        NoChaos::Problem(problem) => problem.into(),
        other => Failure::Usage(other.to_string()),
    }
}

/// Machines that several seeds have one after the other.
#[cfg(feature = "machines")]
struct Shared(std::sync::Arc<natrig_machines::Rig>);

#[cfg(feature = "machines")]
impl Backend for Shared {
    fn run(
        &self,
        scenario: &Scenario,
        repetition: u32,
        evidence: &Path,
        events: &dyn Fn(natrig_record::What),
        halt: &Halt,
    ) -> Cell {
        self.0.run(scenario, repetition, evidence, events, halt)
    }
}

struct Chaos<'a> {
    base: &'a Base,
    length: Duration,
    out: &'a Path,
    halt: &'a Halt,
}

impl Chaos<'_> {
    /// Runs seeds side by side; they end in the order of their numbers.
    fn many(
        &self,
        seeds: std::ops::Range<u64>,
        jobs: usize,
        backend: &(dyn Fn(u64) -> Box<dyn Backend> + Sync),
    ) -> Result<Vec<Ended>, Failure> {
        let next = AtomicU64::new(seeds.start);
        let done = Mutex::new(Vec::new());
        let work = || -> Result<(), Failure> {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end || self.halt.raised() {
                    return Ok(());
                }
                let ended = self.one(seed, &*backend(seed))?;
                if let Some((reason, file)) = &ended.failed {
                    tell(&format!("seed {seed}: {}: {reason}\n  {}", ended.outcome, file.display()));
                }
                done.lock().unwrap_or_else(PoisonError::into_inner).push(ended);
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err(Failure::Lab("a worker panicked".to_owned())))
            })
        })?;
        let mut ended = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        ended.sort_by_key(|ended| ended.seed);
        Ok(ended)
    }

    /// Runs one; where it fails, so few episodes are left that it still does, if it can be run again at no cost.
    fn one(&self, seed: u64, backend: &dyn Backend) -> Result<Ended, Failure> {
        let id = format!("chaos-{seed}");
        let episodes = self.base.draw(seed, self.length);
        let scenario = self.base.scenario(&id, &episodes).map_err(refused)?;
        let cell = self.run(&scenario, backend)?;
        let mut ended = Ended { seed, faults: faults(&scenario), outcome: cell.outcome, failed: None };
        if cell.outcome == Outcome::AsExpected || self.halt.raised() {
            let _ = fs::remove_dir_all(self.out.join(&id));
            return Ok(ended);
        }
        let reason = reason(&cell);
        let least = match cell.seed {
            // Of machines, each run is another one.
            None => episodes,
            Some(_) => self.least(&id, episodes, &reason, backend)?,
        };
        let file = self.out.join(format!("{id}.yaml"));
        let text = format!(
            "# natrig run --backend sim --seed {seed} {}\n{}",
            file.display(),
            self.base.with(&least)
        );
        fs::write(&file, text).map_err(|source| Failure::File {
            what: "write",
            path: file.clone(),
            source,
        })?;
        ended.failed = Some((reason, file));
        Ok(ended)
    }

    /// The fewest episodes that come to the same.
    fn least(
        &self,
        id: &str,
        episodes: Vec<Episode>,
        wanted: &str,
        backend: &dyn Backend,
    ) -> Result<Vec<Episode>, Failure> {
        // The same thing goes wrong, whatever the figures are.
        let kind = |reason: &str| reason.replace(|letter: char| letter.is_ascii_digit(), "");
        let mut wrong = None;
        let least = shrink(episodes, |some| {
            if self.halt.raised() || wrong.is_some() {
                return false;
            }
            let tried = self.base.scenario(id, some).map_err(refused);
            match tried.and_then(|scenario| self.run(&scenario, backend)) {
                Ok(cell) => cell.outcome != Outcome::AsExpected && kind(&reason(&cell)) == kind(wanted),
                Err(failure) => {
                    wrong = Some(failure);
                    false
                }
            }
        });
        // The evidence is that of the shortest.
        let scenario = self.base.scenario(id, &least).map_err(refused)?;
        self.run(&scenario, backend)?;
        wrong.map_or(Ok(least), Err)
    }

    fn run(&self, scenario: &Scenario, backend: &dyn Backend) -> Result<Cell, Failure> {
        let evidence = self.out.join(&scenario.id);
        let _ = fs::remove_dir_all(&evidence);
        fs::create_dir_all(&evidence).map_err(|source| Failure::File {
            what: "make",
            path: evidence.clone(),
            source,
        })?;
        Ok(backend.run(scenario, 1, &evidence, &|_| (), self.halt))
    }
}

/// Why a cell was not as expected, up to what differs from run to run.
fn reason(cell: &Cell) -> String {
    let message = cell.failure.as_ref().map(|failure| failure.message.as_str());
    let message = message.unwrap_or("no reason was recorded");
    message.split(": nothing did").next().unwrap_or(message).to_owned()
}

fn code(ended: &[Ended]) -> u8 {
    let any = |fits: fn(Outcome) -> bool| ended.iter().any(|one| fits(one.outcome));
    match (
        any(|outcome| matches!(outcome, Outcome::NotAsExpected | Outcome::Disagree)),
        any(|outcome| outcome == Outcome::LabError),
    ) {
        (true, _) => 1,
        (false, true) => 2,
        (false, false) => 0,
    }
}

fn report(arguments: &ChaosArguments, ended: &[Ended], out: &Path, took: Duration) -> Result<(), Failure> {
    let good = |one: &&Ended| one.outcome == Outcome::AsExpected;
    let faults = |only_good: bool| -> usize {
        ended.iter().filter(|one| !only_good || good(one)).map(|one| one.faults).sum()
    };
    let survived = ended.iter().filter(good).count();
    let value = json!({
        "schema": "natrig/chaos/1",
        "run": RunInfo {
            natrig: env!("CARGO_PKG_VERSION").to_owned(),
            backend: arguments.backend.to_string(),
            host: host::describe(),
            command: std::env::args().collect(),
            elapsed_ms: took.as_secs_f64() * 1000.0,
            folder: out.display().to_string(),
            ..RunInfo::default()
        },
        "seeds": ended.iter().map(|one| json!({
            "seed": one.seed,
            "faults": one.faults,
            "outcome": one.outcome,
            "reason": one.failed.as_ref().map(|(reason, _)| reason),
            "file": one.failed.as_ref().map(|(_, file)| file),
        })).collect::<Vec<_>>(),
    });
    let path = out.join("chaos.json");
    let text = serde_json::to_string_pretty(&value).map_err(natrig_report::WriteError::from)?;
    fs::write(&path, &text).map_err(|source| Failure::File { what: "write", path, source })?;
    if arguments.json {
        return print(&text);
    }
    print(&format!(
        "{survived} of {} seeds as expected, {} of {} faults survived, in {:.1} s{}; evidence in {}\n",
        ended.len(),
        faults(true),
        faults(false),
        took.as_secs_f64(),
        if arguments.backend == BackendName::Sim { " in the simulator" } else { " on machines" },
        out.display()
    ))
}
