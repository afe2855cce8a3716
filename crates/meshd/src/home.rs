//! The folder in which a node keeps its things.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A home folder.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

/// The home folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Nothing says where it is.
    #[error("neither HOME nor XDG_STATE_HOME is set; say with --home where the node keeps its things")]
    Nowhere,
    /// It cannot be made.
    #[error("cannot make the home folder {path}: {source}")]
    Make {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Home {
    /// The folder that is wanted, or the usual one. It may not be there yet.
    pub fn find(wanted: Option<PathBuf>) -> Result<Self, HomeError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let usual = || {
            if is_root() {
                return Some(PathBuf::from("/var/lib/omerta-mesh"));
            }
            let state =
                variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
            Some(state.join("omerta-mesh"))
        };
        wanted.or_else(usual).map(Self).ok_or(HomeError::Nowhere)
    }

    /// Makes it, for its owner only, unless it is there.
    pub fn make(&self) -> Result<(), HomeError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|source| HomeError::Make { path: self.0.clone(), source })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The key file.
    pub fn key(&self) -> PathBuf {
        self.0.join("key")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.yaml")
    }

    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// Nodes known from earlier runs.
    pub fn known(&self) -> PathBuf {
        self.0.join("known")
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Writes a file that only its owner may read. It is there whole or not at all, whatever happens meanwhile.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no name"))?;
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(".new");
    let partial = path.with_file_name(partial);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_replaced_whole_and_are_the_owners() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::find(Some(folder.path().join("a/b"))).expect("given");
        home.make().expect("made");
        home.make().expect("there");
        for content in ["a long content", "short"] {
            replace(&home.known(), content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(home.known()).expect("read"), content);
        }
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(home.path()), mode(&home.known())), (0o700, 0o600));
        assert_eq!(fs::read_dir(home.path()).expect("read").count(), 1, "nothing is left over");
    }
}
