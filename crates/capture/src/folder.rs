//! A folder of captures: a pcapng file per link, and one for what was dropped.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use crate::pcapng::{Interface, Record};
use crate::{Direction, Sighting, What, Writer};

/// The name of the capture of dropped frames; no link may have it.
pub const DROPPED: &str = "dropped";

/// Describes the interfaces whose packets were dropped.
const DROPPED_DESCRIPTION: &str = "frames dropped on this link";

/// Begins the first comment of a packet that was dropped; the reason follows.
const DROPPED_COMMENT: &str = "dropped: ";

/// Writes what a switch sees into one pcapng file per link, `<link>.pcapng`.
///
/// A link's file holds what its machine sent (inbound, whatever became of it) and what it was given (outbound).
/// Frames that were dropped are in `dropped.pcapng`, on an interface with the link's name, with the reason as a
/// comment; inbound if they were lost on the way into the switch, outbound on the way out of it.
///
/// [`Folder::keep_newest`] bounds what is kept. Then there are two generations, all files of one begun at one moment, and what the
/// older one holds lies in [`OLDER`] below the folder.
#[derive(Debug)]
pub struct Folder {
    folder: PathBuf,
    names: Vec<String>,
    links: Vec<Capture>,
    dropped: Capture,
    /// At how many bytes of a file a new generation begins.
    turn: Option<u64>,
    /// The files of the older generation, with their lengths.
    older: Vec<(PathBuf, u64)>,
}

/// The folder below a folder of captures with those of the older generation.
pub const OLDER: &str = "older";

#[derive(Debug)]
struct Capture {
    path: PathBuf,
    writer: Writer<BufWriter<File>>,
    /// How many bytes of packets it holds.
    bytes: u64,
}

impl Folder {
    /// Makes the folder, if it is missing, and a capture for each link; [`crate::LinkId`]s follow the order given.
    pub fn create<S: AsRef<str>>(folder: &Path, links: &[S]) -> Result<Self, FolderError> {
        for (index, link) in links.iter().enumerate() {
            let name = link.as_ref();
            if !is_file_name(name) {
                return Err(FolderError::LinkName { name: name.to_owned() });
            }
            if links[..index].iter().any(|earlier| earlier.as_ref() == name) {
                return Err(FolderError::TwoLinks { name: name.to_owned() });
            }
        }
        std::fs::create_dir_all(folder)
            .map_err(|source| FolderError::Write { path: folder.to_owned(), source })?;
        let names: Vec<String> = links.iter().map(|link| link.as_ref().to_owned()).collect();
        let (links, dropped) = begin(folder, &names)?;
        Ok(Self { folder: folder.to_owned(), names, links, dropped, turn: None, older: Vec::new() })
    }

    /// Keeps the newest packets: of the link that is used most at least half of this many bytes and never more, of the others
    /// those of the same time.
    pub fn keep_newest(self, bytes: u64) -> Self {
        Folder { turn: Some((bytes / 2).max(1)), ..self }
    }

    /// Puts the captures away in place of those that were put away before, and begins new ones.
    fn turn_over(&mut self) -> Result<(), FolderError> {
        let files: Vec<_> = self.flush_newer().collect::<Result<_, _>>()?;
        let older = self.folder.join(OLDER);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Write { path, source }
        };
        std::fs::create_dir_all(&older).map_err(failed(&older))?;
        self.older = files
            .into_iter()
            .map(|(path, length)| {
                let to = older.join(path.file_name().unwrap_or_default());
                std::fs::rename(&path, &to).map_err(failed(&path))?;
                Ok((to, length))
            })
            .collect::<Result<_, FolderError>>()?;
        (self.links, self.dropped) = begin(&self.folder, &self.names)?;
        Ok(())
    }

    /// Adds a sighting to the capture it belongs to.
    pub fn write(&mut self, sighting: &Sighting) -> Result<(), FolderError> {
        // Between two frames, so that what follows a frame is not kept without it.
        let full = |capture: &Capture| self.turn.is_some_and(|turn| capture.bytes >= turn);
        if sighting.what == What::Entered && (self.links.iter().any(full) || full(&self.dropped)) {
            self.turn_over()?;
        }
        let index = sighting.link.index();
        let (interface, capture) = match sighting.what {
            What::Dropped(..) => (index, &mut self.dropped),
            What::Entered | What::Delivered => match self.links.get_mut(index) {
                Some(capture) => (0, capture),
                None => return Err(FolderError::UnknownLink { index }),
            },
        };
        capture.write(&Record { interface, ..record(sighting) })
    }

    /// Hands everything on to the files, so that a reader sees it, and tells how far they reach.
    pub fn flush(&mut self) -> Result<Extent, FolderError> {
        let mut files = self.older.clone();
        for file in self.flush_newer() {
            files.push(file?);
        }
        Ok(Extent { files })
    }

    fn flush_newer(&mut self) -> impl Iterator<Item = Result<(PathBuf, u64), FolderError>> {
        // The capture of drops names all links in their order, so it is read first.
        std::iter::once(&mut self.dropped).chain(&mut self.links).map(Capture::flush)
    }
}

