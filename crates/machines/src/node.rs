//! The node under test in a machine: its events, its commands, its log.

use std::{
    collections::VecDeque,
    fs::File,
    io::Write,
    ops::Deref,
    sync::{Arc, Condvar, Mutex, mpsc::Sender},
    time::{Duration, Instant},
};

use natrig_agent_proto::Start;
use natrig_lab::{Halt, node::NodeEvent};
use natrig_record::What;
use natrig_scenario::Machine;
use natrig_vmm::{AgentClient, Process, ProcessEvent};
use serde_json::Value;

use crate::{
    Trouble, Who,
    lab::{lock, over},
    memory,
};

/// How many lines of a log a failure shows.
const TAIL: usize = 8;

/// A line longer than this is cut: a node that floods must not exhaust the host.
const LONGEST_LINE: usize = 64 * 1024;

/// Most events that are kept of one node.
const MOST_EVENTS: usize = 100_000;

/// How often a wait looks whether the run is halted.
const LOOK: Duration = Duration::from_millis(100);

/// A node's process.
#[derive(Debug)]
pub struct Node {
    name: Machine,
    process: Process,
    shared: Arc<Shared>,
}

/// What a node reported, and when that arrived here.
#[derive(Debug, Clone, PartialEq)]
pub struct Reported {
    /// When.
    pub at: Instant,
    /// What.
    pub event: NodeEvent,
}

impl Deref for Reported {
    type Target = NodeEvent;

    fn deref(&self) -> &NodeEvent {
        &self.event
    }
}

/// Takes what nodes report, and whose it is.
pub type Listener = Sender<(Machine, Reported)>;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Reported>,
    listener: Option<Listener>,
    partial: [Vec<u8>; 2],
    tail: VecDeque<String>,
    /// Why it ended, and whose fault that is.
    ended: Option<(Who, String)>,
}

impl Node {
    /// Starts it with its arguments and its environment. Its events and lines go to `events` as they come, and all it writes to `log`.
    pub fn start(
        agent: &AgentClient,
        name: Machine,
        (argv, env): (Vec<String>, Vec<(String, String)>),
        mut log: File,
        events: impl Fn(What) + Send + 'static,
    ) -> Result<Self, Trouble> {
        let shared = Arc::new(Shared::default());
        let sink = Arc::clone(&shared);
        let _ = writeln!(log, "$ {}", argv.join(" "));
        let process = agent.start_with(
            Start { argv, env, group: memory::GROUP.to_owned(), ..Start::default() },
            move |event| {
                sink.take(name, event, &mut log, &events);
            },
        )?;
        Ok(Node { name, process, shared })
    }

    /// Which machine it runs in.
    pub fn name(&self) -> Machine {
        self.name
    }

    /// Whether its process runs, as far as is known.
    pub fn runs(&self) -> bool {
        lock(&self.shared.state).ended.is_none()
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: i32) -> Result<(), Trouble> {
        Ok(self.process.signal(signal)?)
    }

    /// Waits until its process has ended.
    pub fn wait_for_end(&self, deadline: Instant, halt: &Halt) -> Result<(), Trouble> {
        let mut state = lock(&self.shared.state);
        while state.ended.is_none() {
            if over(deadline, halt) {
                return Err(Trouble::lab("its process has not ended"));
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, LOOK)
                .map_or_else(|error| error.into_inner().0, |pair| pair.0);
        }
        Ok(())
    }

    /// Has all that it reports from now on be told to somebody else as well.
    pub fn listen(&self, listener: Listener) {
        lock(&self.shared.state).listener = Some(listener);
    }

    /// Gives it a command.
    pub fn command(&self, command: &Value) -> Result<(), Trouble> {
        Ok(self.process.input(format!("{command}\n").as_bytes())?)
    }

    /// Waits until `find` finds what it wants among the events so far. The node's end and the time limit are its fault,
    /// a lost machine is the lab's.
    pub fn wait<T>(
        &self,
        what: &str,
        deadline: Instant,
        halt: &Halt,
        mut find: impl FnMut(&[Reported]) -> Option<T>,
    ) -> Result<T, Trouble> {
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(found) = find(&state.events) {
                return Ok(found);
            }
            if let Some((who, reason)) = &state.ended {
                let message = format!("{} ended before {what}: {reason}", self.name);
                return Err(Trouble { who: *who, ..Trouble::node(message) }.lines(state.tail.iter().cloned()));
            }
            if halt.raised() {
                return Err(Trouble::lab("interrupted"));
            }
            if over(deadline, halt) {
                return Err(Trouble::node(format!("{}: time was up before {what}", self.name))
                    .lines(state.tail.iter().cloned()));
            }
            let wait = deadline.saturating_duration_since(Instant::now()).min(LOOK);
            state = self
                .shared
                .changed
                .wait_timeout(state, wait)
                .map_or_else(|error| error.into_inner().0, |pair| pair.0);
        }
    }

    /// Waits for the first event that fits.
    pub fn wait_for(
        &self,
        what: &str,
        deadline: Instant,
        halt: &Halt,
        fits: impl Fn(&NodeEvent) -> bool,
    ) -> Result<Reported, Trouble> {
        self.wait(what, deadline, halt, |events| events.iter().find(|event| fits(event)).cloned())
    }

    /// The last lines it wrote.
    pub fn tail(&self) -> Vec<String> {
        lock(&self.shared.state).tail.iter().cloned().collect()
    }
}

impl Shared {
    fn take(&self, name: Machine, event: ProcessEvent, log: &mut File, events: &impl Fn(What)) {
        let mut state = lock(&self.state);
        match event {
            ProcessEvent::Output { at, stream, data, .. } => {
                let which = usize::from(stream == natrig_agent_proto::Stream::Err);
                let mut partial = std::mem::take(&mut state.partial[which]);
                partial.extend(data);
                let mut rest = partial.as_slice();
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    state.line(name, at, &rest[..end], log, events);
                    rest = &rest[end + 1..];
                }
                if rest.len() > LONGEST_LINE {
                    state.line(name, at, rest, log, events);
                    rest = &[];
                }
                state.partial[which] = rest.to_vec();
            }
            ProcessEvent::Exited { status, .. } => state.ended = Some((Who::Node, status.to_string())),
            ProcessEvent::Lost { reason, .. } => {
                state.ended = Some((Who::Lab, format!("its machine is gone: {reason}")))
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn line(&mut self, name: Machine, at: Instant, line: &[u8], log: &mut File, events: &impl Fn(What)) {
        let text = String::from_utf8_lossy(line).into_owned();
        // A full disk shows elsewhere; the run goes on without this line.
        let _ = writeln!(log, "{text}");
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text.clone());
        let machine = name.name().to_owned();
        match serde_json::from_str::<Value>(&text) {
            Ok(value) if value.get("event").is_some() => {
                events(What::Node { machine, event: value.clone() });
                let reported = Reported { at, event: NodeEvent(value) };
                if let Some(listener) = &self.listener {
                    // Whoever listened may have gone.
                    let _ = listener.send((name, reported.clone()));
                }
                if self.events.len() < MOST_EVENTS {
                    self.events.push(reported);
                }
            }
            _ => events(What::Log { machine, line: text }),
        }
    }
}
