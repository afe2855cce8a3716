//! A node on real sockets.
//!
//! The node is behind a lock: a [`Handle`] acts on it at once and wakes the driver, which moves datagrams, time and events.
//! The main socket is read by the driver. Sockets of a punch, of which there may be 256 for some seconds, have a small task
//! each that passes on what comes; sending needs no task.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use omerta_mesh_core::{
    Config, CryptoSetupError, Event, Identity, Node, RustlsCrypto, SocketId, SocketRequest, Transmit,
};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::handle::Handle;
use crate::host::local_addresses;

const MAX_DATAGRAM: usize = 2048;
/// Datagrams taken from the main socket before timers and commands get their turn.
const BATCH: usize = 64;
/// How often it is looked whether the host has moved to another network.
const NETWORK_LOOK: Duration = Duration::from_secs(3);
/// Asked of the kernel for the main socket; what it grants is enough.
const BUFFER: usize = 1 << 20;
/// Datagrams of side sockets that wait to be handled; more are lost, as datagrams may be.
const SIDE_QUEUE: usize = 1024;

/// A node could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The main socket could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Crypto(#[from] CryptoSetupError),
}

struct SideSocket {
    socket: Arc<UdpSocket>,
    reader: JoinHandle<()>,
}

impl Drop for SideSocket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

struct Arrival {
    socket: SocketId,
    from: SocketAddr,
    datagram: Vec<u8>,
}

/// A node with its sockets.
pub struct Driver {
    handle: Handle,
    main: UdpSocket,
    local: SocketAddr,
    side: HashMap<SocketId, SideSocket>,
    arrivals: mpsc::Receiver<Arrival>,
    arrivals_in: mpsc::Sender<Arrival>,
    events: mpsc::UnboundedSender<Event>,
    transmits: Vec<Transmit>,
    /// Where the node has to do with, and the addresses from which this host reaches that.
    destinations: Vec<SocketAddr>,
    addresses: Vec<IpAddr>,
}

impl Driver {
    /// Binds `listen` and starts a node on it. `config.port` is set here.
    pub fn start(
        identity: Identity,
        mut config: Config,
        listen: SocketAddr,
    ) -> Result<(Self, Handle, mpsc::UnboundedReceiver<Event>), StartError> {
        let failed = |source| StartError::Bind { address: listen, source };
        let main = bind_main(listen).map_err(failed)?;
        let local = main.local_addr().map_err(failed)?;
        config.port = local.port();
        let bootstrap = config.bootstrap.iter().map(|node| node.address);
        let destinations: Vec<SocketAddr> = config.stun.iter().copied().chain(bootstrap).collect();
        let crypto = Arc::new(RustlsCrypto::logging(&identity, config.network.as_ref(), key_log())?);
        let node = Node::new(Instant::now(), identity, config, crypto);
        let handle = Handle::new(node, local);
        let (events, event_receiver) = mpsc::unbounded_channel();
        let (arrivals_in, arrivals) = mpsc::channel(SIDE_QUEUE);
        let driver = Self {
            handle: handle.clone(),
            main,
            local,
            side: HashMap::new(),
            arrivals,
            arrivals_in,
            events,
            transmits: Vec::new(),
            addresses: local_addresses(&destinations),
            destinations,
        };
        Ok((driver, handle, event_receiver))
    }

