//! A view into an Ethernet frame: Ethernet, ARP, IPv4, UDP, TCP and ICMP.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{
    ArpPacketSlice, EtherType, Ethernet2HeaderSlice, Icmpv4Slice, IpNumber, Ipv4HeaderSlice, TcpSlice,
    UdpHeaderSlice,
};

/// Decodes an Ethernet frame; `None` if it is too short to be one.
///
/// Never panics. What is malformed inside a frame is shown as the layer below it: a broken IPv4 header as
/// [`Network::Other`], a broken UDP header as [`Transport::Other`].
pub fn decode(frame: &[u8]) -> Option<Packet<'_>> {
    let header = Ethernet2HeaderSlice::from_slice(frame).ok()?;
    let payload = frame.get(header.slice().len()..)?;
    let other = Network::Other { ether_type: header.ether_type().0, payload };
    let network = match header.ether_type() {
        EtherType::IPV4 => decode_ipv4(payload).map_or(other, Network::Ipv4),
        EtherType::ARP => arp(payload).map_or(other, Network::Arp),
        _ => other,
    };
    Some(Packet {
        source: MacAddress(header.source()),
        destination: MacAddress(header.destination()),
        network,
    })
}

/// An Ethernet frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Who claims to have sent it.
    pub source: MacAddress,
    /// Whom it is for.
    pub destination: MacAddress,
    /// What is in it.
    pub network: Network<'a>,
}

impl<'a> Packet<'a> {
    /// The IPv4 packet in it.
    pub fn ipv4(&self) -> Option<Ipv4<'a>> {
        match self.network {
            Network::Ipv4(ipv4) => Some(ipv4),
            _ => None,
        }
    }

    /// The ARP packet in it.
    pub fn arp(&self) -> Option<Arp> {
        match self.network {
            Network::Arp(arp) => Some(arp),
            _ => None,
        }
    }

    /// The UDP datagram in it, or the first fragment of one.
    pub fn udp(&self) -> Option<Udp<'a>> {
        match self.ipv4()?.transport {
            Transport::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    /// The TCP segment in it.
    pub fn tcp(&self) -> Option<Tcp<'a>> {
        match self.ipv4()?.transport {
            Transport::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// The ICMP message in it.
    pub fn icmp(&self) -> Option<Icmp<'a>> {
        match self.ipv4()?.transport {
            Transport::Icmp(icmp) => Some(icmp),
            _ => None,
        }
    }
}

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address of everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it names a group rather than one interface.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an Ethernet frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network<'a> {
    /// A question or answer about an address.
    Arp(Arp),
    /// An IPv4 packet.
    Ipv4(Ipv4<'a>),
    /// Anything else, and what is malformed.
    Other {
        /// The EtherType.
        ether_type: u16,
        /// What follows it.
        payload: &'a [u8],
    },
}

/// ARP for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// The sender's hardware address.
    pub sender_mac: MacAddress,
    /// The sender's address.
    pub sender: Ipv4Addr,
    /// The hardware address of whom it is for, or zeros.
    pub target_mac: MacAddress,
    /// The address asked for.
    pub target: Ipv4Addr,
}

/// An IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4<'a> {
    /// The source address.
    pub source: Ipv4Addr,
    /// The destination address.
    pub destination: Ipv4Addr,
    /// How many hops it may still make.
    pub ttl: u8,
    /// Common to the fragments of one packet.
    pub identification: u16,
    /// Whether fragments of the same packet follow.
    pub more_fragments: bool,
    /// What is in it.
    pub transport: Transport<'a>,
}

