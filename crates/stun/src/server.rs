//! A server with two addresses and two ports.

use std::net::SocketAddr;

use crate::{Class, Message};

/// One of the server's four endpoints (RFC 5780 section 2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The alternate address, not the primary one.
    pub other_ip: bool,
    /// The alternate port, not the primary one.
    pub other_port: bool,
}

impl Endpoint {
    /// All four.
    pub const ALL: [Endpoint; 4] = [
        Endpoint { other_ip: false, other_port: false },
        Endpoint { other_ip: false, other_port: true },
        Endpoint { other_ip: true, other_port: false },
        Endpoint { other_ip: true, other_port: true },
    ];
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// From which of the server's sockets.
    pub from: Endpoint,
    /// Where to.
    pub to: SocketAddr,
    /// The bytes.
    pub datagram: Vec<u8>,
}

/// Answers Binding requests (RFC 5780 section 6.1). The caller owns one socket for each endpoint.
#[derive(Debug, Clone)]
pub struct Server {
    primary: SocketAddr,
    alternate: Option<SocketAddr>,
}

impl Server {
    /// A server whose second address and port are those of `alternate`; without one it refuses CHANGE-REQUEST and says
    /// nothing of other addresses.
    pub fn new(primary: SocketAddr, alternate: Option<SocketAddr>) -> Self {
        Server { primary, alternate }
    }

    /// The address of one of the server's sockets; `None` where it has no alternate.
    pub fn address(&self, endpoint: Endpoint) -> Option<SocketAddr> {
        if endpoint == Endpoint::default() {
            return Some(self.primary);
        }
        let alternate = self.alternate?;
        let ip = if endpoint.other_ip { alternate } else { self.primary }.ip();
        let port = if endpoint.other_port { alternate } else { self.primary }.port();
        Some(SocketAddr::new(ip, port))
    }

    /// Answers a datagram that came to the socket `at`; `None` for what is no Binding request.
    pub fn answer(&self, at: Endpoint, from: SocketAddr, datagram: &[u8]) -> Option<Reply> {
        let request = Message::decode(datagram).ok()?;
        if request.class != Class::Request {
            return None;
        }
        let change = request.change_request.unwrap_or_default();
        let source = Endpoint { other_ip: at.other_ip ^ change.ip, other_port: at.other_port ^ change.port };
        let error = if !request.unknown.is_empty() {
            Some(420)
        } else if self.address(source).is_none() {
            Some(400)
        } else {
            None
        };
        let reply = match error {
            Some(code) => {
                let mut refusal = Message::new(Class::Error, request.transaction);
                refusal.error_code = Some(code);
                refusal.unknown = request.unknown;
                (at, refusal)
            }
            None => {
                let mut answer = Message::new(Class::Success, request.transaction);
                answer.mapped_address = Some(from);
                answer.response_origin = self.address(source);
                // The other address is other than the one that was asked (RFC 5780 section 7.4).
                answer.other_address =
                    self.address(Endpoint { other_ip: !at.other_ip, other_port: !at.other_port });
                (source, answer)
            }
        };
        let to = SocketAddr::new(from.ip(), request.response_port.unwrap_or(from.port()));
        Some(Reply { from: reply.0, to, datagram: reply.1.encode() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChangeRequest;

    fn server() -> Server {
        Server::new("192.168.100.3:3478".parse().unwrap(), Some("192.168.100.4:3479".parse().unwrap()))
    }

    fn ask(server: &Server, at: Endpoint, ip: bool, port: bool) -> (Endpoint, Message) {
        let request = Message::binding_request([1; 12]).with_change_request(ChangeRequest { ip, port });
        let from = "192.0.2.9:5000".parse().unwrap();
        let reply = server.answer(at, from, &request.encode()).unwrap();
        assert_eq!(reply.to, from);
        (reply.from, Message::decode(&reply.datagram).unwrap())
    }

    #[test]
    fn answers_come_from_where_they_were_asked_from() {
        let primary = Endpoint::default();
        for (ip, port, origin) in [
            (false, false, "192.168.100.3:3478"),
            (false, true, "192.168.100.3:3479"),
            (true, false, "192.168.100.4:3478"),
            (true, true, "192.168.100.4:3479"),
        ] {
            let (source, answer) = ask(&server(), primary, ip, port);
            assert_eq!(source, Endpoint { other_ip: ip, other_port: port });
            assert_eq!(answer.response_origin, Some(origin.parse().unwrap()));
            assert_eq!(answer.other_address, Some("192.168.100.4:3479".parse().unwrap()));
        }
    }

    #[test]
    fn an_answer_goes_to_the_port_that_was_asked_for() {
        let request = Message::binding_request([1; 12])
            .with_change_request(ChangeRequest { ip: true, port: true })
            .with_response_port(40_000);
        let from = "192.0.2.9:5000".parse().unwrap();
        let reply = server().answer(Endpoint::default(), from, &request.encode()).unwrap();
        assert_eq!(reply.to, "192.0.2.9:40000".parse().unwrap());
        assert_eq!(reply.from, Endpoint { other_ip: true, other_port: true });
        assert_eq!(Message::decode(&reply.datagram).unwrap().mapped_address, Some(from));
    }

    #[test]
    fn a_plain_server_refuses_to_change() {
        let plain = Server::new("192.168.100.3:3478".parse().unwrap(), None);
        let (_, refusal) = ask(&plain, Endpoint::default(), true, true);
        assert_eq!((refusal.class, refusal.error_code), (Class::Error, Some(400)));
        let (_, answer) = ask(&plain, Endpoint::default(), false, false);
        assert_eq!((answer.class, answer.other_address), (Class::Success, None));
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_named() {
        let mut request = Message::binding_request([1; 12]).encode();
        request[3] = 4;
        request.extend([0x7f, 0xff, 0, 0]);
        let reply =
            server().answer(Endpoint::default(), "192.0.2.9:5000".parse().unwrap(), &request).unwrap();
        assert_eq!(Message::decode(&reply.datagram).unwrap().error_code, Some(420));
    }

    #[test]
    fn answers_are_not_answered() {
        let answer = Message::new(Class::Success, [1; 12]).encode();
        let from = "192.0.2.9:5000".parse().unwrap();
        assert_eq!(server().answer(Endpoint::default(), from, &answer), None);
    }
}
