//! What stands where in a packet.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{
    Lost,
    field::{Change, address, checksum, put, word},
};
use crate::engine::{Content, IcmpError, Packet, Protocol, TcpFlags};

const ICMP: u8 = 1;
const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// An IPv4 header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// Where the payload starts.
    pub length: usize,
    pub total: usize,
    pub identification: u16,
    /// Where the payload belongs in the whole one, in bytes.
    pub offset: u16,
    pub more: bool,
    pub ttl: u8,
    pub protocol: u8,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

impl Header {
    /// Reads a header; its payload may be cut off, as in what an ICMP error quotes.
    pub fn read(bytes: &[u8]) -> Result<Self, Lost> {
        let first = *bytes.first().ok_or(Lost::Malformed)?;
        let length = usize::from(first & 15) * 4;
        if first >> 4 != 4 || length < 20 {
            return Err(Lost::Malformed);
        }
        let header = bytes.get(..length).ok_or(Lost::Malformed)?;
        if checksum(header) != 0 {
            return Err(Lost::Checksum);
        }
        let field = |at| word(header, at).ok_or(Lost::Malformed);
        let ip = |at| address(header, at).ok_or(Lost::Malformed);
        let (total, fragment) = (usize::from(field(2)?), field(6)?);
        if total < length {
            return Err(Lost::Malformed);
        }
        Ok(Header {
            length,
            total,
            identification: field(4)?,
            offset: (fragment & 0x1fff) * 8,
            more: fragment & 0x2000 != 0,
            ttl: header[8],
            protocol: header[9],
            source: ip(12)?,
            destination: ip(16)?,
        })
    }

    pub fn is_fragment(&self) -> bool {
        self.more || self.offset > 0
    }
}

/// The packet in the bytes of an unfragmented datagram or of a first fragment.
pub(super) fn packet(header: &Header, bytes: &[u8]) -> Result<Packet, Lost> {
    let payload = bytes.get(header.length..).ok_or(Lost::Malformed)?;
    let (ends, content) = match header.protocol {
        UDP if payload.len() >= 8 => (ports(payload)?, Content::Udp),
        TCP if payload.len() >= 20 => {
            let bits = payload[13];
            let bit = |mask: u8| bits & mask != 0;
            let flags = TcpFlags { fin: bit(1), syn: bit(2), rst: bit(4), ack: bit(16) };
            (ports(payload)?, Content::Tcp(flags))
        }
        ICMP if payload.len() >= 8 => icmp(header, payload)?,
        UDP | TCP | ICMP => return Err(Lost::Malformed),
        other => return Err(Lost::Protocol(other)),
    };
    Ok(Packet {
        source: SocketAddrV4::new(header.source, ends.0),
        destination: SocketAddrV4::new(header.destination, ends.1),
        content,
    })
}

fn ports(payload: &[u8]) -> Result<(u16, u16), Lost> {
    word(payload, 0).zip(word(payload, 2)).ok_or(Lost::Malformed)
}

/// Both ports of an ICMP query, whose identifier is the asking side's.
fn query(kind: u8, payload: &[u8]) -> Result<(u16, u16), Lost> {
    let identifier = word(payload, 4).ok_or(Lost::Malformed)?;
    match kind {
        ECHO_REQUEST => Ok((identifier, 0)),
        ECHO_REPLY => Ok((0, identifier)),
        kind => Err(Lost::Icmp(kind)),
    }
}

fn icmp(header: &Header, payload: &[u8]) -> Result<((u16, u16), Content), Lost> {
    let (kind, code) = (payload[0], payload[1]);
    match kind {
        ECHO_REQUEST => return Ok((query(kind, payload)?, Content::EchoRequest)),
        ECHO_REPLY => return Ok((query(kind, payload)?, Content::EchoReply)),
        3 | 11 | 12 => {}
        kind => return Err(Lost::Icmp(kind)),
    }
    // RFC 5508 REQ-3: what is quoted is trusted only if all checksums hold.
    if header.is_fragment() {
        return Err(Lost::Malformed);
    }
    if checksum(payload) != 0 {
        return Err(Lost::Checksum);
    }
    let quoted = payload.get(8..).ok_or(Lost::Malformed)?;
    let inner = Header::read(quoted)?;
    let transport = quoted.get(inner.length..).ok_or(Lost::Malformed)?;
    if inner.offset > 0 || transport.len() < 8 {
        return Err(Lost::Malformed);
    }
    let (protocol, ends) = match inner.protocol {
        UDP => (Protocol::Udp, ports(transport)?),
        TCP => (Protocol::Tcp, ports(transport)?),
        ICMP => (Protocol::Echo, query(transport[0], transport)?),
        other => return Err(Lost::Protocol(other)),
    };
    let error = IcmpError {
        kind,
        code,
        protocol,
        source: SocketAddrV4::new(inner.source, ends.0),
        destination: SocketAddrV4::new(inner.destination, ends.1),
    };
    Ok(((0, 0), Content::Error(error)))
}

/// Gives a packet other addresses and one hop less.
pub(super) fn readdress(header: &Header, bytes: &mut [u8], source: Ipv4Addr, destination: Ipv4Addr) {
    let ttl = [header.ttl, header.protocol];
    let less = [header.ttl.saturating_sub(1), header.protocol];
    put(bytes, 8, &less);
    replace_addresses(bytes, 0, (header.source, header.destination), (source, destination))
        .of(&ttl, &less)
        .apply(bytes, 10);
}