/// Begins a capture for each link, and that of what is dropped.
fn begin(folder: &Path, names: &[String]) -> Result<(Vec<Capture>, Capture), FolderError> {
    let links = names.iter().map(|link| Capture::create(folder, link, [Interface::ethernet(link)]));
    let interfaces = names.iter().map(|link| Interface {
        description: Some(DROPPED_DESCRIPTION.to_owned()),
        ..Interface::ethernet(link)
    });
    Ok((links.collect::<Result<_, _>>()?, Capture::create(folder, DROPPED, interfaces)?))
}

/// How far the captures of a folder reached at one moment.
///
/// While a switch runs its captures grow, one after the other, and what is in one may be missing from another. Up to
/// an extent they hold the same frames: [`crate::Trace::read_extent`] reads no further.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extent {
    files: Vec<(PathBuf, u64)>,
}

impl Extent {
    /// The captures and how many bytes of each belong to the extent.
    pub fn files(&self) -> &[(PathBuf, u64)] {
        &self.files
    }

    /// Whether some are of an older generation, before which there were others.
    pub(crate) fn is_cut(&self) -> bool {
        self.files.iter().any(|(path, _)| is_older(path))
    }
}

impl Capture {
    fn create(
        folder: &Path,
        name: &str,
        interfaces: impl IntoIterator<Item = Interface>,
    ) -> Result<Self, FolderError> {
        let path = folder.join(format!("{name}.pcapng"));
        let create = || -> io::Result<_> {
            let mut writer = Writer::new(BufWriter::with_capacity(1 << 16, File::create(&path)?))?;
            for interface in interfaces {
                writer.interface(&interface)?;
            }
            // A reader finds a whole file from the first moment on.
            writer.flush()?;
            Ok(writer)
        };
        match create() {
            Ok(writer) => Ok(Self { path, writer, bytes: 0 }),
            Err(source) => Err(FolderError::Write { path, source }),
        }
    }

    fn write(&mut self, record: &Record) -> Result<(), FolderError> {
        self.bytes += record.data.len() as u64;
        self.writer.record(record).map_err(|source| FolderError::Write { path: self.path.clone(), source })
    }

    fn flush(&mut self) -> Result<(PathBuf, u64), FolderError> {
        let mut flush = || {
            self.writer.flush()?;
            Ok(self.writer.get_ref().get_ref().metadata()?.len())
        };
        match flush() {
            Ok(length) => Ok((self.path.clone(), length)),
            Err(source) => Err(FolderError::Write { path: self.path.clone(), source }),
        }
    }
}

/// Whether a file is of the older generation.
pub(crate) fn is_older(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|folder| folder == OLDER)
}

/// The record of a sighting, on the interface of its link's place; [`what`] reads it back.
pub(crate) fn record(sighting: &Sighting) -> Record {
    let (direction, reason) = match sighting.what {
        What::Entered => (Direction::Inbound, None),
        What::Delivered => (Direction::Outbound, None),
        What::Dropped(direction, reason) => (direction, Some(reason)),
    };
    Record {
        interface: sighting.link.index(),
        at_ns: sighting.at_ns,
        original_length: u32::try_from(sighting.data.len()).unwrap_or(u32::MAX),
        data: sighting.data.clone(),
        direction: Some(direction),
        id: Some(sighting.frame),
        comments: reason.map(|reason| format!("{DROPPED_COMMENT}{reason}")).into_iter().collect(),
    }
}

/// What happened to the frame of a record; `None` if no [`Folder`] writes such a record.
pub(crate) fn what(interface: &Interface, record: &Record) -> Option<What> {
    let direction = record.direction?;
    if interface.description.as_deref() == Some(DROPPED_DESCRIPTION) {
        // Later comments are notes of others.
        let reason = record.comments.first()?.strip_prefix(DROPPED_COMMENT)?;
        return Some(What::Dropped(direction, reason.parse().ok()?));
    }
    Some(match direction {
        Direction::Inbound => What::Entered,
        Direction::Outbound => What::Delivered,
    })
}

fn is_file_name(name: &str) -> bool {
    name != DROPPED
        && !name.starts_with('.')
        && (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Why captures could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A file or folder could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A link's name cannot name its file.
    #[error(
        "a link cannot be named {name:?}: use letters, digits, '.', '_' and '-', no '.' in front, and not \"{DROPPED}\""
    )]
    LinkName {
        /// The name.
        name: String,
    },
    /// Two links would share a file.
    #[error("two links are named {name}")]
    TwoLinks {
        /// The name.
        name: String,
    },
    /// A sighting is of no link of the folder.
    #[error("there is no link {index} in this folder")]
    UnknownLink {
        /// The link's place.
        index: usize,
    },
}
