//! The folder of a run.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::failure::Failure;

/// Where runs go when nothing is said.
const RUNS: &str = "natrig-runs";

/// Refuses a folder that holds something, before there is any work that would be lost.
pub fn check(named: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = named else {
        return Ok(());
    };
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::Usage(format!(
                "{} is not empty; evidence of two runs must not mix\nhint: name another folder with --out",
                folder.display()
            ))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Failure::File { what: "use the folder", path: folder.to_owned(), source }),
    }
}

/// Makes the folder of a run: the one that is named, which must be empty or new, or `natrig-runs/<time>`, to which
/// `natrig-runs/latest` then leads.
pub fn create(named: Option<&Path>) -> Result<PathBuf, Failure> {
    match named {
        Some(folder) => {
            check(named)?;
            let wrong = |source| Failure::File { what: "make", path: folder.to_owned(), source };
            fs::create_dir_all(folder).map_err(wrong)?;
            Ok(folder.to_owned())
        }
        None => by_time(Path::new(RUNS)),
    }
}

/// The folders of all runs that nobody named, the oldest first.
pub fn runs() -> Vec<PathBuf> {
    let entries = fs::read_dir(RUNS).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()).collect();
    // Their names begin with the time.
    runs.sort();
    runs
}

fn by_time(runs: &Path) -> Result<PathBuf, Failure> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::File { what: "make", path, source }
    };
    fs::create_dir_all(runs).map_err(wrong(runs))?;
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(':', "");
    // Two runs may start in the same second.
    for number in 1.. {
        let name = if number == 1 { time.clone() } else { format!("{time}-{number}") };
        let folder = runs.join(&name);
        match fs::create_dir(&folder) {
            Ok(()) => {
                // A link that cannot be made is a comfort less, not a failed run.
                #[cfg(unix)]
                {
                    let fresh = runs.join(format!(".latest-{name}"));
                    if std::os::unix::fs::symlink(&name, &fresh).is_ok() {
                        let _ = fs::rename(&fresh, runs.join("latest"));
                    }
                }
                return Ok(folder);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(wrong(&folder)(error)),
        }
    }
    unreachable!("there is always another number")
}
