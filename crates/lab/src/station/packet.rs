//! IPv4 packets made by hand.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv4HeaderSlice, PacketBuilder, PacketBuilderStep,
    checksum::Sum16BitWords,
};
use natrig_nat::engine::TcpFlags;

/// The protocol number of UDP.
pub const UDP: u8 = 17;

/// Type and code of the ICMP error that tells of a port where nobody listens.
pub const PORT_UNREACHABLE: [u8; 2] = [3, 3];

/// Hops of what stations send.
const TTL: u8 = 64;

/// A UDP datagram.
pub fn udp(source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    written(payload, |bytes| {
        ip(*source.ip(), *destination.ip()).udp(source.port(), destination.port()).write(bytes, payload)
    })
}

/// A TCP segment with these sequence numbers.
pub fn tcp(
    source: SocketAddrV4,
    destination: SocketAddrV4,
    flags: TcpFlags,
    [sequence, acknowledged]: [u32; 2],
    payload: &[u8],
) -> Vec<u8> {
    let mut segment =
        ip(*source.ip(), *destination.ip()).tcp(source.port(), destination.port(), sequence, 64_240);
    if !payload.is_empty() {
        // As all who have nothing more to say; without it a kernel may wait for more.
        segment = segment.psh();
    }
    if flags.syn {
        segment = segment.syn();
    }
    if flags.ack {
        segment = segment.ack(acknowledged);
    }
    if flags.fin {
        segment = segment.fin();
    }
    if flags.rst {
        segment = segment.rst();
    }
    written(payload, |bytes| segment.write(bytes, payload))
}

/// A ping, or the answer to one.
pub fn echo(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    reply: bool,
    [identifier, sequence]: [u16; 2],
    payload: &[u8],
) -> Vec<u8> {
    let packet = ip(source, destination);
    let packet = match reply {
        true => packet.icmpv4_echo_reply(identifier, sequence),
        false => packet.icmpv4_echo_request(identifier, sequence),
    };
    written(payload, |bytes| packet.write(bytes, payload))
}

/// An ICMP error about a packet, which it quotes as far as any host takes it.
pub fn icmp_error(reporter: Ipv4Addr, to: Ipv4Addr, [kind, code]: [u8; 2], about: &[u8]) -> Vec<u8> {
    let quoted = about.get(..about.len().min(576 - 28)).unwrap_or_default();
    written(quoted, |bytes| ip(reporter, to).icmpv4_raw(kind, code, [0; 4]).write(bytes, quoted))
}

/// The same packet with other hops left.
pub fn with_ttl(packet: &[u8], ttl: u8) -> Vec<u8> {
    rewritten(packet, |header| header.time_to_live = ttl)
}

/// The same packet with another identification.
pub fn with_identification(packet: &[u8], identification: u16) -> Vec<u8> {
    rewritten(packet, |header| header.identification = identification)
}

/// The same packet cut in two at a byte of its payload, a multiple of 8; both parts bear the identification.
pub fn fragments(packet: &[u8], at: u16, identification: u16) -> Option<[Vec<u8>; 2]> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?.to_header();
    let payload = packet.get(header.header_len()..)?;
    let (first, rest) = payload.split_at_checked(usize::from(at))?;
    let part = |payload: &[u8], offset: u16, more: bool| {
        let mut header = header.clone();
        header.identification = identification;
        header.dont_fragment = false;
        header.more_fragments = more;
        header.fragment_offset = IpFragOffset::try_new(offset / 8).ok()?;
        header.set_payload_len(payload.len()).ok()?;
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        Some(bytes)
    };
    Some([part(first, 0, true)?, part(rest, at, false)?])
}

/// Whether all checksums hold that a host looks at (RFC 1122 sections 3.2.1.2, 4.1.3.4 and 4.2.2.7). What is in a fragment
/// cannot be told.
pub fn is_intact(packet: &[u8]) -> bool {
    let Ok(header) = Ipv4HeaderSlice::from_slice(packet) else { return false };
    let Some(payload) = packet.get(header.slice().len()..usize::from(header.total_len())) else {
        return false;
    };
    if Sum16BitWords::new().add_slice(header.slice()).ones_complement() != 0 {
        return false;
    }
    let sum = match header.protocol() {
        _ if header.is_fragmenting_payload() => return true,
        IpNumber::UDP if payload.get(6..8) == Some(&[0, 0]) => return true,
        IpNumber::UDP | IpNumber::TCP => {
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            Sum16BitWords::new()
                .add_4bytes(header.source())
                .add_4bytes(header.destination())
                .add_2bytes([0, header.protocol().0])
                .add_4bytes(length.to_be_bytes())
        }
        IpNumber::ICMP => Sum16BitWords::new(),
        _ => return true,
    };
    sum.add_slice(payload).ones_complement() == 0
}

