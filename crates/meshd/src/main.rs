//! The `omerta-mesh` program.

#![forbid(unsafe_code)]

mod ask;
mod cli;
mod commands;
mod config_file;
mod control;
mod counts;
mod daemon;
mod home;
mod inbox;
mod join;
mod known;
mod mailbox;
mod metrics;
mod output;
mod protocol;
mod run;
mod show;
mod test_mode;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use ask::{AskError, Message};
use cli::{Cli, Command};
use home::{Home, HomeError};
use protocol::Request;
use run::RunError;

/// The program ends with something to complain of.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Join(#[from] join::JoinError),
}

impl Failure {
    /// What was asked for did not come about, though nothing was wrong with the asking.
    fn is_outcome(&self) -> bool {
        matches!(self, Self::Ask(AskError::Failed(_)) | Self::Run(RunError::Test(_)))
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("OMERTA_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .with_ansi(false)
        .init();
    match obey() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has enough.
        Err(Failure::Ask(AskError::Broken(error))) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("omerta-mesh: {failure}");
            ExitCode::from(if failure.is_outcome() { 1 } else { 2 })
        }
    }
}

fn obey() -> Result<(), Failure> {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let home = |wanted| Home::find(wanted).map_err(Failure::from);
    match cli.command {
        Command::Run(arguments) => {
            // A node that is driven by its parent keeps nothing, unless told where.
            let home = match &cli.home {
                None if arguments.options.commands => None,
                _ => Some(home(cli.home)?),
            };
            let given = matches.subcommand_matches("run").unwrap_or(&matches);
            Ok(run::run(*arguments, given, home)?)
        }
        Command::Id { key, format } => match key {
            Some(key) => Ok(run::print_id(&key, format.json)?),
            None => {
                let home = home(cli.home)?;
                home.make()?;
                Ok(run::print_id(&home.key(), format.json)?)
            }
        },
        Command::Join { link, replace, format } => {
            let home = home(cli.home)?;
            home.make()?;
            Ok(join::join(&home, &link, replace, format.json)?)
        }
        Command::Invite { address, format } => Ok(ask::invite(&home(cli.home)?, address, format.json)?),
        Command::Peers(format) => Ok(ask::show(&home(cli.home)?, &Request::Peers, format.json, show::peers)?),
        Command::Nat(format) => Ok(ask::show(&home(cli.home)?, &Request::Nat, format.json, show::nat)?),
        Command::Status(format) => {
            Ok(ask::show(&home(cli.home)?, &Request::Status, format.json, show::status)?)
        }
        Command::Ping { peer, count, interval, patience, format } => {
            let home = home(cli.home)?;
            Ok(ask::ping(&home, peer, count, interval, patience.timeout, format.json)?)
        }
        Command::Send { peer, text, file, patience, format } => {
            let message = match (text, file) {
                (Some(text), _) => Message::Text(text),
                (None, Some(file)) => Message::File(file),
                (None, None) => Message::Input,
            };
            Ok(ask::send(&home(cli.home)?, peer, message, patience.timeout, format.json)?)
        }
        Command::Recv { count, from, timeout, format } => {
            Ok(ask::recv(&home(cli.home)?, count, from, timeout, format.json)?)
        }
    }
}
