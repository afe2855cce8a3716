//! Messages that have come and that nobody has taken yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use omerta_mesh::PeerId;
use omerta_mesh_core::PathKind;
use tokio::sync::Notify;

/// Messages that wait for `recv`; the oldest give way.
const MAX_MESSAGES: usize = 1024;
/// All together.
const MAX_BYTES: usize = 64 << 20;

/// A message that has come.
#[derive(Debug, PartialEq)]
pub struct Received {
    /// From whom.
    pub peer: PeerId,
    /// The path that it took.
    pub path: PathKind,
    /// Its content.
    pub data: Vec<u8>,
}

/// A bounded queue of messages.
#[derive(Default)]
pub struct Mailbox {
    held: Mutex<Held>,
    news: Notify,
}

#[derive(Default)]
struct Held {
    messages: VecDeque<Received>,
    bytes: usize,
    dropped: u64,
}

impl Mailbox {
    /// Keeps a message.
    pub fn put(&self, message: Received) {
        let mut held = self.held();
        held.bytes += message.data.len();
        held.messages.push_back(message);
        while (held.messages.len() > MAX_MESSAGES || held.bytes > MAX_BYTES)
            && let Some(oldest) = held.messages.pop_front()
        {
            held.bytes -= oldest.data.len();
            held.dropped += 1;
        }
        drop(held);
        self.news.notify_waiters();
    }

    /// Takes the oldest message, of `from` if that is wanted, and waits for it.
    pub async fn take(&self, from: Option<PeerId>) -> Received {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let mut held = self.held();
                let wanted = |message: &Received| from.is_none_or(|from| from == message.peer);
                if let Some(at) = held.messages.iter().position(wanted)
                    && let Some(message) = held.messages.remove(at)
                {
                    held.bytes -= message.data.len();
                    return message;
                }
            }
            news.await;
        }
    }

    /// Puts a message back that could not be handed out.
    pub fn put_back(&self, message: Received) {
        let mut held = self.held();
        held.bytes += message.data.len();
        held.messages.push_front(message);
        drop(held);
        self.news.notify_waiters();
    }

    /// How many wait, and how many gave way.
    pub fn counts(&self) -> (usize, u64) {
        let held = self.held();
        (held.messages.len(), held.dropped)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(peer: u8, length: usize) -> Received {
        Received { peer: PeerId::from_bytes([peer; 32]), path: PathKind::Direct, data: vec![peer; length] }
    }

    #[tokio::test]
    async fn messages_are_taken_in_their_order_and_by_sender() {
        let mailbox = Mailbox::default();
        for peer in [1, 2, 1] {
            mailbox.put(message(peer, 3));
        }
        assert_eq!(mailbox.take(Some(PeerId::from_bytes([2; 32]))).await, message(2, 3));
        let first = mailbox.take(None).await;
        mailbox.put_back(first);
        assert_eq!(mailbox.take(None).await, message(1, 3));
        assert_eq!(mailbox.counts(), (1, 0));
    }

    #[tokio::test]
    async fn the_oldest_give_way() {
        let mailbox = Mailbox::default();
        for n in 0..MAX_MESSAGES + 3 {
            mailbox.put(message(n as u8, 1));
        }
        assert_eq!(mailbox.counts(), (MAX_MESSAGES, 3));
        assert_eq!(mailbox.take(None).await, message(3, 1));
        mailbox.put(message(9, MAX_BYTES));
        assert_eq!(mailbox.counts().0, 1);
        mailbox.put(message(9, MAX_BYTES + 1));
        assert_eq!(mailbox.counts().0, 0);
    }
}
