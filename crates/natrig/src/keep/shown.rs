//! A lab in a browser: the page of a run with one cell that does not end, and how things stand with it.

use std::{
    path::Path,
    sync::Mutex,
    time::{Instant, SystemTime},
};

use natrig_machines::State;
use natrig_record::{Event, RunInfo, What};
use natrig_scenario::Scenario;
use serde_json::json;

use crate::{
    failure::Failure,
    host, plan,
    web::{Deed, Web, WebOptions},
};

/// The only cell.
const CELL: usize = 0;

/// A lab's page, if there is one.
pub struct Shown {
    web: Option<Web>,
    lab: String,
    began: Instant,
    told: Mutex<Told>,
}

/// What pages know.
#[derive(Default)]
struct Told {
    state: Option<State>,
    faults: bool,
}

impl Shown {
    /// Opens the page, if that is asked for.
    pub fn open(options: &WebOptions, lab: &str) -> Result<Self, Failure> {
        let web = Web::opened(options)?;
        Ok(Shown { web, lab: lab.to_owned(), began: Instant::now(), told: Mutex::default() })
    }

    /// Where the page is.
    pub fn place(&self) -> Option<String> {
        self.web.as_ref().map(Web::place)
    }

    /// Says what the lab will be made of, and gives what takes all that happens in it.
    pub fn begin(&self, scenario: &Scenario, folder: &Path) -> impl Fn(&What) + Send + 'static {
        let ear = self.web.as_ref().map(Web::ear);
        let began = self.began;
        let event = move |cell, what| Event { at_ms: began.elapsed().as_secs_f64() * 1e3, cell, what };
        let (cells, maps) = plan::of(std::iter::once((scenario, None)));
        if let Some(ear) = &ear {
            let info = RunInfo {
                natrig: env!("CARGO_PKG_VERSION").to_owned(),
                backend: "vm".to_owned(),
                host: host::describe(),
                started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
                folder: folder.display().to_string(),
                ..RunInfo::default()
            };
            ear(event(None, What::RunStarted { info: Box::new(info), cells, maps }));
            ear(event(Some(CELL), What::CellStarted { title: scenario.name.clone() }));
        }
        move |what| ear.iter().for_each(|ear| ear(event(Some(CELL), what.clone())))
    }

    /// Lets pages break and mend things.
    pub fn allow(&self, deed: Deed) {
        if let Some(web) = &self.web {
            web.allow(deed);
            self.lock().faults = true;
        }
    }

    /// Tells pages how things stand, if that is new.
    pub fn stands(&self, state: impl FnOnce() -> State) {
        let Some(web) = &self.web else { return };
        let state = state();
        let mut told = self.lock();
        if told.state.as_ref() == Some(&state) {
            return;
        }
        let at_ms = self.began.elapsed().as_secs_f64() * 1e3;
        web.stands(&json!({
            "type": "lab", "at_ms": at_ms, "cell": CELL, "name": self.lab, "faults": told.faults, "state": &state,
        }));
        told.state = Some(state);
    }

    /// Tells pages that it is down.
    pub fn down(&self) {
        if let Some(web) = &self.web {
            web.down();
        }
    }

    /// After a panic elsewhere the lab still deserves to be seen.
    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
