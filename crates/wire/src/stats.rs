//! What a switch counts.

use std::fmt;

use natrig_capture::DropReason;

use crate::Port;

/// What the ports of a switch have seen so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    pub(crate) ports: Vec<PortStats>,
    /// What was delivered, by source and destination port.
    pub(crate) delivered: Vec<Vec<Count>>,
}

impl Stats {
    /// What one port has seen.
    pub fn port(&self, port: Port) -> PortStats {
        self.ports.get(port.index()).cloned().unwrap_or_default()
    }

    /// What each port has seen, in the order in which they were made.
    pub fn ports(&self) -> &[PortStats] {
        &self.ports
    }

    /// What the machine at one port was given of the machine at another.
    pub fn delivered(&self, from: Port, to: Port) -> Count {
        self.delivered.get(from.index()).and_then(|row| row.get(to.index())).copied().unwrap_or_default()
    }
}

/// What one port has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortStats {
    /// The link's name.
    pub name: String,
    /// What its machine sent.
    pub entered: Count,
    /// What its machine was given.
    pub delivered: Count,
    /// Frames dropped at this port, into the switch or out of it, by [`DropReason::index`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Frames on the way to its machine, that are waiting for it.
    pub waiting: usize,
    /// Whether the link is cut.
    pub cut: bool,
    /// Why the port is closed, if it is.
    pub closed: Option<Closed>,
}

impl PortStats {
    /// Frames dropped at this port for one reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason.index()).copied().unwrap_or_default()
    }
}

/// Frames and the bytes in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// The frames.
    pub frames: u64,
    /// Their bytes, with Ethernet headers.
    pub bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, length: usize) {
        self.frames += 1;
        self.bytes += length as u64;
    }
}

/// Why a port is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The machine closed its end: it ended or was killed.
    HungUp,
    /// The machine announced a frame longer than [`crate::MAX_FRAME`].
    FrameTooLong {
        /// What it announced.
        length: u32,
    },
    /// The socket failed.
    Failed {
        /// How.
        error: String,
    },
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp => f.write_str("the machine hung up"),
            Self::FrameTooLong { length } => {
                write!(f, "the machine announced a frame of {length} bytes, longer than any")
            }
            Self::Failed { error } => write!(f, "the socket failed: {error}"),
        }
    }
}
