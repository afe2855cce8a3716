//! What a switch sees of a frame.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

/// Which way a frame crosses a switch's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the machine into the switch.
    Inbound,
    /// From the switch to the machine.
    Outbound,
}

/// A link among those of one switch, capture folder or trace; its name is found there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(u32);

impl LinkId {
    /// The link at a place in the list of links.
    pub fn new(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// The link's place in the list of links.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One frame seen once, on one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The frame; all sightings of one frame share it, no two frames do.
    pub frame: u64,
    /// The link.
    pub link: LinkId,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// What happened to the frame there.
    pub what: What,
    /// The Ethernet frame, without its check sequence.
    pub data: Bytes,
}

/// What happens to a frame on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// The machine sent it.
    Entered,
    /// The machine was given it.
    Delivered,
    /// It was dropped on its way into the switch or out of it.
    Dropped(Direction, DropReason),
}

/// Why a switch did not deliver a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// The link was cut.
    Cut,
    /// The link's conditions took it.
    Loss,
    /// Too much waited before it for the link's rate.
    LinkQueueFull,
    /// A filter between the two ports took it.
    Blocked,
    /// The machine did not read fast enough.
    QueueFull,
    /// The machine went away while it waited.
    Unplugged,
    /// It was too short for an Ethernet header.
    Runt,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::Cut,
        Self::Loss,
        Self::LinkQueueFull,
        Self::Blocked,
        Self::QueueFull,
        Self::Unplugged,
        Self::Runt,
    ];

    /// The reason's place in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Loss => "loss",
            Self::LinkQueueFull => "link queue full",
            Self::Blocked => "blocked",
            Self::QueueFull => "queue full",
            Self::Unplugged => "unplugged",
            Self::Runt => "runt",
        })
    }
}

impl FromStr for DropReason {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|reason| reason.to_string() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_read_as_it_is_written() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.to_string().parse(), Ok(reason));
            assert_eq!(reason.index(), index);
        }
    }
}
