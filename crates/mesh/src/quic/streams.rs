//! Messages and requests over the streams of one connection.
//!
//! A message is a unidirectional stream of its own. A request is a bidirectional one: the question and its end, the
//! answer and its end.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn_proto::{Connection, Dir, ReadError, StreamId, VarInt, WriteError};

use crate::table::Table;

/// Longest request or answer.
const MAX_CONTROL: usize = 64 << 10;
/// Bytes of a whole message read before its stream is told that it may send more.
const CHUNK: usize = 64 << 10;

/// Names a request of ours on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestId(pub u64);

/// The stream of a request from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamRef(StreamId);

/// What happened on the streams.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// A whole message has arrived.
    Message(Vec<u8>),
    /// The peer asks.
    Request(StreamRef, Vec<u8>),
    /// The answer to a request of ours; `None` if it was refused.
    Answer(RequestId, Option<Vec<u8>>),
    /// The peer has all of the message with this tag.
    Delivered(u64),
    /// The peer did not want the message with this tag.
    Refused(u64),
}

enum Purpose {
    Message(Option<u64>),
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
    data: Vec<u8>,
}

/// The streams of one connection.
pub(super) struct Streams {
    max_message: usize,
    next_request: u64,
    waiting: VecDeque<(Dir, Outgoing)>,
    outgoing: Table<StreamId, Outgoing>,
    incoming: Table<StreamId, Incoming>,
    /// Bytes of messages that are not whole yet.
    buffered: usize,
    events: VecDeque<StreamEvent>,
}

impl Streams {
    pub fn new(max_message: usize) -> Self {
        Self {
            max_message,
            next_request: 0,
            waiting: VecDeque::new(),
            outgoing: Table::default(),
            incoming: Table::default(),
            buffered: 0,
            events: VecDeque::new(),
        }
    }

    pub fn send_message(&mut self, connection: &mut Connection, parts: [Bytes; 2], tag: Option<u64>) {
        let outgoing = Outgoing { purpose: Purpose::Message(tag), parts: parts.into() };
        self.waiting.push_back((Dir::Uni, outgoing));
        self.open_waiting(connection);
    }

    pub fn request(&mut self, connection: &mut Connection, body: Vec<u8>) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let outgoing = Outgoing { purpose: Purpose::Request(id), parts: vec![body.into()] };
        self.waiting.push_back((Dir::Bi, outgoing));
        self.open_waiting(connection);
        id
    }

    pub fn respond(&mut self, connection: &mut Connection, to: StreamRef, body: Vec<u8>) {
        let outgoing = Outgoing { purpose: Purpose::Answer, parts: vec![body.into()] };
        self.outgoing.insert(to.0, outgoing);
        self.write(connection, to.0);
    }

    pub fn handle_event(&mut self, connection: &mut Connection, event: quinn_proto::StreamEvent) {
        match event {
            quinn_proto::StreamEvent::Opened { dir } => {
                while let Some(id) = connection.streams().accept(dir) {
                    self.incoming.insert(id, Incoming { answer_to: None, data: Vec::new() });
                    self.read(connection, id);
                }
            }
            quinn_proto::StreamEvent::Readable { id } => self.read(connection, id),
            quinn_proto::StreamEvent::Writable { id } => self.write(connection, id),
            quinn_proto::StreamEvent::Available { .. } => self.open_waiting(connection),
            quinn_proto::StreamEvent::Finished { id } => {
                if let Some(outgoing) = self.outgoing.remove(&id)
                    && let Purpose::Message(Some(tag)) = outgoing.purpose
                {
                    self.events.push_back(StreamEvent::Delivered(tag));
                }
            }
            quinn_proto::StreamEvent::Stopped { id, .. } => self.refused(connection, id),
        }
    }

    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    fn open_waiting(&mut self, connection: &mut Connection) {
        let mut blocked = VecDeque::new();
        while let Some((dir, outgoing)) = self.waiting.pop_front() {
            let Some(id) = connection.streams().open(dir) else {
                blocked.push_back((dir, outgoing));
                continue;
            };
            if let Purpose::Request(request) = outgoing.purpose {
                self.incoming.insert(id, Incoming { answer_to: Some(request), data: Vec::new() });
            }
            self.outgoing.insert(id, outgoing);
            self.write(connection, id);
        }
        self.waiting = blocked;
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
            Some(Purpose::Message(Some(tag))) => self.events.push_back(StreamEvent::Refused(tag)),
            Some(Purpose::Request(request)) => {
                if let Some(incoming) = self.incoming.remove(&id) {
                    self.buffered -= incoming.data.len();
                }
                self.events.push_back(StreamEvent::Answer(request, None));
            }
            _ => {}
        }
    }

    fn read(&mut self, connection: &mut Connection, id: StreamId) {
        let Some(incoming) = self.incoming.get_mut(&id) else {
            return;
        };
        // All unfinished messages together may be as long as the longest one.
        let others = self.buffered - incoming.data.len();
        let limit = match id.dir() {
            Dir::Uni => self.max_message.saturating_sub(others),
            Dir::Bi => MAX_CONTROL,
        };
        enum Outcome {
            Blocked,
            Whole,
            Broken,
        }
        let mut stream = connection.recv_stream(id);
        let outcome = match stream.read(true) {
            Err(_) => Outcome::Broken,
            Ok(mut chunks) => {
                let outcome = loop {
                    match chunks.next(CHUNK) {
                        Ok(Some(chunk)) if incoming.data.len() + chunk.bytes.len() > limit => {
                            break Outcome::Broken;
                        }
                        Ok(Some(chunk)) => incoming.data.extend_from_slice(&chunk.bytes),
                        Ok(None) => break Outcome::Whole,
                        Err(ReadError::Blocked) => break Outcome::Blocked,
                        Err(ReadError::Reset(_)) => break Outcome::Broken,
                    }
                };
                // The caller polls for transmits in any case.
                let _ = chunks.finalize();
                outcome
            }
        };
        self.buffered = match outcome {
            Outcome::Blocked => others + incoming.data.len(),
            Outcome::Whole | Outcome::Broken => others,
        };
        let event = match outcome {
            Outcome::Blocked => return,
            Outcome::Broken => {
                let _ = connection.recv_stream(id).stop(VarInt::from_u32(0));
                self.incoming
                    .remove(&id)
                    .and_then(|incoming| incoming.answer_to)
                    .map(|request| StreamEvent::Answer(request, None))
            }
            Outcome::Whole => {
                self.incoming.remove(&id).map(|incoming| match (incoming.answer_to, id.dir()) {
                    (Some(request), _) => StreamEvent::Answer(request, Some(incoming.data)),
                    (None, Dir::Bi) => StreamEvent::Request(StreamRef(id), incoming.data),
                    (None, Dir::Uni) => StreamEvent::Message(incoming.data),
                })
            }
        };
        self.events.extend(event);
    }
}
