//! What a trace needs to know of packets' bytes: whether their checksums hold, and wholes of parts.

use std::{collections::HashMap, net::Ipv4Addr};

use natrig_capture::{Transport, decode_ipv4};

/// Whether all checksums of a packet hold.
pub fn sound(packet: &[u8]) -> bool {
    let Some(header) = packet.get(..20) else { return false };
    let Some(ipv4) = decode_ipv4(packet) else { return false };
    let payload = &packet[20..];
    let length = (payload.len() as u16).to_be_bytes();
    let pseudo = |protocol: u8| [&header[12..20], &[0, protocol], &length, payload].concat();
    let transport = match ipv4.transport {
        Transport::Udp(_) => sum(&pseudo(17)) == 0xffff,
        Transport::Tcp(_) => sum(&pseudo(6)) == 0xffff,
        Transport::Icmp(_) => sum(payload) == 0xffff,
        _ => true,
    };
    sum(header) == 0xffff && transport
}

/// Two bytes of a packet.
pub fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Fragments that wait for the others of their packet.
#[derive(Default)]
pub struct Parts(HashMap<(usize, Ipv4Addr, u16), Vec<Vec<u8>>>);

impl Parts {
    /// The whole packet, once its last part is there.
    pub fn whole(&mut self, at: usize, packet: Vec<u8>) -> Option<Vec<u8>> {
        let ipv4 = decode_ipv4(&packet)?;
        let fragment = word(&packet, 6)? & 0x3fff;
        if fragment == 0 {
            return Some(packet);
        }
        let key = (at, ipv4.destination, ipv4.identification);
        let parts = self.0.entry(key).or_default();
        parts.push(packet);
        parts.sort_by_key(|part| word(part, 6).unwrap_or(0) & 0x1fff);
        let mut whole = parts.first()?.get(..20)?.to_vec();
        for part in parts.iter() {
            if usize::from(word(part, 6)? & 0x1fff) * 8 != whole.len() - 20 {
                return None;
            }
            whole.extend_from_slice(part.get(20..)?);
        }
        if word(parts.last()?, 6)? & 0x2000 != 0 {
            return None;
        }
        self.0.remove(&key);
        let length = (whole.len() as u16).to_be_bytes();
        whole[2..4].copy_from_slice(&length);
        whole[6..8].copy_from_slice(&[0, 0]);
        whole[10..12].copy_from_slice(&[0, 0]);
        let checksum = !sum(&whole[..20]);
        whole[10..12].copy_from_slice(&checksum.to_be_bytes());
        Some(whole)
    }
}
