//! From socket to socket.

use std::net::UdpSocket;

use crate::load::{Ends, Way, socket};

pub struct Direct {
    sender: UdpSocket,
    receiver: UdpSocket,
}

impl Direct {
    pub fn new() -> Self {
        Self { sender: socket(), receiver: socket() }
    }
}

impl Way for Direct {
    fn name(&self) -> &'static str {
        "straight"
    }

    fn relay(&self) -> Option<u32> {
        None
    }

    fn head(&self, _size: usize) -> Vec<u8> {
        Vec::new()
    }

    fn ends(&self) -> Ends<'_> {
        let to = self.receiver.local_addr().expect("bound");
        Ends { sender: &self.sender, to, receiver: &self.receiver, skip: 0 }
    }
}
