//! The cache folder.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use sha2::{Digest, Sha256};

use crate::{Error, Result, error::Doing};

/// The prefix of files that are not finished, on file systems that cannot keep them without a name.
const UNFINISHED: &str = ".unfinished-";

/// The folder of locks between processes.
const LOCKS: &str = "locks";

/// The folder where packages, images, templates and app disks are kept, each by the hash of what it was made from.
///
/// Everything in it can be made again; deleting it while nothing runs does no harm.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens `$NATRIG_CACHE`, or else `natrig` in `$XDG_CACHE_HOME` or `~/.cache`.
    pub fn open_default() -> Result<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let root = if let Some(root) = set("NATRIG_CACHE") {
            PathBuf::from(root)
        } else if let Some(cache) = set("XDG_CACHE_HOME") {
            Path::new(&cache).join("natrig")
        } else if let Some(home) = set("HOME") {
            Path::new(&home).join(".cache/natrig")
        } else {
            return Err(Error::NoCacheFolder);
        };
        Self::open(root)
    }

    /// Opens a folder, making it where it is missing.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = std::path::absolute(root.as_ref()).on("open", root.as_ref())?;
        make_folder(&root)?;
        Ok(Self { root })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder in it, made where it is missing.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(name);
        make_folder(&folder)?;
        Ok(folder)
    }

    /// Removes all that is in a folder of that name. Whoever has something of it open does not notice.
    pub(crate) fn empty(&self, name: &str) -> Result<()> {
        let folder = self.folder(name)?;
        for entry in fs::read_dir(&folder).on("list", &folder)? {
            remove(&entry.on("list", &folder)?.path())?;
        }
        Ok(())
    }

    /// Removes all that is in it, but for the locks, which others may hold. Whoever has something of it open does not notice.
    pub fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.root).on("list", &self.root)? {
            let path = entry.on("list", &self.root)?.path();
            match path.is_dir() {
                true if path.ends_with(LOCKS) => {}
                true => fs::remove_dir_all(&path).on("remove", &path)?,
                false => remove(&path)?,
            }
        }
        Ok(())
    }

    /// Waits until this process alone holds the lock of that name.
    pub(crate) fn lock(&self, name: &str) -> Result<Lock> {
        let path = self.lock_path(name)?;
        let file = open_lock(&path)?;
        file.lock().on("lock", &path)?;
        Ok(Lock { _file: file })
    }

    /// Takes the lock of that name unless another holds it until `deadline`.
    pub(crate) fn lock_until(&self, name: &str, deadline: Instant) -> Result<Option<Lock>> {
        let path = self.lock_path(name)?;
        let file = open_lock(&path)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Lock { _file: file })),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).on("lock", &path),
            }
        }
    }

    fn lock_path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.folder(LOCKS)?.join(name))
    }
}

/// A lock between processes, given back when dropped and when its process ends, however that happens.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).on("open", path)
}

fn make_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).on("make the folder", path)
}

/// A file under construction: nameless where the file system can, so that a process that is killed leaves nothing.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    /// Its name meanwhile, on a file system that wants one.
    named: Option<PathBuf>,
}

impl NewFile {
    /// Starts a file that will lie in `folder`.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, mode) {
            Ok(fd) => Ok(Self { file: File::from(fd), named: None }),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                let unique = hex::encode(random_bytes::<8>()?);
                let path = folder.join(format!("{UNFINISHED}{unique}"));
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)
                    .on("create", &path)?;
                Ok(Self { file, named: Some(path) })
            }
            Err(error) => Err(error).on("create a file in", folder),
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the finished file its name, in place of any file that has it.
    pub(crate) fn publish(mut self, path: &Path) -> Result<File> {
        if let Some(named) = self.named.take() {
            fs::rename(&named, path).on("write", path)?;
        } else {
            let own = format!("/proc/self/fd/{}", self.file.as_fd().as_raw_fd());
            let link = || rustix::fs::linkat(CWD, &own, CWD, path, AtFlags::SYMLINK_FOLLOW);
            match link() {
                Err(rustix::io::Errno::EXIST) => {
                    fs::remove_file(path).on("replace", path)?;
                    link()
                }
                done => done,
            }
            .on("write", path)?;
        }
        self.file.try_clone().on("write", path)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(named) = self.named.take() {
            let _ = fs::remove_file(named);
        }
    }
}

/// Writes a whole file at once: a reader sees the old content, the new one or no file.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let new = NewFile::create(folder)?;
    new.file().write_all(content).on("write", path)?;
    new.publish(path)?;
    Ok(())
}

/// Removes what killed processes left unfinished. The caller holds the folder's lock.
pub(crate) fn sweep(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).on("list", folder)? {
        let entry = entry.on("list", folder)?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Notes that a file is in use, for [`prune`].
pub(crate) fn touch(path: &Path) {
    let now = std::time::SystemTime::now();
    // Whoever may only read the cache prunes nothing either.
    let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(now));
}

/// Removes all but the `keep` things that were used last. Files are of one thing if they differ in their endings only.
pub(crate) fn prune(folder: &Path, keep: usize) -> Result<()> {
    let mut things: BTreeMap<OsString, (SystemTime, Vec<PathBuf>)> = BTreeMap::new();
    for entry in fs::read_dir(folder).on("list", folder)? {
        let path = entry.on("list", folder)?.path();
        let Some(stem) = path.file_stem().map(OsStr::to_owned) else { continue };
        // It may have gone meanwhile; another process prunes too.
        let Ok(used) = path.metadata().and_then(|metadata| metadata.modified()) else { continue };
        if stem.to_string_lossy().starts_with(UNFINISHED) {
            continue;
        }
        let thing = things.entry(stem).or_insert((used, Vec::new()));
        thing.0 = thing.0.max(used);
        thing.1.push(path);
    }
    let mut things: Vec<_> = things.into_values().collect();
    things.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
    things.iter().skip(keep).flat_map(|(_, files)| files).try_for_each(|path| remove(path))
}

/// Removes a file that need not exist.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).on("remove", path),
        _ => Ok(()),
    }
}

/// A hash over parts, each with its length so that no two lists of parts look alike.
#[derive(Clone)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(crate) fn new(kind: &str) -> Self {
        Self(Sha256::new()).with(kind)
    }

    pub(crate) fn with(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    /// 32 hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        hex::encode(&self.0.finalize()[..16])
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .doing(|| "cannot draw random bytes".to_owned())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_pruned_whole() {
        let home = tempfile::tempdir().unwrap();
        for (age, name) in [(40, "old.a"), (30, "old.b"), (20, "touched.a"), (10, "new.a")] {
            let file = File::create(home.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        touch(&home.path().join("touched.a"));
        let left = || {
            let entries = fs::read_dir(home.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        prune(home.path(), 2).unwrap();
        assert_eq!(left(), ["new.a", "touched.a"]);
        prune(home.path(), 1).unwrap();
        assert_eq!(left(), ["touched.a"]);
    }

    #[test]
    fn a_file_is_published_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let unpublished = NewFile::create(home.path()).unwrap();
        unpublished.file().write_all(b"half").unwrap();
        drop(unpublished);
        write_file(&path, b"old").unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_swept() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".unfinished-0123"), b"half").unwrap();
        fs::write(home.path().join("whole"), b"whole").unwrap();
        sweep(home.path()).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn lists_of_parts_do_not_run_together() {
        let of = |parts: &[&str]| parts.iter().fold(Fingerprint::new("x"), Fingerprint::with).finish();
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]).len(), 32);
    }
}
