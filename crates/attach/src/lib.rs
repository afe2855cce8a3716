//! Hardware in the loop: a TAP device or a bridge of this host, joined to a cable of a lab's switch.
//!
//! It is the only way by which frames of a lab leave natrig, and is taken by nobody who was not told to: a [`Tap`] is opened by
//! name, and [`join`] lets frames pass between it and a cable that speaks QEMU's `-netdev stream` (a 4-byte big-endian
//! length, then the frame), as those of the switch do.
//!
//! What happens to the host: a device that is there already is used as it is. Where there is none, one is made that is gone with
//! its [`Tap`]; with a bridge's name, one that is a port of that bridge for as long. Both take `CAP_NET_ADMIN`.

mod cable;
mod interface;
mod tap;

pub use cable::join;
pub use tap::{AttachError, Tap};
