//! What members send each other, and how it is known that it came once and to whom it was meant for.

use std::{collections::BTreeSet, time::Duration};

const HEAD: usize = 20;

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub from: u32,
    pub to: u32,
    /// How many the sender sent before it.
    pub number: u32,
    /// When it was sent.
    pub sent: Duration,
}

impl Message {
    /// As bytes, filled up to a length.
    pub fn encode(self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length.max(HEAD));
        for word in [self.from, self.to, self.number] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend((self.sent.as_nanos() as u64).to_be_bytes());
        bytes.resize(length.max(HEAD), self.number as u8);
        bytes
    }

    /// Reads one; none if it is not what was sent.
    pub fn decode(bytes: &[u8]) -> Option<Message> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let word = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let number = word(8)?;
        let sent = Duration::from_nanos(u64::from_be_bytes(head.get(12..)?.try_into().ok()?));
        let whole = rest.iter().all(|byte| *byte == number as u8);
        whole.then_some(Message { from: word(0)?, to: word(4)?, number, sent })
    }
}

/// Which messages of a sender have come.
#[derive(Debug, Clone)]
pub(super) struct Receipts {
    pub from: u32,
    /// All before this one have come, or are among the missing.
    next: u32,
    missing: BTreeSet<u32>,
    /// What came before this one was heard in an earlier life, which the node has forgotten.
    life: u32,
    /// Of those, which it has heard again.
    again: BTreeSet<u32>,
}

/// What a message is to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    New,
    /// It came in an earlier life as well: its acknowledgement was lost with that life.
    Again,
    /// It came twice in one life, which must not be.
    Twice,
}

impl Receipts {
    pub fn of(from: u32) -> Self {
        Receipts { from, next: 0, missing: BTreeSet::new(), life: 0, again: BTreeSet::new() }
    }

    /// A life begins, of a node that remembers nothing.
    pub fn begin_anew(&mut self) {
        self.life = self.next;
        self.again.clear();
    }

    /// Notes one.
    pub fn note(&mut self, number: u32) -> Heard {
        if number >= self.next {
            self.missing.extend(self.next..number);
            self.next = number + 1;
            return Heard::New;
        }
        let is_first = number < self.life && self.again.insert(number);
        match () {
            () if self.missing.remove(&number) => Heard::New,
            () if is_first => Heard::Again,
            () => Heard::Twice,
        }
    }

    /// How many have come.
    pub fn count(&self) -> u64 {
        u64::from(self.next) - self.missing.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_number_is_new_once(numbers in prop::collection::vec(0u32..60, 0..200)) {
            let (mut receipts, mut seen) = (Receipts::of(1), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(receipts.note(number) == Heard::New, seen.insert(number));
                prop_assert_eq!(receipts.count(), seen.len() as u64);
            }
        }

        /// A message may come once in each life.
        #[test]
        fn each_number_is_heard_once_in_a_life(numbers in prop::collection::vec((0u32..20, any::<bool>()), 0..100)) {
            let (mut receipts, mut ever, mut now) = (Receipts::of(1), BTreeSet::new(), BTreeSet::new());
            for (number, dies) in numbers {
                if dies {
                    receipts.begin_anew();
                    now.clear();
                }
                let expected = match (ever.insert(number), now.insert(number)) {
                    (true, _) => Heard::New,
                    (false, true) => Heard::Again,
                    (false, false) => Heard::Twice,
                };
                prop_assert_eq!(receipts.note(number), expected);
            }
        }

        #[test]
        fn a_message_says_what_it_said(from: u32, to: u32, number: u32, ns in 0u64..1 << 50, length in 0usize..200) {
            let message = Message { from, to, number, sent: Duration::from_nanos(ns) };
            let mut bytes = message.encode(length);
            prop_assert_eq!(Message::decode(&bytes), Some(message));
            if let Some(last) = bytes.get_mut(HEAD..).and_then(|rest| rest.last_mut()) {
                *last ^= 1;
                prop_assert_eq!(Message::decode(&bytes), None);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Message::decode(&bytes);
        }
    }
}
