//! Frames on a stream: a 4-byte big-endian length, then the frame, as QEMU's `-netdev stream` has it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

use crate::Port;

/// The longest frame that is taken from a machine; QEMU's own limit.
pub const MAX_FRAME: usize = 4096 + 65_536;

/// How many frames wait at most for a machine that does not read.
pub const QUEUE_FRAMES: usize = 1024;

/// How many frames are handed to a socket at once.
const BATCH: usize = 32;

/// Cuts a machine's stream into frames.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// What was received; frames are taken from `taken` on.
    received: Vec<u8>,
    taken: usize,
}

/// A machine announced a frame that is longer than any.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    pub(crate) length: u32,
}

impl Incoming {
    /// Where to receive into.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.received.drain(..self.taken);
        self.taken = 0;
        self.received.reserve(1 << 16);
        &mut self.received
    }

    /// The next whole frame.
    pub(crate) fn frame(&mut self) -> Result<Option<Bytes>, TooLong> {
        let rest = self.received.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        if length as usize > MAX_FRAME {
            return Err(TooLong { length });
        }
        let Some(frame) = rest.get(..length as usize) else { return Ok(None) };
        self.taken += 4 + frame.len();
        Ok(Some(Bytes::copy_from_slice(frame)))
    }
}

/// The frames that wait for a machine to read them.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    queue: VecDeque<Queued>,
    /// How many bytes of the first one, with its length, are written already.
    written: usize,
}

/// A frame on its way out.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) frame: u64,
    pub(crate) from: Port,
    pub(crate) data: Bytes,
    length: [u8; 4],
}

impl Queued {
    pub(crate) fn new(frame: u64, from: Port, data: Bytes) -> Self {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
        Self { frame, from, data, length }
    }

    fn size(&self) -> usize {
        self.length.len() + self.data.len()
    }
}

impl Outgoing {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Lets a frame wait; gives it back if too many wait already.
    pub(crate) fn push(&mut self, queued: Queued) -> Result<(), Queued> {
        if self.queue.len() >= QUEUE_FRAMES {
            return Err(queued);
        }
        self.queue.push_back(queued);
        Ok(())
    }

    /// Writes as much as the socket takes and adds what is written wholly to `done`.
    pub(crate) fn write(&mut self, socket: BorrowedFd<'_>, done: &mut Vec<Queued>) -> Result<(), Errno> {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2 * BATCH];
            let mut used = 0;
            for (pair, queued) in slices.chunks_exact_mut(2).zip(&self.queue) {
                if let [length, data] = pair {
                    *length = IoSlice::new(&queued.length);
                    *data = IoSlice::new(&queued.data);
                }
                used += 2;
            }
            let mut slices = slices.get_mut(..used).unwrap_or_default();
            IoSlice::advance_slices(&mut slices, self.written);
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let mut nothing = SendAncillaryBuffer::new(&mut []);
            match sendmsg(socket.as_fd(), slices, &mut nothing, flags) {
                Ok(sent) => self.sent(sent, done),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sent(&mut self, bytes: usize, done: &mut Vec<Queued>) {
        self.written += bytes;
        while let Some(first) = self.queue.front()
            && self.written >= first.size()
        {
            self.written -= first.size();
            done.extend(self.queue.pop_front());
        }
    }

    /// Takes out what has not begun to be written: a frame that has must be written to its end.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = Queued> {
        let begun = usize::from(self.written > 0).min(self.queue.len());
        self.queue.drain(begun..)
    }

    /// Takes out everything, for a socket that is gone.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = Queued> {
        self.written = 0;
        self.queue.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

    use super::*;

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame].concat()).collect()
    }

    /// Feeds the stream in pieces and collects the frames.
    fn cut(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut incoming = Incoming::default();
        let mut frames = Vec::new();
        for piece in pieces {
            incoming.buffer().extend_from_slice(piece);
            while let Some(frame) = incoming.frame()? {
                frames.push(frame.to_vec());
            }
        }
        Ok(frames)
    }

    #[test]
    fn the_longest_frame_passes_and_a_longer_one_does_not() {
        let longest = vec![1; MAX_FRAME];
        assert_eq!(cut(&[&stream(std::slice::from_ref(&longest))]), Ok(vec![longest]));
        let length = MAX_FRAME as u32 + 1;
        assert_eq!(cut(&[&length.to_be_bytes()]), Err(TooLong { length }));
        assert_eq!(cut(&[&[0xff; 4]]), Err(TooLong { length: u32::MAX }));
    }

    #[test]
    fn no_stream_makes_it_panic_or_keep_more_than_a_frame() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut incoming = Incoming::default();
            for piece in bytes.chunks(7) {
                incoming.buffer().extend_from_slice(piece);
                while let Ok(Some(frame)) = incoming.frame() {
                    assert!(frame.len() <= MAX_FRAME);
                }
            }
        });
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut_of_the_stream(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let stream = stream(&frames);
            let mut cuts: Vec<_> = cuts.iter().map(|at| at.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            prop_assert_eq!(cut(&pieces), Ok(frames));
        }

        #[test]
        fn what_is_written_in_many_pieces_arrives_whole(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1500), 1..60),
        ) {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            // A socket that takes little at a time makes for many partial writes.
            rustix::net::sockopt::set_socket_send_buffer_size(&ours, 4096).unwrap();
            let mut outgoing = Outgoing::default();
            for (n, frame) in frames.iter().enumerate() {
                outgoing.push(Queued::new(n as u64, Port(0), Bytes::from(frame.clone()))).unwrap();
            }
            let expected = stream(&frames);
            let (mut done, mut arrived) = (Vec::new(), Vec::new());
            let mut buffer = [0u8; 1000];
            while arrived.len() < expected.len() {
                let result = outgoing.write(ours.as_fd(), &mut done);
                prop_assert!(matches!(result, Ok(()) | Err(Errno::AGAIN)));
                let (n, _) = recv(&theirs, &mut buffer[..], RecvFlags::empty()).unwrap();
                arrived.extend_from_slice(&buffer[..n]);
            }
            prop_assert_eq!(cut(&[&arrived]), Ok(frames.clone()));
            prop_assert_eq!(done.iter().map(|it| it.frame).collect::<Vec<_>>(), (0..frames.len() as u64).collect::<Vec<_>>());
        }
    }
}
