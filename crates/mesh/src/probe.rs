//! The three-way exchange by which two nodes prove a path to each other.
//!
//! ```text
//! A -> B  probe   a transaction that only A can make, for this peer and path
//! B -> A  answer  the transaction back, where the probe came from, and a nonce that only B can make
//! A -> B  echo    the nonce back
//! ```
//!
//! The answer shows A that B is where A sent to; the echo shows B that A is where the probe came from. Neither side
//! keeps state for a probe: transactions and nonces are recomputed from a secret.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};

use crate::identity::PeerId;
use crate::net::Path;

/// Proof of having received something.
pub(crate) type Token = [u8; 16];

/// Asks an address whether the peer is there.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(crate) struct Probe {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub transaction: Token,
    /// Makes the probe as long as its answer, which goes to an address that is not verified yet.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub padding: [u8; 24],
}

/// Answers a probe.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(crate) struct ProbeAnswer {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub transaction: Token,
    /// Where the probe came from.
    #[n(1)]
    pub observed: SocketAddr,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: Token,
}

/// Closes the exchange.
#[derive(Debug, PartialEq, Encode, Decode)]
pub(crate) struct ProbeEcho {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub transaction: Token,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub nonce: Token,
}

/// When in an attempt a probe was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Before any coordinator was asked.
    Dial,
    /// After.
    Punch,
    /// After, where the peer claims to be.
    Claimed,
    /// To see whether a path still works.
    Check,
}

impl Purpose {
    pub const ALL: [Self; 4] = [Self::Dial, Self::Punch, Self::Claimed, Self::Check];
}

/// Makes and recognises this node's transactions and nonces.
pub(crate) struct Tokens([u8; 32]);

impl Tokens {
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The transaction of a probe; `attempt` makes it fresh.
    pub fn transaction(&self, purpose: Purpose, attempt: u64, peer: &PeerId, path: &Path) -> Token {
        self.token(purpose as u8, &attempt.to_be_bytes(), peer, path)
    }

    /// The nonce of an answer, fresh because the other side's transaction is.
    pub fn nonce(&self, transaction: &Token, peer: &PeerId, path: &Path) -> Token {
        self.token(0x80, transaction, peer, path)
    }

    fn token(&self, label: u8, fresh: &[u8], peer: &PeerId, path: &Path) -> Token {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[label]);
        hasher.update(fresh);
        hasher.update(peer.as_bytes());
        hasher.update(&path.socket.0.to_be_bytes());
        match path.remote {
            SocketAddr::V4(remote) => hasher.update(&remote.ip().octets()),
            SocketAddr::V6(remote) => hasher.update(&remote.ip().octets()),
        };
        hasher.update(&path.remote.port().to_be_bytes());
        let mut token = Token::default();
        hasher.finalize_xof().fill(&mut token);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SocketId;

    #[test]
    fn a_token_is_bound_to_purpose_attempt_peer_and_path() {
        let tokens = Tokens::new([1; 32]);
        let peer = PeerId::from_bytes([2; 32]);
        let path = Path::main("1.2.3.4:5".parse().expect("an address"));
        let token = tokens.transaction(Purpose::Dial, 1, &peer, &path);
        assert_eq!(token, tokens.transaction(Purpose::Dial, 1, &peer, &path));
        assert_ne!(token, tokens.transaction(Purpose::Punch, 1, &peer, &path));
        assert_ne!(token, tokens.transaction(Purpose::Dial, 2, &peer, &path));
        let other = PeerId::from_bytes([3; 32]);
        assert_ne!(token, tokens.transaction(Purpose::Dial, 1, &other, &path));
        let elsewhere = Path { socket: SocketId(9), ..path };
        assert_ne!(token, tokens.transaction(Purpose::Dial, 1, &peer, &elsewhere));
        assert_ne!(token, Tokens::new([9; 32]).transaction(Purpose::Dial, 1, &peer, &path));
    }

    #[test]
    fn an_answer_is_hardly_longer_than_its_probe() {
        let probe = Probe { transaction: [255; 16], padding: [0; 24] };
        let answer = ProbeAnswer {
            transaction: [255; 16],
            observed: "[2001:db8::1]:65535".parse().expect("an address"),
            nonce: [255; 16],
        };
        let length = |bytes: Result<Vec<u8>, _>| bytes.map_or(0, |bytes: Vec<u8>| bytes.len());
        let probe = length(minicbor::to_vec(probe).map_err(|_| ()));
        let answer = length(minicbor::to_vec(answer).map_err(|_| ()));
        assert!(probe > 0 && answer <= 3 * probe, "{answer} against {probe}");
    }
}
