//! What a hostile node lies about: real nodes with a switch, for the tests of a lab.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What a hostile node lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "options", derive(clap::ValueEnum))]
#[non_exhaustive]
pub enum Lie {
    /// Every path is said to be direct.
    LiePath,
    /// Announcements of others that they have not signed.
    ForgedLists,
    /// Announcements that have expired, or would never expire.
    ExpiredLists,
    /// Announcements of made-up nodes at addresses that can be nobody's.
    UnroutableLists,
    /// Made-up nodes without end, in lists that are too long or too many.
    EndlessLists,
    /// Everybody is said not to be reached any more.
    FalseReports,
    /// Everybody is said to be seen at [`Lie::VICTIM`].
    FalseObservations,
    /// It claims to be at [`Lie::VICTIM`], and has those whom it coordinates called to punch there.
    PunchVictim,
    /// A relay that takes sessions and passes nothing on.
    DropFrames,
}

impl Lie {
    /// Somebody who has nothing to do with it all.
    pub const VICTIM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66)), 6666);
}
