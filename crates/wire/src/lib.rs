//! A user-space Ethernet switch on Unix sockets.
//!
//! Machines are joined by *segments*, each an Ethernet of its own. A machine's cable is a *port*: one end of a
//! socket pair that speaks QEMU's `-netdev stream` (a 4-byte big-endian length, then the frame), the other end being
//! the machine's. Frames pass untouched, and only within their segment: nothing here knows a way from one segment to
//! another, to the host's network or to any other socket.
//!
//! Attribution is by port. What entered at a port came from its machine, whatever addresses it bears; a machine that
//! speaks with another's hardware address draws the other's frames to itself, as on any learning bridge, but it does
//! so under its own name in every record.
//!
//! [`SwitchBuilder`] takes segments and ports and starts the switch's thread; [`Switch`] is the handle. Every frame
//! that passes a port is captured (see [`natrig_capture::Folder`]); [`Switch::flush`] makes what has happened
//! readable.

#![forbid(unsafe_code)]

mod builder;
mod clock;
mod engine;
mod fabric;
mod stats;
mod stream;
mod switch;
mod tap;

pub use builder::{BuildError, Segment, SwitchBuilder};
pub use clock::Clock;
pub use fabric::Port;
pub use natrig_capture::Direction;
pub use natrig_netmodel::Conditions;
pub use stats::{Closed, Count, PortStats, Stats};
pub use stream::{MAX_FRAME, QUEUE_FRAMES};
pub use switch::{Switch, SwitchError};
