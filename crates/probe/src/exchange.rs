//! Requests that go out together, and their answers.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use natrig_stun::{ChangeRequest, Class, Message};

use crate::{Failed, SocketId};

/// The first wait; it doubles up to [`SLOWEST`] (RFC 8489 section 6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(500);
const SLOWEST: Duration = Duration::from_secs(4);
const TRIES: u32 = 6;

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    pub to: SocketAddr,
    pub message: Message,
    /// Whether its answer may be filtered.
    pub optional: bool,
    pub mapped: Option<SocketAddr>,
}

/// Requests from one socket, sent in order; done when all answers that must come have come.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub socket: SocketId,
    pub requests: Vec<Request>,
    wait: Duration,
    tries: u32,
    pub deadline: Instant,
}

impl Exchange {
    pub fn new(socket: SocketId, now: Instant) -> Self {
        Exchange { socket, requests: Vec::new(), wait: FIRST_WAIT, tries: 1, deadline: now + FIRST_WAIT }
    }

    /// Asks for an answer from the address that is asked.
    pub fn plain(mut self, to: SocketAddr, transaction: [u8; 12]) -> Self {
        self.requests.push(Request {
            to,
            message: Message::binding_request(transaction),
            optional: false,
            mapped: None,
        });
        self
    }

    /// Asks for an answer from elsewhere, which may be filtered.
    pub fn stranger(mut self, to: SocketAddr, transaction: [u8; 12], change: ChangeRequest) -> Self {
        self.requests.push(Request {
            to,
            message: Message::binding_request(transaction).with_change_request(change),
            optional: true,
            mapped: None,
        });
        self
    }

    /// Takes an answer; `Ok(true)` when it was the last one needed.
    pub fn handle(&mut self, answer: &Message) -> Result<bool, Failed> {
        let Some(request) =
            self.requests.iter_mut().find(|request| request.message.transaction == answer.transaction)
        else {
            return Ok(false);
        };
        match (answer.class, answer.mapped_address) {
            (Class::Success, Some(mapped)) => request.mapped = Some(mapped),
            (Class::Error, _) => {
                return Err(Failed::Refused { server: request.to, code: answer.error_code.unwrap_or(0) });
            }
            _ => return Ok(false),
        }
        Ok(self.requests.iter().all(|request| request.optional || request.mapped.is_some()))
    }

    /// Whether to send all again (true), or an error after too many tries.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<bool, Failed> {
        if now < self.deadline {
            return Ok(false);
        }
        if self.tries == TRIES {
            let silent = self.requests.iter().find(|r| !r.optional && r.mapped.is_none());
            return Err(Failed::Silent {
                server: silent.map_or_else(|| self.requests[0].to, |request| request.to),
                tries: self.tries,
            });
        }
        self.tries += 1;
        self.wait = (self.wait * 2).min(SLOWEST);
        self.deadline = now + self.wait;
        Ok(true)
    }
}
