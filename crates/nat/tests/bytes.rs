//! The gateway on packets as they are on the wire; etherparse makes them.

use std::{net::SocketAddrV4, time::Duration};

use etherparse::{Icmpv4Type, IpFragOffset, Ipv4Header, PacketBuilder, PacketHeaders, TransportHeader};
use natrig_nat::{
    Engine, Preset, Profile,
    bytes::{Gateway, Lost, Transmit},
    engine::{Addresses, Reason, Side},
    profile::{Hairpin, Unsolicited},
};
use proptest::prelude::*;

const INSIDE: &str = "10.0.0.2:7000";
const SERVER: &str = "198.51.100.3:3478";
const NOW: Duration = Duration::ZERO;

fn at(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

fn gateway(profile: Profile) -> Gateway {
    let addresses =
        Addresses { outside: vec!["192.0.2.1".parse().unwrap()], inside: "10.0.0.0/24".parse().unwrap() };
    Gateway::new(Engine::new(profile, addresses, 7).unwrap(), "10.0.0.1".parse().unwrap())
}

fn udp(from: SocketAddrV4, to: SocketAddrV4, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), ttl).udp(from.port(), to.port());
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

fn syn(from: SocketAddrV4, to: SocketAddrV4, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64);
    builder.tcp(from.port(), to.port(), sequence, 1000).syn().write(&mut bytes, b"").unwrap();
    bytes
}

/// Sends a packet through, and checks all checksums of what comes out.
fn through(gateway: &mut Gateway, from: Side, bytes: Vec<u8>) -> Transmit {
    gateway.handle(NOW, from, bytes).unwrap();
    next(gateway)
}

fn next(gateway: &mut Gateway) -> Transmit {
    let transmit = gateway.poll_transmit().unwrap();
    assert_right(&transmit.packet);
    transmit
}

fn assert_right(bytes: &[u8]) {
    let headers = PacketHeaders::from_ip_slice(bytes).unwrap();
    let ip = ipv4(bytes);
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    let payload = headers.payload.slice();
    match headers.transport {
        Some(TransportHeader::Udp(udp)) if udp.checksum != 0 => {
            assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&ip, payload).unwrap());
        }
        Some(TransportHeader::Tcp(tcp)) => {
            assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, payload).unwrap());
        }
        Some(TransportHeader::Icmpv4(icmp)) => {
            assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(payload));
        }
        _ => {}
    }
}

fn ipv4(bytes: &[u8]) -> Ipv4Header {
    Ipv4Header::from_slice(bytes).unwrap().0
}

/// Sender and receiver of a UDP datagram or TCP segment.
fn ends(bytes: &[u8]) -> (SocketAddrV4, SocketAddrV4) {
    let (ip, rest) = Ipv4Header::from_slice(bytes).unwrap();
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    (SocketAddrV4::new(ip.source.into(), port(0)), SocketAddrV4::new(ip.destination.into(), port(2)))
}

#[test]
fn a_datagram_and_its_answer_are_translated_whole() {
    let mut gateway = gateway(Profile::of(Preset::Symmetric));
    let sent = through(&mut gateway, Side::Inside, udp(at(INSIDE), at(SERVER), 64, b"question"));
    let (outside, to) = ends(&sent.packet);
    assert_eq!((sent.to, to, ipv4(&sent.packet).time_to_live), (Side::Outside, at(SERVER), 63));
    assert_eq!(outside.ip().to_string(), "192.0.2.1");
    assert!(sent.packet.ends_with(b"question"));
    let came = through(&mut gateway, Side::Outside, udp(at(SERVER), outside, 5, b"answer"));
    assert_eq!((came.to, ends(&came.packet)), (Side::Inside, (at(SERVER), at(INSIDE))));
    assert!(came.packet.ends_with(b"answer"));
}

#[test]
fn a_datagram_without_checksum_stays_without() {
    let mut gateway = gateway(Profile::of(Preset::Symmetric));
    let mut bytes = udp(at(INSIDE), at(SERVER), 64, b"bare");
    bytes[26..28].fill(0);
    assert_eq!(through(&mut gateway, Side::Inside, bytes).packet[26..28], [0, 0]);
}

