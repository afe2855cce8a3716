//! A message there and back, as a test of a mesh from outside.

use std::time::{Duration, Instant};

use omerta_mesh::{Handle, PeerId};
use omerta_mesh_core::Event;

/// Begins a message that wants to come back, and one that has.
const THERE: &[u8] = b"omerta-mesh test: there ";
const BACK: &[u8] = b"omerta-mesh test: back ";
const NONCE: usize = 32;

/// A message on its way there and back.
pub struct Test {
    peer: PeerId,
    back: Vec<u8>,
    until: Instant,
    outcome: Option<Result<(), String>>,
}

impl Test {
    /// Connects to the peer and sends it the message.
    pub fn begin(handle: &Handle, peer: PeerId, timeout: Duration) -> Self {
        let nonce: [u8; NONCE] = rand::random();
        handle.connect(peer);
        handle.send(peer, [THERE, &nonce].concat());
        Self { peer, back: [BACK, &nonce].concat(), until: Instant::now() + timeout, outcome: None }
    }

    /// When it is over in any case.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// The time is over.
    pub fn give_up(&mut self) {
        self.outcome.get_or_insert_with(|| Err("the message did not come back in time".to_owned()));
    }

    /// Looks at an event; whether the test is over now.
    pub fn event(&mut self, event: &Event) -> bool {
        let outcome = match event {
            Event::MessageReceived { peer, data, .. } if *peer == self.peer && *data == self.back => Ok(()),
            Event::ConnectFailed { peer, reason } | Event::SendFailed { peer, reason, .. }
                if *peer == self.peer =>
            {
                Err(reason.clone())
            }
            _ => return false,
        };
        self.outcome.get_or_insert(outcome);
        true
    }

    /// Whether the message came back.
    pub fn outcome(self) -> Result<(), String> {
        self.outcome.unwrap_or_else(|| Err("the node was stopped before the message came back".to_owned()))
    }
}

/// Sends the messages of tests back.
#[derive(Default)]
pub struct Echo;

impl Echo {
    /// Answers, if this is such a message.
    pub fn event(&mut self, handle: &Handle, event: &Event) {
        if let Event::MessageReceived { peer, data, .. } = event
            && let Some(nonce) = data.strip_prefix(THERE)
            && nonce.len() == NONCE
        {
            handle.send(*peer, [BACK, nonce].concat());
        }
    }
}
