//! What happens to files, told by the kernel: looking at them all takes an emulated machine a tenth of a second.

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

/// Folders whose files are watched.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: OwnedFd,
    folders: HashMap<i32, PathBuf>,
}

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, folders: HashMap::new() })
    }

    /// Watches the files in a folder, but not those in the folders in it.
    pub(crate) fn add(&mut self, folder: &Path, what: WatchFlags) -> io::Result<()> {
        let number = inotify::add_watch(&self.inotify, folder, what)?;
        self.folders.insert(number, folder.to_owned());
        Ok(())
    }

    /// The files to which something happened since this was last asked, each as often as something did.
    pub(crate) fn seen(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(found),
                Err(error) => return Err(error.into()),
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                return Err(io::Error::other("more happened than the kernel takes note of"));
            }
            // A folder that is gone, such as that of an interface's former name, tells so without a file.
            if let (Some(folder), Some(name)) = (self.folders.get(&event.wd()), event.file_name()) {
                found.push(folder.join(name.to_string_lossy().as_ref()));
            }
        }
    }
}