/// A packet of any protocol.
pub fn raw(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let Ok(mut header) =
        Ipv4Header::new(length, TTL, IpNumber(protocol), source.octets(), destination.octets())
    else {
        return Vec::new();
    };
    header.header_checksum = header.calc_header_checksum();
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn ip(source: Ipv4Addr, destination: Ipv4Addr) -> PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ipv4(source.octets(), destination.octets(), TTL)
}

/// Nothing but a payload longer than a packet can fail to be written, and no station makes one.
fn written<E>(payload: &[u8], write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 60);
    match write(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

fn rewritten(packet: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    if let Ok(slice) = Ipv4HeaderSlice::from_slice(packet) {
        let mut header = slice.to_header();
        change(&mut header);
        header.header_checksum = header.calc_header_checksum();
        let header = header.to_bytes();
        if let Some(place) = bytes.get_mut(..header.len()) {
            place.copy_from_slice(&header);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use natrig_capture::{Icmp, Transport, decode_ipv4};

    use super::*;

    fn ends() -> (SocketAddrV4, SocketAddrV4) {
        ("10.0.1.250:5000".parse().unwrap(), "192.168.100.250:3478".parse().unwrap())
    }

    #[test]
    fn what_is_made_is_what_is_read() {
        let (source, destination) = ends();
        let datagram = udp(source, destination, b"abc");
        let Transport::Udp(read) = decode_ipv4(&datagram).unwrap().transport else { panic!() };
        assert_eq!((read.source, read.destination, read.payload), (source, destination, &b"abc"[..]));
        let segment = tcp(source, destination, TcpFlags::SYN_ACK, [7, 8], b"");
        let Transport::Tcp(read) = decode_ipv4(&segment).unwrap().transport else { panic!() };
        assert_eq!((read.sequence, read.syn, read.ack, read.rst), (7, true, true, false));
        let ping = echo(*source.ip(), *destination.ip(), false, [3, 4], b"x");
        let Transport::Icmp(Icmp::Echo { reply: false, identifier: 3, sequence: 4, .. }) =
            decode_ipv4(&ping).unwrap().transport
        else {
            panic!()
        };
        let error = icmp_error(*destination.ip(), *source.ip(), [3, 3], &datagram);
        let Transport::Icmp(Icmp::Error(read)) = decode_ipv4(&error).unwrap().transport else { panic!() };
        assert_eq!((read.kind, read.quoted.unwrap().ports), (3, Some((5000, 3478))));
        assert_eq!(decode_ipv4(&with_ttl(&datagram, 1)).unwrap().ttl, 1);
        let other = raw(*source.ip(), *destination.ip(), 47, b"gre");
        assert_eq!(
            decode_ipv4(&other).unwrap().transport,
            Transport::Other { protocol: 47, payload: b"gre" }
        );
    }

    #[test]
    fn one_wrong_bit_is_seen() {
        let (source, destination) = ends();
        let packets = [
            udp(source, destination, b"odd"),
            tcp(source, destination, TcpFlags::SYN_ACK, [7, 8], b"even"),
            echo(*source.ip(), *destination.ip(), true, [3, 4], b"x"),
            icmp_error(*destination.ip(), *source.ip(), [3, 3], &udp(source, destination, b"")),
        ];
        for packet in packets {
            assert!(is_intact(&packet));
            for bit in 0..packet.len() * 8 {
                let mut damaged = packet.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_intact(&damaged), "bit {bit} of {packet:?}");
            }
        }
    }

    #[test]
    fn what_has_no_sum_is_taken() {
        let (source, destination) = ends();
        let mut unsummed = udp(source, destination, b"abc");
        unsummed[26..28].fill(0);
        assert!(is_intact(&unsummed));
        assert!(is_intact(&raw(*source.ip(), *destination.ip(), 47, b"gre")));
        for part in fragments(&udp(source, destination, &[7; 40]), 24, 99).unwrap() {
            assert!(is_intact(&part));
        }
    }

    #[test]
    fn a_packet_in_parts_has_all_of_its_payload() {
        let (source, destination) = ends();
        let whole = udp(source, destination, &[7; 40]);
        let [first, second] = fragments(&whole, 24, 99).unwrap();
        let head = decode_ipv4(&first).unwrap();
        assert!(head.more_fragments && head.identification == 99);
        let Transport::LaterFragment(tail) = decode_ipv4(&second).unwrap().transport else { panic!() };
        assert_eq!((tail.offset, tail.payload.len()), (24, 24));
    }
}
