//! The public machine.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures::StreamExt;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{SwarmBuilder, autonat, identify, noise, ping, relay, tcp, yamux};
use serde_json::json;

use crate::{IDLE_TIMEOUT, identify_as, listen_addresses, reachability, say};

/// The default is 128 KiB, which is less than what the lab sends.
const MAX_CIRCUIT_BYTES: u64 = 64 << 20;
const MAX_CIRCUIT_DURATION: Duration = Duration::from_secs(3600);

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay: relay::Behaviour,
    autonat: autonat::v1::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

pub async fn run(listen: Ipv4Addr, port: u16) -> Result<(), Box<dyn Error>> {
    let limits = relay::Config {
        max_circuit_bytes: MAX_CIRCUIT_BYTES,
        max_circuit_duration: MAX_CIRCUIT_DURATION,
        ..Default::default()
    };
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_behaviour(|key| Behaviour {
            relay: relay::Behaviour::new(key.public().to_peer_id(), limits),
            autonat: reachability(key),
            identify: identify_as(key, "relay"),
            ping: ping::Behaviour::default(),
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIMEOUT))
        .build();
    for address in listen_addresses(listen, port) {
        swarm.listen_on(address.clone())?;
        // Reservations say where the relay is, and it says so only where it has been told that others reach it.
        swarm.add_external_address(address);
    }
    say(json!({"event": "started", "id": swarm.local_peer_id().to_string()}));
    loop {
        if let SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) = swarm.select_next_some().await {
            say(json!({"event": "relay", "what": format!("{event:?}")}));
        }
    }
}
