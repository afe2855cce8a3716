//! Many worlds, each with its seed and on one thread, several at once.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use serde::Serialize;

use super::{Error, Failed, Outcome, Population, Settings};

/// What became of one world.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Ended {
    /// It ran to its end.
    Whole(Box<Outcome>),
    /// Something that must be true was not.
    Failed(Failed),
}

impl Ended {
    /// What came of it, if it ran to its end.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Ended::Whole(outcome) => Some(outcome),
            Ended::Failed(_) => None,
        }
    }

    /// What was wrong, if anything was.
    pub fn failed(&self) -> Option<&Failed> {
        match self {
            Ended::Whole(_) => None,
            Ended::Failed(failed) => Some(failed),
        }
    }
}

/// Runs worlds with `count` seeds from the settings' one on, `at_once` at a time; what became of each, in the order of the
/// seeds. `looked` is told how far one of them is.
pub fn many(
    settings: &Settings,
    count: u64,
    at_once: usize,
    looked: impl Fn(&Population) + Sync,
) -> Result<Vec<Ended>, Error> {
    let next = AtomicU64::new(0);
    let ended: Mutex<Vec<(u64, Result<Ended, Error>)>> = Mutex::default();
    let work = || {
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= count {
                return;
            }
            let threads = if count == 1 { settings.threads } else { 1 };
            let settings = Settings { seed: settings.seed.wrapping_add(turn), threads, ..settings.clone() };
            let one = run(&settings, &looked);
            ended.lock().unwrap_or_else(PoisonError::into_inner).push((turn, one));
        }
    };
    #[allow(clippy::disallowed_methods, reason = "worlds have nothing in common")]
    std::thread::scope(|scope| {
        for _ in 0..at_once.max(1).min(usize::try_from(count).unwrap_or(usize::MAX)) {
            scope.spawn(work);
        }
    });
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.sort_by_key(|(turn, _)| *turn);
    ended.into_iter().map(|(_, one)| one).collect()
}

fn run(settings: &Settings, looked: impl Fn(&Population)) -> Result<Ended, Error> {
    let mut population = Population::new(settings)?;
    Ok(match population.run(looked) {
        Ok(()) => Ended::Whole(Box::new(population.outcome())),
        Err(failed) => Ended::Failed(failed),
    })
}
