//! What the streams of one connection carry: notices, messages, requests and the owners' own streams.
//!
//! The first byte of a stream says what it is. A notice is a unidirectional stream of its own. So is a message, or several
//! short ones where the sender had to wait; these streams are numbered, so that messages arrive in their order and none
//! arrives twice, whatever their streams do. A request is a bidirectional stream: the question and its end, the answer and
//! its end. What a stream of the owners carries is theirs alone.

mod messages;
mod owned;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use quinn_proto::{Connection, Dir, ReadError, StreamId, VarInt, WriteError};

use crate::table::Table;

use messages::{Batch, Inbound};
use owned::Owned;
pub use owned::{ReadStream, StreamFault};

/// Begins a unidirectional stream with a notice.
const NOTICE: u8 = 0;
/// Begins a unidirectional stream with messages.
const MESSAGES: u8 = 1;
/// Begins a bidirectional stream with a request.
const REQUEST: u8 = 2;
/// Begins a bidirectional stream of the owners.
const OWNED: u8 = 3;

/// Longest request, answer or notice.
const MAX_CONTROL: usize = 64 << 10;
/// Bytes of a whole message read before its stream is told that it may send more.
const CHUNK: usize = 64 << 10;
/// Control goes before data.
const CONTROL_PRIORITY: i32 = 1;

/// Names a request of ours on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestId(pub u64);

/// The stream of a request from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamRef(StreamId);

#[cfg(test)]
impl StreamRef {
    /// Some stream, which need not be open.
    pub fn any() -> Self {
        Self(StreamId::new(quinn_proto::Side::Client, quinn_proto::Dir::Bi, 0))
    }
}

/// What happened on the streams.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// Said without an answer.
    Notice(Vec<u8>),
    /// A whole message has arrived, and all before it.
    Message(Vec<u8>),
    /// The peer does not keep to the rules of messages.
    Faulty(&'static str),
    /// The peer asks.
    Request(StreamRef, Vec<u8>),
    /// The answer to a request of ours; `None` if it was refused.
    Answer(RequestId, Option<Vec<u8>>),
    /// The peer has all of the message with this tag.
    Delivered(u64),
    /// The peer did not want the message with this tag.
    Refused(u64),
    /// Something about an owners' stream.
    Owned(StreamId, OwnedChange),
}

/// What happened to an owners' stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnedChange {
    /// The peer has opened it.
    Opened,
    /// There is something to read, if only the end.
    Readable,
    /// There is room to write, or it is known that there never will be.
    Writable,
    /// One more may be opened. The stream that it comes with means nothing.
    Available,
}

/// Sizes of what is held for one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Longest message, and all together that are not whole or wait for an earlier one.
    pub message: usize,
    /// Owners' streams that the peer may have open.
    pub streams: usize,
}

enum Purpose {
    Notice,
    /// With the tags of those whose owner wants to know.
    Messages(Vec<u64>),
    Request(RequestId),
    Answer,
}

struct Outgoing {
    purpose: Purpose,
    parts: Vec<Bytes>,
}

struct Incoming {
    /// A request of ours, to which this is the answer.
    answer_to: Option<RequestId>,
    /// The first byte, where there is one.
    begins: Option<u8>,
    data: Vec<u8>,
}

impl Incoming {
    fn new(answer_to: Option<RequestId>) -> Self {
        Self { answer_to, begins: None, data: Vec::new() }
    }
}

/// The streams of one connection.
pub(super) struct Streams {
    sizes: Sizes,
    next_request: u64,
    /// What waits for the peer to allow more streams.
    waiting: VecDeque<(Dir, Outgoing)>,
    /// Messages that wait, too: they share a stream when one can be had.
    unsent: VecDeque<(u64, Bytes)>,
    next_batch: u64,
    outgoing: Table<StreamId, Outgoing>,
    incoming: Table<StreamId, Incoming>,
    inbound: Inbound,
    /// Bytes of messages that are not whole yet.
    buffered: usize,
    /// Streams with messages that are not read now, because the owner cannot take more.
    held: Option<BTreeSet<StreamId>>,
    owned: Owned,
    events: VecDeque<StreamEvent>,
}

