//! The virtio-serial port to the host.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use natrig_agent_proto::{Decoder, PORT, ToGuest, ToHost, encode};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::OFlags,
};

/// With more than this waiting for the host, nothing is read from processes.
const FULL: usize = 256 << 10;

/// How long the host may take to open its end.
const HOST_PATIENCE: Duration = Duration::from_secs(30);

/// Messages to and from the host. The port can be opened once only, so one descriptor serves both ways.
#[derive(Debug)]
pub(crate) struct Port {
    file: File,
    decoder: Decoder,
    output: Vec<u8>,
    /// How much of `output` the host has.
    sent: usize,
}

impl Port {
    /// Opens the port and waits for the host to open its end.
    pub(crate) fn open() -> io::Result<Self> {
        let path = find()?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&path, flags, rustix::fs::Mode::empty())?);
        let deadline = Instant::now() + HOST_PATIENCE;
        loop {
            let mut fds = [PollFd::new(&file, PollFlags::OUT)];
            poll(&mut fds, None)?;
            let [fd] = fds;
            if !fd.revents().contains(PollFlags::HUP) {
                break;
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("the host does not open its end"));
            }
            // The kernel has nothing to wait on here.
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { file, decoder: Decoder::default(), output: Vec::new(), sent: 0 })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// What to wait for.
    pub(crate) fn interest(&self) -> PollFlags {
        if self.sent < self.output.len() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// Whether the host is so slow that nothing should be added that can wait.
    pub(crate) fn is_full(&self) -> bool {
        self.output.len() - self.sent > FULL
    }

    /// Queues a message.
    pub(crate) fn send(&mut self, message: &ToHost) {
        match encode(message) {
            Ok(frame) => self.output.extend(frame),
            Err(error) => eprintln!("natrig-guest: cannot send a message: {error}"),
        }
    }

    /// Writes as much as the host takes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(rest @ [_, ..]) = self.output.get(self.sent..) {
            match self.file.write(rest) {
                Ok(0) => break,
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(FULL);
            self.sent = 0;
        } else if self.sent > FULL {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Takes what the host has sent.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; 32 << 10];
        match self.file.read(&mut chunk) {
            Ok(count) => self.decoder.push(chunk.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next message of the host.
    pub(crate) fn message(&mut self) -> Result<Option<ToGuest>, String> {
        // What follows a bad frame cannot be told from its rest.
        self.decoder.next_message().map_err(|error| format!("the host sent {error}"))
    }
}

/// The device of the port named [`PORT`]; without udev it has no link by that name.
fn find() -> io::Result<PathBuf> {
    let linked = Path::new("/dev/virtio-ports").join(PORT);
    if linked.exists() {
        return Ok(linked);
    }
    for entry in fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim_end() == PORT {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::other(format!("no virtio-serial port is named {PORT}")))
}
