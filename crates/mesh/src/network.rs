//! Private networks: a key that all their nodes have.

use std::fmt;
use std::str::FromStr;

/// The key of a private network. Nodes without it are not talked to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NetworkKey([u8; 32]);

impl NetworkKey {
    /// The network with these key bytes, which should be random.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key bytes, to be kept secret.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What names the network without giving the key away.
    pub fn tag(&self) -> NetworkTag {
        let hash = blake3::derive_key("omerta-mesh 1 network tag", &self.0);
        NetworkTag(hash.first_chunk().copied().unwrap_or_default())
    }
}

/// Does not show the key.
impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkKey({})", self.tag())
    }
}

/// A text that is no network key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network key is 64 hexadecimal digits")]
pub struct InvalidNetworkKey;

impl FromStr for NetworkKey {
    type Err = InvalidNetworkKey;

    fn from_str(text: &str) -> Result<Self, InvalidNetworkKey> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidNetworkKey)?;
        Ok(Self(bytes))
    }
}

/// Names a network on the wire. All zero: the open one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkTag([u8; 4]);

impl NetworkTag {
    /// The bytes on the wire.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for NetworkTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [0, 0, 0, 0] => f.write_str("open"),
            tag => f.write_str(&hex::encode(tag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_does_not_show_itself() {
        let text = "0b".repeat(32);
        let key: NetworkKey = text.parse().expect("a key");
        assert_eq!(key.as_bytes(), &[11; 32]);
        assert!(!format!("{key:?}").contains("0b0b"));
        assert_ne!(key.tag(), NetworkKey::from_bytes([12; 32]).tag());
        assert_eq!("0b".parse::<NetworkKey>(), Err(InvalidNetworkKey));
    }
}