impl Streams {
    pub fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            next_request: 0,
            waiting: VecDeque::new(),
            unsent: VecDeque::new(),
            next_batch: 0,
            outgoing: Table::default(),
            incoming: Table::default(),
            inbound: Inbound::default(),
            buffered: 0,
            held: None,
            owned: Owned::default(),
            events: VecDeque::new(),
        }
    }

    pub fn notify(&mut self, connection: &mut Connection, notice: Vec<u8>) {
        let parts = vec![Bytes::from_static(&[NOTICE]), notice.into()];
        self.waiting.push_back((Dir::Uni, Outgoing { purpose: Purpose::Notice, parts }));
        self.open_waiting(connection);
    }

    pub fn send_message(&mut self, connection: &mut Connection, data: Bytes, tag: u64) {
        self.unsent.push_back((tag, data));
        self.open_waiting(connection);
    }

    pub fn request(&mut self, connection: &mut Connection, body: Vec<u8>) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let parts = vec![Bytes::from_static(&[REQUEST]), body.into()];
        self.waiting.push_back((Dir::Bi, Outgoing { purpose: Purpose::Request(id), parts }));
        self.open_waiting(connection);
        id
    }

    pub fn respond(&mut self, connection: &mut Connection, to: StreamRef, body: Vec<u8>) {
        let outgoing = Outgoing { purpose: Purpose::Answer, parts: vec![body.into()] };
        self.outgoing.insert(to.0, outgoing);
        self.write(connection, to.0);
    }

    /// Stops reading messages, so that the peer has to wait, or goes on.
    pub fn hold(&mut self, connection: &mut Connection, hold: bool) {
        match (hold, self.held.take()) {
            (true, held) => self.held = Some(held.unwrap_or_default()),
            (false, held) => held.into_iter().flatten().for_each(|id| self.read(connection, id)),
        }
    }

    pub fn handle_event(&mut self, connection: &mut Connection, event: quinn_proto::StreamEvent) {
        match event {
            quinn_proto::StreamEvent::Opened { dir } => {
                while let Some(id) = connection.streams().accept(dir) {
                    self.incoming.insert(id, Incoming::new(None));
                    self.read(connection, id);
                }
            }
            quinn_proto::StreamEvent::Readable { id } if self.owned.contains(id) => {
                self.change(id, OwnedChange::Readable);
            }
            quinn_proto::StreamEvent::Readable { id } => self.read(connection, id),
            quinn_proto::StreamEvent::Writable { id } if self.owned.contains(id) => {
                self.change(id, OwnedChange::Writable);
            }
            quinn_proto::StreamEvent::Writable { id } => self.write(connection, id),
            quinn_proto::StreamEvent::Available { dir } => {
                self.open_waiting(connection);
                if dir == Dir::Bi {
                    self.change(StreamId::new(connection.side(), dir, 0), OwnedChange::Available);
                }
            }
            quinn_proto::StreamEvent::Finished { id } if self.owned.contains(id) => {
                self.owned.sent(id);
                self.change(id, OwnedChange::Writable);
            }
            quinn_proto::StreamEvent::Finished { id } => {
                if let Some(outgoing) = self.outgoing.remove(&id)
                    && let Purpose::Messages(tags) = outgoing.purpose
                {
                    self.events.extend(tags.into_iter().map(StreamEvent::Delivered));
                }
            }
            quinn_proto::StreamEvent::Stopped { id, .. } if self.owned.contains(id) => {
                self.change(id, OwnedChange::Writable);
            }
            quinn_proto::StreamEvent::Stopped { id, .. } => self.refused(connection, id),
        }
    }

    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    fn change(&mut self, id: StreamId, change: OwnedChange) {
        self.events.push_back(StreamEvent::Owned(id, change));
    }

    fn open_waiting(&mut self, connection: &mut Connection) {
        let mut blocked = VecDeque::new();
        while let Some((dir, outgoing)) = self.waiting.pop_front() {
            let Some(id) = connection.streams().open(dir) else {
                blocked.push_back((dir, outgoing));
                continue;
            };
            // It is new, so it is there.
            let _ = connection.send_stream(id).set_priority(CONTROL_PRIORITY);
            if let Purpose::Request(request) = outgoing.purpose {
                self.incoming.insert(id, Incoming::new(Some(request)));
            }
            self.outgoing.insert(id, outgoing);
            self.write(connection, id);
        }
        self.waiting = blocked;
        while !self.unsent.is_empty()
            && let Some(id) = connection.streams().open(Dir::Uni)
        {
            let Batch { tags, parts } = Batch::take(&mut self.unsent, self.next_batch);
            self.next_batch += 1;
            self.outgoing.insert(id, Outgoing { purpose: Purpose::Messages(tags), parts });
            self.write(connection, id);
        }
    }

    fn write(&mut self, connection: &mut Connection, id: StreamId) {
        let Some(outgoing) = self.outgoing.get_mut(&id) else {
            return;
        };
        let mut stream = connection.send_stream(id);
        while !outgoing.parts.is_empty() {
            match stream.write_chunks(&mut outgoing.parts) {
                Ok(written) => {
                    outgoing.parts.drain(..written.chunks);
                }
                Err(WriteError::Blocked) => return,
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                    self.refused(connection, id);
                    return;
                }
            }
        }
        if stream.finish().is_err() {
            self.refused(connection, id);
        }
    }

    fn refused(&mut self, connection: &mut Connection, id: StreamId) {
        // The stream may be gone already.
        let _ = connection.send_stream(id).reset(VarInt::from_u32(0));
        match self.outgoing.remove(&id).map(|outgoing| outgoing.purpose) {
            Some(Purpose::Messages(tags)) => {
                self.events.extend(tags.into_iter().map(StreamEvent::Refused));
            }
            Some(Purpose::Request(request)) => {
                self.incoming.remove(&id);
                self.events.push_back(StreamEvent::Answer(request, None));
            }
            _ => {}
        }
    }

    fn read(&mut self, connection: &mut Connection, id: StreamId) {
        let Some(incoming) = self.incoming.get_mut(&id) else {
            return;
        };
        if incoming.answer_to.is_none() && incoming.begins.is_none() {
            match read_byte(connection, id) {
                First::Byte(OWNED) if id.dir() == Dir::Bi => {
                    self.incoming.remove(&id);
                    return self.opened_by_peer(connection, id);
                }
                First::Byte(byte) => incoming.begins = Some(byte),
                First::Blocked => return,
                First::None => {
                    self.incoming.remove(&id);
                    return self.refuse(connection, id);
                }
            }
        }
        let begins = incoming.begins;
        let limit = match (begins, id.dir()) {
            (Some(MESSAGES), Dir::Uni) => {
                if let Some(held) = &mut self.held {
                    held.insert(id);
                    return;
                }
                // All unfinished messages together may be as long as the longest one.
                let others = self.buffered - incoming.data.len() + self.inbound.waiting();
                (self.sizes.message + messages::HEAD).saturating_sub(others)
            }
            _ => MAX_CONTROL,
        };
        let before = incoming.data.len();
        let outcome = read_to(connection, id, &mut incoming.data, limit);
        if begins == Some(MESSAGES) {
            self.buffered = self.buffered + incoming.data.len() - before;
        }
        if matches!(outcome, Outcome::Blocked) {
            return;
        }
        let Some(Incoming { answer_to, data, .. }) = self.incoming.remove(&id) else {
            return;
        };
        if begins == Some(MESSAGES) {
            self.buffered -= data.len();
        }
        let is_whole = matches!(outcome, Outcome::Whole);
        if !is_whole {
            let _ = connection.recv_stream(id).stop(VarInt::from_u32(0));
        }
        match (answer_to, begins, id.dir()) {
            (Some(request), ..) => {
                self.events.push_back(StreamEvent::Answer(request, is_whole.then_some(data)));
            }
            (None, Some(MESSAGES), Dir::Uni) => self.take_messages(is_whole, data),
            (None, Some(NOTICE), Dir::Uni) if is_whole => self.events.push_back(StreamEvent::Notice(data)),
            (None, Some(REQUEST), Dir::Bi) if is_whole => {
                self.events.push_back(StreamEvent::Request(StreamRef(id), data));
            }
            (None, _, Dir::Bi) => self.refuse(connection, id),
            (None, _, Dir::Uni) => {}
        }
    }

    fn take_messages(&mut self, is_whole: bool, data: Vec<u8>) {
        match self.inbound.take(is_whole, data, self.sizes.message) {
            Ok(()) => {
                while let Some(message) = self.inbound.next() {
                    self.events.push_back(StreamEvent::Message(message));
                }
            }
            Err(fault) => self.events.push_back(StreamEvent::Faulty(fault)),
        }
    }

    /// Wants nothing of what the peer has opened.
    fn refuse(&mut self, connection: &mut Connection, id: StreamId) {
        // Either half may have ended already.
        let _ = connection.recv_stream(id).stop(VarInt::from_u32(0));
        if id.dir() == Dir::Bi {
            let _ = connection.send_stream(id).reset(VarInt::from_u32(0));
        }
    }
}

