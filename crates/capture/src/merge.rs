//! All links of a trace in one capture.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::folder::record;
use crate::unfinished::Unfinished;
use crate::{Interface, Trace, Writer};

/// Writes everything that was seen into one pcapng file: an interface for each link, packets by time, and on each packet
/// what is to be said of its frame.
///
/// What was dropped is on the interface of the link that dropped it, with the reason as its first comment. The file is
/// there whole or not at all.
pub fn merge(trace: &Trace, notes: &HashMap<u64, String>, to: &Path) -> io::Result<()> {
    let unfinished = Unfinished::of(to);
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 16, File::create(unfinished.path())?))?;
    for link in trace.links() {
        writer.interface(&Interface::ethernet(link))?;
    }
    let mut sightings: Vec<_> = trace.sightings().collect();
    // What came in stands before what went out at the same time.
    sightings.sort_by_key(|sighting| sighting.at_ns);
    for sighting in sightings {
        let mut record = record(&sighting);
        record.comments.extend(notes.get(&sighting.frame).cloned());
        writer.record(&record)?;
    }
    writer.into_inner().flush()?;
    unfinished.finish(to)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Direction, DropReason, LinkId, Reader, Sighting, What};

    fn trace() -> Trace {
        let [a, b] = [LinkId::new(0), LinkId::new(1)];
        let seen = |frame, link, at_ns, what| Sighting {
            frame,
            link,
            at_ns,
            what,
            data: Bytes::from_static(b"a frame that is long enough"),
        };
        let sightings = [
            seen(1, a, 10, What::Entered),
            seen(1, b, 30, What::Delivered),
            seen(2, b, 20, What::Entered),
            seen(2, a, 25, What::Dropped(Direction::Outbound, DropReason::Loss)),
        ];
        Trace::join(vec!["nat1.wan".to_owned(), "nat2.wan".to_owned()], sightings).unwrap()
    }

    #[test]
    fn all_links_are_in_one_file_by_time_and_with_notes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("merged.pcapng");
        let notes = HashMap::from([(2, "probe 1 of peer2".to_owned()), (9, "nowhere".to_owned())]);
        merge(&trace(), &notes, &path).unwrap();
        let mut reader = Reader::new(File::open(&path).unwrap()).unwrap();
        let records: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        let names: Vec<_> = reader.interfaces().iter().map(|one| one.name.clone().unwrap()).collect();
        assert_eq!(names, ["nat1.wan", "nat2.wan"]);
        let seen: Vec<_> = records.iter().map(|one| (one.at_ns, one.interface, one.id.unwrap())).collect();
        assert_eq!(seen, [(10, 0, 1), (20, 1, 2), (25, 0, 2), (30, 1, 1)]);
        let comments: Vec<_> = records.iter().map(|one| one.comments.join("; ")).collect();
        assert_eq!(comments, ["", "probe 1 of peer2", "dropped: loss; probe 1 of peer2", ""]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("merged.pcapng");
        let long = HashMap::from([(1, "x".repeat(70_000))]);
        merge(&trace(), &long, &path).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        merge(&trace(), &long, Path::new("/no/such/folder/merged.pcapng")).unwrap_err();
    }
}
