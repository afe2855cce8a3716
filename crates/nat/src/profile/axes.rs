//! The axes beside mapping and filtering.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// How the port of a new mapping is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Allocation {
    /// The inside port, and no mapping when it is taken.
    Preserving,
    /// The inside port; a random one when it is taken or not in the range.
    #[default]
    PreservingUntilCollision,
    /// A random one.
    Random,
    /// The one that lies `delta` above the last; taken ones are passed over.
    Sequential {
        /// The distance.
        delta: u16,
    },
}

/// Which port a mapping gets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ports {
    /// How it is found.
    pub allocation: Allocation,
    /// Where it is found.
    pub range: PortRange,
    /// Hosts have blocks of their own (RFC 7422).
    pub block: Option<Block>,
    /// Even ports stay even and odd ones odd (RFC 4787 REQ-4).
    pub parity: bool,
    /// One outside endpoint may serve several inside ones that talk to different destinations (against RFC 4787 REQ-3).
    pub overload: bool,
}

/// Contiguous ports that belong to one host while it has a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Block {
    /// Ports in a block.
    pub size: u16,
    /// The most blocks a host may have.
    #[serde(default = "one")]
    pub most: u16,
}

fn one() -> u16 {
    1
}

/// Ports from the first to the last, both included; never port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text or pair of ports is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no port range; write the first and the last port, as in `1024-65535`, without port 0")]
pub struct WrongRange(String);

impl PortRange {
    /// The ports from `first` to `last`.
    pub fn new(first: u16, last: u16) -> Result<Self, WrongRange> {
        if first == 0 || first > last {
            return Err(WrongRange(format!("{first}-{last}")));
        }
        Ok(PortRange { first, last })
    }

    /// The first port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    /// Whether a port is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl Default for PortRange {
    fn default() -> Self {
        PortRange { first: 1024, last: 65_535 }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = WrongRange;

    fn from_str(text: &str) -> Result<Self, WrongRange> {
        let wrong = || WrongRange(text.to_owned());
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let port = |text: &str| text.trim().parse().map_err(|_| wrong());
        PortRange::new(port(first)?, port(last)?).map_err(|_| wrong())
    }
}

impl TryFrom<String> for PortRange {
    type Error = WrongRange;

    fn try_from(text: String) -> Result<Self, WrongRange> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> String {
        range.to_string()
    }
}

/// Which address a mapping gets, where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pool {
    /// How many outside addresses there are.
    pub addresses: u16,
    /// Who gets which.
    pub pooling: Pooling,
}

impl Default for Pool {
    fn default() -> Self {
        Pool { addresses: 1, pooling: Pooling::Paired }
    }
}

/// Who gets which address (RFC 4787 REQ-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// All mappings of a host have the same one.
    #[default]
    Paired,
    /// Each mapping has any.
    Arbitrary,
}

/// How long state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Timers {
    /// A UDP flow without an answer.
    #[serde(with = "humantime_serde")]
    pub unreplied: Duration,
    /// A UDP flow with an answer.
    #[serde(with = "humantime_serde")]
    pub stream: Duration,
    /// The age at which an answered UDP flow gets the longer timer (Linux: 2 s).
    #[serde(with = "humantime_serde")]
    pub stream_after: Duration,
    /// A mapping, however busy it is.
    #[serde(with = "humantime_serde")]
    pub lifetime: Option<Duration>,
    /// A TCP connection that is open on both sides (RFC 5382 REQ-5).
    #[serde(with = "humantime_serde")]
    pub tcp_established: Duration,
    /// A TCP connection that is half open or closed (RFC 5382 REQ-5).
    #[serde(with = "humantime_serde")]
    pub tcp_transitory: Duration,
    /// How long a SYN from outside waits for the inside's own before it is refused (RFC 5382 REQ-4).
    #[serde(with = "humantime_serde")]
    pub tcp_unsolicited: Duration,
    /// An ICMP query (RFC 5508 REQ-1).
    #[serde(with = "humantime_serde")]
    pub icmp: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers {
            unreplied: Duration::from_secs(30),
            stream: Duration::from_secs(120),
            stream_after: Duration::from_secs(2),
            lifetime: None,
            tcp_established: Duration::from_secs(7440),
            tcp_transitory: Duration::from_secs(240),
            tcp_unsolicited: Duration::from_secs(6),
            icmp: Duration::from_secs(60),
        }
    }
}

/// Which direction's UDP packets keep a mapping alive (RFC 4787 REQ-6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refresh {
    /// Those from inside.
    Outbound,
    /// All.
    #[default]
    Both,
}

/// Whether inside hosts reach each other by their outside endpoints (RFC 4787 REQ-9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hairpin {
    /// They do not.
    #[default]
    None,
    /// They do, and see the sender's inside endpoint.
    InternalSource,
    /// They do, and see the sender's outside endpoint.
    ExternalSource,
}

/// What becomes of a packet from outside that nothing lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unsolicited {
    /// Nothing is heard of it.
    #[default]
    Drop,
    /// It is answered with ICMP.
    Reject,
    /// The gateway takes it for its own, and the flow it belongs to is taken: the inside gets another port to its sender.
    Poison,
}

/// How much state there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Mappings of one host.
    pub per_host: Option<u32>,
    /// Mappings in all.
    pub mappings: u32,
    /// Flows in all: a mapping has one for each destination.
    pub flows: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { per_host: None, mappings: 65_536, flows: 65_536 }
    }
}

/// A mapping in YAML, where no NAT is `none`.
pub(super) mod mapping_or_none {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::Mapping;

    #[derive(Serialize, Deserialize)]
    enum Word {
        #[serde(rename = "none")]
        None,
        #[serde(rename = "EIM")]
        EndpointIndependent,
        #[serde(rename = "ADM")]
        AddressDependent,
        #[serde(rename = "APDM")]
        AddressAndPortDependent,
    }

    pub fn serialize<S: Serializer>(mapping: &Option<Mapping>, to: S) -> Result<S::Ok, S::Error> {
        match mapping {
            None => Word::None.serialize(to),
            Some(mapping) => mapping.serialize(to),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mapping>, D::Error> {
        Ok(match Word::deserialize(from)? {
            Word::None => None,
            Word::EndpointIndependent => Some(Mapping::EndpointIndependent),
            Word::AddressDependent => Some(Mapping::AddressDependent),
            Word::AddressAndPortDependent => Some(Mapping::AddressAndPortDependent),
        })
    }
}