#[test]
fn tcp_and_pings_are_translated() {
    let mut gateway = gateway(Profile::of(Preset::Symmetric));
    let sent = through(&mut gateway, Side::Inside, syn(at(INSIDE), at(SERVER), 1));
    assert_eq!(sent.to, Side::Outside);
    let mut ping = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 2], [198, 51, 100, 3], 64);
    builder.icmpv4_echo_request(77, 1).write(&mut ping, b"payload").unwrap();
    let sent = through(&mut gateway, Side::Inside, ping);
    let identifier = u16::from_be_bytes([sent.packet[24], sent.packet[25]]);
    let mut pong = Vec::new();
    let builder = PacketBuilder::ipv4([198, 51, 100, 3], [192, 0, 2, 1], 64);
    builder.icmpv4_echo_reply(identifier, 1).write(&mut pong, b"payload").unwrap();
    let came = through(&mut gateway, Side::Outside, pong);
    assert_eq!(came.packet[24..26], 77u16.to_be_bytes());
    assert_eq!(ipv4(&came.packet).destination, [10, 0, 0, 2]);
}

#[test]
fn who_sends_with_one_hop_left_is_told() {
    let mut gateway = gateway(Profile::of(Preset::PortRestrict));
    let bytes = udp(at(INSIDE), at(SERVER), 1, b"short");
    assert_eq!(gateway.handle(NOW, Side::Inside, bytes.clone()), Err(Lost::Hops));
    let told = next(&mut gateway);
    let ip = ipv4(&told.packet);
    assert_eq!((told.to, ip.source, ip.destination), (Side::Inside, [10, 0, 0, 1], [10, 0, 0, 2]));
    assert_eq!(told.packet[20..22], [11, 0]);
    assert_eq!(told.packet[28..], bytes, "it quotes what was sent");
    assert_eq!(gateway.engine().flows(NOW), 0, "and opens nothing");
}

#[test]
fn an_error_about_a_packet_that_left_comes_back_to_its_sender() {
    let mut gateway = gateway(Profile::of(Preset::Symmetric));
    for bytes in [udp(at(INSIDE), at(SERVER), 9, b"hello"), syn(at(INSIDE), at(SERVER), 5)] {
        let original = bytes.clone();
        let sent = through(&mut gateway, Side::Inside, bytes).packet;
        let mut error = Vec::new();
        PacketBuilder::ipv4([203, 0, 113, 1], [192, 0, 2, 1], 64)
            .icmpv4_raw(11, 0, [0; 4])
            .write(&mut error, &sent)
            .unwrap();
        let came = through(&mut gateway, Side::Outside, error.clone()).packet;
        assert_eq!((ipv4(&came).source, ipv4(&came).destination), ([203, 0, 113, 1], [10, 0, 0, 2]));
        let quoted = &came[28..];
        assert_right(quoted);
        assert_eq!(ends(quoted), ends(&original));
        error[40] ^= 1;
        assert_eq!(gateway.handle(NOW, Side::Outside, error), Err(Lost::Checksum));
    }
}

#[test]
fn a_refusal_quotes_what_was_refused() {
    let mut gateway =
        gateway(Profile { unsolicited: Unsolicited::Reject, ..Profile::of(Preset::PortRestrict) });
    let bytes = udp(at(SERVER), at("192.0.2.1:7000"), 64, b"hello");
    assert_eq!(gateway.handle(NOW, Side::Outside, bytes.clone()), Err(Lost::Rejected));
    let told = next(&mut gateway);
    assert_eq!((told.to, &told.packet[20..22]), (Side::Outside, &[3, 3][..]));
    assert_eq!(told.packet[28..], bytes);
    let bytes = syn(at(SERVER), at("192.0.2.1:7000"), 0xabcd);
    assert_eq!(gateway.handle(NOW, Side::Outside, bytes.clone()), Err(Lost::Dropped(Reason::Held)));
    assert_eq!(gateway.poll_transmit(), None);
    let due = gateway.poll_timeout().unwrap();
    gateway.handle_timeout(due);
    assert_eq!(next(&mut gateway).packet[28..], bytes, "six seconds later, with its sequence number");
}

#[test]
fn a_packet_is_turned_back_to_a_host_inside() {
    let mut gateway = gateway(Profile { hairpin: Hairpin::ExternalSource, ..Profile::of(Preset::FullCone) });
    let first = through(&mut gateway, Side::Inside, udp(at(INSIDE), at(SERVER), 64, b""));
    let (outside, _) = ends(&first.packet);
    let turned = through(&mut gateway, Side::Inside, udp(at("10.0.0.3:8000"), outside, 64, b"hi"));
    assert_eq!((turned.to, ends(&turned.packet)), (Side::Inside, (at("192.0.2.1:8000"), at(INSIDE))));
}

