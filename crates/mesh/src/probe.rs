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
use std::time::{Duration, Instant};

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

/// A nonce is recognised for this long at least, and not for longer than twice that.
const FRESH: Duration = Duration::from_secs(10);

/// Makes and recognises this node's transactions and nonces.
pub(crate) struct Tokens {
    begun: Instant,
    secret: [u8; 32],
}

impl Tokens {
    pub fn new(now: Instant, secret: [u8; 32]) -> Self {
        Self { begun: now, secret }
    }

    /// The transaction of a probe; `attempt` makes it fresh.
    pub fn transaction(&self, purpose: Purpose, attempt: u64, peer: &PeerId, path: &Path) -> Token {
        self.token(purpose as u8, &attempt.to_be_bytes(), peer, path)
    }

    /// The nonce of an answer. It is another one soon, whatever transactions the other side makes: who was at an address
    /// once has no claim to it.
    pub fn nonce(&self, now: Instant, transaction: &Token, peer: &PeerId, path: &Path) -> Token {
        self.nonce_of(self.period(now), transaction, peer, path)
    }

    /// Whether this is a nonce that we have made not long ago.
    pub fn recognises(
        &self,
        now: Instant,
        nonce: &Token,
        transaction: &Token,
        peer: &PeerId,
        path: &Path,
    ) -> bool {
        let period = self.period(now);
        let made = |period| self.nonce_of(period, transaction, peer, path) == *nonce;
        made(period) || period.checked_sub(1).is_some_and(made)
    }

    fn period(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_secs() / FRESH.as_secs()
    }

    fn nonce_of(&self, period: u64, transaction: &Token, peer: &PeerId, path: &Path) -> Token {
        let mut fresh = [0; 24];
        let (first, rest) = fresh.split_at_mut(8);
        first.copy_from_slice(&period.to_be_bytes());
        rest.copy_from_slice(transaction);
        self.token(0x80, &fresh, peer, path)
    }

    fn token(&self, label: u8, fresh: &[u8], peer: &PeerId, path: &Path) -> Token {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
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
        let now = Instant::now();
        let tokens = Tokens::new(now, [1; 32]);
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
        assert_ne!(token, Tokens::new(now, [9; 32]).transaction(Purpose::Dial, 1, &peer, &path));
    }

    #[test]
    fn a_nonce_is_recognised_for_a_while_and_then_no_more() {
        let now = Instant::now();
        let tokens = Tokens::new(now, [1; 32]);
        let peer = PeerId::from_bytes([2; 32]);
        let [path, elsewhere] =
            ["1.2.3.4:5", "1.2.3.4:6"].map(|text| Path::main(text.parse().expect("an address")));
        let made = now + FRESH / 2;
        let nonce = tokens.nonce(made, &[7; 16], &peer, &path);
        let recognised = |at, path: &Path| tokens.recognises(at, &nonce, &[7; 16], &peer, path);
        assert!(recognised(made, &path) && recognised(made + FRESH, &path));
        assert!(!recognised(made + 2 * FRESH, &path));
        assert!(!recognised(made, &elsewhere));
        assert!(!tokens.recognises(made, &nonce, &[8; 16], &peer, &path));
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
