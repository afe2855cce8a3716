//! A client of the agent in a guest.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use natrig_agent_proto::{
    Decoder, Exit, Hello, ProcessId, Reply, Request, RequestId, Start, Stream, ToGuest, ToHost, VERSION,
    encode,
};

/// How long an answer may take when nothing else is said. Guests are slow where they are emulated and the host is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why the agent did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The agent said no.
    #[error("{0}")]
    Refused(String),
    /// No answer came in time.
    #[error("the guest's agent did not answer {request} within {seconds} s")]
    Timeout {
        /// What was asked.
        request: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// The machine ended, or its agent speaks something else.
    #[error("the guest's agent is gone: {0}")]
    Gone(String),
}

/// What a process in a guest did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It wrote something.
    Output {
        /// When that arrived here.
        at: Instant,
        /// The guest's `CLOCK_BOOTTIME` when the agent read it, in nanoseconds.
        boottime_ns: u64,
        /// Where it wrote.
        stream: Stream,
        /// The bytes, as they came (not lines).
        data: Vec<u8>,
    },
    /// It ended; nothing follows.
    Exited {
        /// When that arrived here.
        at: Instant,
        /// The guest's `CLOCK_BOOTTIME`, in nanoseconds.
        boottime_ns: u64,
        /// How.
        status: Exit,
    },
    /// Its machine ended first; nothing follows.
    Lost {
        /// When that was seen.
        at: Instant,
        /// Why.
        reason: String,
    },
}

/// What a process that has ended left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: Exit,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// Talks to the agent of one machine; clones talk to the same one.
///
/// The connection lives until the last of them and the machine are dropped; the guest then powers off.
#[derive(Debug, Clone)]
pub struct AgentClient {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

type Sink = Box<dyn FnMut(ProcessEvent) + Send>;

#[derive(Debug)]
struct Shared {
    stream: UnixStream,
    /// Held while a frame is written.
    writing: Mutex<()>,
    next_id: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why nothing comes any more, once that is so.
    gone: Option<String>,
    hello: Option<Hello>,
    waiting_for_hello: Vec<Sender<Hello>>,
    pending: HashMap<RequestId, Pending>,
    sinks: HashMap<ProcessId, Sink>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("gone", &self.gone).finish_non_exhaustive()
    }
}

struct Pending {
    answer: Sender<Result<Reply, AgentError>>,
    /// Takes the events of the process that is asked for.
    sink: Option<Sink>,
}

/// Closes the connection when the last client is dropped; the reader holds [`Shared`] itself.
#[derive(Debug)]
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        let _ = self.0.stream.shutdown(Shutdown::Both);
    }
}

