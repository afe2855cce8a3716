//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use omerta_mesh_core::options::RunOptions;

/// A node of the omerta mesh.
#[derive(Parser)]
#[command(name = "omerta-mesh", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run a node.
    Run(RunOptions),
    /// Print the ID of a key file's node (the file is made if there is none).
    Id {
        /// The key file; without one, an ID that is never seen again.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
