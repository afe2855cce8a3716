//! What stands where packets are sealed and their headers masked: checksums, under numbers that both sides can compute.

use bytes::BytesMut;
use quinn_proto::crypto::{CryptoError, HeaderKey, KeyPair, Keys, PacketKey};
use quinn_proto::{ConnectionId, Side};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

const TAG: usize = 16;
const SAMPLE: usize = 16;

/// How long a key of TLS may be used.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    confidentiality: u64,
    integrity: u64,
}

impl Limits {
    /// AES-128-GCM's (RFC 9001, section 6.6).
    const INITIAL: Self = Self { confidentiality: 1 << 23, integrity: 1 << 52 };
    /// ChaCha20-Poly1305's.
    pub const DATA: Self = Self { confidentiality: u64::MAX, integrity: 1 << 36 };
}

/// The keys of a connection's first packets.
pub(super) fn initial(dst_cid: &ConnectionId, side: Side) -> Keys {
    let secrets = Secrets::new(xxh3_64_with_seed(dst_cid, 0));
    Keys { header: secrets.header_keys(side), packet: secrets.packet_keys(side, Limits::INITIAL) }
}

/// Where the keys of both directions come from; no secret from anybody.
#[derive(Clone, Copy)]
pub(super) struct Secrets {
    client: u64,
    server: u64,
}

impl Secrets {
    pub fn new(from: u64) -> Self {
        Self { client: derive(from, b"client"), server: derive(from, b"server") }
    }

    /// After an update of the keys.
    pub fn next(self) -> Self {
        Self { client: derive(self.client, b"next"), server: derive(self.server, b"next") }
    }

    pub fn keys(self, side: Side) -> Keys {
        Keys { header: self.header_keys(side), packet: self.packet_keys(side, Limits::DATA) }
    }

    pub fn packet_keys(self, side: Side, limits: Limits) -> KeyPair<Box<dyn PacketKey>> {
        self.pair(side, |secret| Box::new(Checksum { key: derive(secret, b"packet"), limits }) as _)
    }

    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.client) << 64 | u128::from(self.server)).to_be_bytes()
    }

    fn header_keys(self, side: Side) -> KeyPair<Box<dyn HeaderKey>> {
        self.pair(side, |secret| Box::new(Mask(derive(secret, b"header"))) as _)
    }

    fn pair<T>(self, side: Side, key: impl Fn(u64) -> T) -> KeyPair<T> {
        let (local, remote) = match side {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        };
        KeyPair { local: key(local), remote: key(remote) }
    }
}

fn derive(from: u64, label: &[u8]) -> u64 {
    xxh3_64_with_seed(label, from)
}

/// Follows a packet instead of a tag.
struct Checksum {
    key: u64,
    limits: Limits,
}

impl Checksum {
    fn over(&self, packet: u64, header: &[u8], payload: &[u8]) -> [u8; TAG] {
        let header = xxh3_64_with_seed(header, self.key.wrapping_add(packet));
        xxh3_128_with_seed(payload, header).to_be_bytes()
    }
}

impl PacketKey for Checksum {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let (header, rest) = buf.split_at_mut(header_len);
        let (payload, tag) = rest.split_at_mut(rest.len() - TAG);
        tag.copy_from_slice(&self.over(packet, header, payload));
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        let (content, tag) = payload.split_last_chunk().ok_or(CryptoError)?;
        if self.over(packet, header, content) != *tag {
            return Err(CryptoError);
        }
        payload.truncate(payload.len() - TAG);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        TAG
    }

    fn confidentiality_limit(&self) -> u64 {
        self.limits.confidentiality
    }

    fn integrity_limit(&self) -> u64 {
        self.limits.integrity
    }
}

/// Hides the packet number as QUIC does (RFC 9001, section 5.4.1), under a mask of lower quality.
struct Mask(u64);

impl Mask {
    fn apply(&self, pn_offset: usize, packet: &mut [u8], is_masked: bool) {
        // The packet number counts as four bytes long here, whatever it is.
        let Some((header, rest)) = packet.split_at_mut_checked(pn_offset + 4) else {
            return;
        };
        let (Some(sample), Some((first, header))) = (rest.get(..SAMPLE), header.split_first_mut()) else {
            return;
        };
        let [mask, number_mask @ ..] = xxh3_64_with_seed(sample, self.0).to_be_bytes();
        let bits = if *first & 0x80 == 0 { 0x1f } else { 0x0f };
        let plain = if is_masked { *first ^ (mask & bits) } else { *first };
        *first ^= mask & bits;
        let length = usize::from(plain & 0x03) + 1;
        let number = header.iter_mut().skip(pn_offset - 1).take(length);
        number.zip(number_mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}

impl HeaderKey for Mask {
    fn decrypt(&self, pn_offset: usize, packet: &mut [u8]) {
        self.apply(pn_offset, packet, true);
    }

    fn encrypt(&self, pn_offset: usize, packet: &mut [u8]) {
        self.apply(pn_offset, packet, false);
    }

    fn sample_size(&self) -> usize {
        SAMPLE
    }
}
