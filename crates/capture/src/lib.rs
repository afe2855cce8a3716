//! What was seen on the wires: pcapng files, traces joined from them, and views of the packets in them.
//!
//! A switch sees a frame enter at one port and leave at others. Each of these [`Sighting`]s goes to the capture of
//! the link it belongs to ([`Folder`]: one pcapng file per link, and one for the frames that were dropped); all that
//! belong to one frame carry the same `epb_packetid`. [`Trace`] joins them again into frames with their way through
//! the switch, which is what a verdict reads; [`merge`] writes one capture of all links. [`decode`] looks into a frame.
//!
//! Times are nanoseconds since the Unix epoch throughout. Directions are the switch's: [`Direction::Inbound`] came
//! from a machine, [`Direction::Outbound`] went to one.

#![forbid(unsafe_code)]

mod blocks;
mod folder;
mod merge;
mod packet;
mod pcapng;
mod reader;
mod session_keys;
mod shorten;
mod sighting;
mod trace;
mod unfinished;
mod writer;

pub use blocks::{Block, Blocks};
pub use folder::{DROPPED, Extent, Folder, FolderError, OLDER};
pub use merge::merge;
pub use packet::{
    Arp, Icmp, IcmpError, Ipv4, LaterFragment, MacAddress, Network, Packet, Quoted, Tcp, Transport, Udp,
    decode, decode_ipv4,
};
pub use pcapng::{Interface, Record};
pub use reader::{MAX_BLOCK, ReadError, Reader};
pub use session_keys::add_session_keys;
pub use shorten::{Limits, shorten};
pub use sighting::{Direction, DropReason, LinkId, Sighting, What};
pub use trace::{Delivery, Drop, Frame, Trace, TraceError};
pub use writer::Writer;
