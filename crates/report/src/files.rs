//! The files of a run's folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use natrig_record::{Results, SCHEMA};

use crate::{
    junit, markdown,
    metrics::open_metrics,
    page::{self, page},
};

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file could not be written.
    #[error("cannot write {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The results have no JSON form.
    #[error("cannot write the results as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The results have no JUnit form.
    #[error("cannot write the results as JUnit XML: {0}")]
    Junit(#[from] quick_junit::SerializeError),
}

/// The page of a run in its folder.
const PAGE: &str = "report.html";

/// Writes `results.json`, `junit.xml`, `summary.md`, `metrics.txt` (OpenMetrics) and `report.html` into the run's folder.
///
/// Each file is there whole or not at all.
pub fn write_all(folder: &Path, results: &Results) -> Result<(), WriteError> {
    write(folder, "results.json", &json(results)?)?;
    write(folder, "junit.xml", &junit(results)?)?;
    write(folder, "metrics.txt", &open_metrics(results))?;
    write(folder, "summary.md", &markdown(results))?;
    write(folder, PAGE, &page(results, folder, page::BUDGET)?)
}

/// Writes `report.html` of a run anew, from what is in the run's folder; beside it, or to a file that is named. Gives its path.
pub fn write_page(folder: &Path, results: &Results, to: Option<&Path>) -> Result<PathBuf, WriteError> {
    let text = page(results, folder, page::BUDGET)?;
    let path = to.map_or_else(|| folder.join(PAGE), Path::to_owned);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    // A path without a last part cannot be written to; the system says so in its own words.
    write(path.parent().unwrap_or(folder), &name.unwrap_or_default(), &text)?;
    Ok(path)
}

fn json(results: &Results) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(results)? + "\n")
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), WriteError> {
    let path = folder.join(name);
    let unfinished = folder.join(format!(".{name}.unfinished"));
    fs::write(&unfinished, text)
        .and_then(|()| fs::rename(&unfinished, &path))
        .map_err(|error| WriteError::File { path, error })
}

/// Why results could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is no `results.json`.
    #[error("{} holds no results: {error}", path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// It was written by another generation of natrig.
    #[error("{} has the schema `{schema}`; this natrig reads `{SCHEMA}`", path.display())]
    Schema {
        /// Which.
        path: PathBuf,
        /// Its schema.
        schema: String,
    },
}

/// Reads a `results.json`.
pub fn read(path: &Path) -> Result<Results, ReadError> {
    let no_results = |error| ReadError::Json { path: path.to_owned(), error };
    let text = fs::read_to_string(path).map_err(|error| ReadError::File { path: path.to_owned(), error })?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(no_results)?;
    match value.get("schema").and_then(|schema| schema.as_str()) {
        Some(schema) if schema != SCHEMA => {
            Err(ReadError::Schema { path: path.to_owned(), schema: schema.to_owned() })
        }
        _ => serde_json::from_value(value).map_err(no_results),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let results = sample::four_outcomes();
        write_all(folder.path(), &results).unwrap();
        assert_eq!(read(&folder.path().join("results.json")).unwrap(), results);
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["junit.xml", "metrics.txt", "report.html", "results.json", "summary.md"]);
    }

    /// A file of the first natrig; it stays as it is, and has to be read as long as the schema has this name.
    #[test]
    fn an_old_file_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/results-1.json");
        let results = read(&path).unwrap();
        assert_eq!(results.schema, SCHEMA);
        assert_eq!(results.cells.len(), 5);
    }

    #[test]
    fn another_generation_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        fs::write(&path, r#"{"schema": "natrig/results/9", "new": true}"#).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("natrig/results/9"), "{error}");
        fs::write(&path, "{").unwrap();
        assert!(matches!(read(&path), Err(ReadError::Json { .. })));
    }

    /// The example in the documentation is what is written today.
    #[test]
    fn the_documented_example_is_true() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results.example.json");
        let mut results = sample::four_outcomes();
        results.cells.truncate(1);
        let results = Results::of(results.run, results.cells, results.interrupted);
        let now = json(&results).unwrap();
        if std::env::var_os("NATRIG_UPDATE_DOCS").is_some() {
            fs::write(&path, &now).unwrap();
        }
        let documented = fs::read_to_string(&path).unwrap();
        assert_eq!(documented, now, "update it with NATRIG_UPDATE_DOCS=1");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = write_all(Path::new("/no/such/folder"), &sample::matrix()).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/results.json"));
    }
}
