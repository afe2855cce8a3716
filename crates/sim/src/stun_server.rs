//! A STUN server on a host of a world.

use std::net::{SocketAddr, SocketAddrV4};

use natrig_stun::{Endpoint, Server};

use crate::program::{Datagram, Io, Program};

/// Answers at two addresses and two ports.
#[derive(Debug)]
pub struct StunServer {
    server: Server,
}

impl StunServer {
    /// A server with a primary endpoint and its other address and port.
    pub fn new(primary: SocketAddrV4, alternate: SocketAddrV4) -> Self {
        StunServer { server: Server::new(primary.into(), Some(alternate.into())) }
    }
}

impl Program for StunServer {
    fn start(&mut self, io: &mut Io<'_>) {
        for (socket, endpoint) in (0..).zip(Endpoint::ALL) {
            if let Some(SocketAddr::V4(at)) = self.server.address(endpoint) {
                io.open(socket, at);
            }
        }
    }

    fn handle_datagram(&mut self, io: &mut Io<'_>, datagram: Datagram<'_>) {
        let Some(at) = Endpoint::ALL.get(datagram.socket as usize) else { return };
        let Some(reply) = self.server.answer(*at, datagram.from.into(), datagram.payload) else { return };
        let from = Endpoint::ALL.iter().position(|endpoint| *endpoint == reply.from);
        if let (Some(from), SocketAddr::V4(to)) = (from, reply.to) {
            io.send(from as u32, to, reply.datagram);
        }
    }
}