/// What an IPv4 packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport<'a> {
    /// A UDP datagram.
    Udp(Udp<'a>),
    /// A TCP segment.
    Tcp(Tcp<'a>),
    /// An ICMP message.
    Icmp(Icmp<'a>),
    /// A fragment that is not the first: it has no ports.
    LaterFragment(LaterFragment<'a>),
    /// Another protocol, and what is malformed.
    Other {
        /// The protocol's number.
        protocol: u8,
        /// What follows the IPv4 header.
        payload: &'a [u8],
    },
}

/// A UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Where it is from.
    pub source: SocketAddrV4,
    /// Where it goes.
    pub destination: SocketAddrV4,
    /// What it carries; of a first fragment, only what is in that.
    pub payload: &'a [u8],
    /// Whether all of the payload is here.
    pub complete: bool,
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Where it is from.
    pub source: SocketAddrV4,
    /// Where it goes.
    pub destination: SocketAddrV4,
    /// The number of its first byte.
    pub sequence: u32,
    /// The SYN flag.
    pub syn: bool,
    /// The ACK flag.
    pub ack: bool,
    /// The FIN flag.
    pub fin: bool,
    /// The RST flag.
    pub rst: bool,
    /// What it carries.
    pub payload: &'a [u8],
}

/// An ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icmp<'a> {
    /// A ping or its answer.
    Echo {
        /// Whether it is the answer.
        reply: bool,
        /// The pinging program.
        identifier: u16,
        /// The ping.
        sequence: u16,
        /// What it carries.
        payload: &'a [u8],
    },
    /// An error about another packet.
    Error(IcmpError),
    /// Any other message.
    Other {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
    },
}

/// An ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// Its type: 3 destination unreachable, 4 source quench, 5 redirect, 11 time exceeded, 12 parameter problem.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The packet it is about, if enough of its header is quoted.
    pub quoted: Option<Quoted>,
}

/// The head of a packet as an ICMP error quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// The source address.
    pub source: Ipv4Addr,
    /// The destination address.
    pub destination: Ipv4Addr,
    /// The protocol's number.
    pub protocol: u8,
    /// Source and destination port, if it is UDP or TCP and not a later fragment.
    pub ports: Option<(u16, u16)>,
}

/// A part of a packet without its transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaterFragment<'a> {
    /// The protocol's number.
    pub protocol: u8,
    /// Where the part belongs in the packet's payload, in bytes.
    pub offset: u16,
    /// The part.
    pub payload: &'a [u8],
}

fn arp(slice: &[u8]) -> Option<Arp> {
    let arp = ArpPacketSlice::from_slice(slice).ok()?;
    Some(Arp {
        operation: arp.operation().0,
        sender_mac: MacAddress(arp.sender_hw_addr().try_into().ok()?),
        sender: address(arp.sender_protocol_addr())?,
        target_mac: MacAddress(arp.target_hw_addr().try_into().ok()?),
        target: address(arp.target_protocol_addr())?,
    })
}

fn address(slice: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(slice).ok().map(Ipv4Addr::from)
}

/// Decodes an IPv4 packet that is in no frame; `None` if its header is broken or some of it is missing.
pub fn decode_ipv4(slice: &[u8]) -> Option<Ipv4<'_>> {
    let header = Ipv4HeaderSlice::from_slice(slice).ok()?;
    // Ethernet pads short frames: the packet ends where its header says.
    let payload = slice.get(header.slice().len()..header.total_len().into())?;
    Some(Ipv4 {
        source: header.source_addr(),
        destination: header.destination_addr(),
        ttl: header.ttl(),
        identification: header.identification(),
        more_fragments: header.more_fragments(),
        transport: transport(&header, payload),
    })
}

fn transport<'a>(header: &Ipv4HeaderSlice<'_>, payload: &'a [u8]) -> Transport<'a> {
    let protocol = header.protocol();
    let other = Transport::Other { protocol: protocol.0, payload };
    let offset = header.fragments_offset().byte_offset();
    if offset != 0 {
        return Transport::LaterFragment(LaterFragment { protocol: protocol.0, offset, payload });
    }
    match protocol {
        IpNumber::UDP => udp(header, payload).map_or(other, Transport::Udp),
        IpNumber::TCP => tcp(header, payload).map_or(other, Transport::Tcp),
        IpNumber::ICMP => icmp(payload).map_or(other, Transport::Icmp),
        _ => other,
    }
}

fn udp<'a>(ip: &Ipv4HeaderSlice<'_>, slice: &'a [u8]) -> Option<Udp<'a>> {
    let header = UdpHeaderSlice::from_slice(slice).ok()?;
    let end = usize::from(header.length());
    let complete = end <= slice.len();
    if !complete && !ip.more_fragments() {
        return None;
    }
    Some(Udp {
        source: SocketAddrV4::new(ip.source_addr(), header.source_port()),
        destination: SocketAddrV4::new(ip.destination_addr(), header.destination_port()),
        payload: slice.get(header.slice().len()..end.min(slice.len()))?,
        complete,
    })
}

