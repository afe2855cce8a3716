//! Where received messages go.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A folder of numbered messages.
pub struct Inbox {
    folder: PathBuf,
    last: u64,
}

impl Inbox {
    /// The folder is made if there is none.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, last: 0 })
    }

    /// Stores a message; its file is there whole or not at all.
    pub fn store(&mut self, message: &[u8]) -> io::Result<PathBuf> {
        self.last += 1;
        let path = self.folder.join(self.last.to_string());
        let partial = self.folder.join(format!(".{}", self.last));
        fs::write(&partial, message)?;
        fs::rename(&partial, &path)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_numbered_from_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut inbox = Inbox::open(folder.path().join("in")).expect("made");
        let first = inbox.store(b"one").expect("stored");
        let second = inbox.store(b"two").expect("stored");
        assert_eq!(first, folder.path().join("in/1"));
        assert_eq!(fs::read(second).expect("there"), b"two");
    }
}
