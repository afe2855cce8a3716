//! The read-only disk with the program under test.

use std::{
    borrow::Cow,
    fs::File,
    io::{BufWriter, Cursor, Write},
    path::{Component, Path, PathBuf},
};

use backhand::{
    BackhandError, FilesystemCompressor, FilesystemWriter, NodeHeader, SuperBlock,
    compression::{CompressionAction, Compressor},
    kind::Kind,
};

use crate::{
    Error, Result, Store,
    error::Doing,
    image::tree::{Node, Tree},
    store::{self, Fingerprint, NewFile, sha256},
    world::WORLDS,
};

/// The size of every such disk: a template's guest has seen it once and for all. Files are sparse, so it costs nothing.
pub const DISK_BYTES: u64 = 256 << 20;

/// How many disks are kept: those of the last builds of programs under test.
const KEPT: usize = 16;

/// A disk file that a copy can be started with, kept by the hash of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppDisk {
    path: PathBuf,
}

impl AppDisk {
    /// Puts files on a disk: for each its path there (the guest sees it under `/app`), the file here and its permissions.
    pub fn build<'a>(
        store: &Store,
        files: impl IntoIterator<Item = (&'a str, &'a Path, u16)>,
    ) -> Result<Self> {
        let mut contents = Vec::new();
        for (inside, outside, mode) in files {
            let content = std::fs::read(outside).on("read", outside)?;
            contents.push((plain(inside)?, Entry::File(mode, Cow::Owned(content))));
        }
        Self::of(store, contents)
    }

    /// Puts a whole file tree on a disk, with the folders that others are to be mounted at.
    pub(crate) fn of_tree(store: &Store, tree: &Tree, folders: &[&str]) -> Result<Self> {
        let folders = folders.iter().map(|folder| (PathBuf::from(folder), Entry::Folder));
        let nodes = tree.nodes().map(|(path, node)| {
            let entry = match node {
                Node::File(mode, content) => Entry::File(*mode, Cow::Borrowed(content.as_slice())),
                Node::Link(target) => Entry::Link(target),
            };
            (PathBuf::from(path), entry)
        });
        Self::of(store, folders.chain(nodes).collect())
    }

    fn of(store: &Store, contents: Vec<(PathBuf, Entry<'_>)>) -> Result<Self> {
        let mut fingerprint = Fingerprint::new("app disk 2").with(DISK_BYTES.to_be_bytes());
        let mut bytes = 0;
        for (path, entry) in &contents {
            fingerprint = fingerprint.with(path.to_string_lossy().as_bytes());
            fingerprint = match entry {
                Entry::File(mode, content) => {
                    bytes += content.len() as u64;
                    fingerprint.with("file").with(mode.to_be_bytes()).with(sha256(content))
                }
                Entry::Link(target) => fingerprint.with("link").with(target),
                Entry::Folder => fingerprint.with("folder"),
            };
        }
        // Tables and padding take far less than a sixteenth.
        if bytes > DISK_BYTES / 16 * 15 {
            return Err(Error::Image(format!(
                "{} MB of files for a disk of {} MB",
                bytes >> 20,
                DISK_BYTES >> 20
            )));
        }
        let folder = store.folder("disks")?;
        let path = folder.join(format!("{}.squashfs", fingerprint.finish()));
        if path.metadata().is_ok_and(|there| there.len() == DISK_BYTES) {
            store::touch(&path);
            return Ok(Self { path });
        }
        let disk = NewFile::create(&folder)?;
        write(disk.file(), contents).map_err(std::io::Error::other).on("write", &path)?;
        disk.publish(&path)?;
        store::prune(&folder, KEPT)?;
        Ok(Self { path })
    }

    /// Removes all disks from the cache, and the unpacked packages of apps. Running copies do not notice.
    pub fn remove_all(store: &Store) -> Result<()> {
        store.empty("disks")?;
        store.empty(WORLDS)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A path of plain names.
fn plain(inside: &str) -> Result<PathBuf> {
    let names: Option<PathBuf> = Path::new(inside)
        .components()
        .filter(|part| *part != Component::RootDir)
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    names
        .filter(|path| path.file_name().is_some())
        .ok_or_else(|| Error::Image(format!("{inside:?} is no path on the app's disk")))
}

/// What stands at a path of a disk.
enum Entry<'a> {
    /// Its permissions and its content.
    File(u16, Cow<'a, [u8]>),
    Link(&'a str),
    Folder,
}

fn write(disk: &File, contents: Vec<(PathBuf, Entry<'_>)>) -> Result<(), BackhandError> {
    let mut writer = FilesystemWriter::default();
    writer.set_kind(Kind::new_v4(&Stored));
    writer.set_compressor(FilesystemCompressor::new(Compressor::Gzip, None)?);
    writer.set_no_duplicate_files(false);
    writer.set_root_mode(0o755);
    writer.set_time(0);
    let header = |mode| NodeHeader::new(mode, 0, 0, 0);
    for (path, entry) in &contents {
        if let Some(parent) = path.parent().filter(|parent| parent.file_name().is_some()) {
            writer.push_dir_all(parent, header(0o755))?;
        }
        match entry {
            Entry::File(mode, content) => writer.push_file(Cursor::new(content), path, header(*mode))?,
            Entry::Link(target) => writer.push_symlink(target, path, header(0o777))?,
            Entry::Folder => writer.push_dir_all(path, header(0o755))?,
        }
    }
    let mut output = BufWriter::new(disk);
    writer.write(&mut output)?;
    output.flush()?;
    disk.set_len(DISK_BYTES)?;
    Ok(())
}

/// Says of everything that it does not get smaller, so that it is stored as it is: the file is read through the host's
/// memory, where unpacking costs more than copying. Linux still wants to hear of a compression that it knows.
struct Stored;

impl CompressionAction for Stored {
    type Error = BackhandError;
    type Compressor = Compressor;
    type FilesystemCompressor = FilesystemCompressor;
    type SuperBlock = SuperBlock;

    fn decompress(&self, _: &[u8], _: &mut Vec<u8>, _: Compressor) -> Result<(), BackhandError> {
        Err(BackhandError::CorruptedOrInvalidSquashfs)
    }

    fn compress(&self, bytes: &[u8], _: FilesystemCompressor, _: u32) -> Result<Vec<u8>, BackhandError> {
        Ok(vec![0; bytes.len() + 1])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn files_are_on_the_disk_and_the_same_files_are_the_same_disk() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let program = home.path().join("program");
        std::fs::write(&program, b"\x7fELF and so on").unwrap();

        let files = [("bin/node", &*program, 0o755), ("/etc/node.conf", &*program, 0o644)];
        let disk = AppDisk::build(&store, files).unwrap();
        assert_eq!(disk.path().metadata().unwrap().len(), DISK_BYTES);
        assert_eq!(AppDisk::build(&store, files).unwrap(), disk);
        let other = AppDisk::build(&store, [("bin/node", &*program, 0o700)]).unwrap();
        assert_ne!(other, disk);

        let file = std::io::BufReader::new(File::open(disk.path()).unwrap());
        let read = backhand::FilesystemReader::from_reader(file).unwrap();
        let node = read.files().find(|node| node.fullpath == Path::new("/bin/node")).unwrap();
        assert_eq!(node.header.permissions, 0o755);
        let backhand::InnerNode::File(file) = &node.inner else {
            panic!("{node:?}");
        };
        let mut content = Vec::new();
        read.file(file).reader().read_to_end(&mut content).unwrap();
        assert_eq!(content, b"\x7fELF and so on");
    }

    #[test]
    fn paths_that_leave_the_disk_are_refused() {
        for path in ["", "/", "..", "a/../../b", "."] {
            assert!(plain(path).is_err(), "{path}");
        }
        assert_eq!(plain("/bin/node").unwrap(), Path::new("bin/node"));
    }
}
