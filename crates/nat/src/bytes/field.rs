//! Fields of headers, and their checksums.

use std::net::Ipv4Addr;

/// Two bytes, if they are there.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// An address, if it is there.
pub(super) fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

/// Writes where there is room.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// The internet checksum (RFC 1071) of bytes whose checksum field is 0; over bytes with the right checksum it is 0.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

fn sum(bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks(2);
    pairs.map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What changes in bytes that a checksum covers (RFC 1624).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Change(u64);

impl Change {
    /// Also these bytes, which start at an even distance from the first that is covered.
    pub fn of(self, before: &[u8], after: &[u8]) -> Self {
        Change(self.0 + u64::from(!fold(sum(before))) + sum(after))
    }

    /// Corrects the checksum at a place, if it is there.
    pub fn apply(self, bytes: &mut [u8], at: usize) {
        if let Some(before) = word(bytes, at) {
            put(bytes, at, &(!fold(u64::from(!before) + self.0)).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_corrected_checksum_is_right(
            mut bytes in proptest::collection::vec(any::<u8>(), 12..60),
            change: [u8; 4],
        ) {
            put(&mut bytes, 2, &[0, 0]);
            let right = checksum(&bytes);
            put(&mut bytes, 2, &right.to_be_bytes());
            prop_assert_eq!(checksum(&bytes), 0);
            let before = bytes[6..10].to_vec();
            put(&mut bytes, 6, &change);
            Change::default().of(&before, &change).apply(&mut bytes, 2);
            prop_assert_eq!(checksum(&bytes), 0);
        }
    }
}
