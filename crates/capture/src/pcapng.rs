//! The parts of the pcapng format that are read and written here (draft-ietf-opsawg-pcapng).

use std::io;

use bytes::Bytes;

use crate::Direction;

pub(crate) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub(crate) const INTERFACE_DESCRIPTION: u32 = 1;
pub(crate) const ENHANCED_PACKET: u32 = 6;
pub(crate) const DECRYPTION_SECRETS: u32 = 10;

/// Secrets in the format of NSS's key log.
pub(crate) const TLS_KEY_LOG: u32 = 0x544c_534b;

/// Tells a section's byte order.
pub(crate) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// `LINKTYPE_ETHERNET`.
pub(crate) const ETHERNET: u16 = 1;

/// The longest packet that is promised to be kept whole; the same as dumpcap's.
pub(crate) const SNAP_LENGTH: u32 = 262_144;

/// A block of session keys (NSS's key log).
pub(crate) fn secrets(key_log: &str) -> io::Result<Vec<u8>> {
    let padded = key_log.len().next_multiple_of(4);
    let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
    let whole = length(padded + 20)?;
    let head = [DECRYPTION_SECRETS, whole, TLS_KEY_LOG, length(key_log.len())?];
    let mut block: Vec<u8> = head.into_iter().flat_map(u32::to_le_bytes).collect();
    block.extend(key_log.as_bytes());
    block.resize(16 + padded, 0);
    block.extend(whole.to_le_bytes());
    Ok(block)
}

/// Option codes; their meaning depends on the block.
pub(crate) mod option {
    pub(crate) const END: u16 = 0;
    pub(crate) const COMMENT: u16 = 1;
    pub(crate) const SECTION_APPLICATION: u16 = 4;
    pub(crate) const INTERFACE_NAME: u16 = 2;
    pub(crate) const INTERFACE_DESCRIPTION: u16 = 3;
    pub(crate) const INTERFACE_TIME_RESOLUTION: u16 = 9;
    pub(crate) const INTERFACE_TIME_OFFSET: u16 = 14;
    pub(crate) const PACKET_FLAGS: u16 = 2;
    pub(crate) const PACKET_ID: u16 = 5;
}

/// An interface that packets were captured on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Its name, if it has one; here the link's.
    pub name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// The format of its packets (`LINKTYPE_…`); 1 is Ethernet.
    pub link_type: u16,
}

impl Interface {
    /// An Ethernet interface.
    pub fn ethernet(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), description: None, link_type: ETHERNET }
    }
}

/// A captured packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The interface's place among those of the file.
    pub interface: usize,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// The bytes that were kept of it.
    pub data: Bytes,
    /// Its length on the wire.
    pub original_length: u32,
    /// `epb_flags`: which way it went.
    pub direction: Option<Direction>,
    /// `epb_packetid`: the same wherever the packet was seen.
    pub id: Option<u64>,
    /// What people or programs noted about it.
    pub comments: Vec<String>,
}
