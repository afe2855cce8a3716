//! A STUN server with two addresses and two ports (RFC 5780), as a process.

use std::{
    io::{self, Write},
    net::{SocketAddr, UdpSocket},
};

use natrig_stun::{Endpoint, Server};
use rustix::event::{PollFd, PollFlags, poll};

/// Serves on the four endpoints that `PRIMARY` and `OTHER` span, from all of their sockets in one thread, so that
/// answers leave in the order of the requests. Says `ready` once it can be asked; ends only on an error.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let [primary, other] = arguments else {
        return Err("usage: stun-server PRIMARY_IP:PORT OTHER_IP:PORT".to_owned());
    };
    let server = Server::new(address(primary)?, Some(address(other)?));
    serve(&server).map_err(|error| format!("stun-server: {error}"))
}

/// An address given as an argument.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no address with a port, such as 192.168.100.3:3478"))
}

fn serve(server: &Server) -> io::Result<()> {
    let mut sockets = Vec::new();
    for endpoint in Endpoint::ALL {
        let Some(address) = server.address(endpoint) else { continue };
        let socket = UdpSocket::bind(address)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot bind {address}: {error}")))?;
        socket.set_nonblocking(true)?;
        sockets.push((endpoint, socket));
    }
    println!("ready");
    io::stdout().flush()?;
    let mut buffer = [0; 1500];
    loop {
        let mut ready: Vec<PollFd<'_>> =
            sockets.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::IN)).collect();
        poll(&mut ready, None)?;
        for (at, socket) in &sockets {
            // An error is another datagram's ICMP answer, or none: nothing that concerns the next request.
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let Some(reply) = server.answer(*at, from, &buffer[..length]) else { continue };
                let source = sockets.iter().find(|(endpoint, _)| *endpoint == reply.from);
                if let Some((_, source)) = source
                    && let Err(error) = source.send_to(&reply.datagram, reply.to)
                {
                    eprintln!("stun-server: no answer to {from}: {error}");
                }
            }
        }
    }
}
