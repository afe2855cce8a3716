//! Keys of sessions in a capture, so that its readers decrypt what was said.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use crate::Blocks;
use crate::pcapng;
use crate::unfinished::Unfinished;

/// Puts keys (NSS's key log) before the first packet of a capture that [`crate::Writer`] wrote and nobody writes any more.
///
/// The file is replaced as a whole.
pub fn add_session_keys(capture: &Path, key_log: &str) -> io::Result<()> {
    let mut blocks = Blocks::new(BufReader::new(File::open(capture)?));
    let unfinished = Unfinished::of(capture);
    let mut output = BufWriter::new(File::create(unfinished.path())?);
    while !blocks.is_at_end()? {
        let block = blocks.next_whole()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if block.is_packet {
            output.write_all(&pcapng::secrets(key_log)?)?;
            output.write_all(&block.bytes)?;
            break;
        }
        output.write_all(&block.bytes)?;
    }
    io::copy(&mut blocks.into_rest()?, &mut output)?;
    output.flush()?;
    unfinished.finish(capture)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Folder, LinkId, Sighting, Trace, What};

    #[test]
    fn a_capture_with_keys_reads_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut captures = Folder::create(folder.path(), &["peer1.lan", "empty"]).unwrap();
        for frame in 1..4 {
            let data = Bytes::from_static(b"a frame that is long enough");
            captures
                .write(&Sighting { frame, link: LinkId::new(0), at_ns: frame, what: What::Entered, data })
                .unwrap();
        }
        captures.flush().unwrap();
        let before = Trace::read_folder(folder.path()).unwrap();
        let keys = "CLIENT_TRAFFIC_SECRET_0 00 11\n";
        for name in ["peer1.lan", "empty"] {
            add_session_keys(&folder.path().join(format!("{name}.pcapng")), keys).unwrap();
        }
        assert_eq!(Trace::read_folder(folder.path()).unwrap(), before);
        let bytes = std::fs::read(folder.path().join("peer1.lan.pcapng")).unwrap();
        let secrets = pcapng::secrets(keys).unwrap();
        assert!(bytes.windows(secrets.len()).any(|window| window == secrets));

        let cut = folder.path().join("empty.pcapng");
        let whole = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &whole[..whole.len() - 3]).unwrap();
        add_session_keys(&cut, keys).unwrap_err();
        assert_eq!(std::fs::read(&cut).unwrap().len(), whole.len() - 3, "it is as it was");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
    }
}
