//! What a hostile node lies about: real nodes with a switch, for the tests of a lab.

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
}