#[test]
fn a_router_without_nat_passes_what_it_does_not_know() {
    let mut gateway = gateway(Profile::of(Preset::Public));
    let mut bytes = udp(at(SERVER), at(INSIDE), 64, b"unknown");
    let mut header = ipv4(&bytes);
    header.protocol = 132.into();
    header.header_checksum = header.calc_header_checksum();
    bytes[..20].copy_from_slice(&header.to_bytes());
    let came = through(&mut gateway, Side::Outside, bytes.clone());
    assert_eq!((came.to, ipv4(&came.packet).time_to_live), (Side::Inside, 63));
    assert_eq!(came.packet[12..], bytes[12..]);
    for part in fragments(&udp(at(INSIDE), at(SERVER), 64, &[0; 100]), 64).into_iter().rev() {
        assert_eq!(through(&mut gateway, Side::Inside, part).to, Side::Outside);
    }
    assert_eq!(gateway.handle(NOW, Side::Inside, bytes), Err(Lost::Dropped(Reason::NotOurs)));
}

/// Cuts a datagram into fragments of at most `size` bytes of payload.
fn fragments(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = Ipv4Header::from_slice(bytes).unwrap();
    let count = payload.len().div_ceil(size);
    let cut = |(index, part): (usize, &[u8])| {
        let mut header = header.clone();
        header.set_payload_len(part.len()).unwrap();
        header.identification = 99;
        header.dont_fragment = false;
        header.more_fragments = index + 1 < count;
        header.fragment_offset = IpFragOffset::try_new((index * size / 8) as u16).unwrap();
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(part);
        bytes
    };
    payload.chunks(size).enumerate().map(cut).collect()
}

#[test]
fn fragments_are_translated_in_any_order() {
    let payload: Vec<u8> = (0..100).collect();
    let whole = udp(at(INSIDE), at(SERVER), 64, &payload);
    let parts = fragments(&whole, 32);
    assert_eq!(parts.len(), 4);
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        let mut gateway = gateway(Profile::of(Preset::Symmetric));
        let mut seen = false;
        for index in order {
            seen |= index == 0;
            let expected = if seen { Ok(()) } else { Err(Lost::Waiting) };
            assert_eq!(gateway.handle(NOW, Side::Inside, parts[index].clone()), expected, "{order:?}");
        }
        let mut sent: Vec<Vec<u8>> =
            std::iter::from_fn(|| gateway.poll_transmit()).map(|sent| sent.packet).collect();
        sent.sort_by_key(|bytes| ipv4(bytes).fragment_offset.value());
        assert_eq!(sent.len(), 4, "{order:?}");
        let mut joined = ipv4(&sent[0]);
        assert!(sent.iter().all(|bytes| {
            let ip = ipv4(bytes);
            ip.source == [192, 0, 2, 1] && ip.header_checksum == ip.calc_header_checksum()
        }));
        let body: Vec<u8> = sent.iter().flat_map(|bytes| bytes[20..].to_vec()).collect();
        joined.more_fragments = false;
        joined.set_payload_len(body.len()).unwrap();
        joined.header_checksum = joined.calc_header_checksum();
        let mut bytes = joined.to_bytes().to_vec();
        bytes.extend(body);
        assert_right(&bytes);
        assert!(bytes.ends_with(&payload));
    }
}

#[test]
fn fragments_that_wait_in_vain_are_few_and_forgotten() {
    let mut gateway = gateway(Profile::of(Preset::Symmetric));
    let parts = fragments(&udp(at(INSIDE), at(SERVER), 64, &[0; 200]), 64);
    for _ in 0..256 {
        assert_eq!(gateway.handle(NOW, Side::Inside, parts[1].clone()), Err(Lost::Waiting));
    }
    assert_eq!(gateway.handle(NOW, Side::Inside, parts[1].clone()), Err(Lost::TooManyFragments));
    let later = Duration::from_secs(16);
    assert_eq!(gateway.handle(later, Side::Inside, parts[1].clone()), Err(Lost::Waiting));
    assert_eq!(gateway.handle(later, Side::Inside, parts[0].clone()), Ok(()));
    assert_eq!(std::iter::from_fn(|| gateway.poll_transmit()).count(), 2);
}

