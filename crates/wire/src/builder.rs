//! Putting a switch together.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::channel;

use natrig_capture::FolderError;

use crate::engine::{Engine, Plug, cable};
use crate::fabric::Fabric;
use crate::tap::Taps;
use crate::{Clock, Port, Switch};

/// An Ethernet of its own within a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment(usize);

/// Takes the segments and ports of a switch and starts it.
///
/// ```
/// # use natrig_wire::Switch;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = Switch::builder();
/// let lan1 = builder.segment();
/// let (peer1, peer1_fd) = builder.port(lan1, "peer1")?;
/// let (nat1, nat1_fd) = builder.port(lan1, "nat1.lan")?;
/// let switch = builder.start()?;
/// switch.cut(peer1)?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct SwitchBuilder {
    clock: Option<Clock>,
    seed: u64,
    captures: Option<PathBuf>,
    ring: Option<u64>,
    fabric: Fabric,
    names: Vec<String>,
    sockets: Vec<OwnedFd>,
}

impl SwitchBuilder {
    /// Sets the clock that captures are timed by; without it the switch starts one of its own.
    pub fn clock(&mut self, clock: Clock) -> &mut Self {
        self.clock = Some(clock);
        self
    }

    /// Sets the seed of everything random on the links; without it, 0.
    pub fn seed(&mut self, seed: u64) -> &mut Self {
        self.seed = seed;
        self
    }

    /// Captures all links into a folder, as [`natrig_capture::Folder`] has it.
    pub fn capture_into(&mut self, folder: impl Into<PathBuf>) -> &mut Self {
        self.captures = Some(folder.into());
        self
    }

    /// Keeps the newest packets of captures only, as [`natrig_capture::Folder::keep_newest`] has it.
    pub fn keep_newest(&mut self, bytes: u64) -> &mut Self {
        self.ring = Some(bytes);
        self
    }

    /// Adds a segment.
    pub fn segment(&mut self) -> Segment {
        Segment(self.fabric.add_segment())
    }

    /// Adds a port to a segment, and returns the end of its cable that the machine gets.
    ///
    /// The descriptor blocks, and is closed on exec: a child that inherits it clears that flag.
    pub fn port(&mut self, segment: Segment, link: impl Into<String>) -> Result<(Port, OwnedFd), BuildError> {
        let link = link.into();
        if self.names.contains(&link) {
            return Err(BuildError::TwoLinks { name: link });
        }
        let (ours, theirs) = cable().map_err(BuildError::System)?;
        let port = self.fabric.add_port(segment.0).ok_or(BuildError::ForeignSegment)?;
        self.names.push(link);
        self.sockets.push(ours);
        Ok((port, theirs))
    }

    /// Starts the switch.
    pub fn start(self) -> Result<Switch, BuildError> {
        let clock = self.clock.unwrap_or_else(Clock::start);
        let (taps, writer) = match &self.captures {
            Some(folder) => {
                let (taps, writer) = Taps::start(folder, &self.names, self.ring)?;
                (Some(taps), Some(writer))
            }
            None => (None, None),
        };
        let ports = self
            .names
            .iter()
            .zip(self.sockets)
            .map(|(name, socket)| Plug::new(name.clone(), socket, self.seed))
            .collect();
        let (sender, commands) = channel();
        let (engine, waker) =
            Engine::new(clock, self.fabric, ports, taps, commands).map_err(BuildError::System)?;
        let thread = std::thread::Builder::new()
            .name("natrig-switch".into())
            .spawn(move || engine.run())
            .map_err(BuildError::System)?;
        Ok(Switch::new(clock, (self.names, self.ring), sender, waker, thread, writer))
    }
}

/// Why a switch could not be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Two ports have one link name.
    #[error("two links are named {name}")]
    TwoLinks {
        /// The name.
        name: String,
    },
    /// The segment is one of another switch.
    #[error("the segment is not of this switch")]
    ForeignSegment,
    /// The captures could not be begun.
    #[error(transparent)]
    Capture(#[from] FolderError),
    /// The system refused sockets or a thread.
    #[error("the switch could not be set up: {0}")]
    System(io::Error),
}
