//! What has happened in a run, for those who look on, whenever they come.
//!
//! There is one list for all, and each who looks on has a place in it. So a slow one has no queue that could grow, and a late
//! one misses nothing that matters: what was told of a cell while it ran is dropped when it has ended, and its brief stands there.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use natrig_record::{Cell, Event, Results, RunInfo, What};
use natrig_report::live;
use serde_json::{Value, json};

/// How much of what nodes say and write is kept of a cell that runs.
const MOST_SAID: usize = 4_000;

/// How much is sent at once.
const BATCH: usize = 256 << 10;

/// How long what happens is gathered before it is sent on.
const GATHER: Duration = Duration::from_millis(50);

/// How often somebody who looks on hears that there is nothing new.
const BEAT: Duration = Duration::from_secs(15);

/// The list.
pub struct History {
    state: Mutex<State>,
    news: Condvar,
    /// Tells this run from another one on the same port.
    tag: String,
}

struct State {
    next: u64,
    entries: BTreeMap<u64, Arc<str>>,
    /// Of the cells that run.
    running: HashMap<usize, Said>,
    preparing: Option<u64>,
    /// How things stand with a lab.
    #[cfg_attr(not(feature = "machines"), allow(dead_code, reason = "only a lab stands"))]
    stands: Option<u64>,
    info: RunInfo,
    records: HashMap<usize, Arc<Cell>>,
    /// The time of the last event, and when it came.
    clock: (f64, Instant),
    ended: bool,
    followers: usize,
}

/// Entries of a cell that runs.
#[derive(Default)]
struct Said {
    /// What it has come to.
    kept: Vec<u64>,
    /// What nodes say and write, which may be much.
    said: VecDeque<u64>,
}

impl History {
    /// One in which nothing has happened.
    pub fn new() -> Self {
        let state = State {
            next: 1,
            entries: BTreeMap::new(),
            running: HashMap::new(),
            preparing: None,
            stands: None,
            info: RunInfo::default(),
            records: HashMap::new(),
            clock: (0.0, Instant::now()),
            ended: false,
            followers: 0,
        };
        History {
            state: Mutex::new(state),
            news: Condvar::new(),
            tag: format!("{:08x}", rand::random::<u32>()),
        }
    }

    /// After a panic elsewhere the rest of the run still deserves to be seen.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what happens.
    pub fn take(&self, event: &Event) {
        let text = match self.told(event) {
            Ok(text) => text,
            // It is an event of ours; a page that lacks it is better than a run that ends.
            Err(error) => return tracing::warn!("an event has no JSON form: {error}"),
        };
        let mut state = self.lock();
        state.clock = (event.at_ms, Instant::now());
        let id = state.put(&self.tag, &text);
        match (event.cell, &event.what) {
            (None, What::RunStarted { info, .. }) => state.info = (**info).clone(),
            (None, What::Preparing { .. }) => {
                if let Some(before) = state.preparing.replace(id) {
                    state.entries.remove(&before);
                }
            }
            (Some(cell), What::CellFinished { cell: record }) => {
                state.records.insert(cell, Arc::new((**record).clone()));
                let Said { kept, said } = state.running.remove(&cell).unwrap_or_default();
                for old in kept.into_iter().chain(said) {
                    state.entries.remove(&old);
                }
            }
            (Some(cell), What::Node { .. } | What::Log { .. }) => {
                let said = &mut state.running.entry(cell).or_default().said;
                said.push_back(id);
                if let Some(old) = (said.len() > MOST_SAID).then(|| said.pop_front()).flatten() {
                    state.entries.remove(&old);
                }
            }
            (Some(cell), _) => state.running.entry(cell).or_default().kept.push(id),
            (None, _) => {}
        }
        drop(state);
        self.news.notify_all();
    }

    /// An event as a page takes it: of cells what it shows of them in brief.
    fn told(&self, event: &Event) -> Result<String, serde_json::Error> {
        match &event.what {
            What::RunStarted { info, cells, maps } => serde_json::to_string(&json!({
                "type": "runStarted",
                "at_ms": event.at_ms,
                "info": info,
                // As a number a script would round it.
                "seed": info.seed.to_string(),
                "cells": cells.iter().map(live::coming).collect::<Result<Vec<Value>, _>>()?,
                "maps": maps,
            })),
            What::CellFinished { cell } => {
                let info = self.lock().info.clone();
                serde_json::to_string(&json!({
                    "type": "cellFinished",
                    "at_ms": event.at_ms,
                    "cell": event.cell,
                    "brief": live::brief(&info, cell)?,
                }))
            }
            _ => serde_json::to_string(event),
        }
    }

