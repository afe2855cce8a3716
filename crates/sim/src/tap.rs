//! Captures of a world's cables, as the switch writes them.

use std::path::Path;

use bytes::Bytes;
use natrig_capture::{DropReason, Extent, Folder, FolderError, LinkId, Sighting, What};
use natrig_netmodel::Cause;

use crate::{
    agenda::{Passing, PortId},
    clock::START_NS,
    segment::Plug,
};

const IPV4: [u8; 2] = [0x08, 0x00];

/// Writes what passes the cables.
#[derive(Debug)]
pub(crate) struct Tap {
    folder: Folder,
    /// The first thing that could not be written.
    error: Option<FolderError>,
}

impl Tap {
    /// A capture for each cable, in the order of the ports.
    pub fn create(folder: &Path, names: &[&str]) -> Result<Self, FolderError> {
        Ok(Tap { folder: Folder::create(folder, names)?, error: None })
    }

    /// Takes note of a packet on a cable; `to` is the port it is going to.
    pub fn see(&mut self, now: u64, plugs: &[Plug], on: PortId, to: PortId, passing: &Passing, what: What) {
        let mac = |port: PortId| plugs.get(port.index()).map_or([0; 6], |plug| plug.mac);
        let data: Bytes = [&mac(to)[..], &mac(passing.from), &IPV4, &passing.packet].concat().into();
        let (link, at_ns) = (LinkId::new(on.index()), START_NS + now);
        let written = self.folder.write(&Sighting { frame: passing.frame, link, at_ns, what, data });
        if let Err(error) = written {
            self.error.get_or_insert(error);
        }
    }

    /// Hands everything on to the files; tells how far they reach, or what could not be written.
    pub fn flush(&mut self) -> Result<Extent, FolderError> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.folder.flush(),
        }
    }
}

/// What a link's reason is called in captures.
pub(crate) fn reason(cause: Cause) -> DropReason {
    match cause {
        Cause::Cut => DropReason::Cut,
        Cause::Loss => DropReason::Loss,
        Cause::QueueFull => DropReason::LinkQueueFull,
    }
}
