//! Packets as hosts make and read them: UDP over IPv4, and the ICMP errors about them.

use std::net::{Ipv4Addr, SocketAddrV4};

const HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const TTL: u8 = 64;

/// The longest payload of a datagram in one Ethernet frame.
pub const MAX_PAYLOAD: usize = 1500 - HEADER - UDP_HEADER;

/// What a host finds in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read<'a> {
    /// A datagram with a right checksum.
    Udp { from: SocketAddrV4, to: SocketAddrV4, payload: &'a [u8] },
    /// A ping.
    Ping { from: Ipv4Addr, to: Ipv4Addr },
    /// Nothing that hosts here answer.
    Other,
}

/// A datagram, as any host sends it.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = UDP_HEADER + payload.len();
    let mut bytes = Vec::with_capacity(HEADER + length);
    header(&mut bytes, UDP, *from.ip(), *to.ip(), length);
    for word in [from.port(), to.port(), length as u16, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(payload);
    // A sum of 0 is written as its other form (RFC 768).
    let sum = match transport_sum(&bytes, UDP) {
        0 => 0xffff,
        sum => sum,
    };
    put(&mut bytes, HEADER + 6, sum);
    bytes
}

/// Looks into a packet for a host.
pub fn read(packet: &[u8]) -> Read<'_> {
    let Some((&[a, _, c, d, _, _, g, h, _, protocol, _, _, ref ends @ ..], rest)) =
        packet.split_first_chunk::<HEADER>()
    else {
        return Read::Other;
    };
    let (total, fragment) = (usize::from(u16::from_be_bytes([c, d])), u16::from_be_bytes([g, h]));
    // Without options, and no fragment: nobody here sends others.
    if a != 0x45 || fragment & 0x3fff != 0 || total != packet.len() || sum(0, &packet[..HEADER]) != 0xffff {
        return Read::Other;
    }
    let &[s1, s2, s3, s4, d1, d2, d3, d4] = ends;
    let (from, to) = (Ipv4Addr::new(s1, s2, s3, s4), Ipv4Addr::new(d1, d2, d3, d4));
    match protocol {
        UDP => match rest.split_first_chunk::<UDP_HEADER>() {
            Some((&[p, q, r, s, l, m, x, y], payload))
                if usize::from(u16::from_be_bytes([l, m])) == rest.len() =>
            {
                let unchecked = [x, y] == [0, 0];
                if !unchecked && transport_sum(packet, UDP) != 0 {
                    return Read::Other;
                }
                Read::Udp {
                    from: SocketAddrV4::new(from, u16::from_be_bytes([p, q])),
                    to: SocketAddrV4::new(to, u16::from_be_bytes([r, s])),
                    payload,
                }
            }
            _ => Read::Other,
        },
        ICMP if rest.len() >= 8 && rest[0] == 8 && sum(0, rest) == 0xffff => Read::Ping { from, to },
        _ => Read::Other,
    }
}

/// The answer to a ping.
pub fn pong(ping: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ping.len());
    let (source, destination) = (address(ping, 12), address(ping, 16));
    header(&mut bytes, ICMP, destination, source, ping.len().saturating_sub(HEADER));
    bytes.extend(ping.get(HEADER..).unwrap_or_default());
    icmp_sum(&mut bytes, 0);
    bytes
}

/// Says that nobody listens on a datagram's port (RFC 1122 section 4.1.3.1).
pub fn port_unreachable(datagram: &[u8]) -> Vec<u8> {
    let quoted = &datagram[..datagram.len().min(576 - HEADER - 8)];
    let mut bytes = Vec::with_capacity(HEADER + 8 + quoted.len());
    header(&mut bytes, ICMP, address(datagram, 16), address(datagram, 12), 8 + quoted.len());
    bytes.extend([0; 8]);
    bytes.extend(quoted);
    bytes[HEADER + 1] = 3;
    icmp_sum(&mut bytes, 3);
    bytes
}

/// Whom a packet is for; unspecified where it is too short to say.
pub fn destination(packet: &[u8]) -> Ipv4Addr {
    address(packet, 16)
}

fn address(packet: &[u8], at: usize) -> Ipv4Addr {
    match packet.get(at..at + 4) {
        Some(&[a, b, c, d]) => Ipv4Addr::new(a, b, c, d),
        _ => Ipv4Addr::UNSPECIFIED,
    }
}

fn header(bytes: &mut Vec<u8>, protocol: u8, from: Ipv4Addr, to: Ipv4Addr, length: usize) {
    let start = bytes.len();
    bytes.extend([0x45, 0]);
    bytes.extend(((HEADER + length) as u16).to_be_bytes());
    // Don't fragment, as the sockets of nodes that look for a path's MTU.
    bytes.extend([0, 0, 0x40, 0, TTL, protocol, 0, 0]);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    let checksum = !sum(0, &bytes[start..]);
    put(bytes, start + 10, checksum);
}

fn icmp_sum(bytes: &mut [u8], kind: u8) {
    bytes[HEADER] = kind;
    put(bytes, HEADER + 2, 0);
    let checksum = !sum(0, &bytes[HEADER..]);
    put(bytes, HEADER + 2, checksum);
}

/// The checksum over a transport's bytes and the addresses (RFC 768); 0 if there is a right one in it.
fn transport_sum(packet: &[u8], protocol: u8) -> u16 {
    let length = packet.len() - HEADER;
    let pseudo = sum(u32::from(protocol) + length as u32, &packet[12..HEADER]);
    !sum(u32::from(pseudo), &packet[HEADER..])
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}

/// The ones' complement sum of big-endian words (RFC 1071).
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let mut total = u64::from(start);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_be_bytes(*word));
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_be_bytes(last));
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use natrig_capture::{Icmp, Transport, decode_ipv4};

    use super::*;

    fn ends() -> (SocketAddrV4, SocketAddrV4) {
        (SocketAddrV4::new([10, 0, 1, 2].into(), 4400), SocketAddrV4::new([192, 168, 100, 3].into(), 3478))
    }

    #[test]
    fn what_is_sent_is_what_others_read() {
        let (from, to) = ends();
        for length in [0, 1, 2, 3, 7, 1199, MAX_PAYLOAD] {
            let payload: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let packet = udp(from, to, &payload);
            assert_eq!(read(&packet), Read::Udp { from, to, payload: &payload });
            let Transport::Udp(udp) = decode_ipv4(&packet).unwrap().transport else { panic!() };
            assert_eq!((udp.source, udp.destination, udp.payload), (from, to, &payload[..]));
        }
    }

    #[test]
    fn a_wrong_bit_anywhere_is_noticed() {
        let (from, to) = ends();
        let packet = udp(from, to, b"hello");
        for bit in 0..packet.len() * 8 {
            let mut wrong = packet.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&wrong), Read::Other, "bit {bit}");
        }
    }

    #[test]
    fn nobody_listens() {
        let (from, to) = ends();
        let error = port_unreachable(&udp(from, to, b"hello"));
        let ipv4 = decode_ipv4(&error).unwrap();
        assert_eq!((ipv4.source, ipv4.destination), (*to.ip(), *from.ip()));
        let Transport::Icmp(Icmp::Error(error)) = ipv4.transport else { panic!() };
        assert_eq!((error.kind, error.code, error.quoted.unwrap().ports), (3, 3, Some((4400, 3478))));
    }
}