    /// Takes how things stand with a lab, which is all that one who looks on has to know of that.
    #[cfg(any(feature = "machines", test))]
    pub fn stands(&self, how: &Value) {
        let mut state = self.lock();
        let id = state.put(&self.tag, &how.to_string());
        if let Some(before) = state.stands.replace(id) {
            state.entries.remove(&before);
        }
        drop(state);
        self.news.notify_all();
    }

    /// Says that nothing will happen any more, and waits until all who look on have heard it, or for so long.
    pub fn end(&self, told: &Value, patience: Duration) {
        let mut state = self.lock();
        state.put(&self.tag, &told.to_string());
        state.ended = true;
        self.news.notify_all();
        let waited = self.news.wait_timeout_while(state, patience, |state| state.followers > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The record of a cell that has ended, and the run's folder.
    pub fn record(&self, cell: usize) -> Option<(Arc<Cell>, PathBuf)> {
        let state = self.lock();
        Some((Arc::clone(state.records.get(&cell)?), PathBuf::from(&state.info.folder)))
    }

    /// Sends all that has happened after an entry that somebody has seen, and what happens from now on, until the run ends or
    /// sending fails.
    pub fn follow(
        &self,
        seen: Option<&str>,
        mut send: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let _counted = Counted::new(self);
        let mut after = match seen.map(|seen| self.place(seen)) {
            None => 0,
            Some(Some(place)) => place,
            // That was another run.
            Some(None) => return send(b"data: {\"type\":\"reset\"}\n\n"),
        };
        let (at_ms, came) = self.lock().clock;
        let now_ms = at_ms + came.elapsed().as_secs_f64() * 1e3;
        send(format!("retry: 1000\ndata: {}\n\n", json!({ "type": "hello", "now_ms": now_ms })).as_bytes())?;
        loop {
            let (batch, ended) = self.after(&mut after);
            match batch.is_empty() {
                true if ended => return Ok(()),
                true => send(b": nothing new\n\n")?,
                false => send(batch.as_bytes())?,
            }
            if !ended {
                std::thread::sleep(GATHER);
            }
        }
    }

    /// The next entries, once there are some; nothing if there are none for a while, or the run has ended.
    fn after(&self, place: &mut u64) -> (String, bool) {
        let state = self.lock();
        let waiting = |state: &mut State| state.next <= *place + 1 && !state.ended;
        let waited = self.news.wait_timeout_while(state, BEAT, waiting);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let mut batch = String::new();
        for (id, text) in state.entries.range(*place + 1..) {
            batch += text;
            *place = *id;
            if batch.len() >= BATCH {
                return (batch, state.ended);
            }
        }
        // What came and went again meanwhile is not waited for.
        *place = state.next - 1;
        (batch, state.ended)
    }

    /// The place of an entry in this run.
    fn place(&self, id: &str) -> Option<u64> {
        let (tag, number) = id.split_once('-')?;
        let number: u64 = number.parse().ok()?;
        (tag == self.tag && number < self.lock().next).then_some(number)
    }

    /// How many look on.
    #[cfg(test)]
    pub fn followers(&self) -> usize {
        self.lock().followers
    }

    /// How much is kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.lock().entries.len()
    }
}

/// What is told of a run that is over.
pub fn end_of_run(came_to: Result<&Results, String>) -> Value {
    match came_to {
        Ok(results) => json!({
            "type": "ended",
            "page": PathBuf::from(&results.run.folder).join("report.html"),
            "run": live::closing(results).unwrap_or_default(),
        }),
        Err(problem) => json!({ "type": "ended", "problem": problem }),
    }
}

impl State {
    fn put(&mut self, tag: &str, json: &str) -> u64 {
        let id = self.next;
        self.next += 1;
        self.entries.insert(id, format!("id: {tag}-{id}\ndata: {json}\n\n").into());
        id
    }
}

/// Counts somebody who looks on.
struct Counted<'a>(&'a History);

impl<'a> Counted<'a> {
    fn new(history: &'a History) -> Self {
        history.lock().followers += 1;
        Counted(history)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.lock().followers -= 1;
        self.0.news.notify_all();
    }
}
