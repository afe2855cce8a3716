//! The files of a cell's evidence, as far as a page takes them in.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use serde::Serialize;

/// How much of a log is shown.
const LONGEST_LOG: u64 = 256 << 10;

/// How much of a table or ruleset is shown; cut in the middle it could not be read as a table.
const LONGEST_TABLE: u64 = 2 << 20;

/// A file as a page has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Shown {
    /// Its path in the cell's folder.
    pub path: String,
    /// Whether it is a log; else it is a gateway's.
    pub log: bool,
    /// What it holds, as far as it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How many bytes were left out in the middle.
    #[serde(skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Why there is nothing to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Shown {
    /// Reads a log.
    pub fn log(folder: &Path, path: &str) -> Self {
        Shown::read(folder, path, true, LONGEST_LOG)
    }

    /// Reads a gateway's ruleset or table.
    pub fn gateway(folder: &Path, path: &str) -> Self {
        Shown::read(folder, path, false, LONGEST_TABLE)
    }

    fn read(folder: &Path, path: &str, log: bool, longest: u64) -> Self {
        let mut shown = Shown { path: path.to_owned(), log, text: None, left_out: 0, problem: None };
        match within(folder, path).and_then(|file| ends(&file, longest)) {
            Ok((text, left_out)) => {
                shown.text = Some(text);
                shown.left_out = left_out;
            }
            Err(error) => shown.problem = Some(error.to_string()),
        }
        shown
    }
}

/// The place of a path that a record names, if it is below a folder: a page that is passed on must not take in
/// other files of the host, whatever a `results.json` says.
pub(crate) fn within(folder: &Path, path: &str) -> io::Result<PathBuf> {
    let plain =
        Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let outside = || io::Error::other("it does not lie in the run's folder");
    if !plain || path.is_empty() {
        return Err(outside());
    }
    let place = fs::canonicalize(folder.join(path))?;
    match place.starts_with(fs::canonicalize(folder)?) {
        true => Ok(place),
        false => Err(outside()),
    }
}

/// A file's text; of a long one the beginning and the end, and how much is between them.
fn ends(path: &Path, longest: u64) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length <= longest {
        // It may be growing.
        return Ok((read_text(&mut file, longest)?, 0));
    }
    let half = longest / 2;
    let head = read_text(&mut file, half)?;
    file.seek(SeekFrom::Start(length - half))?;
    let tail = read_text(&mut file, half)?;
    let head = head.rfind('\n').map_or(head.as_str(), |end| &head[..end]);
    let tail = tail.find('\n').map_or(tail.as_str(), |end| &tail[end + 1..]);
    let left_out = length.saturating_sub((head.len() + tail.len()) as u64);
    Ok((format!("{head}\n[… {left_out} bytes are left out here …]\n{tail}"), left_out))
}

fn read_text(file: &mut File, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_ends() {
        let folder = tempfile::tempdir().unwrap();
        let lines: String = (0..60_000).map(|number| format!("line {number}\n")).collect();
        fs::write(folder.path().join("long.log"), &lines).unwrap();
        let shown = Shown::log(folder.path(), "long.log");
        let text = shown.text.unwrap();
        assert!(text.starts_with("line 0\n") && text.ends_with("line 59999\n"));
        assert!(text.len() as u64 <= LONGEST_LOG + 100, "{}", text.len());
        assert!(text.contains(&format!("[… {} bytes are left out here …]", shown.left_out)));
        assert!(text.lines().all(|line| line.starts_with("line ") || line.starts_with("[… ")));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("odd.log"), b"a\xffb").unwrap();
        assert_eq!(Shown::log(folder.path(), "odd.log").text.unwrap(), "a\u{fffd}b");
    }

    #[test]
    fn nothing_outside_the_folder_is_taken_in() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("../secret", run.join("link")).unwrap();
        let absolute = folder.path().join("secret").display().to_string();
        for path in ["../secret", "link", "", absolute.as_str()] {
            let shown = Shown::log(&run, path);
            assert!(shown.text.is_none() && shown.problem.is_some(), "{path}: {shown:?}");
        }
        let shown = Shown::gateway(&run, "nowhere");
        assert!(shown.problem.unwrap().contains("No such file"));
    }
}
