//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use omerta_mesh::{Invite, PeerId};
use omerta_mesh_core::options::RunOptions;

/// A node of the omerta mesh.
///
/// `run` is the node; it keeps its key, its configuration and a control socket in its home folder. All other commands but `id`
/// and `join` speak with the node that runs there.
///
/// Exit status: 0 done, 1 what was asked for did not come about, 2 wrong use, or no node runs.
#[derive(Parser)]
#[command(name = "omerta-mesh", version, about)]
pub struct Cli {
    /// The node's home folder [default: $XDG_STATE_HOME/omerta-mesh, ~/.local/state/omerta-mesh, for root
    /// /var/lib/omerta-mesh].
    #[arg(long, global = true, value_name = "DIR", env = "OMERTA_HOME")]
    pub home: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run a node.
    Run(Box<RunArguments>),
    /// Print the node's ID (its key is made if there is none).
    Id {
        /// Another key file than that of the home folder.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Print a link with which others can join the mesh.
    Invite {
        /// Where others reach this node, if it serves them (--relay).
        #[arg(long, value_name = "IP:PORT")]
        address: Option<SocketAddr>,
        #[command(flatten)]
        format: Format,
    },
    /// Configure this node with an invitation.
    Join {
        /// The link.
        link: Invite,
        /// Leave the mesh that the node is configured for.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        format: Format,
    },
    /// List connected peers.
    Peers(Format),
    /// Show what NAT the node is behind.
    Nat(Format),
    /// Measure the way to a peer and back.
    Ping {
        /// The peer's ID.
        peer: PeerId,
        /// How often.
        #[arg(long, short = 'c', default_value_t = 4)]
        count: u32,
        /// Seconds between two.
        #[arg(long, short = 'i', value_name = "SECONDS", default_value = "1", value_parser = seconds)]
        interval: Duration,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        format: Format,
    },
    /// Send a message and wait until the peer has it.
    Send {
        /// The peer's ID.
        peer: PeerId,
        /// The message; without it and --file, standard input to its end.
        text: Option<String>,
        /// A file's content.
        #[arg(long, value_name = "FILE", conflicts_with = "text")]
        file: Option<PathBuf>,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        format: Format,
    },
    /// Take messages that have come, or wait for one, and write them to standard output.
    Recv {
        /// How many to take; with 0, all to come.
        #[arg(long, short = 'n', default_value_t = 1)]
        count: u64,
        /// Only messages of this peer.
        #[arg(long, value_name = "ID")]
        from: Option<PeerId>,
        /// Give up after so many seconds; without it, never.
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        timeout: Option<Duration>,
        #[command(flatten)]
        format: Format,
    },
    /// Show how the node does.
    Status(Format),
}

/// How to run a node.
#[derive(Args)]
pub struct RunArguments {
    #[command(flatten)]
    pub options: RunOptions,
    /// The configuration file [default: config.yaml in the home folder, if there is one].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Serve metrics for Prometheus over HTTP, at a loopback address.
    #[arg(long, value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Answer the messages of `run --test`.
    #[arg(long)]
    pub echo: bool,
    /// Connect to this peer, which runs with --echo, send it a message and end: with 0 if the message came back, else
    /// with 1.
    #[arg(long, value_name = "ID")]
    pub test: Option<PeerId>,
    /// With --test: how many seconds it may take.
    #[arg(long, value_name = "SECONDS", requires = "test", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
}

/// How to print.
#[derive(Args, Clone, Copy)]
pub struct Format {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// How long to wait for a peer.
#[derive(Args, Clone, Copy)]
pub struct Patience {
    /// How many seconds to wait for the peer.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no number of seconds between 0 and 86400");
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    match (0.0..=86_400.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_are_finite() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["-1", "inf", "nan", "1e9", "x", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
