//! What a node has sent and received.

use serde::Serialize;

use crate::wire::{Kind, Protocol};

/// Datagrams and bytes in both directions since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Handed to the driver for sending.
    pub sent: Traffic,
    /// Handed over by the driver.
    pub received: Traffic,
}

/// One direction, by what the first byte says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Traffic {
    /// STUN messages.
    pub stun: Count,
    /// To and from coordinators.
    pub coordination: Count,
    /// Probes, their answers and echoes.
    pub probe: Count,
    /// Frames of relay sessions: our own, and those that we pass on.
    pub relay: Count,
    /// Lookups and their answers.
    pub lookup: Count,
    /// QUIC packets that go straight.
    pub quic: Count,
    /// Refusals, and nothing that we speak.
    pub other: Count,
}

/// How much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of their payloads, without UDP and IP headers.
    pub bytes: u64,
}

impl Traffic {
    /// All kinds together.
    pub fn total(&self) -> Count {
        let kinds =
            [self.stun, self.coordination, self.probe, self.relay, self.lookup, self.quic, self.other];
        Count {
            datagrams: kinds.iter().map(|kind| kind.datagrams).sum(),
            bytes: kinds.iter().map(|kind| kind.bytes).sum(),
        }
    }

    pub(crate) fn count(&mut self, datagram: &[u8]) {
        let count = match Protocol::of(datagram) {
            Some(Protocol::Stun) => &mut self.stun,
            Some(Protocol::Mesh(Kind::Coordinate)) => &mut self.coordination,
            Some(Protocol::Mesh(Kind::Probe | Kind::ProbeAnswer | Kind::ProbeEcho)) => &mut self.probe,
            Some(Protocol::Mesh(Kind::RelayData)) => &mut self.relay,
            Some(Protocol::Mesh(Kind::Lookup)) => &mut self.lookup,
            Some(Protocol::Quic) => &mut self.quic,
            Some(Protocol::Mesh(Kind::Refusal | Kind::Routed)) | None => &mut self.other,
        };
        count.datagrams += 1;
        count.bytes += datagram.len() as u64;
    }
}
