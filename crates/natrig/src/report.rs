//! `natrig report`.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use natrig_record::{Cell, Results};
use natrig_report::{Diff, Style};

use crate::{
    cli::ReportCommand,
    failure::Failure,
    folder,
    output::{print, tell},
};

/// Shows, compares and merges runs.
pub fn report(what: ReportCommand) -> Result<u8, Failure> {
    let style = Style::of(&std::io::stdout());
    match what {
        ReportCommand::Show { run, open_metrics } => {
            let results = read(&run)?;
            print(&match open_metrics {
                true => natrig_report::open_metrics(&results),
                false => natrig_report::metrics(&results, style) + &natrig_report::summary(&results) + "\n",
            })?;
            Ok(0)
        }
        ReportCommand::Diff { before, after, threshold } => {
            let diff = Diff::of(&read(&before)?, &read(&after)?, threshold);
            print(&diff.text(style))?;
            Ok(u8::from(diff.is_worse()))
        }
        ReportCommand::Annotate { run } => {
            print(&natrig_report::annotations(&read(&run)?))?;
            Ok(0)
        }
        ReportCommand::Html { run, out } => {
            let page = natrig_report::write_page(place(&run), &read(&run)?, out.as_deref())?;
            print(&format!("{}\n", page.display()))?;
            Ok(0)
        }
        ReportCommand::Merge { parts, out } => merge(&parts, &out),
    }
}

/// The results of a run, by its folder or their file. Its figures are taken anew: those of earlier versions have none.
fn read(run: &Path) -> Result<Results, Failure> {
    let file = if run.is_dir() { run.join("results.json") } else { run.to_owned() };
    let read = natrig_report::read(&file).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Results::of(read.run, read.cells, read.interrupted))
}

/// Where the evidence lies of a run that is named by its folder or its results.json.
fn place(run: &Path) -> &Path {
    match run.parent() {
        _ if run.is_dir() => run,
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Puts parts of a run into one folder.
fn merge(parts: &[PathBuf], out: &Path) -> Result<u8, Failure> {
    let runs =
        parts.iter().map(|part| Ok((part.as_path(), read(part)?))).collect::<Result<Vec<_>, Failure>>()?;
    let mut seen = BTreeSet::new();
    for (part, results) in &runs {
        if let Some(again) =
            results.cells.iter().find(|cell| !seen.insert((cell.id.clone(), cell.repetition)))
        {
            let part = part.display();
            return Err(Failure::Usage(format!(
                "the cell {} of {part} is in another part as well",
                again.id
            )));
        }
    }
    let Some((_, first)) = runs.first() else {
        return Err(Failure::Usage("there are no parts".to_owned()));
    };
    for (part, results) in &runs {
        let kind = |results: &Results| {
            [results.run.backend.clone(), results.run.accelerator.clone(), results.run.host.clone()]
        };
        if kind(results) != kind(first) {
            tell(&format!("{} ran on {}, not as the first part", part.display(), kind(results).join(", ")));
        }
    }
    let mut run = first.run.clone();
    run.elapsed_ms = runs.iter().map(|(_, results)| results.run.elapsed_ms).sum();
    let interrupted = runs.iter().any(|(_, results)| results.interrupted);
    let into = folder::create(Some(out))?;
    run.folder = into.display().to_string();
    for (part, results) in &runs {
        let from = place(part);
        for cell in results.cells.iter().filter(|cell| !cell.evidence.folder.is_empty()) {
            let (from, to) = (from.join(&cell.evidence.folder), into.join(&cell.evidence.folder));
            copy(&from, &to).map_err(|source| Failure::File { what: "copy", path: from, source })?;
        }
    }
    let cells = in_turn(runs.into_iter().map(|(_, results)| results.cells).collect());
    let results = Results::of(run, cells, interrupted);
    natrig_report::write_all(&into, &results)?;
    print(&(natrig_report::summary(&results) + "\n"))?;
    Ok(results.totals.exit_code())
}

/// One of each part after the other, as shards were dealt.
fn in_turn(parts: Vec<Vec<Cell>>) -> Vec<Cell> {
    let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(parts.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => fs::copy(entry.path(), to).map(drop)?,
        }
    }
    Ok(())
}
