//! A node of the mesh, for applications.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use omerta_mesh_core::{
    Bootstrap, Config, Event, Identity, MessageId, NetworkKey, PeerId, PeerView, Service,
};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::connection::{Closed, Connection};
use crate::driver::{Driver, StartError, seeded_config};
use crate::handle::{Handle, is_data};
use crate::host::local_addresses;
use crate::identity_file::{IdentityFileError, load_or_create};
use crate::invite::Invite;

/// Events that a slow listener may be behind.
const EVENTS: usize = 1024;
/// Connections of peers that wait for [`Node::accept`].
const ACCEPTS: usize = 1024;

/// How to start a [`Node`].
#[derive(Clone, Debug)]
#[must_use = "a node runs once it is started"]
pub struct Builder {
    key: Option<PathBuf>,
    listen: SocketAddr,
    config: Config,
}

/// A node could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The key file.
    #[error(transparent)]
    Key(#[from] IdentityFileError),
    /// The node.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Builder {
    /// The file with the node's key, made if there is none. Without one the node has an ID for this once.
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key = Some(path.into());
        self
    }

    /// Where to listen; any address and a free port unless said otherwise.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// A public node to begin with; may be given more than once.
    pub fn bootstrap(mut self, node: Bootstrap) -> Self {
        self.config.bootstrap.push(node);
        self
    }

    /// A STUN server to detect the NAT with; may be given more than once.
    pub fn stun(mut self, server: SocketAddr) -> Self {
        self.config.stun.push(server);
        self
    }

    /// The key of a private network.
    pub fn network(mut self, key: NetworkKey) -> Self {
        self.config.network = Some(key);
        self
    }

    /// All that an invitation says.
    pub fn invited(mut self, invite: &Invite) -> Self {
        self.config.network = invite.network;
        self.config.bootstrap.extend(&invite.bootstrap);
        self.config.stun.extend(&invite.stun);
        self
    }

    /// Serves others: bootstrap, coordination, STUN and this many relay sessions. For nodes that anybody can reach.
    pub fn relay(mut self, sessions: usize) -> Self {
        self.config.service = Service::Relay { sessions };
        self
    }

    /// Everything else that can be set.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Starts the node on the present tokio runtime.
    pub async fn start(mut self) -> Result<Node, BuildError> {
        let fresh = rand::random();
        let identity = match &self.key {
            Some(path) => load_or_create(path, fresh)?,
            None => Identity::from_seed(&fresh),
        };
        if self.config.host_addresses.is_empty() {
            self.config.host_addresses = own_addresses(&self.config);
        }
        let (driver, handle, events) = Driver::start(identity, self.config, self.listen)?;
        let (accepts_in, accepts) = mpsc::channel(ACCEPTS);
        let shared = Arc::new(Shared {
            peers: Mutex::default(),
            deliveries: Deliveries::default(),
            events: broadcast::Sender::new(EVENTS),
            accepts: accepts_in,
        });
        tokio::spawn(driver.run());
        tokio::spawn(dispatch(handle.clone(), shared.clone(), events));
        Ok(Node { handle, shared, accepts: tokio::sync::Mutex::new(accepts) })
    }
}

fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let bootstrap = config.bootstrap.iter().map(|node| node.address);
    local_addresses(&config.stun.iter().copied().chain(bootstrap).collect::<Vec<_>>())
}

/// A node of the mesh, running. Dropped, it says goodbye to its peers.
pub struct Node {
    handle: Handle,
    shared: Arc<Shared>,
    accepts: tokio::sync::Mutex<mpsc::Receiver<Connection>>,
}

struct Shared {
    peers: Mutex<Peers>,
    deliveries: Deliveries,
    events: broadcast::Sender<Event>,
    accepts: mpsc::Sender<Connection>,
}

#[derive(Default)]
struct Peers {
    connections: HashMap<PeerId, Connection>,
    asking: HashMap<PeerId, Vec<oneshot::Sender<Result<Connection, ConnectError>>>>,
    ended: bool,
}

/// There is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The peer cannot be reached.
    #[error("cannot connect: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
    /// This node has ended.
    #[error("this node has ended")]
    Ended,
}

/// A message was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection has ended.
    #[error(transparent)]
    Closed(Closed),
    /// It did not arrive.
    #[error("the message was not sent: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
}

impl Node {
    /// A node with the defaults: in the open network, knowing nobody.
    pub fn builder() -> Builder {
        let listen = SocketAddr::from(([0, 0, 0, 0], 0));
        Builder { key: None, listen, config: seeded_config() }
    }

    /// Who it is.
    pub fn id(&self) -> PeerId {
        self.handle.id()
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.handle.local_address()
    }

    /// What happens from now on: all but messages and datagrams, which their connections hand out.
    pub fn events(&self) -> Events {
        Events(self.shared.events.subscribe())
    }

