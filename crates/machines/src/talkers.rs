//! Has nodes say what a scenario wants said while things are broken.

use std::{
    sync::{
        atomic::{AtomicU8, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use natrig_lab::{
    Halt,
    talk::{Conversation, DRAIN},
};
use natrig_scenario::Scenario;
use serde_json::json;

use crate::{Trouble, lab::lock, nodes::Nodes};

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// The faults go on; they are over; they have failed.
const ON: u8 = 0;
const OVER: u8 = 1;
const FAILED: u8 = 2;

/// All conversations of a scenario.
pub(crate) struct Talkers<'a> {
    nodes: &'a Nodes,
    halt: &'a Halt,
    began: Instant,
    state: AtomicU8,
}

impl<'a> Talkers<'a> {
    pub fn new(nodes: &'a Nodes, scenario: &Scenario, seed: u64, halt: &'a Halt) -> Self {
        *lock(&nodes.conversations) = Conversation::all(scenario, seed, Duration::ZERO);
        let began = Instant::now();
        *lock(&nodes.talking_since) = Some(began);
        Talkers { nodes, halt, began, state: AtomicU8::new(ON) }
    }

    /// The faults are over.
    pub fn end(&self, failed: bool) {
        self.state.store(if failed { FAILED } else { OVER }, Ordering::Relaxed);
    }

    /// Talks until it is ended and for as long as is to be talked at least, then waits for what is under way; gives what has
    /// become of it.
    pub fn talk(&self) -> Result<Vec<Conversation>, Trouble> {
        let (listener, reports) = mpsc::channel();
        let least = match lock(&self.nodes.conversations).iter().map(Conversation::until).max() {
            Some(until) => until,
            None => return Ok(Vec::new()),
        };
        self.nodes.listen(listener);
        let mut drained = None;
        loop {
            let now = self.began.elapsed();
            if drained.is_none() {
                self.speak(now)?;
            }
            let state = self.state.load(Ordering::Relaxed);
            if state == FAILED || self.halt.raised() {
                break;
            }
            let mut conversations = lock(&self.nodes.conversations);
            if state == OVER && now >= least && drained.is_none() {
                conversations.iter_mut().for_each(Conversation::end);
                drained = Some(now + DRAIN);
            }
            let quiet = || conversations.iter().all(|one| !one.is_under_way());
            if drained.is_some_and(|until| now >= until || quiet()) {
                break;
            }
            let next = conversations.iter().filter_map(Conversation::next).min().unwrap_or(now + LOOK);
            drop(conversations);
            match reports.recv_timeout(next.saturating_sub(now).min(LOOK)) {
                Ok((by, reported)) => {
                    let at = reported.at.saturating_duration_since(self.began);
                    let id = |machine| self.nodes.id(machine).ok().map(str::to_owned);
                    let mut conversations = lock(&self.nodes.conversations);
                    conversations.iter_mut().for_each(|one| one.reported(by, at, &reported.event, id));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(std::mem::take(&mut *lock(&self.nodes.conversations)))
    }

    /// Has nodes say what is due.
    fn speak(&self, now: Duration) -> Result<(), Trouble> {
        let mut said = Vec::new();
        let mut calls = Vec::new();
        for one in lock(&self.nodes.conversations).iter_mut() {
            let node = self.nodes.on(one.from())?;
            if !node.runs() {
                one.skip(now);
                continue;
            }
            if one.calls(now) {
                calls.push((one.from(), one.to()));
            }
            while let Some((number, text)) = one.due(now) {
                said.push((node.clone(), one.to(), number, text));
            }
        }
        for (from, to) in calls {
            self.nodes.connect(from, to)?;
        }
        for (node, to, number, text) in said {
            let command = json!({"do": "send", "peer": self.nodes.id(to)?, "text": text, "tag": number});
            // It may have ended just now; then the message is lost, which its conversation is told.
            if let Err(trouble) = node.command(&command)
                && node.runs()
            {
                return Err(trouble);
            }
        }
        Ok(())
    }
}
