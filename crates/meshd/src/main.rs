//! The `omerta-mesh` program.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod inbox;
mod output;
mod run;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("OMERTA_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .with_ansi(false)
        .init();
    let outcome = match cli::Cli::parse().command {
        cli::Command::Run(options) => run::run(options),
        cli::Command::Id { key } => run::print_id(key.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("omerta-mesh: {error}");
            ExitCode::from(2)
        }
    }
}
