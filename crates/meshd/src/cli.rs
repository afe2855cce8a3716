//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use omerta_mesh_core::{Bootstrap, Service};

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

/// How to run a node.
#[derive(Args)]
pub struct RunOptions {
    /// The node's key file, made if there is none; without it the node has an ID for this once.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Address and port of the node's UDP socket.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:4400")]
    pub listen: SocketAddr,
    /// Serve others: bootstrap, coordination, STUN and relay sessions. For nodes that anybody can reach.
    #[arg(long)]
    pub relay: bool,
    /// With --relay: refuse relay sessions.
    #[arg(long, requires = "relay")]
    pub coordinate_only: bool,
    /// How many relay sessions to serve.
    #[arg(long, value_name = "N", requires = "relay", default_value_t = Service::DEFAULT_SESSIONS)]
    pub sessions: usize,
    /// A public node to begin with; may be given more than once.
    #[arg(long, value_name = "ID@IP:PORT", value_parser = parse_bootstrap)]
    pub bootstrap: Vec<Bootstrap>,
    /// A STUN server to detect the NAT with; may be given more than once.
    #[arg(long, value_name = "IP:PORT")]
    pub stun: Vec<SocketAddr>,
    /// Where received messages are stored, as files 1, 2, 3 and so on; without it their content is dropped.
    #[arg(long, value_name = "DIR")]
    pub inbox: Option<PathBuf>,
    /// No gossip with ordinary peers and no relaying for them. (This version has neither, so it changes nothing yet.)
    #[arg(long)]
    pub no_peer_contact: bool,
    /// Take no part in birthday searches.
    #[arg(long)]
    pub no_birthday: bool,
    /// For tests of a lab: lie.
    #[arg(long, value_name = "LIE")]
    pub hostile: Option<Lie>,
    /// Print events as JSON, one object a line.
    #[arg(long)]
    pub json: bool,
    /// Take commands from standard input, one JSON object a line.
    #[arg(long)]
    pub commands: bool,
}

/// What a hostile node lies about.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lie {
    /// Every path is said to be direct.
    LiePath,
}

impl RunOptions {
    /// What the node does for others.
    pub fn service(&self) -> Service {
        match (self.relay, self.coordinate_only) {
            (false, _) => Service::None,
            (true, true) => Service::Coordinator,
            (true, false) => Service::Relay { sessions: self.sessions },
        }
    }
}

fn parse_bootstrap(text: &str) -> Result<Bootstrap, String> {
    let (id, address) =
        text.split_once('@').ok_or_else(|| "a bootstrap node is given as ID@IP:PORT".to_owned())?;
    Ok(Bootstrap {
        id: id.parse().map_err(|error: omerta_mesh_core::InvalidPeerId| error.to_string())?,
        address: address
            .parse()
            .map_err(|_| format!("{address:?} is no IP:PORT (names are not looked up)"))?,
    })
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
    fn a_bootstrap_node_is_an_id_at_a_numeric_address() {
        let id = "ab".repeat(32);
        let bootstrap = parse_bootstrap(&format!("{id}@10.0.0.1:4400")).expect("well-formed");
        assert_eq!(bootstrap.id.to_string(), id);
        for wrong in ["10.0.0.1:4400", "ab@10.0.0.1:4400", &format!("{id}@localhost:1")] {
            assert!(parse_bootstrap(wrong).is_err(), "{wrong}");
        }
    }
}