    /// Connects to a peer, or finds the connection that there is.
    pub async fn connect(&self, peer: PeerId) -> Result<Connection, ConnectError> {
        let (tell, told) = oneshot::channel();
        {
            let mut peers = self.shared.peers();
            if peers.ended {
                return Err(ConnectError::Ended);
            }
            if let Some(connection) = peers.connections.get(&peer) {
                return Ok(connection.clone());
            }
            peers.asking.entry(peer).or_default().push(tell);
        }
        self.handle.connect(peer);
        told.await.unwrap_or(Err(ConnectError::Ended))
    }

    /// The next connection that a peer has begun; nothing once the node has ended.
    pub async fn accept(&self) -> Option<Connection> {
        let mut accepts = self.accepts.lock().await;
        tokio::select! {
            connection = accepts.recv() => connection,
            () = self.handle.ended() => None,
        }
    }

    /// All connected peers.
    pub fn peers(&self) -> Vec<PeerView> {
        self.handle.look(|node| node.peer_views())
    }

    /// Commands below this level.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Says goodbye to all peers, and waits until that is sent.
    pub async fn shutdown(self) {
        self.handle.quit();
        self.handle.ended().await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.quit();
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({:?} on {})", self.id(), self.local_address())
    }
}

/// What happens, from [`Node::events`].
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event; nothing once the node has ended. Who is more than 1,024 behind misses the oldest.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

type Waiters = HashMap<MessageId, oneshot::Sender<Result<(), SendError>>>;

/// Who waits for the acknowledgement of which message.
#[derive(Clone, Default)]
pub(crate) struct Deliveries(Arc<Mutex<Waiters>>);

impl Deliveries {
    /// Sends a message; what is given is ready when it is known what has become of it.
    pub fn send(
        &self,
        handle: &Handle,
        peer: PeerId,
        data: Vec<u8>,
    ) -> impl Future<Output = Result<(), SendError>> + use<> {
        let (tell, told) = oneshot::channel();
        {
            // Locked across both, so that the answer does not come too early.
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.insert(handle.send(peer, data), tell);
        }
        async move {
            let ended = SendError::Failed { reason: "this node has ended".to_owned() };
            told.await.unwrap_or(Err(ended))
        }
    }

    fn tell(&self, message: MessageId, outcome: Result<(), SendError>) {
        let tell = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&message);
        // Whoever waited may have given up.
        let _ = tell.map(|tell| tell.send(outcome));
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection with a peer that has just been heard of over one.
    fn connection(&self, handle: &Handle, peer: PeerId) -> Connection {
        let mut peers = self.peers();
        if let Some(connection) = peers.connections.get(&peer) {
            return connection.clone();
        }
        let connection = Connection::new(handle.clone(), peer, self.deliveries.clone());
        peers.connections.insert(peer, connection.clone());
        let asking = peers.asking.remove(&peer).unwrap_or_default();
        drop(peers);
        if asking.is_empty() {
            // Where nobody accepts, connections are used by peer, or not at all.
            let _ = self.accepts.try_send(connection.clone());
        }
        for tell in asking {
            let _ = tell.send(Ok(connection.clone()));
        }
        connection
    }

    fn handle(&self, handle: &Handle, event: Event) {
        match &event {
            Event::Connected { peer, .. } => {
                self.connection(handle, *peer);
            }
            Event::ConnectFailed { peer, reason } => {
                for tell in self.peers().asking.remove(peer).unwrap_or_default() {
                    let _ = tell.send(Err(ConnectError::Failed { reason: reason.clone() }));
                }
            }
            Event::Disconnected { peer, reason } => {
                let connection = self.peers().connections.remove(peer);
                connection.into_iter().for_each(|connection| connection.inner.end(reason.clone()));
            }
            Event::Sent { message, .. } => self.deliveries.tell(*message, Ok(())),
            Event::SendFailed { message, reason, .. } => {
                self.deliveries.tell(*message, Err(SendError::Failed { reason: reason.clone() }));
            }
            _ => {}
        }
        if !is_data(&event) {
            // Nobody listening is no reason to stop.
            let _ = self.events.send(event);
            return;
        }
        match event {
            Event::MessageReceived { peer, data, .. } => self.connection(handle, peer).inner.message(data),
            Event::DatagramReceived { peer, data, .. } => self.connection(handle, peer).inner.datagram(data),
            _ => {}
        }
    }
}

async fn dispatch(handle: Handle, shared: Arc<Shared>, mut events: mpsc::UnboundedReceiver<Event>) {
    while let Some(event) = events.recv().await {
        shared.handle(&handle, event);
    }
    let (connections, asking) = {
        let mut peers = shared.peers();
        peers.ended = true;
        (std::mem::take(&mut peers.connections), std::mem::take(&mut peers.asking))
    };
    drop(asking);
    shared.deliveries.clear();
    for connection in connections.into_values() {
        connection.inner.end("this node has ended".to_owned());
    }
}
