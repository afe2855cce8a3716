//! Running a node until it is told to stop.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use omerta_mesh::{
    Driver, Handle, IdentityFileError, StartError, load_or_create, local_addresses, seeded_config,
};
use omerta_mesh_core::options::RunOptions;
use omerta_mesh_core::{Event, Identity, MessageId};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::commands::{Command, parse};
use crate::inbox::Inbox;
use crate::output::Output;

/// The program cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The key file.
    #[error(transparent)]
    Key(#[from] IdentityFileError),
    /// The node.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The inbox.
    #[error("cannot use the inbox {folder}: {source}")]
    Inbox {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard output, signals or the runtime.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Prints the ID of a key.
pub fn print_id(key: Option<&Path>) -> Result<(), RunError> {
    println!("{}", identity(key)?.id());
    Ok(())
}

/// Runs a node.
pub fn run(options: RunOptions) -> Result<(), RunError> {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(started, options));
    // A read of standard input may hang on in a thread; it is not waited for.
    runtime.shutdown_background();
    outcome
}

fn identity(key: Option<&Path>) -> Result<Identity, RunError> {
    let fresh = rand::random();
    Ok(match key {
        Some(path) => load_or_create(path, fresh)?,
        None => Identity::from_seed(&fresh),
    })
}

async fn serve(started: Instant, options: RunOptions) -> Result<(), RunError> {
    let identity = identity(options.key.as_deref())?;
    let destinations: Vec<_> = options.destinations().collect();
    let config = options.config(seeded_config(), local_addresses(&destinations));
    let mut inbox = match options.inbox {
        Some(folder) => {
            Some(Inbox::open(folder.clone()).map_err(|source| RunError::Inbox { folder, source })?)
        }
        None => None,
    };

    let output = Output::new(started, options.json, options.hostile);
    let (driver, handle, mut events) = Driver::start(identity, config, options.listen)?;
    output.started(handle.id(), handle.local_address())?;
    let mut lines = options.commands.then(|| BufReader::new(tokio::io::stdin()).lines());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut sending = Sending::default();
    let node = driver.run();
    tokio::pin!(node);

    loop {
        tokio::select! {
            () = &mut node => break,
            _ = terminate.recv() => handle.quit(),
            _ = interrupt.recv() => handle.quit(),
            Some(event) = events.recv() => {
                let file = match &event {
                    Event::MessageReceived { data, .. } => store(&mut inbox, data, &output)?,
                    Event::Sent { message, .. } | Event::SendFailed { message, .. } => sending.end(*message),
                    _ => None,
                };
                output.event(&event, file.as_deref())?;
            }
            line = next_line(&mut lines) => match line {
                Some(line) => obey(&line, &handle, &mut sending, &output).await?,
                // The end of the input is no command.
                None => lines = None,
            },
        }
    }
    drain(&mut events, &output)
}

type Lines = tokio::io::Lines<BufReader<tokio::io::Stdin>>;

async fn next_line(lines: &mut Option<Lines>) -> Option<String> {
    match lines {
        Some(lines) => lines.next_line().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// Files of the messages on their way. The node numbers messages in the order in which they were handed over.
#[derive(Default)]
struct Sending {
    next: u64,
    files: HashMap<MessageId, PathBuf>,
}

impl Sending {
    fn begin(&mut self, file: PathBuf) {
        self.files.insert(MessageId(self.next), file);
        self.next += 1;
    }

    fn end(&mut self, message: MessageId) -> Option<PathBuf> {
        self.files.remove(&message)
    }
}

async fn obey(line: &str, handle: &Handle, sending: &mut Sending, output: &Output) -> io::Result<()> {
    if line.trim().is_empty() {
        return Ok(());
    }
    match parse(line) {
        Ok(Command::Connect(peer)) => handle.connect(peer),
        Ok(Command::Send(peer, file)) => match tokio::fs::read(&file).await {
            Ok(content) => {
                sending.begin(file);
                handle.send(peer, content);
            }
            Err(error) => output.error(&format!("cannot send {}: {error}", file.display()))?,
        },
        Ok(Command::Quit) => handle.quit(),
        Err(why) => output.error(&format!("{why} (in {line:?})"))?,
    }
    Ok(())
}

fn store(inbox: &mut Option<Inbox>, message: &[u8], output: &Output) -> io::Result<Option<PathBuf>> {
    let Some(inbox) = inbox else {
        return Ok(None);
    };
    match inbox.store(message) {
        Ok(file) => Ok(Some(file)),
        Err(error) => {
            output.error(&format!("a received message could not be stored: {error}"))?;
            Ok(None)
        }
    }
}

fn drain(events: &mut mpsc::UnboundedReceiver<Event>, output: &Output) -> Result<(), RunError> {
    while let Ok(event) = events.try_recv() {
        output.event(&event, None)?;
    }
    Ok(())
}
