//! Which way bytes went.

use std::fmt;

use natrig_record::{Direction, Path};

/// Which way bytes of the lab went between two nodes, from the captures of the time in which they were carried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nobody has looked at the way yet"]
pub struct Carried {
    /// The way, the worse of both directions.
    pub path: Path,
    /// Whose nodes they are.
    pub peers: [&'static str; 2],
    /// From the first to the second, then back.
    pub directions: [Direction; 2],
    /// Why not all bytes arrived in time, where they did not.
    pub missing: Option<String>,
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.peers;
        write!(f, "the wire shows {}", self.path)?;
        for ([from, to], one) in [[first, second], [second, first]].into_iter().zip(&self.directions) {
            let Direction { sent, arrived, direct_bytes, to_third_bytes, from_third_bytes } = one;
            write!(
                f,
                "\n  {from} to {to}: {arrived} of {sent} bytes arrived; {direct_bytes} went from site to site, \
                 {to_third_bytes} to and {from_third_bytes} from third machines"
            )?;
        }
        self.missing.iter().try_for_each(|why| write!(f, "\n  {why}"))
    }
}
