//! Makes a recorded cell small enough to be kept as a test: all of each packet but its first bytes is zeroed, lengths
//! stay as they were.
//!
//!     cargo run -p natrig-lab --example shrink -- natrig-runs/latest/T2.M.19 crates/lab/tests/recorded/punch
//!     gzip -9 crates/lab/tests/recorded/punch/*.pcapng

use std::{error::Error, path::PathBuf};

use bytes::Bytes;
use natrig_capture::{Folder, Trace};

/// Headers and enough of a sealed payload to know it again.
const KEPT: usize = 160;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1).map(PathBuf::from);
    let (Some(cell), Some(kept)) = (words.next(), words.next()) else {
        return Err("usage: shrink CELL_FOLDER NEW_FOLDER".into());
    };
    let trace = Trace::read_folder(&cell.join("captures"))?;
    std::fs::create_dir_all(&kept)?;
    let mut folder = Folder::create(&kept, trace.links())?;
    for mut sighting in trace.sightings() {
        let mut data = sighting.data.to_vec();
        data.iter_mut().skip(KEPT).for_each(|byte| *byte = 0);
        sighting.data = Bytes::from(data);
        folder.write(&sighting)?;
    }
    folder.flush()?;
    std::fs::copy(cell.join("case.json"), kept.join("case.json"))?;
    Ok(())
}
