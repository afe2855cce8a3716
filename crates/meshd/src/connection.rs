//! A connection with a peer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omerta_mesh_core::{DatagramFault, PathKind, PeerId, StreamFault};
use tokio::sync::{Notify, Semaphore};

use crate::handle::Handle;
use crate::node::{Deliveries, SendError};
use crate::stream::Stream;

/// Bytes of messages that wait for [`Connection::recv`] before the peer has to wait, too.
const INBOX: usize = 4 << 20;
/// Datagrams that wait for [`Connection::recv_datagram`]; older ones give way.
const DATAGRAMS: usize = 256;
/// Bytes of messages handed over and not acknowledged before [`Connection::send`] waits; one message may be longer.
const OUTBOX: usize = 4 << 20;
/// What a message costs at least.
const OVERHEAD: usize = 128;

/// A connection has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection has ended: {reason}")]
pub struct Closed {
    /// Why.
    pub reason: String,
}

/// Which way a connection goes at present.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Path {
    /// Straight, or through a relay.
    pub kind: PathKind,
    /// The peer's address, where it goes straight.
    pub address: Option<SocketAddr>,
    /// The relay, where it does not.
    pub relay: Option<PeerId>,
    /// The smoothed round trip time.
    pub round_trip: Duration,
}

/// A connection with a peer. It belongs to the peer and not to an address: paths come and go beneath it. Clones are the
/// same connection; dropping them does not end it.
#[derive(Clone)]
pub struct Connection {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    handle: Handle,
    peer: PeerId,
    deliveries: Deliveries,
    inbound: Mutex<Inbound>,
    news: Notify,
    outbox: Arc<Semaphore>,
}

#[derive(Default)]
struct Inbound {
    messages: VecDeque<Vec<u8>>,
    waiting: usize,
    held: bool,
    datagrams: VecDeque<Vec<u8>>,
    closed: Option<Closed>,
}

impl Connection {
    pub(crate) fn new(handle: Handle, peer: PeerId, deliveries: Deliveries) -> Self {
        let outbox = Arc::new(Semaphore::new(OUTBOX));
        let inbound = Mutex::default();
        Self { inner: Arc::new(Inner { handle, peer, deliveries, inbound, news: Notify::new(), outbox }) }
    }

    /// With whom.
    pub fn peer(&self) -> PeerId {
        self.inner.peer
    }

    /// Which way it goes at present; nothing once it has ended.
    pub fn path(&self) -> Option<Path> {
        let view = self.inner.handle.look(|node| node.peer_view(&self.inner.peer))?;
        Some(Path { kind: view.path, address: view.address, relay: view.relay, round_trip: view.round_trip })
    }

    /// Sends a message and waits until the peer's node has all of it. Messages arrive in the order in which `send` was
    /// first polled, whole, and none twice; to have many on their way, poll many at once. After an error nobody knows
    /// whether it has arrived.
    pub async fn send(&self, data: impl Into<Vec<u8>>) -> Result<(), SendError> {
        let data = data.into();
        let cost = (data.len() + OVERHEAD).min(OUTBOX) as u32;
        // The semaphore is never closed.
        let room = self.inner.outbox.clone().acquire_many_owned(cost).await;
        if let Some(closed) = &self.inner.inbound().closed {
            return Err(SendError::Closed(closed.clone()));
        }
        let delivery = self.inner.deliveries.send(&self.inner.handle, self.inner.peer, data);
        let delivered = delivery.await;
        drop(room);
        delivered
    }

    /// The next message.
    pub async fn recv(&self) -> Result<Vec<u8>, Closed> {
        self.inner.next(Inbound::message).await
    }

    /// Sends a datagram, which arrives once or not at all.
    pub fn send_datagram(&self, data: impl Into<Vec<u8>>) -> Result<(), DatagramFault> {
        self.inner.handle.act(|node, now| node.send_datagram(now, &self.inner.peer, data.into()))
    }

    /// How long a datagram may be at present, if the peer takes any.
    pub fn max_datagram(&self) -> Option<usize> {
        self.inner.handle.act(|node, _| node.max_datagram(&self.inner.peer))
    }

    /// The next datagram. Where nobody takes them, the oldest are dropped.
    pub async fn recv_datagram(&self) -> Result<Vec<u8>, Closed> {
        self.inner.next(|inbound, _| inbound.datagrams.pop_front()).await
    }

    /// Opens a stream; waits while the peer allows no more of them.
    pub async fn open_stream(&self) -> Result<Stream, StreamFault> {
        let Inner { handle, peer, .. } = &*self.inner;
        let open = || match handle.act(|node, now| node.open_stream(now, peer)) {
            Err(StreamFault::TooMany) => None,
            other => Some(other),
        };
        let stream = handle.on_news(open).await?;
        Ok(Stream::new(handle.clone(), stream))
    }

    /// The next stream that the peer opens.
    pub async fn accept_stream(&self) -> Result<Stream, Closed> {
        let Inner { handle, peer, .. } = &*self.inner;
        let take = || match (handle.take_opened(peer), &self.inner.inbound().closed) {
            (Some(stream), _) => Some(Ok(stream)),
            (None, Some(closed)) => Some(Err(closed.clone())),
            (None, None) => None,
        };
        Ok(Stream::new(handle.clone(), handle.on_news(take).await?))
    }

    /// Says goodbye to the peer. What was not acknowledged may not arrive.
    pub fn close(&self) {
        self.inner.handle.act(|node, now| node.disconnect(now, &self.inner.peer));
    }

    /// Waits until it has ended.
    pub async fn closed(&self) -> Closed {
        let never = self.inner.next(|_, _| None::<()>).await;
        match never {
            Err(closed) => closed,
            Ok(()) => Closed { reason: String::new() },
        }
    }
}

impl Inner {
    fn inbound(&self) -> MutexGuard<'_, Inbound> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next<T>(&self, mut take: impl FnMut(&mut Inbound, &Self) -> Option<T>) -> Result<T, Closed> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let mut inbound = self.inbound();
                if let Some(taken) = take(&mut inbound, self) {
                    return Ok(taken);
                }
                if let Some(closed) = &inbound.closed {
                    return Err(closed.clone());
                }
            }
            news.await;
        }
    }

    pub(crate) fn message(&self, data: Vec<u8>) {
        let mut inbound = self.inbound();
        inbound.waiting += data.len() + OVERHEAD;
        inbound.messages.push_back(data);
        if inbound.waiting > INBOX && !inbound.held {
            inbound.held = true;
            self.hold(true);
        }
        drop(inbound);
        self.news.notify_waiters();
    }

    pub(crate) fn datagram(&self, data: Vec<u8>) {
        let mut inbound = self.inbound();
        inbound.datagrams.push_back(data);
        if inbound.datagrams.len() > DATAGRAMS {
            inbound.datagrams.pop_front();
        }
        drop(inbound);
        self.news.notify_waiters();
    }

    pub(crate) fn end(&self, reason: String) {
        self.inbound().closed.get_or_insert(Closed { reason });
        self.news.notify_waiters();
        self.handle.end_streams(&self.peer);
    }

    fn hold(&self, hold: bool) {
        self.handle.act(|node, now| node.hold_messages(now, &self.peer, hold));
    }
}

impl Inbound {
    fn message(&mut self, connection: &Inner) -> Option<Vec<u8>> {
        let data = self.messages.pop_front()?;
        self.waiting -= data.len() + OVERHEAD;
        if self.held && self.waiting < INBOX / 2 {
            self.held = false;
            connection.hold(false);
        }
        Some(data)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({:?})", self.inner.peer)
    }
}