fn tcp<'a>(ip: &Ipv4HeaderSlice<'_>, slice: &'a [u8]) -> Option<Tcp<'a>> {
    let tcp = TcpSlice::from_slice(slice).ok()?;
    Some(Tcp {
        source: SocketAddrV4::new(ip.source_addr(), tcp.source_port()),
        destination: SocketAddrV4::new(ip.destination_addr(), tcp.destination_port()),
        sequence: tcp.sequence_number(),
        syn: tcp.syn(),
        ack: tcp.ack(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload(),
    })
}

fn icmp(slice: &[u8]) -> Option<Icmp<'_>> {
    let icmp = Icmpv4Slice::from_slice(slice).ok()?;
    let (kind, code) = (icmp.type_u8(), icmp.code_u8());
    let [a, b, c, d] = icmp.bytes5to8();
    Some(match kind {
        0 | 8 => Icmp::Echo {
            reply: kind == 0,
            identifier: u16::from_be_bytes([a, b]),
            sequence: u16::from_be_bytes([c, d]),
            payload: slice.get(8..)?,
        },
        3 | 4 | 5 | 11 | 12 => Icmp::Error(IcmpError { kind, code, quoted: slice.get(8..).and_then(quoted) }),
        _ => Icmp::Other { kind, code },
    })
}

/// Reads the head of a packet whose rest may be missing.
fn quoted(slice: &[u8]) -> Option<Quoted> {
    let header = Ipv4HeaderSlice::from_slice(slice).ok()?;
    let protocol = header.protocol();
    let has_ports =
        matches!(protocol, IpNumber::UDP | IpNumber::TCP) && header.fragments_offset().byte_offset() == 0;
    let ports = slice.get(header.slice().len()..).and_then(|rest| rest.first_chunk()).filter(|_| has_ports);
    Some(Quoted {
        source: header.source_addr(),
        destination: header.destination_addr(),
        protocol: protocol.0,
        ports: ports.map(|[a, b, c, d]| (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))),
    })
}

#[cfg(test)]
mod tests {
    use etherparse::{
        ArpHardwareId, ArpOperation, ArpPacket, EtherType, IpFragOffset, Ipv4Header, PacketBuilder,
        icmpv4::DestUnreachableHeader,
    };

    use super::*;

