//! What passes over a link of a lab, as it passes.

use std::{
    fs::{self, File},
    io::{self, BufReader, IsTerminal, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use natrig_capture::{Blocks, OLDER};

use super::client::{folder_of, is_up};
use crate::{cli::CaptureArguments, failure::Failure};

/// How often it is looked whether the capture has grown.
const LOOK: Duration = Duration::from_millis(100);

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
    let open = |path: &Path| -> io::Result<_> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok((inode, Blocks::new(BufReader::new(file))))
    };
    // Of a ring, the beginning lies in its older generation.
    let older = folder.join(OLDER).join(path.file_name().unwrap_or_default());
    let first = if arguments.from_start && older.exists() { &older } else { &path };
    let (mut inode, mut blocks) = open(first).map_err(wrong("read", first))?;
    let mut out: Box<dyn Write> = match stdout {
        true => Box::new(io::stdout()),
        false => Box::new(File::create(&arguments.write).map_err(wrong("make", &arguments.write))?),
    };
    let mut left = arguments.count;
    // What was there before is of no interest, but for what says how to read the rest.
    let mut old = !arguments.from_start;
    while left != Some(0) {
        match blocks.next_whole().map_err(wrong("read", &path))? {
            Some(block) if old && block.is_packet => {}
            Some(block) => {
                if out.write_all(&block.bytes).and_then(|()| out.flush()).is_err() {
                    // Whoever read it has gone.
                    return Ok(0);
                }
                left = left.map(|left| left - u64::from(block.is_packet));
            }
            None => {
                old = false;
                // Asked first: what was written before is read then.
                let goes_on = is_up(&arguments.lab.name);
                let another = fs::metadata(&path).is_ok_and(|there| there.ino() != inode);
                if !blocks.is_at_end().map_err(wrong("read", &path))? {
                    // More came just now.
                } else if another {
                    (inode, blocks) = open(&path).map_err(wrong("read", &path))?;
                } else if !goes_on {
                    // The lab's end is the capture's.
                    return Ok(0);
                } else {
                    std::thread::sleep(LOOK);
                }
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
