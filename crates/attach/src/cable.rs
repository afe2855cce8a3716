//! Frames between a device and a cable.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread,
};

use rustix::event::{PollFd, PollFlags, poll};

use crate::Tap;

/// The longest frame that a cable carries; the switch's limit.
const LONGEST: usize = 4096 + 65_536;

/// Lets frames pass between a device and a cable, until the other end of the cable is closed; says if it ends before, and why.
pub fn join(tap: Tap, cable: OwnedFd, ended: impl FnOnce(io::Error) + Send + 'static) -> io::Result<()> {
    let cable = UnixStream::from(cable);
    let work = move || carry(&tap.device, &cable).unwrap_or_else(ended);
    thread::Builder::new().name("natrig-attach".to_owned()).spawn(work).map(drop)
}

fn carry(device: &File, cable: &UnixStream) -> io::Result<()> {
    let mut incoming = Incoming::default();
    let mut frame = vec![0; LONGEST];
    loop {
        let mut ready = [PollFd::new(device, PollFlags::IN), PollFd::new(cable, PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        let [from_device, from_cable] = ready.map(|one| !one.revents().is_empty());
        if from_device {
            match { device }.read(&mut frame) {
                Ok(length) => { cable }.write_all(&framed(&frame[..length]))?,
                Err(error) if passes(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if from_cable {
            let mut chunk = [0; 1 << 16];
            match { cable }.read(&mut chunk)? {
                0 => return Ok(()),
                length => incoming.0.extend_from_slice(&chunk[..length]),
            }
            while let Some(frame) = incoming.frame()? {
                match { device }.write(&frame) {
                    Ok(_) => {}
                    Err(error) if passes(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// Whether it is only this frame that the device does not take, as a cable would lose one: its queue is full, it is down, or the
/// frame is shorter than any.
fn passes(error: &io::Error) -> bool {
    let known = [libc::EAGAIN, libc::EINTR, libc::EIO, libc::EINVAL, libc::ENOBUFS];
    error.raw_os_error().is_some_and(|errno| known.contains(&errno))
}

fn framed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), frame].concat()
}

/// What has come of a cable's stream and is no whole frame yet.
#[derive(Default)]
struct Incoming(Vec<u8>);

impl Incoming {
    fn frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((length, rest)) = self.0.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let Some(frame) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.0.drain(..4 + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_from_a_stream_wherever_it_is_cut() {
        let stream = [framed(b"one"), framed(b""), framed(&[7; 2000])].concat();
        for size in [1, 3, 5, 4096] {
            let (mut incoming, mut frames) = (Incoming::default(), Vec::new());
            for chunk in stream.chunks(size) {
                incoming.0.extend_from_slice(chunk);
                while let Some(frame) = incoming.frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [b"one".to_vec(), Vec::new(), vec![7; 2000]], "in pieces of {size}");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_ends_it() {
        let mut incoming = Incoming(u32::MAX.to_be_bytes().to_vec());
        assert!(incoming.frame().is_err());
    }
}
