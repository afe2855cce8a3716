//! Datagrams and their bytes, by what they are.

use std::{collections::BTreeMap, ops::AddAssign};

use omerta_mesh_core::{DatagramKind, Protocol};
use serde::Serialize;

/// What datagrams are, as their first byte says.
const NAMES: [&str; 8] =
    ["stun", "probe", "probeAnswer", "probeEcho", "coordinate", "relayData", "quic", "other"];

/// Where relayed data is among the kinds.
const RELAYED: usize = 5;

/// How many datagrams of each kind there were, and how long they were together, without headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    datagrams: [u64; NAMES.len()],
    bytes: [u64; NAMES.len()],
}

/// So many of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Amount {
    /// How many datagrams.
    pub datagrams: f64,
    /// How many bytes of payload.
    pub bytes: f64,
}

impl Tally {
    /// Counts a datagram.
    #[inline]
    pub fn count(&mut self, datagram: &[u8]) {
        let kind = match Protocol::of(datagram) {
            Some(Protocol::Stun) => 0,
            Some(Protocol::Mesh(DatagramKind::Probe)) => 1,
            Some(Protocol::Mesh(DatagramKind::ProbeAnswer)) => 2,
            Some(Protocol::Mesh(DatagramKind::ProbeEcho)) => 3,
            Some(Protocol::Mesh(DatagramKind::Coordinate)) => 4,
            Some(Protocol::Mesh(DatagramKind::RelayData)) => RELAYED,
            Some(Protocol::Quic) => 6,
            _ => 7,
        };
        self.datagrams[kind] += 1;
        self.bytes[kind] += datagram.len() as u64;
    }

    /// All kinds together.
    pub fn total(&self) -> (u64, u64) {
        (self.datagrams.iter().sum(), self.bytes.iter().sum())
    }

    /// What relays carry.
    pub fn relayed(&self) -> (u64, u64) {
        (self.datagrams[RELAYED], self.bytes[RELAYED])
    }

    /// Each kind that there was, divided by something.
    pub fn over(&self, divisor: f64) -> BTreeMap<&'static str, Amount> {
        let each = NAMES.iter().zip(self.datagrams).zip(self.bytes);
        each.filter(|((_, datagrams), _)| *datagrams > 0)
            .map(|((name, datagrams), bytes)| {
                (*name, Amount { datagrams: datagrams as f64 / divisor, bytes: bytes as f64 / divisor })
            })
            .collect()
    }
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        self.datagrams.iter_mut().zip(other.datagrams).for_each(|(own, other)| *own += other);
        self.bytes.iter_mut().zip(other.bytes).for_each(|(own, other)| *own += other);
    }
}
