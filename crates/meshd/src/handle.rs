//! Commands to a running node.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

use omerta_mesh_core::{Event, MessageId, Node, OwnedChange, OwnedStream, PeerId};
use tokio::sync::Notify;

/// Commands a running node, which goes on when all handles are dropped.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    node: Mutex<Node>,
    streams: Mutex<Streams>,
    id: PeerId,
    local: SocketAddr,
    quitting: AtomicBool,
    ended: AtomicBool,
    /// Has the driver look at the node.
    wanted: Notify,
    /// Streams were opened, or one more may be, or a connection has ended.
    news: Notify,
    stopped: Notify,
}

/// Who waits for what on streams.
#[derive(Default)]
struct Streams {
    waiting: HashMap<OwnedStream, Waiting>,
    /// Opened by peers, and taken by nobody yet.
    opened: VecDeque<OwnedStream>,
}

/// Those to be woken for one stream.
#[derive(Default)]
pub(crate) struct Waiting {
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
}

impl Handle {
    pub(crate) fn new(node: Node, local: SocketAddr) -> Self {
        Self(Arc::new(Shared {
            id: node.id(),
            node: Mutex::new(node),
            streams: Mutex::default(),
            local,
            quitting: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            wanted: Notify::new(),
            news: Notify::new(),
            stopped: Notify::new(),
        }))
    }

    /// Who the node is.
    pub fn id(&self) -> PeerId {
        self.0.id
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.0.local
    }

    /// Asks for a connection.
    pub fn connect(&self, peer: PeerId) {
        self.act(|node, now| node.connect(now, peer));
    }

    /// Sends a message: [`Event::Sent`] or [`Event::SendFailed`] follows.
    pub fn send(&self, peer: PeerId, data: Vec<u8>) -> MessageId {
        self.act(|node, now| node.send(now, peer, data))
    }

    /// Says goodbye to all peers and ends [`crate::Driver::run`].
    pub fn quit(&self) {
        self.0.quitting.store(true, Ordering::Release);
        self.0.wanted.notify_one();
    }

    /// Waits until the node has ended.
    pub async fn ended(&self) {
        loop {
            let stopped = self.0.stopped.notified();
            tokio::pin!(stopped);
            stopped.as_mut().enable();
            if self.0.ended.load(Ordering::Acquire) {
                return;
            }
            stopped.await;
        }
    }

    /// Has the node do something now.
    pub fn act<T>(&self, action: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let done = self.move_on(|node| action(node, Instant::now()));
        self.0.wanted.notify_one();
        done
    }

    /// Looks at the node.
    pub fn look<T>(&self, look: impl FnOnce(&Node) -> T) -> T {
        look(&self.0.node.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Like [`Self::act`], for the driver, which looks at the node in any case.
    pub(crate) fn move_on<T>(&self, action: impl FnOnce(&mut Node) -> T) -> T {
        action(&mut self.0.node.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_quitting(&self) -> bool {
        self.0.quitting.load(Ordering::Acquire)
    }

    pub(crate) async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// The driver has ended.
    pub(crate) fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.stopped.notify_waiters();
        let mut streams = self.streams();
        streams.opened.clear();
        for waiting in std::mem::take(&mut streams.waiting).into_values() {
            waiting.wake();
        }
        drop(streams);
        self.0.news.notify_waiters();
    }

    /// Wakes those that wait for what has changed on streams.
    pub(crate) fn tell_streams(&self) {
        let changes: Vec<_> = self.move_on(|node| std::iter::from_fn(|| node.poll_stream()).collect());
        if changes.is_empty() {
            return;
        }
        let mut streams = self.streams();
        let mut news = false;
        for (stream, change) in changes {
            let waiting = streams.waiting.get_mut(&stream);
            match change {
                OwnedChange::Opened => {
                    streams.opened.push_back(stream);
                    news = true;
                }
                OwnedChange::Available => news = true,
                OwnedChange::Readable => {
                    waiting.and_then(|waiting| waiting.reader.take()).into_iter().for_each(Waker::wake);
                }
                OwnedChange::Writable => {
                    waiting.and_then(|waiting| waiting.writer.take()).into_iter().for_each(Waker::wake);
                }
            }
        }
        drop(streams);
        if news {
            self.0.news.notify_waiters();
        }
    }

    /// A connection has ended, and all its streams.
    pub(crate) fn end_streams(&self, peer: &PeerId) {
        let mut streams = self.streams();
        streams.opened.retain(|stream| stream.peer != *peer);
        let ended: Vec<OwnedStream> =
            streams.waiting.keys().filter(|stream| stream.peer == *peer).copied().collect();
        for stream in ended {
            streams.waiting.remove(&stream).into_iter().for_each(Waiting::wake);
        }
        drop(streams);
        self.0.news.notify_waiters();
    }

    /// Notes who is to be woken for a stream. To be called before looking whether there is something.
    pub(crate) fn wait_for(&self, stream: OwnedStream, note: impl FnOnce(&mut Waiting)) {
        note(self.streams().waiting.entry(stream).or_default());
    }

    pub(crate) fn wait_no_more(&self, stream: &OwnedStream) {
        self.streams().waiting.remove(stream);
    }

    /// The next stream that `peer` has opened.
    pub(crate) fn take_opened(&self, peer: &PeerId) -> Option<OwnedStream> {
        let mut streams = self.streams();
        let at = streams.opened.iter().position(|stream| stream.peer == *peer)?;
        streams.opened.remove(at)
    }

    /// Waits until `look` finds something, looking again after each news of streams.
    pub(crate) async fn on_news<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let news = self.0.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            news.await;
        }
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn wake(self) {
        self.reader.into_iter().chain(self.writer).for_each(Waker::wake);
    }
}

/// Not a part of what an application needs to see, but of what it may want to print.
impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({:?} on {})", self.0.id, self.0.local)
    }
}

/// Whether an event is one that a connection hands out itself.
pub(crate) fn is_data(event: &Event) -> bool {
    matches!(event, Event::MessageReceived { .. } | Event::DatagramReceived { .. })
}
