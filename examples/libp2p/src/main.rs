//! A node for natrig that connects as a program with rust-libp2p does: through a circuit of a relay, from which DCUtR upgrades to a direct
//! connection.
//!
//! What happens it says in JSON objects, one a line, on its standard output. A peer is told `connect PEERID` and `send PEERID FILE` on its
//! standard input. `RUST_LOG` sets what libp2p logs.

mod peer;
mod relay;

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Parser;
use libp2p::{Multiaddr, autonat, identify, identity::Keypair, multiaddr::Protocol};
use serde_json::Value;
use tracing_subscriber::EnvFilter;

/// Connections stay, used or not.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Parser)]
#[command(about = "A node for natrig that connects with rust-libp2p")]
enum Role {
    /// The public machine: circuit relay v2, AutoNAT, identify.
    Relay {
        #[arg(long)]
        listen: Ipv4Addr,
        #[arg(long, default_value_t = 4400)]
        port: u16,
    },
    /// A peer: has a reservation at the relay, and connects to others through it.
    Peer {
        /// The relay's address, with its id: /ip4/ADDRESS/udp/PORT/quic-v1/p2p/ID
        #[arg(long)]
        relay: Multiaddr,
        /// Its agent version, for others to see.
        #[arg(long)]
        name: String,
        #[arg(long, default_value_t = 4400)]
        port: u16,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match Role::parse() {
        Role::Relay { listen, port } => relay::run(listen, port).await,
        Role::Peer { relay, name, port } => peer::run(relay, name, port).await,
    }
}

fn say(event: Value) {
    println!("{event}");
}

/// Where a node listens: QUIC and TCP, at one port.
fn listen_addresses(address: Ipv4Addr, port: u16) -> [Multiaddr; 2] {
    let address = Multiaddr::from(address);
    [address.clone().with(Protocol::Udp(port)).with(Protocol::QuicV1), address.with(Protocol::Tcp(port))]
}

fn identify_as(key: &Keypair, agent: &str) -> identify::Behaviour {
    identify::Behaviour::new(
        identify::Config::new("/natrig/1".into(), key.public()).with_agent_version(agent.into()),
    )
}

/// AutoNAT in its first version. The second one has a client prove with 30 to 100 KB for each address that it is no attack to dial it
/// back, which in a lab goes beside the bytes that are counted.
fn reachability(key: &Keypair) -> autonat::v1::Behaviour {
    // All addresses of a lab are private ones.
    let config = autonat::v1::Config { only_global_ips: false, ..autonat::v1::Config::default() };
    autonat::v1::Behaviour::new(key.public().to_peer_id(), config)
}
