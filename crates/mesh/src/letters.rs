//! Messages that outlive the connection they were sent on.
//!
//! A message bears the sender's life and a number that grows with each message. What nobody has acknowledged goes again on
//! the next connection, in its order, and what has come before is dropped there.

use std::collections::BTreeMap;

use bytes::Bytes;
use indexmap::IndexMap;

use crate::event::MessageId;
use crate::identity::PeerId;

/// Bytes before a message.
pub(crate) const HEAD: usize = 16;
/// Senders remembered.
const MAX_SENDERS: usize = 4096;

/// Messages of ours that are not acknowledged yet, with their heads.
#[derive(Default)]
pub(crate) struct Unanswered(BTreeMap<(PeerId, MessageId), Letter>);

struct Letter {
    data: Bytes,
    arrived: bool,
}

impl Unanswered {
    /// Takes a message of this `life`, and gives it as it goes over the wire.
    pub fn insert(&mut self, life: u64, peer: PeerId, message: MessageId, data: &[u8]) -> Bytes {
        let mut letter = Vec::with_capacity(HEAD + data.len());
        letter.extend_from_slice(&life.to_be_bytes());
        letter.extend_from_slice(&message.0.to_be_bytes());
        letter.extend_from_slice(data);
        let data = Bytes::from(letter);
        self.0.insert((peer, message), Letter { data: data.clone(), arrived: false });
        data
    }

    /// A message has arrived: those that the peer's owner has now, with their lengths. One that came before an earlier one
    /// is handed out after that.
    pub fn arrived(&mut self, peer: PeerId, message: MessageId) -> Vec<(MessageId, u64)> {
        if let Some(letter) = self.0.get_mut(&(peer, message)) {
            letter.arrived = true;
        }
        let mut done = Vec::new();
        let range = (peer, MessageId(0))..=(peer, MessageId(u64::MAX));
        for (&(_, message), letter) in self.0.range(range).take_while(|(_, letter)| letter.arrived) {
            done.push((message, (letter.data.len() - HEAD) as u64));
        }
        for (message, _) in &done {
            self.0.remove(&(peer, *message));
        }
        done
    }

    /// Gives a message up; whether there was one.
    pub fn remove(&mut self, peer: PeerId, message: MessageId) -> bool {
        self.0.remove(&(peer, message)).is_some()
    }

    /// All that `peer` has not acknowledged, in their order, to go again.
    pub fn again(&mut self, peer: &PeerId) -> Vec<(MessageId, Bytes)> {
        let range = (*peer, MessageId(0))..=(*peer, MessageId(u64::MAX));
        let letters = self.0.range_mut(range).map(|((_, message), letter)| {
            letter.arrived = false;
            (*message, letter.data.clone())
        });
        letters.collect()
    }

    /// Receivers and lengths.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, u64)> {
        self.0.iter().map(|((peer, _), letter)| (*peer, (letter.data.len() - HEAD) as u64))
    }
}

/// The last message of each sender.
#[derive(Default)]
pub(crate) struct Received(IndexMap<PeerId, (u64, u64)>);

impl Received {
    /// The content of what came from `peer`; nothing if it is a repeat, an error if it is no message.
    pub fn take(&mut self, peer: PeerId, mut data: Vec<u8>) -> Result<Option<Vec<u8>>, &'static str> {
        let Some((life, rest)) = data.split_first_chunk::<8>() else {
            return Err("a message without a head");
        };
        let Some((number, _)) = rest.split_first_chunk::<8>() else {
            return Err("a message without a head");
        };
        let (life, number) = (u64::from_be_bytes(*life), u64::from_be_bytes(*number));
        if self.0.get(&peer).is_some_and(|&(known, last)| known == life && number <= last) {
            return Ok(None);
        }
        if !self.0.contains_key(&peer) && self.0.len() >= MAX_SENDERS {
            self.0.swap_remove_index(0);
        }
        self.0.insert(peer, (life, number));
        data.drain(..HEAD);
        Ok(Some(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn what_goes_again_is_taken_once_and_in_order() {
        let (mut unanswered, mut received) = (Unanswered::default(), Received::default());
        let letters: Vec<Bytes> =
            (0..4).map(|n| unanswered.insert(7, peer(1), MessageId(n), &[n as u8])).collect();
        unanswered.insert(7, peer(2), MessageId(9), b"another's");
        let mut take = |letter: &Bytes| received.take(peer(9), letter.to_vec());
        assert_eq!(take(&letters[0]), Ok(Some(vec![0])));
        assert_eq!(take(&letters[1]), Ok(Some(vec![1])));
        assert_eq!(unanswered.arrived(peer(1), MessageId(0)), [(MessageId(0), 1)]);
        // The connection ends; the acknowledgement of the second was on its way.
        let again = unanswered.again(&peer(1));
        assert_eq!(again.iter().map(|(message, _)| message.0).collect::<Vec<_>>(), [1, 2, 3]);
        let taken: Vec<_> = again.iter().map(|(_, letter)| take(letter)).collect();
        assert_eq!(taken, [Ok(None), Ok(Some(vec![2])), Ok(Some(vec![3]))]);
    }

    #[test]
    fn what_arrived_before_an_earlier_one_is_not_told_before_it() {
        let mut unanswered = Unanswered::default();
        for n in 0..3 {
            unanswered.insert(7, peer(1), MessageId(n), b"x");
        }
        assert_eq!(unanswered.arrived(peer(1), MessageId(1)), []);
        assert_eq!(unanswered.again(&peer(1)).len(), 3, "it may not have been handed out");
        assert_eq!(unanswered.arrived(peer(1), MessageId(0)), [(MessageId(0), 1)]);
        assert_eq!(unanswered.arrived(peer(1), MessageId(1)), [(MessageId(1), 1)]);
        assert_eq!(unanswered.iter().count(), 1);
    }

    #[test]
    fn a_senders_next_life_begins_anew() {
        let (mut first, mut second) = (Unanswered::default(), Unanswered::default());
        let mut received = Received::default();
        let old = first.insert(1, peer(1), MessageId(5), b"old");
        let new = second.insert(2, peer(1), MessageId(0), b"new");
        assert_eq!(received.take(peer(9), old.to_vec()), Ok(Some(b"old".to_vec())));
        assert_eq!(received.take(peer(9), new.to_vec()), Ok(Some(b"new".to_vec())));
    }

    proptest! {
        #[test]
        fn arbitrary_messages_never_panic(data in proptest::collection::vec(any::<u8>(), 0..40)) {
            let length = data.len();
            let taken = Received::default().take(peer(1), data);
            prop_assert_eq!(taken.is_ok(), length >= HEAD);
        }
    }
}
