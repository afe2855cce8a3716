//! Sockets, paths and datagrams as the core names them.

use std::net::SocketAddr;

/// A UDP socket that the driver holds for the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

impl SocketId {
    /// The one socket for nearly everything.
    pub const MAIN: Self = Self(0);
}

/// A way to somebody: from this socket to that address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The local socket.
    pub socket: SocketId,
    /// The remote address.
    pub remote: SocketAddr,
}

impl Path {
    /// From the main socket to `remote`.
    pub fn main(remote: SocketAddr) -> Self {
        Self { socket: SocketId::MAIN, remote }
    }
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From which socket, to which address.
    pub path: Path,
    /// Its content.
    pub payload: Vec<u8>,
}

/// What the driver shall do with sockets, in order, before it sends what [`crate::Node::poll_transmit`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketRequest {
    /// Open a UDP socket on a port of the system's choice.
    Open(SocketId),
    /// Close it.
    Close(SocketId),
}
