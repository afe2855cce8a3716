//! Bare datagrams between nodes: a readable kind, the rest sealed for one receiver.
//!
//! ```text
//! byte 0      kind, 4..=15 (free of STUN's, TLS's and QUIC's ranges, RFC 7983 and 9443)
//! byte 1      version
//! 2..34       the sender's ID
//! 34..58      nonce: epoch, salt and counter of the sender
//! 58..62      which network
//! 62..        XChaCha20-Poly1305 ciphertext and tag, over the header and the receiver's ID
//! ```
//!
//! Keys come from X25519 over the two Ed25519 keys and, in a private network, its key, one for each direction. Each start of a node has its own epoch and
//! salt and counts its datagrams over all receivers, so no nonce comes twice. Two kinds are not
//! sealed: a relay's data frame, since what it carries is QUIC (see [`crate::relay`]), and a refusal, which tells a node
//! of another network so: kind, version, our network, and the nonce of what is refused, which only those know who saw it.
//!
//! Nothing here panics, whatever the bytes.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use foldhash::fast::FixedState;

use crate::identity::{Identity, PeerId};
use crate::network::{NetworkKey, NetworkTag};
use crate::replay::{ReplayWindow, Start};
use crate::table::Table;

const VERSION: u8 = 1;
const HEADER: usize = 62;
const NONCE: std::ops::Range<usize> = 34..58;
const REFUSAL: usize = 30;
/// A refusal of anything sent longer ago means nothing.
const REFUSABLE: u64 = 1024;
const TAG: usize = 16;
/// Peers whose keys are kept in each of the cache's two generations.
const CACHED_PEERS: usize = 2048;

/// What a bare datagram is for, as anybody can read on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// Asks an address whether the peer is there.
    Probe = 4,
    /// Answers a probe, with a fresh nonce for its sender.
    ProbeAnswer = 5,
    /// Brings an answer's nonce back, which proves the sender's address.
    ProbeEcho = 6,
    /// To or from a coordinator, about a third node.
    Coordinate = 7,
    /// A relay's data frame.
    RelayData = 8,
    /// Asks for a node that is not known, or answers.
    Lookup = 10,
    /// A message that goes over other members; never a datagram of its own.
    Routed = 11,
    /// Says that a datagram was of another network.
    Refusal = 9,
}

impl Kind {
    /// The kind that a first byte says, if any.
    pub fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            4 => Self::Probe,
            5 => Self::ProbeAnswer,
            6 => Self::ProbeEcho,
            7 => Self::Coordinate,
            8 => Self::RelayData,
            10 => Self::Lookup,
            9 => Self::Refusal,
            _ => return None,
        })
    }
}

/// Which protocol a datagram belongs to, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A STUN message.
    Stun,
    /// A bare datagram of this mesh.
    Mesh(Kind),
    /// A QUIC packet.
    Quic,
}

impl Protocol {
    /// The protocol of `datagram`, if it is one of ours.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match *datagram.first()? {
            0..=3 => Some(Self::Stun),
            byte @ 4..=15 => Kind::of(byte).map(Self::Mesh),
            64..=127 | 192..=255 => Some(Self::Quic),
            _ => None,
        }
    }
}

/// Why a sealed datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Shorter than any sealed datagram.
    #[error("too short for a sealed datagram")]
    Short,
    /// Of a version this node does not speak.
    #[error("unknown version")]
    Version,
    /// Of another network.
    #[error("of another network; its network key is not ours")]
    Network,
    /// The sender's ID is no usable key, or our own.
    #[error("the sender's ID is not a usable key")]
    Sender,
    /// Forged, damaged or meant for another node.
    #[error("the seal is broken")]
    Seal,
    /// Seen before, or from an earlier start of its sender.
    #[error("a repeat")]
    Replay,
}

/// The sender's ID that a sealed datagram claims; authentic only once opened.
pub(crate) fn claimed_sender(datagram: &[u8]) -> Option<PeerId> {
    let bytes = datagram.get(2..34)?;
    Some(PeerId::from_bytes(bytes.try_into().ok()?))
}

struct PeerKeys {
    send: XChaCha20Poly1305,
    receive: XChaCha20Poly1305,
    window: ReplayWindow,
}

/// Seals and opens this node's bare datagrams.
pub(crate) struct Sealer {
    identity: Identity,
    start: Start,
    network: Option<NetworkKey>,
    tag: NetworkTag,
    counter: u64,
    /// Whose last datagram was the first of a later start than before.
    restarted: Option<PeerId>,
    recent: Table<PeerId, PeerKeys>,
    older: Table<PeerId, PeerKeys>,
}

impl Sealer {
    pub fn new(identity: Identity, start: Start, network: Option<NetworkKey>, hashes: FixedState) -> Self {
        let (recent, older) = (Table::with_hasher(hashes), Table::with_hasher(hashes));
        let tag = network.map(|key| key.tag()).unwrap_or_default();
        Self { identity, start, network, tag, counter: 0, restarted: None, recent, older }
    }

