//! What the owners send each other over a connection, besides messages.

use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{ConnectionHandle, SendDatagramError, StreamId};

use crate::identity::PeerId;

use super::streams::{ReadStream, StreamFault};
use super::{Quic, Slot};

/// A stream between two owners, as one side names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnedStream {
    /// With whom.
    pub peer: PeerId,
    /// On which of the connections that there were with the peer.
    pub(super) connection: u64,
    pub(super) id: StreamId,
}

/// A datagram cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatagramFault {
    /// There is no connection with that peer.
    #[error("there is no connection with the peer")]
    NotConnected,
    /// The peer takes none.
    #[error("the peer takes no datagrams")]
    Refused,
    /// More than goes into one packet.
    #[error("a datagram to this peer has at most {0} bytes")]
    TooLong(usize),
}

impl Quic {
    /// Sends a datagram to the peer's owner, perhaps in vain.
    pub fn send_datagram(&mut self, now: Instant, peer: &PeerId, data: Bytes) -> Result<(), DatagramFault> {
        let (handle, slot) = self.slot(peer).ok_or(DatagramFault::NotConnected)?;
        if slot.established.is_none() {
            return Err(DatagramFault::NotConnected);
        }
        let mut datagrams = slot.connection.datagrams();
        let longest = datagrams.max_size().unwrap_or(0);
        datagrams.send(data, true).map_err(|error| match error {
            SendDatagramError::TooLarge => DatagramFault::TooLong(longest),
            _ => DatagramFault::Refused,
        })?;
        self.drive(now, handle);
        Ok(())
    }

    /// How long a datagram may be, if the peer takes any.
    pub fn max_datagram(&mut self, peer: &PeerId) -> Option<usize> {
        let (_, slot) = self.slot(peer)?;
        slot.connection.datagrams().max_size()
    }

    /// Takes no messages from `peer` for now, or takes them again.
    pub fn hold(&mut self, now: Instant, peer: &PeerId, hold: bool) {
        if let Some((handle, slot)) = self.slot(peer) {
            slot.streams.hold(&mut slot.connection, hold);
            self.drive(now, handle);
        }
    }

    /// Opens a stream for our owner.
    pub fn open_stream(&mut self, now: Instant, peer: &PeerId) -> Result<OwnedStream, StreamFault> {
        let (handle, slot) = self.slot(peer).ok_or(StreamFault::NotConnected)?;
        if slot.established.is_none() {
            return Err(StreamFault::NotConnected);
        }
        let id = slot.streams.open_owned(&mut slot.connection)?;
        let stream = OwnedStream { peer: *peer, connection: slot.number, id };
        self.drive(now, handle);
        Ok(stream)
    }

    /// Writes as much as there is room for.
    pub fn write_stream(
        &mut self,
        now: Instant,
        stream: OwnedStream,
        data: &[u8],
    ) -> Result<usize, StreamFault> {
        let (handle, slot) = self.slot_of(stream)?;
        let written = slot.streams.write_owned(&mut slot.connection, stream.id, data);
        self.drive(now, handle);
        written
    }

    /// Says that all is written; false if that has to wait for room.
    pub fn finish_stream(&mut self, now: Instant, stream: OwnedStream) -> Result<bool, StreamFault> {
        let (handle, slot) = self.slot_of(stream)?;
        let finished = slot.streams.finish_owned(&mut slot.connection, stream.id);
        self.drive(now, handle);
        finished
    }

    /// Reads at most `limit` bytes.
    pub fn read_stream(
        &mut self,
        now: Instant,
        stream: OwnedStream,
        limit: usize,
    ) -> Result<ReadStream, StreamFault> {
        let (handle, slot) = self.slot_of(stream)?;
        let read = slot.streams.read_owned(&mut slot.connection, stream.id, limit);
        self.drive(now, handle);
        read
    }

    /// Breaks off both directions, where they have not ended.
    pub fn drop_stream(&mut self, now: Instant, stream: OwnedStream, finished: bool) {
        if let Ok((handle, slot)) = self.slot_of(stream) {
            if !finished {
                slot.streams.reset_owned(&mut slot.connection, stream.id);
            }
            slot.streams.stop_owned(&mut slot.connection, stream.id);
            self.drive(now, handle);
        }
    }

    /// The slot of a stream, unless its connection is gone.
    fn slot_of(&mut self, stream: OwnedStream) -> Result<(ConnectionHandle, &mut Slot), StreamFault> {
        let (handle, slot) = self.slot(&stream.peer).ok_or(StreamFault::NotConnected)?;
        match slot.number == stream.connection {
            true => Ok((handle, slot)),
            false => Err(StreamFault::NotConnected),
        }
    }
}
