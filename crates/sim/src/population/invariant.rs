//! What must be true of a population at any time, whatever was drawn.

use std::{fmt, net::Ipv4Addr, time::Duration};

use serde::Serialize;

/// Until then a member that is up has found a relay.
pub const FINDS_RELAY: Duration = Duration::from_secs(30);
/// Messages that a member may hold because they are not acknowledged: an interruption's worth.
pub const UNACKNOWLEDGED: u64 = 200;
/// Sockets of a member: its own, that of the detection, and 256 for each of four searches.
pub const SOCKETS: usize = 2 + 4 * 256;

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Breach {
    /// The member.
    pub member: u32,
    /// When.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// What was not as it must be.
    pub what: Wrong,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "invariant", rename_all = "camelCase")]
pub enum Wrong {
    /// A message was delivered twice.
    Twice {
        /// Whose.
        from: u32,
        /// Which.
        number: u32,
    },
    /// A message was delivered to a member that it was not meant for.
    Misdelivered {
        /// Whose.
        from: u32,
        /// For whom it was meant.
        meant_for: u32,
    },
    /// The sender that the node named is not who sent the message.
    FalseSender {
        /// Whose it is.
        from: u32,
    },
    /// What was delivered is not what was sent.
    Garbled,
    /// The node said that a message came directly, and the datagram that brought it did not.
    FalseDirect {
        /// Whose message.
        from: u32,
        /// Where the datagram came from.
        source: Ipv4Addr,
    },
    /// It is up, UDP gets out, and it has not found its relay in time.
    NoRelay {
        /// How long it has been without.
        #[serde(serialize_with = "seconds")]
        waited: Duration,
    },
    /// It holds more messages than an interruption explains.
    Hoards {
        /// So many.
        messages: u64,
    },
    /// It looked for a member that had been there for a while and did not find it.
    NotFound {
        /// Whom.
        member: u32,
    },
    /// It has more sockets open than its searches explain.
    Sockets {
        /// So many.
        open: usize,
    },
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_millis() as f64 / 1000.0)
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.3} s, member {}: {}", self.at.as_secs_f64(), self.member, self.what)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Twice { from, number } => write!(f, "message {number} of member {from} came twice"),
            Wrong::Misdelivered { from, meant_for } => {
                write!(f, "got a message of member {from} that was meant for member {meant_for}")
            }
            Wrong::FalseSender { from } => {
                write!(f, "a message of member {from} came under another sender's ID")
            }
            Wrong::Garbled => f.write_str("got a message that nobody sent so"),
            Wrong::FalseDirect { from, source } => write!(
                f,
                "the node says that a message of member {from} came directly, but its datagram came from {source}"
            ),
            Wrong::NoRelay { waited } => {
                write!(f, "has been up for {:.0} s without a relay", waited.as_secs_f64())
            }
            Wrong::Hoards { messages } => write!(f, "holds {messages} messages that are not acknowledged"),
            Wrong::NotFound { member } => write!(f, "looked for member {member} and did not find it"),
            Wrong::Sockets { open } => write!(f, "has {open} sockets open"),
        }
    }
}