enum First {
    Byte(u8),
    Blocked,
    None,
}

fn read_byte(connection: &mut Connection, id: StreamId) -> First {
    let mut stream = connection.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else {
        return First::None;
    };
    let first = match chunks.next(1) {
        Ok(Some(chunk)) => chunk.bytes.first().map_or(First::Blocked, |byte| First::Byte(*byte)),
        Err(ReadError::Blocked) => First::Blocked,
        Ok(None) | Err(ReadError::Reset(_)) => First::None,
    };
    // The caller polls for transmits in any case.
    let _ = chunks.finalize();
    first
}

enum Outcome {
    Blocked,
    Whole,
    Broken,
}

/// Reads what there is, as long as `data` does not become longer than `limit`.
fn read_to(connection: &mut Connection, id: StreamId, data: &mut Vec<u8>, limit: usize) -> Outcome {
    let mut stream = connection.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else {
        return Outcome::Broken;
    };
    let outcome = loop {
        match chunks.next(CHUNK) {
            Ok(Some(chunk)) if data.len() + chunk.bytes.len() > limit => break Outcome::Broken,
            Ok(Some(chunk)) => data.extend_from_slice(&chunk.bytes),
            Ok(None) => break Outcome::Whole,
            Err(ReadError::Blocked) => break Outcome::Blocked,
            Err(ReadError::Reset(_)) => break Outcome::Broken,
        }
    };
    // The caller polls for transmits in any case.
    let _ = chunks.finalize();
    outcome
}
