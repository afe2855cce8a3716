//! Packets as the engine sees them.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// What a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP queries; the identifier stands for the port.
    Echo,
}

/// A packet: where from, where to, and what.
///
/// The identifier of an ICMP query is the port of the side that asks; the other side's port is 0, as are both ports of an
/// ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packet {
    /// The sender.
    pub source: SocketAddrV4,
    /// The receiver.
    pub destination: SocketAddrV4,
    /// What it is.
    pub content: Content,
}

/// What a packet is, as far as a NAT cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// A UDP datagram.
    Udp,
    /// A TCP segment.
    Tcp(TcpFlags),
    /// An ICMP query.
    EchoRequest,
    /// Its answer.
    EchoReply,
    /// An ICMP error.
    Error(IcmpError),
}

/// The flags of a TCP segment that move its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags {
    /// Opens.
    pub syn: bool,
    /// Acknowledges.
    pub ack: bool,
    /// Closes one direction.
    pub fin: bool,
    /// Ends.
    pub rst: bool,
}

impl TcpFlags {
    /// A segment that opens a connection.
    pub const SYN: TcpFlags = TcpFlags { syn: true, ack: false, fin: false, rst: false };
    /// Its answer.
    pub const SYN_ACK: TcpFlags = TcpFlags { syn: true, ack: true, fin: false, rst: false };
    /// A segment of an open connection.
    pub const ACK: TcpFlags = TcpFlags { syn: false, ack: true, fin: false, rst: false };
    /// A segment that closes its direction.
    pub const FIN: TcpFlags = TcpFlags { syn: false, ack: true, fin: true, rst: false };
    /// A segment that ends the connection.
    pub const RST: TcpFlags = TcpFlags { syn: false, ack: true, fin: false, rst: true };

    /// Whether the segment asks for a new connection.
    pub fn opens(self) -> bool {
        self.syn && !self.ack && !self.rst
    }
}

/// An ICMP error and the packet it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IcmpError {
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The packet's protocol.
    pub protocol: Protocol,
    /// The packet's sender, as the one who reports the error saw it.
    pub source: SocketAddrV4,
    /// The packet's receiver, as the one who reports the error saw it.
    pub destination: SocketAddrV4,
}

impl IcmpError {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Port unreachable, as a code of [`IcmpError::UNREACHABLE`].
    pub const PORT: u8 = 3;
}

impl Packet {
    /// A UDP datagram.
    pub fn udp(source: SocketAddrV4, destination: SocketAddrV4) -> Self {
        Packet { source, destination, content: Content::Udp }
    }

    /// A TCP segment.
    pub fn tcp(source: SocketAddrV4, destination: SocketAddrV4, flags: TcpFlags) -> Self {
        Packet { source, destination, content: Content::Tcp(flags) }
    }

    /// An ICMP query.
    pub fn echo_request(source: Ipv4Addr, destination: Ipv4Addr, identifier: u16) -> Self {
        Packet {
            source: SocketAddrV4::new(source, identifier),
            destination: SocketAddrV4::new(destination, 0),
            content: Content::EchoRequest,
        }
    }

    /// The answer to an ICMP query.
    pub fn echo_reply(source: Ipv4Addr, destination: Ipv4Addr, identifier: u16) -> Self {
        Packet {
            source: SocketAddrV4::new(source, 0),
            destination: SocketAddrV4::new(destination, identifier),
            content: Content::EchoReply,
        }
    }

    /// The ICMP error that `reporter` sends about this packet to its sender; none about ICMP errors.
    pub fn error(&self, reporter: Ipv4Addr, kind: u8, code: u8) -> Option<Packet> {
        let error = IcmpError {
            kind,
            code,
            protocol: self.protocol()?,
            source: self.source,
            destination: self.destination,
        };
        Some(Packet {
            source: SocketAddrV4::new(reporter, 0),
            destination: SocketAddrV4::new(*self.source.ip(), 0),
            content: Content::Error(error),
        })
    }

    /// What mappings it uses; none for ICMP errors.
    pub fn protocol(&self) -> Option<Protocol> {
        match self.content {
            Content::Udp => Some(Protocol::Udp),
            Content::Tcp(_) => Some(Protocol::Tcp),
            Content::EchoRequest | Content::EchoReply => Some(Protocol::Echo),
            Content::Error(_) => None,
        }
    }

    /// The flags of a TCP segment; none set otherwise.
    pub(super) fn flags(&self) -> TcpFlags {
        match self.content {
            Content::Tcp(flags) => flags,
            _ => TcpFlags::default(),
        }
    }
}

/// The addresses of one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: Ipv4Addr,
    length: u8,
}

/// Why a text or pair is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no network; write an address and a length up to 32, as in `10.0.1.0/24`")]
pub struct WrongPrefix(String);

impl Prefix {
    /// The addresses that share the first `length` bits of `address`.
    pub fn new(address: Ipv4Addr, length: u8) -> Result<Self, WrongPrefix> {
        if length > 32 {
            return Err(WrongPrefix(format!("{address}/{length}")));
        }
        Ok(Prefix { address, length })
    }

    /// How many bits they share.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether an address is one of them.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let differing = u32::from(self.address) ^ u32::from(address);
        differing.leading_zeros() >= u32::from(self.length)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = WrongPrefix;

    fn from_str(text: &str) -> Result<Self, WrongPrefix> {
        let wrong = || WrongPrefix(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        Prefix::new(address.parse().map_err(|_| wrong())?, length.parse().map_err(|_| wrong())?)
            .map_err(|_| wrong())
    }
}

impl TryFrom<String> for Prefix {
    type Error = WrongPrefix;

    fn try_from(text: String) -> Result<Self, WrongPrefix> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.to_string()
    }
}
