//! Signatures that somebody in a simulation has checked already.
//!
//! Whether a signature is good depends on nothing but the signer, the message and itself, so it does not matter who finds it
//! out first, nor whether it is remembered: time is saved and nothing else changes.

use std::mem;
use std::sync::{Mutex, PoisonError};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::identity::PeerId;

/// Threads that look at once seldom want the same part.
const PARTS: usize = 64;
/// Signatures in the younger half of a part: about 2 million in all.
const HALF: usize = 16 << 10;

/// Half a hash of signer, message and signature: two that are not the same never have it in common.
type Name = [u8; 16];

/// Which signatures were found good and which not, shared by the nodes of one simulation.
pub struct RememberedSignatures(Vec<Mutex<Part>>);

/// The older half is forgotten when the younger one is full.
#[derive(Default)]
struct Part {
    young: HashMap<Name, bool, FixedState>,
    old: HashMap<Name, bool, FixedState>,
}

impl Default for RememberedSignatures {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }
}

impl RememberedSignatures {
    /// Whether `signature` is the signer's over `message`, as [`PeerId::verifies`] has it.
    pub fn verifies(&self, signer: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        let name = name(signer, message, signature);
        let Some(part) = self.0.get(usize::from(name[0]) % PARTS) else {
            return signer.verifies(message, signature);
        };
        let known = part.lock().unwrap_or_else(PoisonError::into_inner).find(&name);
        known.unwrap_or_else(|| {
            // Nobody waits meanwhile; two that find it out at once find the same.
            let is_good = signer.verifies(message, signature);
            part.lock().unwrap_or_else(PoisonError::into_inner).remember(name, is_good);
            is_good
        })
    }

    /// How many it remembers.
    pub fn len(&self) -> usize {
        let parts = self.0.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner));
        parts.map(|part| part.young.len() + part.old.len()).sum()
    }

    /// Whether it remembers none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Part {
    fn find(&self, name: &Name) -> Option<bool> {
        self.young.get(name).or_else(|| self.old.get(name)).copied()
    }

    fn remember(&mut self, name: Name, is_good: bool) {
        if self.young.len() >= HALF {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(name, is_good);
    }
}

impl std::fmt::Debug for RememberedSignatures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RememberedSignatures").finish_non_exhaustive()
    }
}

fn name(signer: &PeerId, message: &[u8], signature: &[u8; 64]) -> Name {
    let mut hasher = blake3::Hasher::new();
    // Both have one length each, so what is between is the message.
    hasher.update(signer.as_bytes()).update(message).update(signature);
    let mut name = [0; 16];
    hasher.finalize_xof().fill(&mut name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[test]
    fn what_is_remembered_is_what_would_be_found_out() {
        let (a, b) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let signature = a.sign(b"hello");
        let forged = b.sign(b"hello");
        let memory = RememberedSignatures::default();
        for _ in 0..3 {
            assert!(memory.verifies(&a.id(), b"hello", &signature));
            assert!(!memory.verifies(&a.id(), b"hullo", &signature));
            assert!(!memory.verifies(&a.id(), b"hello", &forged));
            assert!(!memory.verifies(&b.id(), b"hello", &signature));
        }
        assert_eq!(memory.len(), 4);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut part = Part::default();
        let name = |n: usize| (n as u128).to_be_bytes();
        for n in 0..3 * HALF {
            part.remember(name(n), n % 2 == 0);
            assert!(part.young.len() + part.old.len() <= 2 * HALF);
            assert_eq!(part.find(&name(n)), Some(n % 2 == 0));
        }
        assert_eq!(part.find(&name(0)), None);
    }
}