proptest! {
    #[test]
    fn what_is_translated_keeps_its_payload_and_right_checksums(
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        ends in (1u16.., 1u16..),
        ttl in 2u8..,
    ) {
        let mut gateway = gateway(Profile::of(Preset::Symmetric));
        let (from, to) = (SocketAddrV4::new([10, 0, 0, 2].into(), ends.0), SocketAddrV4::new([8, 8, 8, 8].into(), ends.1));
        let sent = through(&mut gateway, Side::Inside, udp(from, to, ttl, &payload)).packet;
        prop_assert_eq!(&sent[28..], &payload);
        let outside = self::ends(&sent).0;
        let came = through(&mut gateway, Side::Outside, udp(to, outside, ttl, &payload)).packet;
        prop_assert_eq!(self::ends(&came), (to, from));
    }
}

/// The fuzz target of translation: any bytes from either side, as they are or mended, and their answers.
#[test]
fn no_bytes_make_it_panic() {
    let profiles = [
        Profile { unsolicited: Unsolicited::Reject, ..Profile::of(Preset::FullCone) },
        Profile { hairpin: Hairpin::ExternalSource, ..Profile::of(Preset::AddrRestrict) },
        Profile { unsolicited: Unsolicited::Poison, ..Profile::of(Preset::Symmetric) },
        Profile::of(Preset::Public),
    ];
    bolero::check!().with_type::<(u8, Vec<(u8, Vec<u8>)>)>().for_each(|(which, packets)| {
        let mut gateway = gateway(profiles[usize::from(*which) % profiles.len()].clone());
        for (how, bytes) in packets {
            let (inside, repair, answer) = (how & 1 == 0, how & 2 == 0, how & 4 == 0);
            let mut bytes = bytes.clone();
            if repair {
                mend(&mut bytes, inside);
            }
            let now = Duration::from_millis(u64::from(*how) * 100);
            let _ = gateway.handle(now, if inside { Side::Inside } else { Side::Outside }, bytes);
            gateway.handle_timeout(now);
            while let Some(transmit) = gateway.poll_transmit() {
                let ip = ipv4(&transmit.packet);
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                if answer {
                    let mut back = transmit.packet;
                    let (ends, others) = back[12..20].split_at_mut(4);
                    ends.swap_with_slice(others);
                    let _ = gateway.handle(now, transmit.to, back);
                }
            }
        }
    });
}

/// Makes bytes pass the first checks, so that the later ones are reached.
fn mend(bytes: &mut [u8], inside: bool) {
    if bytes.len() < 20 {
        return;
    }
    bytes[0] = 0x45;
    let total = (bytes.len() as u16).to_be_bytes();
    bytes[2..4].copy_from_slice(&total);
    bytes[6] &= 0x20;
    bytes[7] &= 3;
    bytes[9] = [1, 6, 17][usize::from(bytes[9] % 3)];
    if inside {
        bytes[12..16].copy_from_slice(&[10, 0, 0, 2]);
    } else {
        bytes[16..20].copy_from_slice(&[192, 0, 2, 1]);
    }
    let sum = ipv4(bytes).calc_header_checksum();
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn the_gateway_says_on_its_lan_that_it_is_there() {
    let mut gateway = gateway(Profile::of(Preset::PortRestrict));
    let ping = |to: [u8; 4]| {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 2], to, 9)
            .icmpv4_echo_request(5, 6)
            .write(&mut bytes, b"odd")
            .unwrap();
        bytes
    };
    let answer = through(&mut gateway, Side::Inside, ping([10, 0, 0, 1]));
    assert_eq!((answer.to, answer.destination()), (Side::Inside, Some([10, 0, 0, 2].into())));
    let headers = PacketHeaders::from_ip_slice(&answer.packet).unwrap();
    let Some(TransportHeader::Icmpv4(icmp)) = headers.transport else { panic!() };
    let Icmpv4Type::EchoReply(echo) = icmp.icmp_type else { panic!() };
    assert_eq!((echo.id, echo.seq, headers.payload.slice()), (5, 6, b"odd".as_slice()));
    // Nothing else, and to nobody else.
    let mut broken = ping([10, 0, 0, 1]);
    *broken.last_mut().unwrap() ^= 1;
    let others = [broken, ping([10, 0, 0, 9]), udp(at(INSIDE), at("10.0.0.1:53"), 64, b"?")];
    for bytes in others {
        let lost = gateway.handle(NOW, Side::Inside, bytes);
        assert_eq!(lost, Err(Lost::Dropped(Reason::NotOurs)));
    }
    assert_eq!(gateway.poll_transmit(), None);
}
