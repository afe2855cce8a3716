//! What becomes of a frame.

use std::fmt;
use std::time::Duration;

/// What becomes of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is lost.
    Lost(Cause),
    /// It leaves the link, once for each departure.
    Departs(Departures),
}

/// Why a frame is lost on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The cable is cut.
    Cut,
    /// The conditions took it, by itself or in a burst.
    Loss,
    /// Too much waited before it for a link with a rate.
    QueueFull,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Loss => "loss",
            Self::QueueFull => "link queue full",
        })
    }
}

/// A frame that leaves a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// When; not earlier than the `now` of the decision.
    pub at: Duration,
    /// The bit that has been turned over on the way.
    pub flipped: Option<Bit>,
}

/// A bit of a frame, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bit(u32);

impl Bit {
    pub(crate) fn new(place: u32) -> Self {
        Self(place)
    }

    /// Its place: the first byte's highest bit is 0, its lowest 7, the second byte's highest 8.
    pub fn place(self) -> usize {
        self.0 as usize
    }

    /// The same bit in what is left of the frame after its first bytes; one that is in those is its first.
    pub fn of_rest(self, bytes: usize) -> Self {
        Self(self.0.saturating_sub(u32::try_from(bytes * 8).unwrap_or(u32::MAX)))
    }

    /// Turns the bit over. A frame that is too short to have it stays as it is.
    pub fn flip(self, frame: &mut [u8]) {
        if let Some(byte) = frame.get_mut(self.place() / 8) {
            *byte ^= 0x80 >> (self.place() % 8);
        }
    }
}

/// The departures of one frame from a link, in the order of their times: one, or two if it was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departures {
    at: Duration,
    frame: Option<Option<Bit>>,
    copy: Option<Option<Bit>>,
}

impl Departures {
    pub(crate) fn once(at: Duration, flipped: Option<Bit>) -> Self {
        Self { at, frame: Some(flipped), copy: None }
    }

    pub(crate) fn twice(at: Duration, flipped: [Option<Bit>; 2]) -> Self {
        let [frame, copy] = flipped.map(Some);
        Self { at, frame, copy }
    }
}

impl Iterator for Departures {
    type Item = Departure;

    fn next(&mut self) -> Option<Departure> {
        let flipped = self.frame.take().or_else(|| self.copy.take())?;
        Some(Departure { at: self.at, flipped })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.frame.is_some()) + usize::from(self.copy.is_some());
        (left, Some(left))
    }
}

impl ExactSizeIterator for Departures {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_turned_over_and_back() {
        let mut frame = [0; 3];
        for (place, changed) in
            [(0, [0x80, 0, 0]), (7, [1, 0, 0]), (8, [0, 0x80, 0]), (23, [0, 0, 1]), (24, [0; 3])]
        {
            Bit(place).flip(&mut frame);
            assert_eq!(frame, changed);
            Bit(place).flip(&mut frame);
            assert_eq!(frame, [0; 3]);
        }
    }

    #[test]
    fn a_copy_leaves_behind_its_frame() {
        let at = Duration::from_secs(1);
        let departures = Departures::twice(at, [None, Some(Bit(3))]);
        assert_eq!(departures.len(), 2);
        let flipped: Vec<_> = departures.map(|departure| departure.flipped).collect();
        assert_eq!(flipped, [None, Some(Bit(3))]);
    }
}
