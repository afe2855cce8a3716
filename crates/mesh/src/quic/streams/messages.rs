//! Messages of the owners: several on one stream where they had to wait, in their order, each once.
//!
//! ```text
//! u64   number of the stream among those with messages
//! then, as often as there are messages:
//! u32   length
//! ..    the message
//! ```

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// Bytes before the first message of a stream and its content.
pub(super) const HEAD: usize = 12;
const NUMBER: usize = 8;
const LENGTH: usize = 4;
/// Messages share a stream up to this length.
const SHARED: usize = 64 << 10;
/// What keeping a stream for later costs at least.
const KEPT: usize = 64;

/// Messages that go on one stream.
pub(super) struct Batch {
    pub tags: Vec<u64>,
    pub parts: Vec<Bytes>,
}

impl Batch {
    /// Takes the first of `unsent`, and with it those that are short enough together.
    pub fn take(unsent: &mut VecDeque<(u64, Bytes)>, number: u64) -> Self {
        let mut head = Vec::with_capacity(1 + NUMBER);
        head.push(super::MESSAGES);
        head.extend_from_slice(&number.to_be_bytes());
        let mut batch = Self { tags: Vec::new(), parts: vec![head.into()] };
        let mut length = 0;
        while let Some((_, data)) = unsent.front()
            && (batch.tags.is_empty() || length + data.len() <= SHARED)
            && let Some((tag, data)) = unsent.pop_front()
        {
            length += LENGTH + data.len();
            batch.tags.push(tag);
            batch.parts.push(Bytes::copy_from_slice(&(data.len() as u32).to_be_bytes()));
            if !data.is_empty() {
                batch.parts.push(data);
            }
        }
        batch
    }
}

/// Messages that have come, in their order.
#[derive(Default)]
pub(super) struct Inbound {
    /// The number of the stream whose turn it is.
    expected: u64,
    /// Streams that have come before their turn; nothing for those that were refused.
    early: BTreeMap<u64, Vec<u8>>,
    /// What `early` holds.
    waiting: usize,
    due: VecDeque<Due>,
}

/// A stream whose turn it is.
struct Due {
    data: Vec<u8>,
    /// How far its messages have been taken.
    read: usize,
}

impl Due {
    fn new(data: Vec<u8>) -> Self {
        Self { data, read: NUMBER }
    }
}

impl Inbound {
    /// Bytes that wait for an earlier stream.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes all that a stream brought. One that did not come whole only gives up its turn.
    pub fn take(&mut self, is_whole: bool, mut data: Vec<u8>, limit: usize) -> Result<(), &'static str> {
        let Some((number, _)) = data.split_first_chunk::<NUMBER>() else {
            return Err("a message without a number");
        };
        let number = u64::from_be_bytes(*number);
        if number < self.expected || self.early.contains_key(&number) {
            return Err("a message that has been before");
        }
        if !is_whole {
            data.clear();
        } else if !is_well_formed(&data[NUMBER..]) {
            data.clear();
            self.keep(number, data, limit)?;
            return Err("a malformed message");
        }
        self.keep(number, data, limit)
    }

    fn keep(&mut self, number: u64, data: Vec<u8>, limit: usize) -> Result<(), &'static str> {
        if number != self.expected {
            if self.waiting + data.len() + KEPT > limit.max(KEPT) {
                return Err("too much that waits for an earlier message");
            }
            self.waiting += data.len() + KEPT;
            self.early.insert(number, data);
            return Ok(());
        }
        self.due.push_back(Due::new(data));
        self.expected += 1;
        while let Some(data) = self.early.remove(&self.expected) {
            self.waiting -= data.len() + KEPT;
            self.due.push_back(Due::new(data));
            self.expected += 1;
        }
        Ok(())
    }

    /// The next message whose turn it is.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let stream = self.due.front_mut()?;
            let rest = stream.data.get(stream.read..).unwrap_or_default();
            let Some((message, left)) = split(rest) else {
                self.due.pop_front();
                continue;
            };
            let (length, is_only) = (message.len(), stream.read == NUMBER && left.is_empty());
            if is_only {
                // A long message has a stream to itself, and is not copied.
                let mut whole = self.due.pop_front()?.data;
                whole.drain(..whole.len() - length);
                return Some(whole);
            }
            let message = message.to_vec();
            stream.read += LENGTH + length;
            return Some(message);
        }
    }
}