    /// Runs the node until it is told to quit.
    pub async fn run(mut self) {
        let mut buffer = [0; MAX_DATAGRAM];
        let handle = self.handle.clone();
        let mut network = tokio::time::interval(NETWORK_LOOK);
        network.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.drain().await;
        while !handle.is_quitting() {
            let deadline = handle.look(Node::poll_timeout);
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = self.main.readable() => {
                    if ready.is_ok() {
                        self.read_main(&mut buffer);
                    }
                }
                Some(arrival) = self.arrivals.recv() => {
                    let Arrival { socket, from, datagram } = arrival;
                    handle.move_on(|node| node.handle_datagram(Instant::now(), socket, from, &datagram));
                }
                () = handle.wanted() => {}
                _ = network.tick() => self.look_at_network(),
                () = timer => {}
            }
            // Under load the timer's branch may never win, so what is due is looked at each time.
            let now = Instant::now();
            handle.move_on(|node| {
                if node.poll_timeout().is_some_and(|at| at <= now) {
                    node.handle_timeout(now);
                }
            });
            self.drain().await;
        }
        handle.move_on(|node| node.shutdown(Instant::now()));
        self.drain().await;
        handle.end();
    }

    /// Tells the node if this host reaches others from other addresses than before. Without a network there is nothing to
    /// tell yet.
    fn look_at_network(&mut self) {
        let addresses = local_addresses(&self.destinations);
        if !addresses.is_empty() && addresses != self.addresses {
            self.addresses.clone_from(&addresses);
            self.handle.move_on(|node| node.handle_network_change(Instant::now(), addresses));
        }
    }

    fn read_main(&mut self, buffer: &mut [u8]) {
        self.handle.move_on(|node| {
            for _ in 0..BATCH {
                match self.main.try_recv_from(buffer) {
                    Ok((length, from)) => {
                        node.handle_datagram(Instant::now(), SocketId::MAIN, from, &buffer[..length]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP error of an earlier datagram; nothing was read.
                    Err(_) => {}
                }
            }
        });
    }

    async fn drain(&mut self) {
        loop {
            let mut requests = Vec::new();
            let mut transmits = std::mem::take(&mut self.transmits);
            self.handle.move_on(|node| {
                requests.extend(std::iter::from_fn(|| node.poll_socket()));
                transmits.extend(std::iter::from_fn(|| node.poll_transmit()));
                while let Some(event) = node.poll_event() {
                    // Nobody listening is no reason to stop.
                    let _ = self.events.send(event);
                }
            });
            self.handle.tell_streams();
            if requests.is_empty() && transmits.is_empty() {
                self.transmits = transmits;
                break;
            }
            for request in requests {
                match request {
                    SocketRequest::Open(id) => self.open(id),
                    SocketRequest::Close(id) => drop(self.side.remove(&id)),
                }
            }
            for transmit in transmits.drain(..) {
                self.transmit(transmit).await;
            }
            self.transmits = transmits;
        }
    }

    fn open(&mut self, id: SocketId) {
        let address = SocketAddr::new(self.local.ip(), 0);
        match bind_side(address) {
            Ok(socket) => {
                let socket = Arc::new(socket);
                let reader = tokio::spawn(read_side(id, socket.clone(), self.arrivals_in.clone()));
                self.side.insert(id, SideSocket { socket, reader });
            }
            Err(error) => self.handle.move_on(|node| node.socket_failed(id, &error.to_string())),
        }
    }

    async fn transmit(&self, transmit: Transmit) {
        let socket = match transmit.path.socket {
            SocketId::MAIN => &self.main,
            id => match self.side.get(&id) {
                Some(side) => side.socket.as_ref(),
                // Closed meanwhile.
                None => return,
            },
        };
        // A datagram that cannot be sent (no route, say) is lost like any other.
        if let Err(error) = socket.send_to(&transmit.payload, transmit.path.remote).await {
            tracing::debug!(%error, to = %transmit.path.remote, "not sent");
        }
    }
}

async fn read_side(id: SocketId, socket: Arc<UdpSocket>, arrivals: mpsc::Sender<Arrival>) {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let arrival = Arrival { socket: id, from, datagram: buffer[..length].to_vec() };
            if let Err(mpsc::error::TrySendError::Closed(_)) = arrivals.try_send(arrival) {
                return;
            }
        }
    }
}

/// Who learns the keys of sessions: nobody, or the file that `SSLKEYLOGFILE` names, as with other TLS libraries.
fn key_log() -> Arc<dyn rustls::KeyLog> {
    match std::env::var_os("SSLKEYLOGFILE") {
        Some(file) => {
            tracing::warn!("the keys of all sessions are written to {}", file.display());
            Arc::new(rustls::KeyLogFile::new())
        }
        None => Arc::new(rustls::NoKeyLog),
    }
}

fn bind_main(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // The kernel grants what it may.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn bind_side(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// An epoch for [`Config`]: microseconds since 1970.
fn epoch() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_micros() as u64
}

/// A configuration with the system's randomness and clock in it.
pub fn seeded_config() -> Config {
    Config::new(rand::random(), epoch())
}
