//! A peer.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{ConnectionId, NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, autonat, dcutr, identify, noise, ping,
    relay, tcp, yamux,
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{IDLE_TIMEOUT, identify_as, listen_addresses, reachability, say};

/// One file a stream, which ends with it.
const FILE_PROTOCOL: StreamProtocol = StreamProtocol::new("/natrig/file/1");

/// How often a relay is dialled that is not connected.
const RELAY_INTERVAL: Duration = Duration::from_secs(5);

/// So often `libp2p-dcutr` tries. Only the side that was called hears from it that it has given up.
const DCUTR_ATTEMPTS: u8 = 3;

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
    autonat: autonat::v1::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    stream: libp2p_stream::Behaviour,
}

/// What there is between this peer and another one.
#[derive(Default)]
struct Link {
    relayed: HashSet<ConnectionId>,
    direct: HashSet<ConnectionId>,
    failed_attempts: u8,
    settled: Option<&'static str>,
}

impl Link {
    fn settle(&mut self, peer: PeerId, path: &'static str) {
        if self.settled != Some(path) {
            self.settled = Some(path);
            say(json!({"event": "settled", "peer": peer.to_string(), "path": path}));
        }
    }
}

struct Peer {
    swarm: Swarm<Behaviour>,
    relay: Multiaddr,
    relay_id: PeerId,
    reserving: bool,
    links: HashMap<PeerId, Link>,
}

pub async fn run(relay: Multiaddr, name: String, port: u16) -> Result<(), Box<dyn Error>> {
    let Some(Protocol::P2p(relay_id)) = relay.iter().last() else {
        return Err("the relay's address has no /p2p/ID at its end".into());
    };
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key, relay| Behaviour {
            relay,
            dcutr: dcutr::Behaviour::new(key.public().to_peer_id()),
            autonat: reachability(key),
            identify: identify_as(key, &name),
            ping: ping::Behaviour::default(),
            stream: libp2p_stream::Behaviour::new(),
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIMEOUT))
        .build();
    for address in listen_addresses(Ipv4Addr::UNSPECIFIED, port) {
        swarm.listen_on(address)?;
    }
    say(json!({"event": "started", "id": swarm.local_peer_id().to_string()}));

    let mut files = swarm.behaviour().stream.new_control().accept(FILE_PROTOCOL)?;
    let mut received = 0;
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let mut relay_interval = tokio::time::interval(RELAY_INTERVAL);
    let mut peer = Peer { swarm, relay, relay_id, reserving: false, links: HashMap::new() };
    loop {
        tokio::select! {
            event = peer.swarm.select_next_some() => peer.on_event(event),
            Some((from, stream)) = files.next() => {
                received += 1;
                tokio::spawn(receive(from, stream, PathBuf::from(format!("/run/received.{received}"))));
            }
            _ = relay_interval.tick() => peer.keep_relay(),
            command = commands.next_line() => match command? {
                Some(command) => peer.on_command(&command),
                None => return Ok(()),
            },
        }
    }
}

impl Peer {
    fn on_command(&mut self, command: &str) {
        let words: Vec<_> = command.split_whitespace().collect();
        let id = words.get(1).and_then(|id| id.parse().ok());
        match (words.as_slice(), id) {
            (["connect", _], Some(peer)) => self.connect(peer),
            (["send", _, file], Some(peer)) => {
                let control = self.swarm.behaviour().stream.new_control();
                tokio::spawn(send(control, peer, PathBuf::from(file)));
            }
            _ => say(json!({"event": "error", "reason": format!("no such command: {command}")})),
        }
    }

    fn connect(&mut self, peer: PeerId) {
        let circuit = self.relay.clone().with(Protocol::P2pCircuit).with(Protocol::P2p(peer));
        if let Err(error) = self.swarm.dial(circuit) {
            fail(peer, &error);
        }
    }

