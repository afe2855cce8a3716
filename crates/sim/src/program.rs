//! What runs on a host, and the sockets it has there.

use std::{
    any::Any,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::Value;

/// The ports that a host gives sockets without one, as Linux does.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Which of its sockets a program means.
pub type Socket = u32;

/// A program: it is given datagrams and the time, and says what it sends and when it wants to be woken. It has no other
/// way to the world.
pub trait Program: Any + Send {
    /// It begins.
    fn start(&mut self, io: &mut Io<'_>);

    /// Takes a datagram.
    fn handle_datagram(&mut self, io: &mut Io<'_>, datagram: Datagram<'_>);

    /// Lets time pass.
    fn handle_timeout(&mut self, io: &mut Io<'_>) {
        let _ = io;
    }

    /// When it wants to be woken, by its host's clock.
    fn poll_timeout(&mut self) -> Option<Duration> {
        None
    }

    /// The host has other addresses than before.
    fn handle_addresses(&mut self, io: &mut Io<'_>, addresses: &[Ipv4Addr]) {
        let _ = (io, addresses);
    }

    /// Its state, to be looked at, and what time it is by its host's clock.
    fn snapshot(&self, now: Duration) -> Value {
        let _ = now;
        Value::Null
    }
}

/// A program that has ended: it has no socket, and nothing is heard of it.
#[derive(Debug, Clone, Copy)]
pub struct Ended;

impl Program for Ended {
    fn start(&mut self, _: &mut Io<'_>) {}

    fn handle_datagram(&mut self, _: &mut Io<'_>, _: Datagram<'_>) {}
}

/// A datagram that came.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// To which socket.
    pub socket: Socket,
    /// From whom.
    pub from: SocketAddrV4,
    /// The bytes.
    pub payload: &'a [u8],
}

/// A program's way to the world, for as long as it is called.
#[derive(Debug)]
pub struct Io<'a> {
    pub(crate) now: Duration,
    pub(crate) calendar_us: u64,
    pub(crate) slot: u8,
    pub(crate) sockets: &'a mut Sockets,
    pub(crate) sends: &'a mut Vec<Sending>,
    pub(crate) notes: Option<&'a mut Vec<Value>>,
}

/// A datagram to be sent.
#[derive(Debug)]
pub(crate) struct Sending {
    /// From here; an unspecified address is the one of the interface.
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub payload: Vec<u8>,
}

impl Io<'_> {
    /// What has passed since the world's start, by the host's clock.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Microseconds since 1970, by the host's clock.
    pub fn calendar_us(&self) -> u64 {
        self.calendar_us
    }

    /// Opens a socket at an address; the unspecified one means all of the host, port 0 any that is free. Gives the port;
    /// none if it is taken.
    pub fn open(&mut self, socket: Socket, at: SocketAddrV4) -> Option<u16> {
        self.sockets.open((self.slot, socket), at)
    }

    /// Closes a socket.
    pub fn close(&mut self, socket: Socket) {
        self.sockets.close((self.slot, socket));
    }

    /// Closes all sockets of the program.
    pub fn close_all(&mut self) {
        self.sockets.close_all(self.slot);
    }

    /// How many sockets are open on the host.
    pub fn open_sockets(&self) -> usize {
        self.sockets.of.len()
    }

    /// Sends a datagram; from a socket that is closed nothing is sent.
    pub fn send(&mut self, socket: Socket, to: SocketAddrV4, payload: Vec<u8>) {
        if let Some(from) = self.sockets.local((self.slot, socket)) {
            self.sends.push(Sending { from, to, payload });
        }
    }

    /// Notes something for those who look on, if anybody does.
    pub fn note(&mut self, what: impl FnOnce() -> Value) {
        if let Some(notes) = &mut self.notes {
            notes.push(what());
        }
    }
}

/// A program's socket.
type Owner = (u8, Socket);

/// The sockets of a host.
#[derive(Debug)]
pub(crate) struct Sockets {
    at: HashMap<SocketAddrV4, Owner, FixedState>,
    of: HashMap<Owner, SocketAddrV4, FixedState>,
    random: Pcg64Mcg,
}

impl Sockets {
    pub fn new(seed: u64) -> Self {
        Sockets {
            at: HashMap::with_hasher(FixedState::with_seed(0)),
            of: HashMap::with_hasher(FixedState::with_seed(0)),
            random: Pcg64Mcg::seed_from_u64(seed),
        }
    }

    /// Whose a datagram to this address is.
    pub fn find(&self, to: SocketAddrV4) -> Option<Owner> {
        let all = || self.at.get(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, to.port()));
        self.at.get(&to).or_else(all).copied()
    }

    /// All sockets of a program are closed.
    pub fn close_all(&mut self, slot: u8) {
        self.of.retain(|owner, _| owner.0 != slot);
        self.at.retain(|_, owner| owner.0 != slot);
    }

    fn local(&self, owner: Owner) -> Option<SocketAddrV4> {
        self.of.get(&owner).copied()
    }

    fn open(&mut self, owner: Owner, at: SocketAddrV4) -> Option<u16> {
        let port = match at.port() {
            0 => self.free(*at.ip())?,
            port => port,
        };
        let at = SocketAddrV4::new(*at.ip(), port);
        if self.at.contains_key(&at) || self.of.contains_key(&owner) {
            return None;
        }
        self.at.insert(at, owner);
        self.of.insert(owner, at);
        Some(port)
    }

    fn free(&mut self, ip: Ipv4Addr) -> Option<u16> {
        let many = EPHEMERAL.count();
        if self.at.len() >= many {
            return None;
        }
        let first = self.random.random_range(EPHEMERAL);
        (first..=*EPHEMERAL.end())
            .chain(*EPHEMERAL.start()..first)
            .find(|port| !self.at.contains_key(&SocketAddrV4::new(ip, *port)))
    }

    fn close(&mut self, owner: Owner) {
        if let Some(at) = self.of.remove(&owner) {
            self.at.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
    }

    #[test]
    fn a_socket_at_an_address_comes_before_one_at_all() {
        let mut sockets = Sockets::new(1);
        let near = SocketAddrV4::new([10, 0, 0, 1].into(), 53);
        sockets.open((0, 1), any(53)).unwrap();
        sockets.open((0, 2), near).unwrap();
        assert_eq!(sockets.find(near), Some((0, 2)));
        assert_eq!(sockets.find(SocketAddrV4::new([10, 0, 0, 2].into(), 53)), Some((0, 1)));
        assert_eq!(sockets.find(any(54)), None);
        assert_eq!(sockets.open((0, 3), any(53)), None);
        sockets.close((0, 2));
        assert_eq!(sockets.find(near), Some((0, 1)));
    }

    #[test]
    fn ports_of_the_systems_choice_are_free_ones() {
        let mut sockets = Sockets::new(1);
        let all: std::collections::BTreeSet<u16> =
            (0..EPHEMERAL.count() as u32).map(|n| sockets.open((0, n), any(0)).unwrap()).collect();
        assert_eq!(all.len(), EPHEMERAL.count());
        assert_eq!(sockets.open((1, 0), any(0)), None);
    }
}
