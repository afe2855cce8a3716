//! The key pair on disk.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use omerta_mesh_core::Identity;

/// A key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// It cannot be read or written.
    #[error("cannot use the key file {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path} is no key file: it has {length} bytes, a key has 32")]
    Length {
        /// Which.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// Others may read it.
    #[error("others may read the key file {path} (mode {mode:03o}); chmod 600 it")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// The identity in `path`; where there is no such file, it is made with `fresh` as its secret.
pub fn load_or_create(path: &Path, fresh: [u8; 32]) -> Result<Identity, IdentityFileError> {
    let failed = |source| IdentityFileError::Io { path: path.to_owned(), source };
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Ok(mut file) => {
            file.write_all(&fresh).and_then(|()| file.sync_all()).map_err(failed)?;
            return Ok(Identity::from_seed(&fresh));
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityFileError::Exposed { path: path.to_owned(), mode });
    }
    let bytes = fs::read(path).map_err(failed)?;
    let seed = <[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| IdentityFileError::Length { path: path.to_owned(), length: bytes.len() })?;
    Ok(Identity::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let first = load_or_create(&path, [1; 32]).expect("made");
        let second = load_or_create(&path, [2; 32]).expect("read");
        assert_eq!(first.id(), second.id());
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        mode(0o644).expect("chmod");
        assert!(matches!(
            load_or_create(&path, [3; 32]),
            Err(IdentityFileError::Exposed { mode: 0o644, .. })
        ));
        mode(0o600).expect("chmod");
        fs::write(&path, b"short").expect("written");
        assert!(matches!(load_or_create(&path, [3; 32]), Err(IdentityFileError::Length { length: 5, .. })));
    }
}