/// The first message, and what comes after it.
fn split(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn is_well_formed(mut data: &[u8]) -> bool {
    while let Some((_, rest)) = split(data) {
        data = rest;
    }
    data.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 20;

    fn streams(messages: &[Vec<u8>], per_stream: &[usize]) -> Vec<Vec<u8>> {
        let mut made = Vec::new();
        let mut left = messages.iter().cloned();
        for &count in per_stream {
            let mut unsent: VecDeque<(u64, Bytes)> =
                left.by_ref().take(count).map(|data| (0, data.into())).collect();
            while !unsent.is_empty() {
                let batch = Batch::take(&mut unsent, made.len() as u64);
                made.push(batch.parts.concat()[1..].to_vec());
            }
        }
        made
    }

    fn all(inbound: &mut Inbound) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| inbound.next()).collect()
    }

    #[test]
    fn a_repeated_number_is_refused_and_changes_nothing() {
        // T4.4.6
        let mut inbound = Inbound::default();
        let stream = streams(&[b"one".to_vec()], &[1]).remove(0);
        assert_eq!(inbound.take(true, stream.clone(), LIMIT), Ok(()));
        assert_eq!(inbound.take(true, stream, LIMIT), Err("a message that has been before"));
        assert_eq!(all(&mut inbound), [b"one".to_vec()]);
    }

    #[test]
    fn what_was_refused_does_not_hold_up_what_follows() {
        let messages = [vec![1], vec![2], vec![3]];
        let mut inbound = Inbound::default();
        let [first, second, third] = streams(&messages, &[1, 1, 1]).try_into().expect("three");
        assert_eq!(inbound.take(true, third, LIMIT), Ok(()));
        assert_eq!(inbound.take(false, second, LIMIT), Ok(()));
        assert_eq!(all(&mut inbound), Vec::<Vec<u8>>::new());
        assert_eq!(inbound.take(true, first, LIMIT), Ok(()));
        assert_eq!(all(&mut inbound), [vec![1], vec![3]]);
        assert_eq!(inbound.waiting(), 0);
    }

    #[test]
    fn no_more_waits_than_the_limit_allows() {
        let mut inbound = Inbound::default();
        let mut taken = 0;
        for number in 1..100u64 {
            let data = [&number.to_be_bytes()[..], &0u32.to_be_bytes()].concat();
            taken += usize::from(inbound.take(true, data, 1000).is_ok());
            assert!(inbound.waiting() <= 1000);
        }
        assert!((5..20).contains(&taken), "{taken}");
    }

    proptest! {
        /// T4.4.5, T3.4.2: whatever the streams' order, the messages keep theirs.
        #[test]
        fn messages_come_in_their_order_whole(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..60),
            per_stream in proptest::collection::vec(1usize..5, 60),
            order in any::<u64>(),
        ) {
            let mut left = streams(&messages, &per_stream);
            let mut inbound = Inbound::default();
            let mut seen = Vec::new();
            let mut chance = order;
            while !left.is_empty() {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let stream = left.remove((chance >> 33) as usize % left.len());
                prop_assert_eq!(inbound.take(true, stream, LIMIT), Ok(()));
                seen.extend(all(&mut inbound));
            }
            prop_assert_eq!(seen, messages);
        }

        #[test]
        fn arbitrary_streams_never_panic(
            streams in proptest::collection::vec(
                (any::<bool>(), 0u8..4, proptest::collection::vec(any::<u8>(), 0..40)), 0..20,
            ),
        ) {
            let mut inbound = Inbound::default();
            for (is_whole, number, rest) in streams {
                let mut data = vec![0, 0, 0, 0, 0, 0, 0, number];
                data.extend(rest);
                data.truncate(data.len() - usize::from(number == 3));
                // Whether it is taken is chance; that reading ends is what counts.
                let _ = inbound.take(is_whole, data, 100);
                all(&mut inbound);
            }
        }
    }
}