    const SOURCE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 2), 9000);
    const DESTINATION: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 100, 3), 3478);
    const FROM: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const TO: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn ipv4_builder() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ethernet2(FROM, TO).ipv4(SOURCE.ip().octets(), DESTINATION.ip().octets(), 61)
    }

    fn udp_frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        ipv4_builder().udp(SOURCE.port(), DESTINATION.port()).write(&mut frame, payload).unwrap();
        frame
    }

    /// A frame with an IPv4 packet of which only some is there or that is one of several.
    fn fragment(offset: u16, more: bool, protocol: IpNumber, payload: &[u8]) -> Vec<u8> {
        let mut header = Ipv4Header::new(
            payload.len() as u16,
            61,
            protocol,
            SOURCE.ip().octets(),
            DESTINATION.ip().octets(),
        )
        .unwrap();
        header.identification = 77;
        header.more_fragments = more;
        header.fragment_offset = IpFragOffset::try_new(offset / 8).unwrap();
        let mut frame = [&TO[..], &FROM, &[8, 0]].concat();
        header.write(&mut frame).unwrap();
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_datagram_is_seen_without_the_padding_of_its_frame() {
        let mut frame = udp_frame(b"ping");
        frame.resize(60, 0);
        let packet = decode(&frame).unwrap();
        assert_eq!((packet.source, packet.destination), (MacAddress(FROM), MacAddress(TO)));
        assert_eq!(packet.ipv4().unwrap().ttl, 61);
        let expected = Udp { source: SOURCE, destination: DESTINATION, payload: b"ping", complete: true };
        assert_eq!(packet.udp(), Some(expected));
        assert_eq!((packet.arp(), packet.tcp(), packet.icmp()), (None, None, None));
    }

    #[test]
    fn a_segment_shows_its_flags() {
        let mut frame = Vec::new();
        let segment = ipv4_builder().tcp(SOURCE.port(), DESTINATION.port(), 42, 1024).syn().ack(7);
        segment.write(&mut frame, b"data").unwrap();
        let tcp = decode(&frame).unwrap().tcp().unwrap();
        assert_eq!((tcp.source, tcp.destination, tcp.sequence), (SOURCE, DESTINATION, 42));
        assert_eq!((tcp.syn, tcp.ack, tcp.fin, tcp.rst), (true, true, false, false));
        assert_eq!(tcp.payload, b"data");
    }

    #[test]
    fn a_ping_is_told_from_its_answer() {
        for (reply, builder) in [
            (false, ipv4_builder().icmpv4_echo_request(3, 4)),
            (true, ipv4_builder().icmpv4_echo_reply(3, 4)),
        ] {
            let mut frame = Vec::new();
            builder.write(&mut frame, b"abc").unwrap();
            let expected = Icmp::Echo { reply, identifier: 3, sequence: 4, payload: b"abc" };
            assert_eq!(decode(&frame).unwrap().icmp(), Some(expected));
        }
    }

    #[test]
    fn an_error_quotes_the_packet_it_is_about() {
        let about = udp_frame(b"lost");
        let unreachable = etherparse::Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
        // Routers need to quote no more than the header and eight bytes.
        for (quote, expected_ports) in [(28, Some((9000, 3478))), (22, None)] {
            let mut frame = Vec::new();
            ipv4_builder().icmpv4(unreachable.clone()).write(&mut frame, &about[14..14 + quote]).unwrap();
            let Some(Icmp::Error(error)) = decode(&frame).unwrap().icmp() else { panic!("no error") };
            assert_eq!((error.kind, error.code), (3, 3));
            let expected = Quoted {
                source: *SOURCE.ip(),
                destination: *DESTINATION.ip(),
                protocol: 17,
                ports: expected_ports,
            };
            assert_eq!(error.quoted, Some(expected));
        }
    }

    #[test]
    fn a_first_fragment_has_ports_and_a_later_one_has_not() {
        let datagram = udp_frame(&[5; 100]).split_off(34);
        let first = fragment(0, true, IpNumber::UDP, &datagram[..64]);
        let udp = decode(&first).unwrap().udp().unwrap();
        assert_eq!((udp.source, udp.payload.len(), udp.complete), (SOURCE, 56, false));

        let later = fragment(64, false, IpNumber::UDP, &datagram[64..]);
        let ipv4 = decode(&later).unwrap().ipv4().unwrap();
        assert_eq!((ipv4.identification, ipv4.more_fragments), (77, false));
        let expected = LaterFragment { protocol: 17, offset: 64, payload: &datagram[64..] };
        assert_eq!(ipv4.transport, Transport::LaterFragment(expected));
    }

    #[test]
    fn a_datagram_longer_than_its_packet_is_none() {
        let datagram = udp_frame(&[5; 100]).split_off(34);
        let frame = fragment(0, false, IpNumber::UDP, &datagram[..64]);
        let transport = decode(&frame).unwrap().ipv4().unwrap().transport;
        assert_eq!(transport, Transport::Other { protocol: 17, payload: &datagram[..64] });
    }

    #[test]
    fn a_packet_longer_than_its_frame_is_none() {
        let frame = udp_frame(b"ping");
        let packet = decode(&frame[..frame.len() - 1]).unwrap();
        assert!(matches!(packet.network, Network::Other { ether_type: 0x0800, .. }));
    }

    #[test]
    fn arp_is_read() {
        let arp = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            ArpOperation::REQUEST,
            &FROM,
            &SOURCE.ip().octets(),
            &[0; 6],
            &DESTINATION.ip().octets(),
        )
        .unwrap();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(FROM, [0xff; 6]).arp(arp).write(&mut frame).unwrap();
        frame.resize(60, 0);
        let packet = decode(&frame).unwrap();
        assert_eq!(packet.destination, MacAddress::BROADCAST);
        assert!(packet.destination.is_group());
        let expected = Arp {
            operation: 1,
            sender_mac: MacAddress(FROM),
            sender: *SOURCE.ip(),
            target_mac: MacAddress([0; 6]),
            target: *DESTINATION.ip(),
        };
        assert_eq!(packet.arp(), Some(expected));
    }

    #[test]
    fn no_frame_makes_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            decode(bytes);
        });
    }

    #[test]
    fn no_damage_to_a_frame_makes_it_panic() {
        let mut icmp = Vec::new();
        let unreachable = etherparse::Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
        ipv4_builder().icmpv4(unreachable).write(&mut icmp, &udp_frame(b"lost")[14..]).unwrap();
        let frames = [udp_frame(b"ping"), icmp, fragment(64, true, IpNumber::TCP, &[0; 30])];
        bolero::check!().with_type::<(u8, u8, Vec<(u8, u8)>)>().for_each(|(which, length, damage)| {
            let mut frame = frames[usize::from(*which) % frames.len()].clone();
            for (at, value) in damage {
                let at = usize::from(*at) % frame.len();
                frame[at] = *value;
            }
            frame.truncate(usize::from(*length));
            decode(&frame);
        });
    }
}