/// Gives a datagram or first fragment the addresses and ports of another packet, and one hop less.
pub(super) fn rewrite(header: &Header, bytes: &mut [u8], from: &Packet, to: &Packet) {
    readdress(header, bytes, *to.source.ip(), *to.destination.ip());
    let at = header.length;
    match (from.content, to.content) {
        (Content::Error(before), Content::Error(after)) => {
            requote(bytes, at + 8, &before, &after);
            put(bytes, at + 2, &[0, 0]);
            let sum = checksum(bytes.get(at..).unwrap_or_default());
            put(bytes, at + 2, &sum.to_be_bytes());
        }
        _ => {
            let ends = (from.source, from.destination);
            let others = (to.source, to.destination);
            transport(bytes, at, header.protocol, ends, others);
        }
    }
}

type Ends = (SocketAddrV4, SocketAddrV4);

fn replace_addresses(
    bytes: &mut [u8],
    at: usize,
    before: (Ipv4Addr, Ipv4Addr),
    after: (Ipv4Addr, Ipv4Addr),
) -> Change {
    put(bytes, at + 12, &after.0.octets());
    put(bytes, at + 16, &after.1.octets());
    Change::default().of(&before.0.octets(), &after.0.octets()).of(&before.1.octets(), &after.1.octets())
}

/// Other ports at `at`, and the checksum that covers them and the addresses.
fn transport(bytes: &mut [u8], at: usize, protocol: u8, before: Ends, after: Ends) {
    let port = |end: SocketAddrV4| end.port().to_be_bytes();
    if protocol == ICMP {
        let identifier = |ends: Ends| ends.0.port().max(ends.1.port()).to_be_bytes();
        put(bytes, at + 4, &identifier(after));
        Change::default().of(&identifier(before), &identifier(after)).apply(bytes, at + 2);
        return;
    }
    put(bytes, at, &port(after.0));
    put(bytes, at + 2, &port(after.1));
    let change = Change::default()
        .of(&before.0.ip().octets(), &after.0.ip().octets())
        .of(&before.1.ip().octets(), &after.1.ip().octets())
        .of(&port(before.0), &port(after.0))
        .of(&port(before.1), &port(after.1));
    if protocol == TCP {
        change.apply(bytes, at + 16);
    } else if word(bytes, at + 6) != Some(0) {
        // 0 says that there is no checksum; a sum of 0 is written as its other form.
        change.apply(bytes, at + 6);
        if word(bytes, at + 6) == Some(0) {
            put(bytes, at + 6, &[0xff, 0xff]);
        }
    }
}

/// Translates what an ICMP error quotes, as far as it quotes it.
fn requote(bytes: &mut [u8], at: usize, before: &IcmpError, after: &IcmpError) {
    let Some(Ok(inner)) = bytes.get(at..).map(Header::read) else {
        return;
    };
    let ips = |error: &IcmpError| (*error.source.ip(), *error.destination.ip());
    replace_addresses(bytes, at, ips(before), ips(after)).apply(bytes, at + 10);
    let ends = |error: &IcmpError| (error.source, error.destination);
    transport(bytes, at + inner.length, inner.protocol, ends(before), ends(after));
}

/// An ICMP error from `reporter` to the sender of `quoted`.
pub(super) fn error(reporter: Ipv4Addr, to: Ipv4Addr, kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    // As much as fits into the size that every host takes (RFC 1812 section 4.3.2.3).
    let quoted = quoted.get(..quoted.len().min(576 - 28)).unwrap_or_default();
    let mut bytes = ip(ICMP, reporter, to, 8 + quoted.len());
    bytes.extend([0; 8]);
    bytes[20] = kind;
    bytes[21] = code;
    bytes.extend(quoted);
    let sum = checksum(&bytes[20..]);
    put(&mut bytes, 22, &sum.to_be_bytes());
    bytes
}

/// The answer to a whole ICMP query with a right checksum.
pub(super) fn echo_reply(header: &Header, bytes: &[u8]) -> Option<Vec<u8>> {
    let asked = bytes.get(header.length..)?;
    let query = header.protocol == ICMP && asked.len() >= 8 && asked[0] == ECHO_REQUEST;
    if !query || header.is_fragment() || checksum(asked) != 0 {
        return None;
    }
    let mut answer = ip(ICMP, header.destination, header.source, asked.len());
    answer.extend(asked);
    answer[20] = ECHO_REPLY;
    Change::default().of(&[ECHO_REQUEST, asked[1]], &[ECHO_REPLY, asked[1]]).apply(&mut answer, 22);
    Some(answer)
}

/// A header of the gateway's own, without its payload.
fn ip(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    bytes[0] = 0x45;
    put(&mut bytes, 2, &((20 + payload) as u16).to_be_bytes());
    bytes[8] = 64;
    bytes[9] = protocol;
    put(&mut bytes, 12, &from.octets());
    put(&mut bytes, 16, &to.octets());
    let sum = checksum(&bytes);
    put(&mut bytes, 10, &sum.to_be_bytes());
    bytes
}
