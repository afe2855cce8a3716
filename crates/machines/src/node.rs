//! The node under test in a machine: its events, its commands, its log.

use std::{
    collections::VecDeque,
    fs::File,
    io::Write,
    ops::Deref,
    sync::{Arc, Condvar, Mutex, OnceLock, mpsc::Sender},
    time::{Duration, Instant},
};

use natrig_agent_proto::Start;
use natrig_lab::{Halt, foreign::Speech, node::NodeEvent};
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

/// How a node says what happens.
#[derive(Debug, Clone, Default)]
pub enum Voice {
    /// As omerta-mesh does: each line is an event.
    #[default]
    Ours,
    /// In its own words.
    Foreign(Arc<Foreign>),
}

/// The words of a node that is not omerta-mesh.
#[derive(Debug)]
pub struct Foreign {
    speech: Speech,
    /// The machine of the one that it is about, and its ID as soon as that is known.
    other: (String, OnceLock<String>),
}

impl Foreign {
    /// Of a node that is to reach the one on another machine.
    pub fn new(speech: Speech, other: impl ToString) -> Self {
        Foreign { speech, other: (other.to_string(), OnceLock::new()) }
    }

    /// The other one has said what it is called.
    pub fn know(&self, id: &str) {
        // A node that starts anew is called as it was.
        let _ = self.other.1.set(id.to_owned());
    }

    /// Whether it says of something that it happens.
    pub fn says(&self, event: &str) -> bool {
        self.speech.says(event)
    }

    fn other(&self) -> &str {
        self.other.1.get().unwrap_or(&self.other.0)
    }
}

/// A node's process.
#[derive(Debug)]
pub struct Node {
    name: Machine,
    process: Process,
    agent: AgentClient,
    ears: Arc<Ears>,
    /// What it was told to run.
    errands: Mutex<Vec<Process>>,
}

/// Hears all that a node says.
struct Ears {
    name: Machine,
    voice: Voice,
    log: Mutex<File>,
    events: Box<dyn Fn(What) + Send + Sync>,
    shared: Shared,
}

impl std::fmt::Debug for Ears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ears").field("name", &self.name).field("shared", &self.shared).finish_non_exhaustive()
    }
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
        voice: Voice,
        log: File,
        events: impl Fn(What) + Send + Sync + 'static,
    ) -> Result<Self, Trouble> {
        let ears = Arc::new(Ears {
            name,
            voice,
            log: Mutex::new(log),
            events: Box::new(events),
            shared: Shared::default(),
        });
        let process = ears.start(agent, argv, env, Ears::ended)?;
        Ok(Node { name, process, agent: agent.clone(), ears, errands: Mutex::default() })
    }

    /// Starts another program beside it, as it would itself; what that says is the node's word.
    pub fn run(&self, argv: Vec<String>, env: Vec<(String, String)>) -> Result<(), Trouble> {
        let errand = self.ears.start(&self.agent, argv, env, Ears::errand_ended)?;
        lock(&self.errands).push(errand);
        Ok(())
    }

    /// Writes a line to its input.
    pub fn tell(&self, line: &str) -> Result<(), Trouble> {
        Ok(self.process.input(format!("{line}\n").as_bytes())?)
    }

    /// Which machine it runs in.
    pub fn name(&self) -> Machine {
        self.name
    }

    /// Whether its process runs, as far as is known.
    pub fn runs(&self) -> bool {
        lock(&self.ears.shared.state).ended.is_none()
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: i32) -> Result<(), Trouble> {
        Ok(self.process.signal(signal)?)
    }

    /// Waits until its process has ended.
    pub fn wait_for_end(&self, deadline: Instant, halt: &Halt) -> Result<(), Trouble> {
        let mut state = lock(&self.ears.shared.state);
        while state.ended.is_none() {
            if over(deadline, halt) {
                return Err(Trouble::lab("its process has not ended"));
            }
            state = self
                .ears
                .shared
                .changed
                .wait_timeout(state, LOOK)
                .map_or_else(|error| error.into_inner().0, |pair| pair.0);
        }
        Ok(())
    }

    /// Has all that it reports from now on be told to somebody else as well.
    pub fn listen(&self, listener: Listener) {
        lock(&self.ears.shared.state).listener = Some(listener);
    }

    /// Gives it a command.
    pub fn command(&self, command: &Value) -> Result<(), Trouble> {
        self.tell(&command.to_string())
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
        let mut state = lock(&self.ears.shared.state);
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
                .ears
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

    /// How many events so far fit.
    pub fn count(&self, fits: impl Fn(&Reported) -> bool) -> usize {
        lock(&self.ears.shared.state).events.iter().filter(|event| fits(event)).count()
    }

    /// The last event that fits.
    pub fn last(&self, fits: impl Fn(&Reported) -> bool) -> Option<Reported> {
        lock(&self.ears.shared.state).events.iter().rev().find(|event| fits(event)).cloned()
    }

    /// The last lines it wrote.
    pub fn tail(&self) -> Vec<String> {
        lock(&self.ears.shared.state).tail.iter().cloned().collect()
    }
}

