//! Bytes taken from the front.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::DecodeError;

/// What is left of a message.
pub(crate) struct Reader<'a> {
    whole: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { whole: bytes.len(), rest: bytes }
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Short(self.whole))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.take().map(|[byte]| byte)
    }

    pub(crate) fn short(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn long(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_be_bytes)
    }

    /// An IPv4 address as PCP writes it.
    pub(crate) fn mapped(&mut self) -> Result<Ipv4Addr, DecodeError> {
        let address: [u8; 16] = self.take()?;
        Ipv6Addr::from(address).to_ipv4_mapped().ok_or(DecodeError::Foreign)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