    /// Whether opening a datagram of `peer` costs no key agreement.
    pub fn knows(&self, peer: &PeerId) -> bool {
        self.recent.contains_key(peer) || self.older.contains_key(peer)
    }

    /// The sender whose datagram was the first since it started anew.
    pub fn poll_restart(&mut self) -> Option<PeerId> {
        self.restarted.take()
    }

    /// `body` sealed for `peer`, unless its ID is no usable key.
    pub fn seal(&mut self, kind: Kind, peer: &PeerId, body: &[u8]) -> Option<Vec<u8>> {
        let own = self.identity.id();
        self.counter += 1;
        let nonce = nonce(self.start, self.counter);
        let mut datagram = Vec::with_capacity(HEADER + body.len() + TAG);
        datagram.extend_from_slice(&[kind as u8, VERSION]);
        datagram.extend_from_slice(own.as_bytes());
        datagram.extend_from_slice(&nonce);
        datagram.extend_from_slice(self.tag.as_bytes());
        let aad = associated_data(&datagram, peer);
        let payload = Payload { msg: body, aad: &aad };
        let sealed = self.keys(peer)?.send.encrypt(XNonce::from_slice(&nonce), payload).ok()?;
        datagram.extend_from_slice(&sealed);
        Some(datagram)
    }

    /// The sender and the body of a sealed datagram meant for us and not seen before.
    pub fn open(&mut self, datagram: &[u8]) -> Result<(PeerId, Vec<u8>), OpenError> {
        if datagram.len() < HEADER + TAG {
            return Err(OpenError::Short);
        }
        let (header, sealed) = datagram.split_at(HEADER);
        if header[1] != VERSION {
            return Err(OpenError::Version);
        }
        if header[NONCE.end..] != *self.tag.as_bytes() {
            return Err(OpenError::Network);
        }
        let own = self.identity.id();
        let sender = claimed_sender(datagram).ok_or(OpenError::Short)?;
        if sender == own {
            return Err(OpenError::Sender);
        }
        let aad = associated_data(header, &own);
        let nonce = &header[NONCE];
        let known = self.knows(&sender);
        let keys = self.keys(&sender).ok_or(OpenError::Sender)?;
        let payload = Payload { msg: sealed, aad: &aad };
        let opened = keys.receive.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| OpenError::Seal);
        let start = start_of(nonce);
        let before = keys.window.start();
        let fresh = opened.is_ok() && keys.window.accept(start, word(nonce, 16));
        if fresh && before.is_some_and(|before| before != start) {
            self.restarted = Some(sender);
        }
        if opened.is_err() && !known {
            // A forger must not fill the cache with IDs.
            self.recent.remove(&sender);
        }
        match opened {
            Ok(body) if fresh => Ok((sender, body)),
            Ok(_) => Err(OpenError::Replay),
            Err(error) => Err(error),
        }
    }

    /// The answer to a datagram of another network. It is shorter than any sealed one.
    pub fn refusal(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let nonce = datagram.get(NONCE)?;
        Some([&[Kind::Refusal as u8, VERSION][..], self.tag.as_bytes(), nonce].concat())
    }

    /// Whether this refuses something that we have sent not long ago.
    pub fn is_refused(&self, datagram: &[u8]) -> bool {
        let Some((&[_, version], rest)) = datagram.split_first_chunk() else {
            return false;
        };
        let Some((tag, nonce)) = rest.split_first_chunk::<4>() else {
            return false;
        };
        let counter = word(nonce, 16);
        datagram.len() == REFUSAL
            && version == VERSION
            && tag != self.tag.as_bytes()
            && start_of(nonce) == self.start
            && counter <= self.counter
            && counter + REFUSABLE > self.counter
    }

    fn keys(&mut self, peer: &PeerId) -> Option<&mut PeerKeys> {
        if !self.recent.contains_key(peer) {
            let keys = match self.older.remove(peer) {
                Some(keys) => keys,
                None => self.agree(peer)?,
            };
            if self.recent.len() >= CACHED_PEERS {
                std::mem::swap(&mut self.older, &mut self.recent);
                self.recent.clear();
            }
            self.recent.insert(*peer, keys);
        }
        self.recent.get_mut(peer)
    }

    fn agree(&self, peer: &PeerId) -> Option<PeerKeys> {
        let shared = self.identity.agree(peer)?;
        let own = self.identity.id();
        let key = |from: &PeerId, to: &PeerId| {
            let mut hasher = blake3::Hasher::new_derive_key("omerta-mesh bare datagram v1");
            hasher.update(&shared);
            if let Some(network) = &self.network {
                hasher.update(network.as_bytes());
            }
            hasher.update(from.as_bytes());
            hasher.update(to.as_bytes());
            XChaCha20Poly1305::new(hasher.finalize().as_bytes().into())
        };
        Some(PeerKeys { send: key(&own, peer), receive: key(peer, &own), window: ReplayWindow::default() })
    }
}

