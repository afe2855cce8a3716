//! Captures that are kept, but not as a whole.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use crate::unfinished::Unfinished;
use crate::{ReadError, Reader, Record, Writer};

/// How much of a capture is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// So many bytes of each packet; its length on the wire is told in any case.
    pub snap: Option<usize>,
    /// So many bytes of packets: the newest.
    pub ring: Option<u64>,
}

impl Limits {
    /// Whether everything is kept.
    pub fn is_none(&self) -> bool {
        *self == Limits::default()
    }
}

/// Takes from a capture what is beyond the limits. Comments of packets that stay are kept, too.
///
/// The file is replaced as a whole; nobody may be writing it any more.
pub fn shorten(capture: &Path, limits: Limits) -> Result<(), ReadError> {
    let open = || Reader::new(BufReader::new(File::open(capture)?));
    let kept = |record: &Record| record.data.len().min(limits.snap.unwrap_or(usize::MAX));
    // How much lies before the ring is known when all has been read.
    let mut total = 0;
    for record in open()? {
        total += kept(&record?) as u64;
    }
    let surplus = limits.ring.map_or(0, |ring| total.saturating_sub(ring));

    let unfinished = Unfinished::of(capture);
    let mut writer = Writer::new(BufWriter::new(File::create(unfinished.path())?))?;
    let mut reader = open()?;
    let (mut described, mut passed) = (0, 0);
    loop {
        let record = reader.next().transpose()?;
        for interface in reader.interfaces().iter().skip(described) {
            writer.interface(interface)?;
            described += 1;
        }
        let Some(mut record) = record else { break };
        record.data.truncate(kept(&record));
        if passed >= surplus {
            writer.record(&record)?;
        }
        passed += record.data.len() as u64;
    }
    writer.into_inner().flush()?;
    unfinished.finish(capture)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Direction, DropReason, Folder, LinkId, Sighting, What};

    fn captured(folder: &Path) {
        let mut captures = Folder::create(folder, &["nat1.wan"]).unwrap();
        for frame in 1..=10 {
            let what = match frame {
                10 => What::Dropped(Direction::Outbound, DropReason::Loss),
                _ => What::Entered,
            };
            let data = Bytes::from(vec![frame as u8; 100]);
            captures.write(&Sighting { frame, link: LinkId::new(0), at_ns: frame, what, data }).unwrap();
        }
        captures.flush().unwrap();
    }

    fn read(capture: &Path) -> Vec<(u64, usize, u32)> {
        let reader = Reader::new(File::open(capture).unwrap()).unwrap();
        let records = reader.map(Result::unwrap);
        records.map(|one| (one.id.unwrap(), one.data.len(), one.original_length)).collect()
    }

    #[test]
    fn the_newest_packets_stay_and_the_beginning_of_each() {
        let folder = tempfile::tempdir().unwrap();
        captured(folder.path());
        let path = folder.path().join("nat1.wan.pcapng");
        shorten(&path, Limits { snap: Some(40), ring: None }).unwrap();
        assert_eq!(read(&path), (1..=9).map(|id| (id, 40, 100)).collect::<Vec<_>>());
        shorten(&path, Limits { snap: None, ring: Some(100) }).unwrap();
        assert_eq!(read(&path), [(8, 40, 100), (9, 40, 100)]);
        shorten(&path, Limits { snap: Some(1000), ring: Some(1000) }).unwrap();
        assert_eq!(read(&path).len(), 2, "what is within the limits stays");

        let dropped = folder.path().join("dropped.pcapng");
        shorten(&dropped, Limits { snap: Some(14), ring: Some(14) }).unwrap();
        let mut reader = Reader::new(File::open(&dropped).unwrap()).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().comments, ["dropped: loss"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn what_is_no_capture_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcapng");
        std::fs::write(&path, "no capture").unwrap();
        shorten(&path, Limits { snap: Some(1), ring: None }).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"no capture");
    }
}
