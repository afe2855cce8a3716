//! The end of a cable: frames on a socket, each behind a 4-byte big-endian length.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use natrig_wire::MAX_FRAME;
use rustix::{
    buffer::spare_capacity,
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};

use crate::Trouble;

/// A station's end.
#[derive(Debug)]
pub(super) struct Cable {
    socket: OwnedFd,
    received: Vec<u8>,
    unsent: Vec<u8>,
}

impl Cable {
    pub fn new(socket: OwnedFd) -> Self {
        Cable { socket, received: Vec::new(), unsent: Vec::new() }
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the socket takes no more for now.
    pub fn is_full(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Puts a frame on it.
    pub fn send(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.unsent.extend_from_slice(&length.to_be_bytes());
        self.unsent.extend_from_slice(frame);
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) -> Result<(), Trouble> {
        let mut written = 0;
        while let Some(rest) = self.unsent.get(written..).filter(|rest| !rest.is_empty()) {
            match send(&self.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => written += length,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(unplugged(error)),
            }
        }
        self.unsent.drain(..written);
        Ok(())
    }

    /// Reads what is there, and hands over whole frames.
    pub fn receive(&mut self, mut take: impl FnMut(&[u8])) -> Result<(), Trouble> {
        loop {
            self.received.reserve(1 << 16);
            match recv(&self.socket, spare_capacity(&mut self.received), RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Err(unplugged(Errno::PIPE)),
                Ok(_) => self.frames(&mut take)?,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(unplugged(error)),
            }
        }
    }

    fn frames(&mut self, take: &mut dyn FnMut(&[u8])) -> Result<(), Trouble> {
        let mut taken = 0;
        while let Some((length, rest)) = self.received.get(taken..).and_then(|rest| rest.split_first_chunk())
        {
            let length = u32::from_be_bytes(*length) as usize;
            if length > MAX_FRAME {
                return Err(Trouble::lab(format!("the switch sent a station a frame of {length} bytes")));
            }
            let Some(frame) = rest.get(..length) else { break };
            take(frame);
            taken += 4 + length;
        }
        self.received.drain(..taken);
        Ok(())
    }
}

fn unplugged(error: Errno) -> Trouble {
    Trouble::lab(format!("a station lost its cable: {error}"))
}