fn nonce(start: Start, counter: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&start.epoch.to_be_bytes());
    nonce[8..16].copy_from_slice(&start.salt.to_be_bytes());
    nonce[16..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

fn start_of(nonce: &[u8]) -> Start {
    Start { epoch: word(nonce, 0), salt: word(nonce, 8) }
}

fn word(nonce: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    if let Some(slice) = nonce.get(at..at + 8) {
        bytes.copy_from_slice(slice);
    }
    u64::from_be_bytes(bytes)
}

fn associated_data(header: &[u8], receiver: &PeerId) -> Vec<u8> {
    [header, receiver.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealer(seed: u8, epoch: u64) -> Sealer {
        within(seed, epoch, None)
    }

    fn within(seed: u8, epoch: u64, network: Option<NetworkKey>) -> Sealer {
        let start = Start { epoch, salt: 3 };
        Sealer::new(Identity::from_seed(&[seed; 32]), start, network, FixedState::default())
    }

    fn id(seed: u8) -> PeerId {
        Identity::from_seed(&[seed; 32]).id()
    }

    #[test]
    fn a_sealed_datagram_opens_once_and_for_its_receiver_only() {
        let (mut a, mut b, mut c) = (sealer(1, 1), sealer(2, 1), sealer(3, 1));
        let datagram = a.seal(Kind::Probe, &id(2), b"hello").expect("usable key");
        assert_eq!(Protocol::of(&datagram), Some(Protocol::Mesh(Kind::Probe)));
        assert_eq!(c.open(&datagram), Err(OpenError::Seal));
        assert_eq!(b.open(&datagram), Ok((id(1), b"hello".to_vec())));
        assert_eq!(b.open(&datagram), Err(OpenError::Replay));
        assert_eq!(a.open(&datagram), Err(OpenError::Sender), "reflected");
    }

    #[test]
    fn an_earlier_start_of_the_sender_cannot_be_replayed() {
        let mut b = sealer(2, 1);
        let old = sealer(1, 1).seal(Kind::Probe, &id(2), b"old").expect("usable key");
        let new = sealer(1, 2).seal(Kind::Probe, &id(2), b"new").expect("usable key");
        assert!(b.open(&new).is_ok());
        assert_eq!(b.open(&old), Err(OpenError::Replay));
    }

    #[test]
    fn forged_senders_leave_no_trace_in_the_key_cache() {
        let mut b = sealer(2, 1);
        let mut forged = sealer(1, 1).seal(Kind::Probe, &id(2), b"x").expect("usable key");
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert_eq!(b.open(&forged), Err(OpenError::Seal));
        assert!(!b.knows(&id(1)));
    }

    #[test]
    fn another_network_is_refused_and_told_so() {
        let key = |byte| Some(NetworkKey::from_bytes([byte; 32]));
        for (ours, theirs) in [(key(1), None), (None, key(1)), (key(1), key(2))] {
            let (mut a, mut b) = (within(1, 1, ours), within(2, 1, theirs));
            let datagram = a.seal(Kind::Probe, &id(2), b"hello").expect("usable key");
            assert_eq!(b.open(&datagram), Err(OpenError::Network));
            let refusal = b.refusal(&datagram).expect("long enough");
            assert!(refusal.len() < datagram.len());
            assert!(a.is_refused(&refusal));
            assert!(!b.is_refused(&refusal), "of nothing that it has sent");
            // Somebody who knows the name of the network but not its key.
            let mut forged = datagram.clone();
            forged[NONCE.end..HEADER].copy_from_slice(b.tag.as_bytes());
            assert_eq!(b.open(&forged), Err(OpenError::Seal));
        }
        let (mut a, mut b) = (within(1, 1, key(1)), within(2, 1, key(1)));
        let datagram = a.seal(Kind::Probe, &id(2), b"hello").expect("usable key");
        assert!(b.open(&datagram).is_ok());
    }

    #[test]
    fn every_kind_lies_outside_stun_and_quic() {
        for byte in 0..=255u8 {
            if let Some(kind) = Kind::of(byte) {
                assert_eq!(kind as u8, byte);
                assert!((4..=15).contains(&byte));
            }
        }
    }

    proptest! {
        #[test]
        fn any_change_breaks_the_seal(at in 0usize..100, flip in 1u8..=255) {
            let mut datagram =
                sealer(1, 1).seal(Kind::Coordinate, &id(2), &[9; 40]).expect("usable key");
            let at = at % datagram.len();
            datagram[at] ^= flip;
            prop_assert!(sealer(2, 1).open(&datagram).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(sealer(2, 1).open(&bytes).is_err());
            prop_assert!(!sealer(2, 1).is_refused(&bytes));
            sealer(2, 1).refusal(&bytes);
        }
    }
}
