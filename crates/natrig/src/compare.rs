//! `natrig compare`: machines and simulator side by side.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use natrig_lab::compare::{self, Run};
use natrig_record::{COMPARISON, Comparison, Event, Sink, What};
use natrig_report::{Progress, Style, Told};
use natrig_scenario::Scenario;
use serde_json::json;

use crate::{
    cli::{BackendName, CompareArguments, RunOptions},
    failure::Failure,
    folder,
    interrupt::{self, Interrupt},
    matrix,
    output::print,
    run::{self, Subject},
    web::WebOptions,
};

/// Runs scenarios on both backends and says where they differ; the exit code says whether they do.
pub fn compare(arguments: CompareArguments) -> Result<u8, Failure> {
    let scenarios = match arguments.files.as_slice() {
        [] => matrix::of(&arguments.nats)?,
        files => natrig_scenario::load_all(files)?,
    };
    let scenarios = run::pick(scenarios, &arguments.only)?;
    let folder = folder::create(arguments.out.as_deref())?;
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let interrupt = Interrupt::watch();
    let mut runs = Vec::new();
    for backend in [BackendName::Vm, BackendName::Sim] {
        let options = RunOptions {
            app: None,
            shard: None,
            backend,
            out: Some(folder.join(backend.to_string())),
            seed: Some(seed),
            jobs: arguments.jobs,
            repeat: arguments.repeat,
            snap: None,
            ring: None,
            keep: None,
            json: arguments.json,
            quiet: false,
            verbose: false,
            web: WebOptions::default(),
            trace: Vec::new(),
            stop_at: None,
            fresh: false,
            packages: arguments.packages.clone(),
        };
        let witness = Witness::new(Progress::stderr(Told::default()));
        let results = run::conduct(&scenarios, Subject::Nodes, &options, &witness, &interrupt)?;
        if results.interrupted {
            return Ok(interrupt::CODE);
        }
        runs.push(witness.by_cell());
    }
    let all: Vec<Comparison> = scenarios
        .iter()
        .map(|Scenario { id, .. }| {
            let of = |backend: usize| {
                runs.get(backend).and_then(|runs| runs.get(id)).map_or(&[][..], Vec::as_slice)
            };
            compare::compare(id, of(0), of(1))
        })
        .collect();
    leave(&folder, &all)?;
    match arguments.json {
        true => print(&serde_json::to_string_pretty(&all).map_err(natrig_report::WriteError::from)?)?,
        false => print(&natrig_report::comparison(&all, Style::of(&std::io::stdout())))?,
    }
    Ok(Comparison::exit_code(&all))
}

/// Writes what was found beside the two runs.
fn leave(folder: &Path, all: &[Comparison]) -> Result<(), Failure> {
    let path = folder.join("comparison.json");
    let text = serde_json::to_vec_pretty(&json!({ "schema": COMPARISON, "cells": all }));
    let text = text.map_err(natrig_report::WriteError::from)?;
    fs::write(&path, text).map_err(|source| Failure::File { what: "write", path, source })
}

/// Shows a run and keeps what its nodes say.
struct Witness<S> {
    progress: S,
    runs: Mutex<BTreeMap<usize, Run>>,
}

impl<S> Witness<S> {
    fn new(progress: S) -> Self {
        Witness { progress, runs: Mutex::default() }
    }

    /// The runs of each cell, by its ID.
    fn by_cell(self) -> BTreeMap<String, Vec<Run>> {
        let mut cells: BTreeMap<String, Vec<Run>> = BTreeMap::new();
        for run in self.runs.into_inner().unwrap_or_else(PoisonError::into_inner).into_values() {
            cells.entry(run.cell.id.clone()).or_default().push(run);
        }
        cells
    }
}

impl<S: Sink> Sink for Witness<S> {
    fn event(&self, event: Event) {
        if let Some(cell) = event.cell {
            let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            let run = runs.entry(cell).or_default();
            match &event.what {
                What::Node { machine, event } => run.events.push((machine.clone(), event.clone())),
                What::CellFinished { cell } => run.cell = (**cell).clone(),
                _ => {}
            }
        }
        self.progress.event(event);
    }
}
