//! Stations: hosts that the lab itself plays on a segment.
//!
//! A station has a hardware address, addresses, routes and a cable into the switch, and no kernel: what it sends is made
//! here, byte by byte, and what it gets is looked at here. A gateway is measured between a station behind it and one in
//! front of it, which costs no program start in a guest.
//!
//! [`Station`] is one of them without its cable, [`Stations`] are several with theirs. [`Net`] is what measurements run
//! over: stations with real gateways between them, or [`Memory`], where the gateways are [`natrig_nat::Engine`]s in this
//! process and time is virtual.

mod cable;
mod host;
mod memory;
pub mod packet;
mod probe;
mod stations;

use std::time::Instant;

use natrig_capture::{Ipv4, decode_ipv4};

use crate::Trouble;

pub use host::Station;
pub use memory::Memory;
pub use probe::probe;
pub use stations::Stations;

/// A station's place in a [`Net`].
pub type Seat = usize;

/// Stations, and what lies between them.
pub trait Net {
    /// What time it is there.
    fn now(&self) -> Instant;

    /// Sends an IPv4 packet from a station.
    fn send(&mut self, from: Seat, packet: Vec<u8>) -> Result<(), Trouble>;

    /// The next packet that came to a station; none if nothing came until then.
    fn receive(&mut self, until: Instant) -> Result<Option<Arrival>, Trouble>;
}

/// An IPv4 packet that came to a station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// To which.
    pub at: Seat,
    /// From its header on.
    pub packet: Vec<u8>,
}

impl Arrival {
    /// What is in it.
    pub fn ipv4(&self) -> Option<Ipv4<'_>> {
        decode_ipv4(&self.packet)
    }
}