    fn keep_relay(&mut self) {
        if !self.swarm.is_connected(&self.relay_id)
            && let Err(error) = self.swarm.dial(self.relay.clone())
        {
            say(json!({"event": "error", "reason": error.to_string()}));
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            // Not before: DCUtR tells of the address that the relay has seen.
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id, ..
            })) if peer_id == self.relay_id && !self.reserving => {
                match self.swarm.listen_on(self.relay.clone().with(Protocol::P2pCircuit)) {
                    Ok(_) => self.reserving = true,
                    Err(error) => say(json!({"event": "error", "reason": error.to_string()})),
                }
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                self.reserving = false;
                say(json!({"event": "unreserved", "addresses": addresses, "reason": format!("{reason:?}")}));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Relay(relay::client::Event::ReservationReqAccepted {
                renewal: false,
                ..
            })) => say(json!({"event": "bootstrapped"})),
            SwarmEvent::Behaviour(BehaviourEvent::Autonat(autonat::v1::Event::StatusChanged { new, .. })) => {
                say(json!({"event": "reachability", "is": format!("{new:?}")}));
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. }
                if peer_id != self.relay_id =>
            {
                self.on_connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                self.on_closed(peer_id, connection_id, cause.map(|cause| cause.to_string()));
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. }
                if peer == self.relay_id =>
            {
                say(json!({"event": "error", "reason": error.to_string()}));
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                match self.links.get_mut(&peer) {
                    Some(link) => {
                        link.failed_attempts += 1;
                        if link.failed_attempts == DCUTR_ATTEMPTS && link.direct.is_empty() {
                            link.settle(peer, "relay");
                        }
                    }
                    None => fail(peer, &error),
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Dcutr(dcutr::Event {
                remote_peer_id,
                result: Err(error),
            })) => {
                say(
                    json!({"event": "unpunched", "peer": remote_peer_id.to_string(), "reason": error.to_string()}),
                );
                if let Some(link) = self.links.get_mut(&remote_peer_id)
                    && link.direct.is_empty()
                {
                    link.settle(remote_peer_id, "relay");
                }
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let path = if endpoint.is_relayed() { "relay" } else { "direct" };
        if !self.links.contains_key(&peer) {
            say(json!({"event": "connected", "peer": peer.to_string(), "path": path}));
        }
        let link = self.links.entry(peer).or_default();
        if endpoint.is_relayed() {
            link.relayed.insert(connection);
            return;
        }
        link.direct.insert(connection);
        if link.relayed.is_empty() {
            link.settle(peer, "direct");
        } else if accepts(endpoint) {
            // A stream takes any connection there is, so the relayed one has to go. Whoever accepted is the last to know of the direct
            // one: closed by the other side, this one could be without any for a moment.
            for relayed in &link.relayed {
                self.swarm.close_connection(*relayed);
            }
        }
    }

    fn on_closed(&mut self, peer: PeerId, connection: ConnectionId, cause: Option<String>) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        link.relayed.remove(&connection);
        link.direct.remove(&connection);
        match (link.relayed.is_empty(), link.direct.is_empty()) {
            (true, true) => {
                self.links.remove(&peer);
                say(json!({"event": "lost", "peer": peer.to_string(), "reason": cause}));
            }
            (true, false) => link.settle(peer, "direct"),
            _ => {}
        }
    }
}

/// Whether this side takes the listener's part in the handshake. In a punched hole both have dialled.
fn accepts(endpoint: &ConnectedPoint) -> bool {
    matches!(
        endpoint,
        ConnectedPoint::Listener { .. } | ConnectedPoint::Dialer { role_override: Endpoint::Listener, .. }
    )
}

fn fail(peer: PeerId, error: &dyn Error) {
    say(json!({"event": "failed", "peer": peer.to_string(), "reason": error.to_string()}));
}

async fn send(mut control: libp2p_stream::Control, peer: PeerId, file: PathBuf) {
    let sent: Result<(), Box<dyn Error>> = async {
        let content = tokio::fs::read(&file).await?;
        let mut stream = control.open_stream(peer, FILE_PROTOCOL).await?;
        stream.write_all(&content).await?;
        stream.close().await?;
        Ok(())
    }
    .await;
    if let Err(error) = sent {
        say(json!({"event": "error", "peer": peer.to_string(), "reason": error.to_string()}));
    }
}

async fn receive(peer: PeerId, mut stream: Stream, file: PathBuf) {
    let mut content = Vec::new();
    let received = async {
        stream.read_to_end(&mut content).await?;
        tokio::fs::write(&file, &content).await
    };
    match received.await {
        Ok(()) => say(json!({"event": "received", "peer": peer.to_string(), "file": file})),
        Err(error) => say(json!({"event": "error", "peer": peer.to_string(), "reason": error.to_string()})),
    }
}
