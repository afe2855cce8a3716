//! Notes on captured packets.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{ReadError, Reader, Writer};

/// Adds comments to the packets of a capture that have the given numbers, and tells how many packets those are.
///
/// The capture is replaced as a whole, so that a reader finds it with the comments or without them. What this crate
/// does not read, such as blocks of statistics, is not kept.
pub fn annotate(capture: &Path, comments: &HashMap<u64, String>) -> Result<usize, AnnotateError> {
    let failed = |source| AnnotateError::Io { path: capture.to_owned(), source };
    let unreadable = |source| AnnotateError::Read { path: capture.to_owned(), source };
    let input = File::open(capture).map_err(failed)?;
    let mut reader = Reader::new(BufReader::new(input)).map_err(unreadable)?;

    let mut replacement = capture.as_os_str().to_owned();
    replacement.push(".annotating");
    let replacement = Replacement(PathBuf::from(replacement));
    let output = File::create(&replacement.0).map_err(failed)?;
    let mut writer = Writer::new(BufWriter::new(output)).map_err(failed)?;

    let (mut described, mut annotated) = (0, 0);
    loop {
        let record = reader.next().transpose().map_err(unreadable)?;
        for interface in reader.interfaces().iter().skip(described) {
            writer.interface(interface).map_err(failed)?;
            described += 1;
        }
        let Some(mut record) = record else { break };
        if let Some(comment) = record.id.and_then(|id| comments.get(&id)) {
            record.comments.push(comment.clone());
            annotated += 1;
        }
        writer.record(&record).map_err(failed)?;
    }
    writer.into_inner().flush().map_err(failed)?;
    std::fs::rename(&replacement.0, capture).map_err(failed)?;
    Ok(annotated)
}

/// A file that is removed unless it was moved to its place.
struct Replacement(PathBuf);

impl Drop for Replacement {
    fn drop(&mut self) {
        // Once it is moved there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Why a capture could not be annotated; it is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotateError {
    /// It could not be read or written.
    #[error("cannot annotate {}: {source}", path.display())]
    Io {
        /// The capture.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no whole capture.
    #[error("cannot annotate {}: {source}", path.display())]
    Read {
        /// The capture.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Direction, DropReason, Folder, LinkId, Sighting, Trace, What};

    fn captured(folder: &Path) -> Trace {
        let mut captures = Folder::create(folder, &["nat1.wan"]).unwrap();
        let drop = What::Dropped(Direction::Inbound, DropReason::Cut);
        for (frame, what) in [(1, What::Entered), (2, What::Entered), (2, drop)] {
            let data = Bytes::from_static(b"a frame");
            captures.write(&Sighting { frame, link: LinkId::new(0), at_ns: frame, what, data }).unwrap();
        }
        Trace::read_extent(&captures.flush().unwrap()).unwrap()
    }

    fn comments(capture: &Path) -> Vec<Vec<String>> {
        Reader::new(File::open(capture).unwrap()).unwrap().map(|record| record.unwrap().comments).collect()
    }

    #[test]
    fn the_packets_meant_are_annotated_and_the_trace_stays() {
        let folder = tempfile::tempdir().unwrap();
        let before = captured(folder.path());
        let notes = HashMap::from([(2, "dropped: by the gateway".to_owned()), (9, "nowhere".to_owned())]);
        for (file, expected) in [
            ("nat1.wan.pcapng", vec![vec![], vec!["dropped: by the gateway"]]),
            ("dropped.pcapng", vec![vec!["dropped: cut", "dropped: by the gateway"]]),
        ] {
            let path = folder.path().join(file);
            assert_eq!(annotate(&path, &notes).unwrap(), 1);
            assert_eq!(comments(&path), expected);
        }
        assert_eq!(Trace::read_folder(folder.path()).unwrap(), before);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn what_cannot_be_annotated_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        captured(folder.path());
        let path = folder.path().join("nat1.wan.pcapng");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let error = annotate(&path, &HashMap::new()).unwrap_err();
        assert!(error.to_string().contains("nat1.wan.pcapng: the file ends within the block"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), &whole[..whole.len() - 1]);

        std::fs::write(&path, &whole).unwrap();
        let long = HashMap::from([(1, "x".repeat(70_000))]);
        assert!(matches!(annotate(&path, &long), Err(AnnotateError::Io { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }
}
