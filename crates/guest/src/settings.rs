//! The kernel's settings below `/proc/sys`: what they were, and which of them have been written to since.
//!
//! They are read once, before the template is saved, and watched from then on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::inotify::WatchFlags;

use crate::watch::Watch;

const ALL: &str = "/proc/sys";

/// Those that are put back; a machine in which others were written to is not what it was.
const KNOWN: &str = "/proc/sys/net";

/// Reading these draws a secret, which copies would share, or tells what changes of itself.
const UNREAD: [&str; 4] = ["tcp_fastopen_key", "stable_secret", "netdev_rss_key", "nf_conntrack_count"];

#[derive(Debug)]
pub(crate) struct Settings {
    before: BTreeMap<PathBuf, String>,
    watch: Watch,
}

impl Settings {
    /// Reads and watches them.
    pub(crate) fn look() -> io::Result<Self> {
        let mut settings = Self { before: BTreeMap::new(), watch: Watch::new()? };
        settings.walk(Path::new(ALL))?;
        Ok(settings)
    }

    /// Watches those of an interface under its new name.
    pub(crate) fn watch_interface(&mut self, name: &str) -> io::Result<()> {
        for family in ["ipv4", "ipv6"] {
            for group in ["conf", "neigh"] {
                match self.add(&Path::new(KNOWN).join(family).join(group).join(name)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    done => done?,
                }
            }
        }
        Ok(())
    }

    /// Puts back what was written to, and shows that it is so.
    pub(crate) fn restore(&mut self) -> Result<(), String> {
        let written =
            self.written().map_err(|error| format!("cannot tell which settings changed: {error}"))?;
        for path in &written {
            let name = path.display();
            let before = self.before.get(path).ok_or_else(|| format!("{name} was written to"))?;
            let failed = |error: io::Error| format!("cannot put {name} back: {error}");
            if fs::read_to_string(path).map_err(failed)? == *before {
                continue;
            }
            fs::write(path, before).map_err(failed)?;
            let now = fs::read_to_string(path).map_err(failed)?;
            if now != *before {
                return Err(format!("{name} was {}, and stays {}", before.trim_end(), now.trim_end()));
            }
        }
        // What was written just now.
        self.written().map_err(|error| error.to_string())?;
        Ok(())
    }

    fn walk(&mut self, folder: &Path) -> io::Result<()> {
        self.add(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.walk(&path)?;
            } else if path.starts_with(KNOWN) && !UNREAD.iter().any(|name| path.ends_with(name)) {
                // Some can only be written.
                if let Ok(value) = fs::read_to_string(&path) {
                    self.before.insert(path, value);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, folder: &Path) -> io::Result<()> {
        self.watch.add(folder, WatchFlags::MODIFY)
    }

    /// The files that were written to since this was last asked.
    fn written(&self) -> io::Result<BTreeSet<PathBuf>> {
        Ok(self.watch.seen()?.into_iter().collect())
    }
}
