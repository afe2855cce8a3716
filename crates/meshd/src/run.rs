//! Running a node until it is told to stop.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use omerta_mesh::{
    Driver, Handle, IdentityFileError, StartError, load_or_create, local_addresses, seeded_config,
};
use omerta_mesh_core::{Config, Event, Identity, MessageId};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::RunArguments;
use crate::commands::{Command, Content, parse};
use crate::config_file::{ConfigError, ConfigFile};
use crate::control::{Control, ControlError};
use crate::daemon::Daemon;
use crate::home::{Home, HomeError};
use crate::inbox::Inbox;
use crate::known;
use crate::metrics::{Metrics, MetricsError};
use crate::output::Output;
use crate::test_mode::{Echo, Test};

/// Nodes that were met are written down this often.
const REMEMBER: Duration = Duration::from_secs(300);

/// The program cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The key file.
    #[error(transparent)]
    Key(#[from] IdentityFileError),
    /// The node.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The home folder.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The inbox.
    #[error("cannot use the inbox {folder}: {source}")]
    Inbox {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The message of a test did not come back.
    #[error("the test failed: {0}")]
    Test(String),
    /// Standard output, signals or the runtime.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Prints the ID of a key.
pub fn print_id(key: &Path, json: bool) -> Result<(), RunError> {
    let id = identity(Some(key))?.id();
    match json {
        true => println!("{}", serde_json::json!({"id": id})),
        false => println!("{id}"),
    }
    Ok(())
}

/// Runs a node.
pub fn run(mut arguments: RunArguments, matches: &ArgMatches, home: Option<Home>) -> Result<(), RunError> {
    let started = Instant::now();
    let (config, path) = configuration(&arguments, home.as_ref())?;
    config.complete(&mut arguments, matches);
    if let Some(home) = &home {
        home.make()?;
        arguments.options.key.get_or_insert_with(|| home.key());
        tracing::debug!(home = %home.path().display(), config = ?path, "at home");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(started, arguments, &config, home));
    // A read of standard input may hang on in a thread; it is not waited for.
    runtime.shutdown_background();
    outcome
}

/// The configuration file, if there is one; one that is named must be there.
fn configuration(
    arguments: &RunArguments,
    home: Option<&Home>,
) -> Result<(ConfigFile, Option<PathBuf>), RunError> {
    let Some(path) = arguments.config.clone().or_else(|| home.map(Home::config)) else {
        return Ok((ConfigFile::default(), None));
    };
    match ConfigFile::read(&path)? {
        Some(config) => Ok((config, Some(path))),
        None if arguments.config.is_none() => Ok((ConfigFile::default(), None)),
        None => Err(ConfigError::Read { path, source: io::ErrorKind::NotFound.into() }.into()),
    }
}

fn identity(key: Option<&Path>) -> Result<Identity, RunError> {
    let fresh = rand::random();
    Ok(match key {
        Some(path) => load_or_create(path, fresh)?,
        None => Identity::from_seed(&fresh),
    })
}

async fn serve(
    started: Instant,
    arguments: RunArguments,
    file: &ConfigFile,
    home: Option<Home>,
) -> Result<(), RunError> {
    let options = &arguments.options;
    let identity = identity(options.key.as_deref())?;
    let destinations: Vec<_> = options.destinations().collect();
    let mut config = options.config(seeded_config(), local_addresses(&destinations));
    config.network = file.network();
    // Streams are for applications that use the library.
    config.streams = 0;
    config.known = home.as_ref().map_or(Vec::new(), |home| known::load(&home.known()));
    let control = home.as_ref().map(|home| Control::bind(home.control())).transpose()?;
    let metrics = match arguments.metrics {
        Some(address) => Some(Metrics::bind(address).await?),
        None => None,
    };
    let inbox = match &options.inbox {
        Some(folder) => {
            let opened = Inbox::open(folder.clone());
            Some(opened.map_err(|source| RunError::Inbox { folder: folder.clone(), source })?)
        }
        None => None,
    };

    // Before it says that it has started: who was told so may end it at once, and it says goodbye.
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let output = Output::new(started, options.json, options.hostile);
    let (driver, handle, events) = Driver::start(identity, config.clone(), options.listen)?;
    output.started(handle.id(), handle.local_address())?;
    let daemon = (control.is_some() || metrics.is_some()).then(|| {
        let home = home.as_ref().map_or(PathBuf::new(), |home| home.path().to_owned());
        let at = metrics.as_ref().and_then(|metrics| metrics.address().ok());
        Daemon::new(handle.clone(), started, home, &config, at)
    });
    if let Some(daemon) = &daemon {
        control.into_iter().for_each(|control| drop(tokio::spawn(control.serve(daemon.clone()))));
        if let Some(metrics) = metrics {
            tokio::spawn(metrics.serve(daemon.clone()));
        }
    }
    let test = arguments.test.map(|peer| Test::begin(&handle, peer, arguments.timeout));
    let echo = arguments.echo.then(Echo::default);
    let lines = options.commands.then(|| BufReader::new(tokio::io::stdin()).lines());
    let mut running =
        Running { handle, output, inbox, daemon, test, echo, home, sending: Sending::default(), events };
    running.go(driver, lines, &config, signals).await
}

/// A running node and all that hangs on it.
struct Running {
    handle: Handle,
    output: Output,
    inbox: Option<Inbox>,
    daemon: Option<Arc<Daemon>>,
    test: Option<Test>,
    echo: Option<Echo>,
    home: Option<Home>,
    sending: Sending,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Running {
    async fn go(
        &mut self,
        driver: Driver,
        mut lines: Option<Lines>,
        config: &Config,
        [mut terminate, mut interrupt]: [Signal; 2],
    ) -> Result<(), RunError> {
        let mut remember = tokio::time::interval(REMEMBER);
        // The first tick comes at once.
        remember.tick().await;
        let node = driver.run();
        tokio::pin!(node);
        loop {
            let test_over = self.test.as_ref().map(Test::until);
            tokio::select! {
                () = &mut node => break,
                _ = terminate.recv() => self.handle.quit(),
                _ = interrupt.recv() => self.handle.quit(),
                Some(event) = self.events.recv() => self.event(event)?,
                line = next_line(&mut lines) => match line {
                    Some(line) => self.obey(&line).await?,
                    // The end of the input is no command.
                    None => lines = None,
                },
                _ = remember.tick() => self.remember(config),
                () = at(test_over) => {
                    self.test.iter_mut().for_each(Test::give_up);
                    self.handle.quit();
                }
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.event(event)?;
        }
        self.remember(config);
        match self.test.take() {
            Some(test) => test.outcome().map_err(RunError::Test),
            None => Ok(()),
        }
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        let (file, tag) = match &event {
            Event::MessageReceived { data, .. } => (self.store(data)?, None),
            Event::Sent { message, .. } | Event::SendFailed { message, .. } => self.sending.end(*message),
            _ => (None, None),
        };
        self.output.event(&event, file.as_deref(), tag)?;
        if let Some(echo) = &mut self.echo {
            echo.event(&self.handle, &event);
        }
        if let Some(test) = &mut self.test
            && test.event(&event)
        {
            self.handle.quit();
        }
        if let Some(daemon) = &self.daemon {
            daemon.event(event);
        }
        Ok(())
    }

    /// Writes down whom we have met, for the next start.
    fn remember(&self, config: &Config) {
        let Some(home) = &self.home else {
            return;
        };
        let mut nodes = self.handle.look(|node| node.reachable_peers());
        nodes.retain(|node| !config.bootstrap.contains(node));
        if nodes.is_empty() {
            // What an earlier run knew is better than nothing.
            return;
        }
        if let Err(error) = known::save(&home.known(), &nodes) {
            tracing::warn!(%error, "cannot write down known nodes");
        }
    }

    async fn obey(&mut self, line: &str) -> io::Result<()> {
        if line.trim().is_empty() {
            return Ok(());
        }
        match parse(line) {
            Ok(Command::Connect(peer)) => self.handle.connect(peer),
            Ok(Command::Send(peer, Content::Text(text), tag)) => {
                self.sending.begin(self.handle.send(peer, text.into_bytes()), None, tag);
            }
            Ok(Command::Send(peer, Content::File(file), tag)) => match tokio::fs::read(&file).await {
                Ok(content) => self.sending.begin(self.handle.send(peer, content), Some(file), tag),
                Err(error) => self.output.error(&format!("cannot send {}: {error}", file.display()))?,
            },
            Ok(Command::Find(peer)) => self.handle.act(|node, now| node.find(now, peer)),
            Ok(Command::WhoHasRecent(peer)) => self.handle.act(|node, now| node.who_has_recent(now, peer)),
            Ok(Command::Broadcast(text)) => {
                if !self.handle.act(|node, now| node.broadcast(now, text.as_bytes())) {
                    self.output
                        .error("no member was told: there is no neighbour, or the text is too long")?;
                }
            }
            Ok(Command::Quit) => self.handle.quit(),
            Err(why) => self.output.error(&format!("{why} (in {line:?})"))?,
        }
        Ok(())
    }

    fn store(&mut self, message: &[u8]) -> io::Result<Option<PathBuf>> {
        let Some(inbox) = &mut self.inbox else {
            return Ok(None);
        };
        match inbox.store(message) {
            Ok(file) => Ok(Some(file)),
            Err(error) => {
                self.output.error(&format!("a received message could not be stored: {error}"))?;
                Ok(None)
            }
        }
    }
}

type Lines = tokio::io::Lines<BufReader<tokio::io::Stdin>>;

async fn next_line(lines: &mut Option<Lines>) -> Option<String> {
    match lines {
        Some(lines) => lines.next_line().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Files and tags of the messages on their way.
#[derive(Default)]
struct Sending(HashMap<MessageId, (Option<PathBuf>, Option<u64>)>);

impl Sending {
    fn begin(&mut self, message: MessageId, file: Option<PathBuf>, tag: Option<u64>) {
        self.0.insert(message, (file, tag));
    }

    fn end(&mut self, message: MessageId) -> (Option<PathBuf>, Option<u64>) {
        self.0.remove(&message).unwrap_or_default()
    }
}
