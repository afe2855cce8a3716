//! The kernel's settings below `/proc/sys`: what they were, and which of them have been written to since.
//!
//! Reading them all takes an emulated machine a tenth of a second. So they are read once, before the template is saved,
//! and watched from then on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

const ALL: &str = "/proc/sys";

/// Those that are put back; a machine in which others were written to is not what it was.
const KNOWN: &str = "/proc/sys/net";

/// Reading these draws a secret, which copies would share, or tells what changes of itself.
const UNREAD: [&str; 4] = ["tcp_fastopen_key", "stable_secret", "netdev_rss_key", "nf_conntrack_count"];

#[derive(Debug)]
pub(crate) struct Settings {
    before: BTreeMap<PathBuf, String>,
    watch: OwnedFd,
    folders: HashMap<i32, PathBuf>,
}

impl Settings {
    /// Reads and watches them.
    pub(crate) fn look() -> io::Result<Self> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut settings = Self { before: BTreeMap::new(), watch, folders: HashMap::new() };
        settings.walk(Path::new(ALL))?;
        Ok(settings)
    }

    /// Watches those of an interface under its new name.
    pub(crate) fn watch_interface(&mut self, name: &str) -> io::Result<()> {
        for family in ["ipv4", "ipv6"] {
            for group in ["conf", "neigh"] {
                match self.watch(&Path::new(KNOWN).join(family).join(group).join(name)) {
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
        self.watch(folder)?;
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

    fn watch(&mut self, folder: &Path) -> io::Result<()> {
        let number = inotify::add_watch(&self.watch, folder, WatchFlags::MODIFY)?;
        self.folders.insert(number, folder.to_owned());
        Ok(())
    }

    /// The files that were written to since this was last asked.
    fn written(&self) -> io::Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.watch.as_fd(), &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(found),
                Err(error) => return Err(error.into()),
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                return Err(io::Error::other("too many were written to"));
            }
            // A folder that is gone, such as that of an interface's former name, tells so without a file.
            if let (Some(folder), Some(name)) = (self.folders.get(&event.wd()), event.file_name()) {
                found.insert(folder.join(name.to_string_lossy().as_ref()));
            }
        }
    }
}
