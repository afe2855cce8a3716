//! What a running node does for those who ask over its control socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use omerta_mesh::{Handle, Invite, PeerId};
use omerta_mesh_core::{Bootstrap, Config, Event, NetworkKey, Service};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::counts::Counts;
use crate::mailbox::{Mailbox, Received};
use crate::protocol::{Answer, Request};

/// Events that a slow asker may be behind.
const EVENTS: usize = 4096;

/// A running node, for its askers.
pub struct Daemon {
    pub handle: Handle,
    pub mailbox: Mailbox,
    pub counts: Counts,
    pub started: Instant,
    pub service: Service,
    pub network: Option<NetworkKey>,
    home: PathBuf,
    bootstrap: Vec<Bootstrap>,
    stun: Vec<SocketAddr>,
    metrics: Option<SocketAddr>,
    events: broadcast::Sender<Arc<Event>>,
}

/// What was asked for did not come about.
struct Failed(String);

impl<T: ToString> From<T> for Failed {
    fn from(why: T) -> Self {
        Self(why.to_string())
    }
}

impl Daemon {
    pub fn new(
        handle: Handle,
        started: Instant,
        home: PathBuf,
        config: &Config,
        metrics: Option<SocketAddr>,
    ) -> Arc<Self> {
        Arc::new(Self {
            handle,
            mailbox: Mailbox::default(),
            counts: Counts::default(),
            started,
            service: config.service,
            network: config.network,
            home,
            bootstrap: config.bootstrap.clone(),
            stun: config.stun.clone(),
            metrics,
            events: broadcast::Sender::new(EVENTS),
        })
    }

    /// Takes note of an event.
    pub fn event(&self, mut event: Event) {
        self.counts.count(&event);
        if let Event::MessageReceived { peer, data, path } = &mut event {
            let data = std::mem::take(data);
            self.mailbox.put(Received { peer: *peer, path: *path, data });
        }
        // Nobody asking is no reason to stop.
        let _ = self.events.send(Arc::new(event));
    }

    /// Answers a request that has no bytes in its answer; `body` came with it.
    pub async fn answer(&self, request: &Request, body: Vec<u8>) -> Answer {
        let answered = match request {
            Request::Status => Ok(self.status()),
            Request::Peers => Ok(json!(self.handle.look(|node| node.peer_views()))),
            Request::Nat => Ok(json!(self.handle.look(|node| node.detection()))),
            Request::Invite { address } => self.invite(*address),
            Request::Ping { peer, timeout } => within(*timeout, self.ping(*peer)).await,
            Request::Send { peer, timeout, .. } => within(*timeout, self.send(*peer, body)).await,
            Request::Recv { .. } => Err("a message is taken otherwise".into()),
        };
        match answered {
            Ok(done) => Answer::Done(done),
            Err(Failed(why)) => Answer::Failed(why),
        }
    }

    fn status(&self) -> Value {
        let (waiting, dropped) = self.mailbox.counts();
        let (nat, peers, sessions, counters) = self
            .handle
            .look(|node| (node.detection(), node.peer_views(), node.sessions(), node.counters().clone()));
        let contacts = peers.iter().filter(|peer| peer.contact).count();
        json!({
            "id": self.handle.id(),
            "version": env!("CARGO_PKG_VERSION"),
            "listen": self.handle.local_address(),
            "home": self.home,
            "metrics": self.metrics,
            "uptime": self.started.elapsed().as_secs(),
            "network": self.network.map(|key| key.tag()).unwrap_or_default().to_string(),
            "service": self.service,
            "bootstrapped": peers.iter().any(|peer| peer.bootstrap),
            "nat": nat,
            "peers": peers.len(),
            "contacts": contacts,
            "sessions": sessions,
            "messages": {"waiting": waiting, "dropped": dropped},
            "sent": counters.sent.total(),
            "received": counters.received.total(),
        })
    }

    fn invite(&self, address: Option<SocketAddr>) -> Result<Value, Failed> {
        let (mut bootstrap, mut stun) = (Vec::new(), self.stun.clone());
        if self.service.coordinates() {
            let observed = self.handle.look(|node| node.detection()).and_then(|nat| nat.observed);
            let local = self.handle.local_address();
            let own = address.or(observed).or((!local.ip().is_unspecified()).then_some(local));
            let own =
                own.ok_or("it is not known where others reach this node; say it with --address IP:PORT")?;
            bootstrap.push(Bootstrap { id: self.handle.id(), address: own });
            if !stun.contains(&own) {
                stun.push(own);
            }
        } else if address.is_some() {
            return Err(
                "this node does not serve others, so nobody can begin with it; run it with --relay".into()
            );
        }
        bootstrap.extend(&self.bootstrap);
        if bootstrap.is_empty() {
            return Err("this node knows no mesh: it has no bootstrap nodes, and is none (--relay)".into());
        }
        let invite = Invite { network: self.network, bootstrap, stun };
        Ok(json!({"link": invite.to_string(), "private": self.network.is_some()}))
    }

    async fn ping(&self, peer: PeerId) -> Result<Value, Failed> {
        let mut events = self.events.subscribe();
        self.connect(&mut events, peer).await?;
        if !self.handle.act(|node, now| node.ping(now, peer)) {
            return Err("the connection has just ended".into());
        }
        loop {
            match &*next(&mut events).await? {
                Event::PingAnswered { peer: from, took, path } if *from == peer => {
                    return Ok(json!({"peer": peer, "microseconds": took.as_micros() as u64, "path": path}));
                }
                Event::Disconnected { peer: from, reason } if *from == peer => {
                    return Err(format!("disconnected: {reason}").into());
                }
                _ => {}
            }
        }
    }

    async fn send(&self, peer: PeerId, data: Vec<u8>) -> Result<Value, Failed> {
        let mut events = self.events.subscribe();
        self.connect(&mut events, peer).await?;
        let sent = self.handle.send(peer, data);
        loop {
            match &*next(&mut events).await? {
                Event::Sent { message, bytes, path, .. } if *message == sent => {
                    return Ok(json!({"peer": peer, "bytes": bytes, "path": path}));
                }
                Event::SendFailed { message, reason, .. } if *message == sent => {
                    return Err(reason.into());
                }
                _ => {}
            }
        }
    }

    /// Waits for a connection with the peer.
    async fn connect(
        &self,
        events: &mut broadcast::Receiver<Arc<Event>>,
        peer: PeerId,
    ) -> Result<(), Failed> {
        self.handle.connect(peer);
        let is_connected = || self.handle.look(|node| node.peer_view(&peer)).is_some_and(|view| view.contact);
        while !is_connected() {
            match &*next(events).await? {
                Event::ConnectFailed { peer: to, reason } if *to == peer => return Err(reason.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

async fn next(events: &mut broadcast::Receiver<Arc<Event>>) -> Result<Arc<Event>, Failed> {
    match events.recv().await {
        Ok(event) => Ok(event),
        Err(broadcast::error::RecvError::Lagged(_)) => {
            Err("the node is too busy to say what has become of it".into())
        }
        Err(broadcast::error::RecvError::Closed) => Err("the node has ended".into()),
    }
}

async fn within<T>(milliseconds: u64, future: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    match timeout(Duration::from_millis(milliseconds), future).await {
        Ok(done) => done,
        Err(_) => Err(format!("no answer within {} s", milliseconds as f64 / 1000.0).into()),
    }
}
