//! Where labs leave captures and logs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use natrig_machines::Trouble;

use crate::Error;

/// Beside the test program, which cargo puts into its target folder.
const LABS: &str = "natrig-labs";

/// Where folders of labs are made.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    root: PathBuf,
    /// Whether they stay in any case.
    stays: bool,
}

impl Place {
    pub fn beside_the_program() -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        Place { root: program.parent().unwrap_or(Path::new(".")).join(LABS), stays: false }
    }

    pub fn kept_in(root: PathBuf) -> Self {
        Place { root, stays: true }
    }

    /// A new folder that begins with a name; no other lab, of whatever program, has the same.
    pub fn folder(&self, name: &str) -> Result<Folder, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let wrong = |path: &Path| {
            let path = path.to_owned();
            |source| Error::Folder { path, source }
        };
        // Whoever reads of it in an error need not know where the test ran.
        let root = std::path::absolute(&self.root).map_err(wrong(&self.root))?;
        fs::create_dir_all(&root).map_err(wrong(&root))?;
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = root.join(format!("{name}-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Folder { path, stays: self.stays, failed: AtomicBool::new(false) }),
                // Left by an earlier program that had our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(wrong(&path)(error)),
            }
        }
    }
}

/// The folder of a lab. It goes with it, unless something failed: then it is what explains it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    stays: bool,
    failed: AtomicBool,
}

impl Folder {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Something failed.
    pub fn keep(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Something failed, and the error says where the rest of it is.
    pub fn explain(&self, trouble: Trouble) -> Error {
        self.keep();
        trouble.lines([format!("captures and logs are in {}", self.path.display())]).into()
    }

    /// What failed was meant to.
    pub fn let_go(&self) {
        self.failed.store(false, Ordering::Relaxed);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("captures and logs are in {}", self.path.display());
        } else if !self.stays && !self.failed.load(Ordering::Relaxed) {
            // One that is in use, or gone, takes nothing from what the test has shown.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let root = tempfile::tempdir().unwrap();
        let place = Place { root: root.path().join("labs"), stays: false };
        (root, place)
    }

    #[test]
    fn a_folder_goes_unless_something_failed() {
        let (_root, place) = place();
        let [good, failed, panicked] = [(); 3].map(|()| place.folder("x").unwrap());
        let [gone, kept, explains] = [&good, &failed, &panicked].map(|folder| folder.path().to_owned());
        assert!(gone != kept && gone.exists());
        let error = failed.explain(Trouble::node("it is silent").hint("shout")).to_string();
        assert_eq!(
            error,
            format!("it is silent\n  captures and logs are in {}\nhint: shout", kept.display())
        );
        let meant = place.folder("x").unwrap();
        let forgiven = meant.path().to_owned();
        meant.keep();
        meant.let_go();
        drop((good, failed, meant));
        let panic = std::thread::spawn(move || {
            let _folder = panicked;
            panic!("as it was told to")
        });
        assert!(panic.join().is_err());
        assert_eq!(
            [&gone, &kept, &explains, &forgiven].map(|path| path.exists()),
            [false, true, true, false]
        );
    }

    #[test]
    fn a_place_that_cannot_be_is_told_with_its_remedy() {
        let (root, _) = place();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Place::kept_in(file.join("labs")).folder("x").unwrap_err().to_string();
        assert!(error.contains("file/labs") && error.contains("hint: Rig::keeping"), "{error}");
    }
}