impl Ears {
    fn start(
        self: &Arc<Self>,
        agent: &AgentClient,
        argv: Vec<String>,
        env: Vec<(String, String)>,
        ended: fn(&Ears, Who, &str, Option<i32>),
    ) -> Result<Process, Trouble> {
        let _ = writeln!(lock(&self.log), "$ {}", argv.join(" "));
        let ears = Arc::clone(self);
        let mut partial = [Vec::new(), Vec::new()];
        let start = Start { argv, env, group: memory::GROUP.to_owned(), ..Start::default() };
        Ok(agent.start_with(start, move |event| match event {
            ProcessEvent::Output { at, stream, data, .. } => {
                let which = usize::from(stream == natrig_agent_proto::Stream::Err);
                ears.take(at, &mut partial[which], &data);
            }
            ProcessEvent::Exited { status, .. } => {
                let code = match status {
                    natrig_agent_proto::Exit::Code(code) => Some(code),
                    natrig_agent_proto::Exit::Signal(_) => None,
                };
                ended(&ears, Who::Node, &status.to_string(), code);
            }
            ProcessEvent::Lost { reason, .. } => {
                ended(&ears, Who::Lab, &format!("its machine is gone: {reason}"), None);
            }
        })?)
    }

    /// Takes output, of which the last line may not be whole.
    fn take(&self, at: Instant, partial: &mut Vec<u8>, data: &[u8]) {
        partial.extend(data);
        let mut rest = partial.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line(at, &rest[..end]);
            rest = &rest[end + 1..];
        }
        if rest.len() > LONGEST_LINE {
            self.line(at, rest);
            rest = &[];
        }
        *partial = rest.to_vec();
        self.shared.changed.notify_all();
    }

    /// The node has ended.
    fn ended(&self, who: Who, reason: &str, _: Option<i32>) {
        lock(&self.shared.state).ended = Some((who, reason.to_owned()));
        self.shared.changed.notify_all();
    }

    /// What it ran has ended.
    fn errand_ended(&self, _: Who, reason: &str, code: Option<i32>) {
        let at = Instant::now();
        self.shared.note(&format!("what it ran has ended: {reason}"));
        if let Voice::Foreign(foreign) = &self.voice {
            foreign.speech.ended(code, foreign.other()).into_iter().for_each(|event| self.report(at, event));
        }
        self.shared.changed.notify_all();
    }

    fn line(&self, at: Instant, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        // A full disk shows elsewhere; the run goes on without this line.
        let _ = writeln!(lock(&self.log), "{text}");
        self.shared.note(&text);
        let heard = match &self.voice {
            Voice::Ours => {
                let event = serde_json::from_str::<Value>(&text).ok();
                event.filter(|event| event.get("event").is_some()).into_iter().collect()
            }
            Voice::Foreign(foreign) => foreign.speech.hear(&text, foreign.other()),
        };
        if heard.is_empty() {
            (self.events)(What::Log { machine: self.name.name().to_owned(), line: text });
        }
        heard.into_iter().for_each(|event| self.report(at, event));
    }

    fn report(&self, at: Instant, event: Value) {
        (self.events)(What::Node { machine: self.name.name().to_owned(), event: event.clone() });
        let reported = Reported { at, event: NodeEvent(event) };
        let mut state = lock(&self.shared.state);
        if let Some(listener) = &state.listener {
            // Whoever listened may have gone.
            let _ = listener.send((self.name, reported.clone()));
        }
        if state.events.len() < MOST_EVENTS {
            state.events.push(reported);
        }
    }
}

impl Shared {
    /// Keeps a line for those who ask what was last said.
    fn note(&self, line: &str) {
        let mut state = lock(&self.state);
        if state.tail.len() == TAIL {
            state.tail.pop_front();
        }
        state.tail.push_back(line.to_owned());
    }
}
