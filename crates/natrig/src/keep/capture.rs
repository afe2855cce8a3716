//! What passes over a link of a lab, as it passes.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use natrig_capture::MAX_BLOCK;

use super::client::{folder_of, is_up};
use crate::{cli::CaptureArguments, failure::Failure};

/// How often it is looked whether the capture has grown.
const LOOK: Duration = Duration::from_millis(100);

/// An enhanced packet block.
const PACKET: u32 = 6;

/// Copies the capture of a link while it grows, until its lab ends or nobody reads any more.
pub fn capture(arguments: &CaptureArguments) -> Result<u8, Failure> {
    let stdout = arguments.write.as_os_str() == "-";
    if stdout && io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "a capture is no text for a terminal\nhint: natrig capture LINK -w FILE, or | tshark -r -"
                .to_owned(),
        ));
    }
    let folder = folder_of(&arguments.lab.name)?.join("captures");
    let path = find(&folder, &arguments.link)?;
    let wrong = |what, path: &Path| {
        let path = path.to_owned();
        move |source| Failure::File { what, path, source }
    };
    let file = File::open(&path).map_err(wrong("read", &path))?;
    let mut blocks = Blocks { input: BufReader::new(file), at: 0 };
    let mut out: Box<dyn Write> = match stdout {
        true => Box::new(io::stdout()),
        false => Box::new(File::create(&arguments.write).map_err(wrong("make", &arguments.write))?),
    };
    let mut left = arguments.count;
    // What was there before is of no interest, but for what says how to read the rest.
    let mut old = !arguments.from_start;
    while left != Some(0) {
        match blocks.next().map_err(wrong("read", &path))? {
            Some((PACKET, _)) if old => {}
            Some((kind, block)) => {
                if out.write_all(&block).and_then(|()| out.flush()).is_err() {
                    // Whoever read it has gone.
                    return Ok(0);
                }
                left = left.map(|left| left - u64::from(kind == PACKET));
            }
            None => {
                old = false;
                // The lab's end is the capture's; what came before it is written by then.
                if !is_up(&arguments.lab.name) && blocks.is_at_end().map_err(wrong("read", &path))? {
                    return Ok(0);
                }
                std::thread::sleep(LOOK);
            }
        }
    }
    Ok(0)
}

/// The capture of a link.
fn find(folder: &Path, link: &str) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|source| Failure::File {
        what: "read",
        path: folder.to_owned(),
        source,
    })?;
    let mut links: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".pcapng").map(str::to_owned))
        .collect();
    // Both sides of a gateway while it was proven are no links of the lab.
    links.retain(|link| !link.ends_with(".before") && !link.ends_with(".behind"));
    links.sort();
    if links.iter().any(|one| one == link) {
        return Ok(folder.join(format!("{link}.pcapng")));
    }
    Err(Failure::Usage(format!("no link is called `{link}`\nhint: there are {}", links.join(", "))))
}

/// The blocks of a pcapng file that somebody else is writing, in this machine's byte order.
struct Blocks<R> {
    input: R,
    at: u64,
}

impl<R: Read + Seek> Blocks<R> {
    /// The next block and its type; none if it is not there as a whole yet.
    fn next(&mut self) -> io::Result<Option<(u32, Vec<u8>)>> {
        self.input.seek(SeekFrom::Start(self.at))?;
        let mut head = [0; 8];
        if !whole(&mut self.input, &mut head)? {
            return Ok(None);
        }
        let [kind, length] =
            [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if !(12..=MAX_BLOCK).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a block of {length} bytes")));
        }
        let mut block = vec![0; length as usize];
        block[..8].copy_from_slice(&head);
        if !whole(&mut self.input, &mut block[8..])? {
            return Ok(None);
        }
        self.at += u64::from(length);
        Ok(Some((kind, block)))
    }

    /// Whether nothing is left, not even a part of a block.
    fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.input.seek(SeekFrom::End(0))? == self.at)
    }
}

/// Fills a buffer; false if there is too little yet.
fn whole(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn block(kind: u32, body: usize) -> Vec<u8> {
        let length = 12 + body as u32;
        let mut block = [kind.to_le_bytes(), length.to_le_bytes()].concat();
        block.resize(8 + body, 0xab);
        block.extend(length.to_le_bytes());
        block
    }

    #[test]
    fn a_block_is_taken_when_it_is_whole() {
        let [first, second] = [block(PACKET, 40), block(1, 8)];
        let all = [first.clone(), second.clone()].concat();
        let mut blocks = Blocks { input: Cursor::new(all[..30].to_vec()), at: 0 };
        assert_eq!(blocks.next().unwrap(), None);
        assert!(!blocks.is_at_end().unwrap());
        *blocks.input.get_mut() = all[..first.len() + 6].to_vec();
        assert_eq!(blocks.next().unwrap(), Some((PACKET, first)));
        assert_eq!(blocks.next().unwrap(), None, "not even its head is there");
        *blocks.input.get_mut() = all;
        assert_eq!(blocks.next().unwrap(), Some((1, second)));
        assert!(blocks.is_at_end().unwrap());
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        for length in [0_u32, 11, u32::MAX] {
            let bytes = [PACKET.to_le_bytes(), length.to_le_bytes()].concat();
            let mut blocks = Blocks { input: Cursor::new(bytes), at: 0 };
            assert!(blocks.next().is_err(), "{length}");
        }
    }
}
