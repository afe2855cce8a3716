//! Bare datagrams: opened, handed to whom they concern, refused where they are nothing; and sealed on their way out.

use std::net::SocketAddr;
use std::time::Instant;

use minicbor::Encode;

use crate::announce::encoded;
use crate::coordination::Coordination;
use crate::event::Event;
use crate::identity::PeerId;
use crate::lookup::LookupMessage;
use crate::net::{Path, Transmit};
use crate::wire::{Kind as DatagramKind, OpenError, claimed_sender};

use super::Node;

impl Node {
    pub(super) fn handle_sealed(&mut self, now: Instant, path: Path, kind: DatagramKind, datagram: &[u8]) {
        let known = claimed_sender(datagram).is_some_and(|sender| self.sealer.knows(&sender));
        if !known && !self.strangers.take(now) {
            self.reject(now, kind, "too many unknown senders", path.remote);
            return;
        }
        let (peer, body) = match self.sealer.open(datagram) {
            Ok(opened) => opened,
            Err(error) => {
                if error == OpenError::Network && self.strangers.take(now) {
                    let payload = self.sealer.refusal(datagram);
                    self.transmits.extend(payload.map(|payload| Transmit { path, payload }));
                }
                return self.reject(now, kind, error, path.remote);
            }
        };
        if let Some(restarted) = self.sealer.poll_restart() {
            self.peer_restarted(now, &restarted);
        }
        if !self.handle_opened(now, peer, path, kind, &body, datagram.len()) {
            self.reject(now, kind, "malformed", path.remote);
        }
    }

    /// Takes what was sealed by `peer`, in a datagram of this length. Whether it is well-formed.
    pub(super) fn handle_opened(
        &mut self,
        now: Instant,
        peer: PeerId,
        path: Path,
        kind: DatagramKind,
        body: &[u8],
        length: usize,
    ) -> bool {
        match kind {
            DatagramKind::Probe => {
                minicbor::decode(body).map(|probe| self.handle_probe(now, peer, path, probe)).is_ok()
            }
            DatagramKind::ProbeAnswer => {
                minicbor::decode(body).map(|answer| self.handle_answer(now, peer, path, answer)).is_ok()
            }
            DatagramKind::ProbeEcho => {
                minicbor::decode(body).map(|echo| self.handle_echo(now, peer, path, echo)).is_ok()
            }
            DatagramKind::Coordinate => minicbor::decode::<Coordination>(body)
                .map(|coordination| self.handle_coordination(now, peer, path, coordination))
                .is_ok(),
            DatagramKind::Lookup => minicbor::decode::<LookupMessage>(body)
                .map(|message| self.handle_lookup_message(now, peer, path, length, message))
                .is_ok(),
            DatagramKind::RelayData | DatagramKind::Refusal | DatagramKind::Routed => false,
        }
    }

    /// Somebody says that we are of another network.
    pub(super) fn handle_refusal(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        if self.sealer.is_refused(datagram) && self.rejections.take(now) {
            let from = path.remote;
            self.events.push_back(Event::Error {
                message: format!("the node at {from} is of another network; check the network key"),
            });
        }
    }

    pub(super) fn reject(
        &mut self,
        now: Instant,
        what: impl std::fmt::Debug,
        why: impl ToString,
        from: SocketAddr,
    ) {
        if self.rejections.take(now) {
            self.events.push_back(Event::Rejected { what: format!("{what:?}"), why: why.to_string(), from });
        }
    }

    /// Sends a sealed datagram. To an ID that is no key nothing can be said.
    pub(super) fn send_sealed<T: Encode<()>>(
        &mut self,
        kind: DatagramKind,
        peer: &PeerId,
        path: Path,
        body: &T,
    ) {
        if let Some(payload) = self.sealer.seal(kind, peer, &encoded(body)) {
            self.transmits.push_back(Transmit { path, payload });
        }
    }
}
