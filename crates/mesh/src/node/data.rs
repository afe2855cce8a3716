//! What the owners send each other: messages, datagrams and streams.

use std::time::Instant;

use bytes::Bytes;

use crate::control::{Reply, Request};
use crate::event::{Event, MessageId};
use crate::identity::PeerId;
use crate::quic::{
    DatagramFault, Loss, OwnedChange, OwnedStream, QuicEvent, ReadStream, StreamEvent, StreamFault,
};

use super::{Node, Pending};

impl Node {
    /// Sends a message to a peer that is connected or being connected to. Messages arrive in the order in which they
    /// were sent, whole, and none arrives twice; [`Event::Sent`] or [`Event::SendFailed`] follows.
    pub fn send(&mut self, now: Instant, peer: PeerId, data: impl Into<Bytes>) -> MessageId {
        let data = data.into();
        let message = MessageId(self.next_message);
        self.next_message += 1;
        self.is_stirred = false;
        let letter = self.messages.insert(self.life, peer, message, &data);
        self.send_or_queue(now, peer, message, letter);
        self.drive(now);
        message
    }

    /// Takes no messages from `peer` for now, so that it has to wait, or takes them again. For owners that cannot keep up.
    pub fn hold_messages(&mut self, now: Instant, peer: &PeerId, hold: bool) {
        self.is_stirred = false;
        self.quic.hold(now, peer, hold);
        self.drive(now);
    }

    /// Sends a datagram, which arrives once or not at all.
    pub fn send_datagram(
        &mut self,
        now: Instant,
        peer: &PeerId,
        data: impl Into<Bytes>,
    ) -> Result<(), DatagramFault> {
        self.is_stirred = false;
        self.quic.send_datagram(now, peer, data.into())?;
        self.drive(now);
        Ok(())
    }

    /// How long a datagram to `peer` may be, if there is a connection and the peer takes any.
    pub fn max_datagram(&mut self, peer: &PeerId) -> Option<usize> {
        self.quic.max_datagram(peer)
    }

    /// Opens a stream to a connected peer. The peer's [`Self::poll_stream`] tells of it.
    pub fn open_stream(&mut self, now: Instant, peer: &PeerId) -> Result<OwnedStream, StreamFault> {
        let stream = self.quic.open_stream(now, peer)?;
        self.drive(now);
        Ok(stream)
    }

    /// Writes as much as there is room for; of more, [`OwnedChange::Writable`] tells.
    pub fn write_stream(
        &mut self,
        now: Instant,
        stream: OwnedStream,
        data: &[u8],
    ) -> Result<usize, StreamFault> {
        let written = self.quic.write_stream(now, stream, data);
        self.drive(now);
        written
    }

    /// Says that all is written; false if there is no room even for that yet.
    pub fn finish_stream(&mut self, now: Instant, stream: OwnedStream) -> Result<bool, StreamFault> {
        let finished = self.quic.finish_stream(now, stream);
        self.drive(now);
        finished
    }

    /// Reads at most `limit` bytes; of more, [`OwnedChange::Readable`] tells.
    pub fn read_stream(
        &mut self,
        now: Instant,
        stream: OwnedStream,
        limit: usize,
    ) -> Result<ReadStream, StreamFault> {
        let read = self.quic.read_stream(now, stream, limit);
        self.drive(now);
        read
    }

    /// Wants no more of a stream. What was written of one that was not `finished` may not arrive.
    pub fn drop_stream(&mut self, now: Instant, stream: OwnedStream, finished: bool) {
        self.quic.drop_stream(now, stream, finished);
        self.drive(now);
    }

    /// The next change of a stream.
    pub fn poll_stream(&mut self) -> Option<(OwnedStream, OwnedChange)> {
        self.streams.pop_front()
    }

    /// Asks a connected peer whether it is there: [`Event::PingAnswered`] follows. False without a connection.
    pub fn ping(&mut self, now: Instant, peer: PeerId) -> bool {
        let connected = self.quic.is_connected(&peer);
        if connected {
            self.ask(now, peer, &Request::Ping, Pending::Ping { since: now });
            self.drive(now);
        }
        connected
    }

    pub(super) fn handle_pong(&mut self, now: Instant, peer: PeerId, since: Instant, reply: &Reply) {
        // Nobody answers with anything else; a connection that ends tells so itself.
        if *reply == Reply::Pong {
            let took = now.saturating_duration_since(since);
            self.events.push_back(Event::PingAnswered { peer, took, path: self.received_by(&peer) });
        }
    }

    /// Ends the connection with `peer`, with a goodbye.
    pub fn disconnect(&mut self, now: Instant, peer: &PeerId) {
        if self.quic.has_connection(peer) {
            self.quic.close(now, peer, b"goodbye");
            // Afterwards nobody knows the way.
            self.send_packets(now);
            self.handle_lost(now, *peer, Loss::Ended("this node has ended it".to_owned()));
        }
        self.drive(now);
    }

    pub(super) fn handle_quic(&mut self, now: Instant, event: QuicEvent) {
        self.is_stirred |= !event.is_data();
        match event {
            QuicEvent::Connected(peer) => self.handle_connected(now, peer),
            QuicEvent::Lost(peer, loss) => self.handle_lost(now, peer, loss),
            QuicEvent::Stream(peer, event) => self.handle_stream(now, peer, event),
            QuicEvent::Owned(stream, change) => self.streams.push_back((stream, change)),
            QuicEvent::Datagram(peer, data) => {
                let path = self.received_by(&peer);
                self.events.push_back(Event::DatagramReceived { peer, data: data.into(), path });
            }
        }
    }

    /// What the streams say of our owner's messages.
    pub(super) fn handle_message(&mut self, now: Instant, peer: PeerId, event: StreamEvent) {
        match event {
            StreamEvent::Message(data) => {
                let path = self.received_by(&peer);
                match self.received.take(peer, data) {
                    Ok(Some(data)) => self.events.push_back(Event::MessageReceived { peer, data, path }),
                    Ok(None) => {}
                    Err(why) => self.handle_message(now, peer, StreamEvent::Faulty(why)),
                }
            }
            StreamEvent::Faulty(why) => {
                if let Some(path) = self.peers.get(&peer).and_then(|peer| peer.direct) {
                    self.reject(now, "Message", why, path.remote);
                }
            }
            StreamEvent::Delivered(tag) => {
                let path = self.sent_by(&peer);
                let done = self.messages.arrived(peer, MessageId(tag));
                let sent =
                    done.into_iter().map(|(message, bytes)| Event::Sent { peer, message, bytes, path });
                self.events.extend(sent);
            }
            StreamEvent::Refused(tag) => self.fail_message(peer, MessageId(tag), "the peer refused it"),
            _ => {}
        }
    }

    pub(super) fn send_or_queue(&mut self, now: Instant, peer: PeerId, message: MessageId, data: Bytes) {
        let is_connected = self.quic.is_connected(&peer);
        // What waits goes first.
        let waits = |contact: &&mut super::contact::Contact| {
            !is_connected || !contact.connected && !contact.outbox.is_empty()
        };
        if let Some(contact) = self.contact(&peer).filter(waits) {
            contact.outbox.push((message, data));
        } else if is_connected {
            self.quic.send_message(now, &peer, data, message.0);
        } else {
            self.fail_message(peer, message, "not connected; connect first");
        }
    }

    pub(super) fn fail_message(&mut self, peer: PeerId, message: MessageId, reason: &str) {
        if self.messages.remove(peer, message) {
            self.events.push_back(Event::SendFailed { peer, message, reason: reason.to_owned() });
        }
    }
}
