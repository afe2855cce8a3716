//! Streams of the owners: opened by either, read and written as they please.

use bytes::Bytes;
use quinn_proto::{Connection, Dir, ReadError, StreamId, VarInt, WriteError};

use crate::table::Table;

use super::{OWNED, OwnedChange, Streams};

/// A stream cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamFault {
    /// There is no connection with that peer, or no longer.
    #[error("there is no connection with the peer")]
    NotConnected,
    /// The peer allows no more streams at present.
    #[error("the peer allows no more streams at present")]
    TooMany,
    /// The peer has broken it off, or it has ended.
    #[error("the stream has ended")]
    Ended,
}

/// What reading a stream gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadStream {
    /// Bytes, at least one.
    Data(Bytes),
    /// Nothing at present.
    Blocked,
    /// The peer has said all.
    End,
}

struct Halves {
    by_peer: bool,
    /// The byte that says what the stream is has still to be written.
    is_fresh: bool,
    sends: bool,
    receives: bool,
}

#[derive(Default)]
pub(super) struct Owned {
    streams: Table<StreamId, Halves>,
    /// How many of them the peer has opened.
    by_peer: usize,
}

impl Owned {
    pub fn contains(&self, id: StreamId) -> bool {
        self.streams.contains_key(&id)
    }

    /// The peer has all that was written.
    pub fn sent(&mut self, id: StreamId) {
        self.end(id, |halves| halves.sends = false);
    }

    fn end(&mut self, id: StreamId, change: impl FnOnce(&mut Halves)) {
        if let Some(halves) = self.streams.get_mut(&id) {
            change(halves);
            if !halves.sends && !halves.receives {
                self.by_peer -= usize::from(halves.by_peer);
                self.streams.remove(&id);
            }
        }
    }
}

impl Streams {
    /// The peer has opened a stream for its owner.
    pub(super) fn opened_by_peer(&mut self, connection: &mut Connection, id: StreamId) {
        if self.owned.by_peer >= self.sizes.streams {
            return self.refuse(connection, id);
        }
        self.owned.by_peer += 1;
        let halves = Halves { by_peer: true, is_fresh: false, sends: true, receives: true };
        self.owned.streams.insert(id, halves);
        self.change(id, OwnedChange::Opened);
    }

    /// Opens a stream for our owner.
    pub fn open_owned(&mut self, connection: &mut Connection) -> Result<StreamId, StreamFault> {
        let id = connection.streams().open(Dir::Bi).ok_or(StreamFault::TooMany)?;
        let halves = Halves { by_peer: false, is_fresh: true, sends: true, receives: true };
        self.owned.streams.insert(id, halves);
        // The peer shall know of it at once, if there is room; else with the first bytes.
        self.write_owned(connection, id, &[])?;
        Ok(id)
    }

    /// Writes as much as there is room for.
    pub fn write_owned(
        &mut self,
        connection: &mut Connection,
        id: StreamId,
        data: &[u8],
    ) -> Result<usize, StreamFault> {
        let halves = self.owned.streams.get_mut(&id).filter(|halves| halves.sends);
        let halves = halves.ok_or(StreamFault::Ended)?;
        let mut stream = connection.send_stream(id);
        if halves.is_fresh {
            match stream.write(&[OWNED]) {
                Ok(_) => halves.is_fresh = false,
                Err(WriteError::Blocked) => return Ok(0),
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return Err(StreamFault::Ended),
            }
        }
        if data.is_empty() {
            return Ok(0);
        }
        match stream.write(data) {
            Ok(written) => Ok(written),
            Err(WriteError::Blocked) => Ok(0),
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                self.reset_owned(connection, id);
                Err(StreamFault::Ended)
            }
        }
    }

    /// Says that all is written; false if that has to wait for room.
    pub fn finish_owned(&mut self, connection: &mut Connection, id: StreamId) -> Result<bool, StreamFault> {
        self.write_owned(connection, id, &[])?;
        if self.owned.streams.get(&id).is_some_and(|halves| halves.is_fresh) {
            return Ok(false);
        }
        connection.send_stream(id).finish().map_err(|_| StreamFault::Ended)?;
        Ok(true)
    }

    /// Reads at most `limit` bytes.
    pub fn read_owned(
        &mut self,
        connection: &mut Connection,
        id: StreamId,
        limit: usize,
    ) -> Result<ReadStream, StreamFault> {
        let halves = self.owned.streams.get(&id).ok_or(StreamFault::Ended)?;
        if !halves.receives {
            return Ok(ReadStream::End);
        }
        let mut stream = connection.recv_stream(id);
        let mut chunks = stream.read(true).map_err(|_| StreamFault::Ended)?;
        let read = match chunks.next(limit) {
            Ok(Some(chunk)) => Ok(ReadStream::Data(chunk.bytes)),
            Ok(None) => Ok(ReadStream::End),
            Err(ReadError::Blocked) => Ok(ReadStream::Blocked),
            Err(ReadError::Reset(_)) => Err(StreamFault::Ended),
        };
        // The caller polls for transmits in any case.
        let _ = chunks.finalize();
        if matches!(read, Ok(ReadStream::End) | Err(_)) {
            self.owned.end(id, |halves| halves.receives = false);
        }
        read
    }

    /// Breaks off what we send.
    pub fn reset_owned(&mut self, connection: &mut Connection, id: StreamId) {
        if self.owned.contains(id) {
            // It may have ended by itself.
            let _ = connection.send_stream(id).reset(VarInt::from_u32(0));
            self.owned.end(id, |halves| halves.sends = false);
        }
    }

    /// Wants no more of what the peer sends.
    pub fn stop_owned(&mut self, connection: &mut Connection, id: StreamId) {
        if self.owned.contains(id) {
            let _ = connection.recv_stream(id).stop(VarInt::from_u32(0));
            self.owned.end(id, |halves| halves.receives = false);
        }
    }
}
