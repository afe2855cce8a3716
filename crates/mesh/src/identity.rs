//! Who a node is: an Ed25519 key pair, whose public half is the peer ID.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::bytes::ByteArray;
use x25519_dalek::{PublicKey, StaticSecret};

/// The whole Ed25519 public key of a node.
///
/// Any 32 bytes can be held; that they are a usable key is found out when they are used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId([u8; 32]);

impl PeerId {
    /// The ID with these key bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `signature` is this peer's over `message` (strictly: no weak key, no malleability).
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    /// The Diffie-Hellman form of the key, unless the bytes are no key or a weak one.
    fn agreement_key(&self) -> Option<PublicKey> {
        let key = VerifyingKey::from_bytes(&self.0).ok()?;
        (!key.is_weak()).then(|| PublicKey::from(key.to_montgomery().to_bytes()))
    }
}

impl Hash for PeerId {
    /// A key is as good as random, so a part of it says enough.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({}..)", hex::encode(&self.0[..4]))
    }
}

/// A text that is no peer ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a peer ID is 64 hexadecimal digits, not {0:?}")]
pub struct InvalidPeerId(String);

impl FromStr for PeerId {
    type Err = InvalidPeerId;

    fn from_str(text: &str) -> Result<Self, InvalidPeerId> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidPeerId(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl serde::Serialize for PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for PeerId {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for PeerId {
    fn decode(d: &mut minicbor::Decoder<'b>, c: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes: ByteArray<32> = minicbor::Decode::decode(d, c)?;
        Ok(Self(bytes.into()))
    }
}

/// A node's key pair.
#[derive(Clone)]
pub struct Identity {
    signing: SigningKey,
    agreement: StaticSecret,
    id: PeerId,
}

impl Identity {
    /// The identity that grows from a 32 byte seed (what a key file holds).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let agreement = StaticSecret::from(signing.to_scalar_bytes());
        let id = PeerId(signing.verifying_key().to_bytes());
        Self { signing, agreement, id }
    }

    /// The public half.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The seed, to be kept secret.
    pub fn seed(&self) -> [u8; 32] {
        self.signing.to_bytes()
    }

    /// A signature over `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// The secret shared with `peer`, unless its ID is no usable key.
    pub(crate) fn agree(&self, peer: &PeerId) -> Option<[u8; 32]> {
        let shared = self.agreement.diffie_hellman(&peer.agreement_key()?);
        shared.was_contributory().then(|| shared.to_bytes())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = Identity::from_seed(&[7; 32]).id();
        assert_eq!(id.to_string().parse::<PeerId>(), Ok(id));
        assert!("abc".parse::<PeerId>().is_err());
        assert!("zz".repeat(32).parse::<PeerId>().is_err());
    }

    #[test]
    fn both_sides_agree_on_one_secret() {
        let (a, b) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        assert_eq!(a.agree(&b.id()), b.agree(&a.id()));
        assert_ne!(a.agree(&b.id()), a.agree(&a.id()));
    }

    #[test]
    fn weak_and_broken_keys_are_refused() {
        let a = Identity::from_seed(&[1; 32]);
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        assert_eq!(a.agree(&PeerId(identity_point)), None);
        assert_eq!(a.agree(&PeerId([0; 32])), None);
        let not_on_curve = (0..=255u8)
            .map(|n| PeerId([n; 32]))
            .find(|id| VerifyingKey::from_bytes(&id.0).is_err())
            .expect("half of all strings are no point");
        assert_eq!(a.agree(&not_on_curve), None);
    }

    #[test]
    fn a_signature_holds_for_its_message_and_signer_only() {
        let (a, b) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let signature = a.sign(b"hello");
        assert!(a.id().verifies(b"hello", &signature));
        assert!(!a.id().verifies(b"hullo", &signature));
        assert!(!b.id().verifies(b"hello", &signature));
    }
}
