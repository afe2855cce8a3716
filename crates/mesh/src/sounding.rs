//! A question to a STUN server from a socket that has asked nobody before: does a new flow get through, and which port
//! does it get?

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use natrig_stun::{Class, Message, TransactionId};

use crate::net::{Path, SocketId, Transmit};

const ATTEMPTS: u32 = 5;
const GAP: Duration = Duration::from_millis(150);

/// The question, asked until it is answered or has been asked often enough.
pub(crate) struct Sounding {
    pub path: Path,
    transaction: TransactionId,
    sent: u32,
    next: Instant,
}

/// What is to be done about a [`Sounding`] now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Send(Transmit),
    Wait,
    /// Nobody has answered.
    Lost,
}

impl Sounding {
    pub fn new(now: Instant, socket: SocketId, server: SocketAddr, transaction: TransactionId) -> Self {
        Self { path: Path { socket, remote: server }, transaction, sent: 0, next: now }
    }

    pub fn step(&mut self, now: Instant) -> Step {
        if self.next > now {
            return Step::Wait;
        }
        if self.sent >= ATTEMPTS {
            return Step::Lost;
        }
        self.sent += 1;
        self.next = now + GAP;
        let payload = Message::binding_request(self.transaction).encode();
        Step::Send(Transmit { path: self.path, payload })
    }

    pub fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// The outside endpoint of the socket, if this answers the question.
    pub fn answer(&self, path: Path, message: &Message) -> Option<SocketAddr> {
        let answers =
            path == self.path && message.transaction == self.transaction && message.class == Class::Success;
        message.mapped_address.filter(|_| answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_a_few_times_and_takes_one_answer_only() {
        let start = Instant::now();
        let server = "203.0.113.1:3478".parse().expect("an address");
        let mut sounding = Sounding::new(start, SocketId(9), server, [7; 12]);
        let (mut now, mut sent) = (start, 0);
        loop {
            match sounding.step(now) {
                Step::Send(transmit) => {
                    assert_eq!(transmit.path, Path { socket: SocketId(9), remote: server });
                    sent += 1;
                }
                Step::Wait => now = sounding.poll_timeout(),
                Step::Lost => break,
            }
        }
        assert_eq!((sent, now - start), (ATTEMPTS, GAP * ATTEMPTS));

        let mut answer = Message::new(Class::Success, [7; 12]);
        answer.mapped_address = "198.51.100.1:700".parse().ok();
        assert_eq!(sounding.answer(sounding.path, &answer), answer.mapped_address);
        assert_eq!(sounding.answer(Path::main(server), &answer), None);
        answer.transaction = [8; 12];
        assert_eq!(sounding.answer(sounding.path, &answer), None);
    }
}
