//! What the captures of a cell show beside the path.

use serde::{Deserialize, Serialize};

/// Something that the captures of a cell must show, and whether they do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// Whose fault it is if it does not hold.
    pub about: About,
    /// What must be seen, as a clause: `nat1 keeps source ports`.
    pub what: String,
    /// Whether it is.
    pub holds: bool,
    /// What was seen, with frame numbers where it does not hold.
    pub detail: String,
}

/// What an assertion is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// A gateway: where it does not hold, the lab is not what was proven.
    Gateway,
    /// A link: where it does not hold, the lab is not what the scenario says.
    Link,
    /// The nodes under test.
    Node,
    /// What became of the lab's messages.
    Messages,
}
