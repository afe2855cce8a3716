//! Stations: hosts that the lab itself plays on a segment.
//!
//! A station has a hardware address, addresses, routes and a cable into the switch, and no kernel: what it sends is made
//! here, byte by byte, and what it gets is looked at here. A gateway is measured between a station behind it and one in
//! front of it, which costs no program start in a guest.
//!
//! [`Station`] is one of them without its cable. [`Net`] is what measurements run over: stations on the cables of a
//! switch with machines between them, hosts of a simulated world, or [`Memory`], where there is nothing but gateways.

mod host;
mod memory;
pub mod packet;
mod probe;

use std::time::Duration;

use natrig_capture::{Ipv4, decode_ipv4};

use crate::Trouble;

pub use host::{NoRoute, Station};
pub use memory::Memory;
pub use probe::probe;

/// A station's place in a [`Net`].
pub type Seat = usize;

/// Stations, and what lies between them.
pub trait Net {
    /// What time it is there, since any one moment.
    fn now(&self) -> Duration;

    /// Sends an IPv4 packet from a station.
    fn send(&mut self, from: Seat, packet: Vec<u8>) -> Result<(), Trouble>;

    /// The next packet that came to a station; none if nothing came until then.
    fn receive(&mut self, until: Duration) -> Result<Option<Arrival>, Trouble>;
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
    /// What is in it; nothing where it was damaged on the way, as no host takes such a packet.
    pub fn ipv4(&self) -> Option<Ipv4<'_>> {
        decode_ipv4(&self.packet).filter(|_| packet::is_intact(&self.packet))
    }
}