impl AgentClient {
    /// Takes the host's end of a machine's agent port and starts a thread that reads it.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(PATIENCE))?;
        let shared = Arc::new(Shared {
            stream,
            writing: Mutex::new(()),
            next_id: AtomicU64::new(1),
            state: Mutex::default(),
        });
        let reader = Arc::clone(&shared);
        thread::Builder::new().name("natrig-agent".to_owned()).spawn(move || reader.read())?;
        Ok(Self { _closer: Arc::new(Closer(Arc::clone(&shared))), shared })
    }

    /// Waits until the agent says that it is up.
    pub fn wait_ready(&self, within: Duration) -> Result<Hello, AgentError> {
        let (sender, receiver) = mpsc::channel();
        {
            let mut state = self.shared.state();
            if let Some(reason) = &state.gone {
                return Err(AgentError::Gone(reason.clone()));
            }
            match &state.hello {
                Some(hello) => return Ok(hello.clone()),
                None => state.waiting_for_hello.push(sender),
            }
        }
        receiver.recv_timeout(within).map_err(|error| self.no_answer(error, "whether it is up", within))
    }

    /// Asks for something and waits for the answer.
    pub fn request(&self, body: Request) -> Result<Reply, AgentError> {
        self.request_within(body, PATIENCE)
    }

    /// Asks for something and waits for the answer so long.
    pub fn request_within(&self, body: Request, within: Duration) -> Result<Reply, AgentError> {
        self.ask(body, None, within)
    }

    /// Starts a process. `sink` takes its events on the thread that reads the connection: it must be quick and make no
    /// requests.
    pub fn start_with(
        &self,
        start: Start,
        sink: impl FnMut(ProcessEvent) + Send + 'static,
    ) -> Result<Process, AgentError> {
        match self.ask(Request::Start(start), Some(Box::new(sink)), PATIENCE)? {
            Reply::Started { process } => Ok(Process { agent: self.clone(), id: process }),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a process whose events come through a channel.
    pub fn start(&self, start: Start) -> Result<(Process, Receiver<ProcessEvent>), AgentError> {
        let (sender, events) = mpsc::channel();
        let process = self.start_with(start, move |event| {
            let _ = sender.send(event);
        })?;
        Ok((process, events))
    }

    /// Runs a program to its end, with `stdin` as its whole standard input.
    pub fn run(&self, argv: &[&str], stdin: &[u8], within: Duration) -> Result<Output, AgentError> {
        let deadline = Instant::now() + within;
        let (process, events) = self
            .start(Start { argv: argv.iter().map(|&word| word.to_owned()).collect(), ..Start::default() })?;
        for chunk in stdin.chunks(1 << 16) {
            process.input(chunk)?;
        }
        process.close_input()?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(ProcessEvent::Output { stream, data, .. }) => match stream {
                    Stream::Out => stdout.extend(data),
                    Stream::Err => stderr.extend(data),
                },
                Ok(ProcessEvent::Exited { status, .. }) => {
                    return Ok(Output { status, stdout, stderr });
                }
                Ok(ProcessEvent::Lost { reason, .. }) => return Err(AgentError::Gone(reason)),
                Err(error) => {
                    let _ = process.signal(9);
                    return Err(self.no_answer(error, "how the program ended", within));
                }
            }
        }
    }

    /// Writes a file in the guest, making its folders.
    pub fn write_file(&self, path: &str, mode: u32, data: Vec<u8>) -> Result<(), AgentError> {
        self.done(Request::WriteFile { path: path.to_owned(), mode, data })
    }

    /// Reads a file in the guest of at most `limit` bytes.
    pub fn read_file(&self, path: &str, limit: u64) -> Result<Vec<u8>, AgentError> {
        let path = path.to_owned();
        match self.request(Request::ReadFile { path, limit })? {
            Reply::File { data } => Ok(data),
            other => Err(unexpected(&other)),
        }
    }

    /// The guest's `CLOCK_BOOTTIME` in nanoseconds, and the span of time here in which it was read.
    pub fn ping(&self) -> Result<(u64, Instant, Instant), AgentError> {
        let before = Instant::now();
        match self.request(Request::Ping)? {
            Reply::Pong { boottime_ns } => Ok((boottime_ns, before, Instant::now())),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for something that has no other answer than that it is done.
    pub fn done(&self, body: Request) -> Result<(), AgentError> {
        match self.request(body)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Closes the connection; the guest powers off.
    pub fn close(&self) {
        let _ = self.shared.stream.shutdown(Shutdown::Both);
    }

    fn ask(&self, body: Request, sink: Option<Sink>, within: Duration) -> Result<Reply, AgentError> {
        let request = name(&body);
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answers) = mpsc::channel();
        {
            let mut state = self.shared.state();
            if let Some(reason) = &state.gone {
                return Err(AgentError::Gone(reason.clone()));
            }
            state.pending.insert(id, Pending { answer, sink });
        }
        self.shared.send(&ToGuest::Request { id, body })?;
        answers.recv_timeout(within).unwrap_or_else(|error| Err(self.no_answer(error, request, within)))
    }

    fn no_answer(&self, error: RecvTimeoutError, request: &'static str, within: Duration) -> AgentError {
        match error {
            RecvTimeoutError::Timeout => AgentError::Timeout { request, seconds: within.as_secs() },
            RecvTimeoutError::Disconnected => {
                let reason = self.shared.state().gone.clone();
                AgentError::Gone(reason.unwrap_or_else(|| "no reason known".to_owned()))
            }
        }
    }
}

/// A process in a guest. Dropping this does not end it.
#[derive(Debug, Clone)]
pub struct Process {
    agent: AgentClient,
    id: ProcessId,
}

impl Process {
    /// Its name at the agent.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Sends a signal, by its number, to it and the processes it started.
    pub fn signal(&self, signal: i32) -> Result<(), AgentError> {
        self.agent.done(Request::Signal { process: self.id, signal })
    }

    /// Writes to its standard input. Does not wait until it has read that.
    pub fn input(&self, data: &[u8]) -> Result<(), AgentError> {
        if data.is_empty() {
            return Ok(());
        }
        self.agent.shared.send(&ToGuest::Input { process: self.id, data: data.to_vec() })
    }

    /// Ends its standard input.
    pub fn close_input(&self) -> Result<(), AgentError> {
        self.agent.shared.send(&ToGuest::Input { process: self.id, data: Vec::new() })
    }

    /// Tells its terminal how many rows and columns there are.
    pub fn resize(&self, size: (u16, u16)) -> Result<(), AgentError> {
        self.agent.done(Request::Resize { process: self.id, size })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A sink that panicked ends the reader, not the program's other threads.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: &ToGuest) -> Result<(), AgentError> {
        let frame = encode(message).map_err(|error| AgentError::Refused(error.to_string()))?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.stream).write_all(&frame).map_err(|error| {
            // A part of the frame may be on its way: nothing after it would make sense.
            let reason = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => "it takes nothing any more".to_owned(),
                _ => error.to_string(),
            };
            let _ = self.stream.shutdown(Shutdown::Both);
            AgentError::Gone(reason)
        })
    }

    fn read(&self) {
        let reason = self.read_messages();
        let _ = self.stream.shutdown(Shutdown::Both);
        let mut state = self.state();
        state.gone = Some(reason.clone());
        state.pending.clear();
        state.waiting_for_hello.clear();
        let sinks = std::mem::take(&mut state.sinks);
        drop(state);
        let at = Instant::now();
        for (_, mut sink) in sinks {
            let reason = reason.clone();
            sink(ProcessEvent::Lost { at, reason });
        }
    }

    /// Reads until there is nothing more to read; says why.
    fn read_messages(&self) -> String {
        let mut decoder = Decoder::default();
        let mut chunk = vec![0; 1 << 16];
        loop {
            let count = match (&self.stream).read(&mut chunk) {
                Ok(0) => return "its machine has ended".to_owned(),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return error.to_string(),
            };
            let at = Instant::now();
            decoder.push(chunk.get(..count).unwrap_or_default());
            loop {
                match decoder.next_message() {
                    Ok(Some(message)) => {
                        if let Err(reason) = self.take(message, at) {
                            return reason;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return format!("it sent {error}"),
                }
            }
        }
    }

    fn take(&self, message: ToHost, at: Instant) -> Result<(), String> {
        let mut state = self.state();
        match message {
            ToHost::Ready(hello) => {
                if hello.version != VERSION {
                    return Err(format!(
                        "it speaks version {} of the protocol, not {VERSION}",
                        hello.version
                    ));
                }
                for waiting in state.waiting_for_hello.drain(..) {
                    let _ = waiting.send(hello.clone());
                }
                state.hello = Some(hello);
            }
            ToHost::Reply { id, body } => {
                let Some(pending) = state.pending.remove(&id) else {
                    return Ok(());
                };
                if let (Ok(Reply::Started { process }), Some(sink)) = (&body, pending.sink) {
                    state.sinks.insert(*process, sink);
                }
                let _ = pending.answer.send(body.map_err(AgentError::Refused));
            }
            ToHost::Output { process, stream, boottime_ns, data } => {
                if let Some(sink) = state.sinks.get_mut(&process) {
                    sink(ProcessEvent::Output { at, boottime_ns, stream, data });
                }
            }
            ToHost::Exited { process, status, boottime_ns } => {
                let sink = state.sinks.remove(&process);
                drop(state);
                if let Some(mut sink) = sink {
                    sink(ProcessEvent::Exited { at, boottime_ns, status });
                }
            }
        }
        Ok(())
    }
}

fn unexpected(reply: &Reply) -> AgentError {
    AgentError::Gone(format!("it answered something else than asked: {reply:?}"))
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Ping => "a ping",
        Request::Identify(_) => "the request to take an identity",
        Request::Network(_) => "the request to set up its network",
        Request::MountApp => "the request to mount the app",
        Request::Start(_) => "the request to start a process",
        Request::Signal { .. } => "the request to signal a process",
        Request::Resize { .. } => "the request to resize a terminal",
        Request::WriteFile { .. } => "the request to write a file",
        Request::ReadFile { .. } => "the request to read a file",
        Request::PowerOff => "the request to power off",
        Request::Reset => "the request to reset itself",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that answers each request with what `answer` says.
    fn agent(answer: impl Fn(Request) -> Vec<ToHost> + Send + 'static) -> AgentClient {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut decoder = Decoder::default();
            let mut chunk = [0; 512];
            while let Ok(count @ 1..) = theirs.read(&mut chunk) {
                decoder.push(&chunk[..count]);
                while let Ok(Some(ToGuest::Request { id, body })) = decoder.next_message() {
                    for mut message in answer(body) {
                        if let ToHost::Reply { id: place, .. } = &mut message {
                            *place = id;
                        }
                        theirs.write_all(&encode(&message).unwrap()).unwrap();
                    }
                }
            }
        });
        AgentClient::new(ours).unwrap()
    }

    fn reply(body: Result<Reply, String>) -> ToHost {
        ToHost::Reply { id: 0, body }
    }

    fn output(stream: Stream, data: &[u8]) -> ToHost {
        ToHost::Output { process: 1, stream, boottime_ns: 0, data: data.to_vec() }
    }

    #[test]
    fn output_that_follows_the_start_at_once_is_not_lost() {
        let agent = agent(|request| match request {
            Request::Start(_) => vec![
                reply(Ok(Reply::Started { process: 1 })),
                output(Stream::Out, b"he"),
                output(Stream::Err, b"oh"),
                output(Stream::Out, b"llo"),
                ToHost::Exited { process: 1, status: Exit::Code(3), boottime_ns: 0 },
            ],
            _ => vec![reply(Ok(Reply::Done))],
        });
        let output = agent.run(&["greet"], b"", Duration::from_secs(5)).unwrap();
        assert_eq!(output.status, Exit::Code(3));
        assert_eq!(output.stdout, b"hello");
        assert_eq!(output.stderr, b"oh");
    }

    #[test]
    fn a_refusal_is_told_in_the_agents_words() {
        let agent = agent(|_| vec![reply(Err("no such file".to_owned()))]);
        assert_eq!(agent.read_file("/nothing", 1), Err(AgentError::Refused("no such file".to_owned())));
    }

    #[test]
    fn a_machine_that_ends_ends_the_waiting() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let agent = AgentClient::new(ours).unwrap();
        let waiter = agent.clone();
        let waiting = thread::spawn(move || waiter.request(Request::Ping));
        let mut first = [0];
        (&theirs).read_exact(&mut first).unwrap();
        drop(theirs);
        assert!(matches!(waiting.join().unwrap(), Err(AgentError::Gone(_))));
        assert!(matches!(agent.ping(), Err(AgentError::Gone(_))));
    }

    #[test]
    fn an_agent_of_another_version_is_refused() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let agent = AgentClient::new(ours).unwrap();
        let hello = Hello { version: VERSION + 1, kernel: String::new() };
        (&theirs).write_all(&encode(&ToHost::Ready(hello)).unwrap()).unwrap();
        let error = agent.wait_ready(Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("version"), "{error}");
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let agent = agent(|_| Vec::new());
        let within = Duration::from_millis(20);
        assert!(matches!(agent.request_within(Request::Ping, within), Err(AgentError::Timeout { .. })));
    }

    #[test]
    fn the_connection_closes_with_the_last_client() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let first = AgentClient::new(ours).unwrap();
        let second = first.clone();
        drop(first);
        second.shared.send(&ToGuest::Input { process: 1, data: vec![] }).unwrap();
        drop(second);
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).unwrap();
        assert!(!rest.is_empty());
    }
}
