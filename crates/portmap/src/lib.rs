//! What a host says to its gateway to get a port, and what it is told: [`nat_pmp`] (RFC 6886) and [`pcp`] (RFC 6887)
//! messages as values, sans-IO.
//!
//! Both go by UDP to [`PORT`] of the gateway; the first byte tells them apart, which a server that speaks only one of
//! them uses to say so.

#![forbid(unsafe_code)]

pub mod nat_pmp;
pub mod pcp;
mod reader;

/// Where a gateway listens.
pub const PORT: u16 = 5351;

/// What a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It ends too early.
    #[error("the message ends after {0} bytes, too early")]
    Short(usize),
    /// Another version.
    #[error("version {0} is another protocol")]
    Version(u8),
    /// An operation that is not known here, or an answer where a question was to be, or the other way round.
    #[error("operation {0} does not belong here")]
    Operation(u8),
    /// PCP only: too long, or no multiple of four bytes.
    #[error("no message is {0} bytes long")]
    Length(usize),
    /// PCP only: an address that is not IPv4 in IPv6's clothes, or a protocol other than TCP and UDP.
    #[error("it is not about TCP or UDP over IPv4")]
    Foreign,
}
