//! A file that is not in its place yet.

use std::io;
use std::path::{Path, PathBuf};

/// Where a file is written that is to be in its place as a whole or not at all; removed unless it was moved there.
pub(crate) struct Unfinished(PathBuf);

impl Unfinished {
    /// That of a file, beside it.
    pub fn of(path: &Path) -> Self {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        Unfinished(PathBuf::from(unfinished))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Moves it to its place.
    pub fn finish(self, to: &Path) -> io::Result<()> {
        std::fs::rename(&self.0, to)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once it is moved there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}
