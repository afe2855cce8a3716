//! `natrig list`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use natrig_report::{Style, columns};
use natrig_scenario::{
    Scenario,
    coverage::{Coverage, Covered, RunsOn, Shown, State},
    population::{Churn, Mix},
};
use serde_json::{Value, json};

use crate::{cli::ListArguments, failure::Failure, folder, output::print};

/// Lists scenarios, or what covers the test plan.
pub fn list(arguments: &ListArguments) -> Result<u8, Failure> {
    let text = match (arguments.ids, arguments.json) {
        (true, json) => coverage(json),
        (false, json) => scenarios(&arguments.files, json)?,
    };
    print(&text)?;
    Ok(0)
}

/// The cells of files, and of all files in folders.
pub(crate) fn scenarios_in(paths: &[PathBuf]) -> Result<Vec<Scenario>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        find(path, &mut files)?;
    }
    let mut rows = Vec::new();
    for file in files {
        // What a population is made of is no scenario.
        if Mix::load(&file).is_ok() || Churn::load(&file).is_ok() {
            continue;
        }
        rows.extend(Scenario::load(&file)?);
    }
    Ok(rows)
}

fn scenarios(paths: &[PathBuf], json: bool) -> Result<String, Failure> {
    let rows = scenarios_in(paths)?;
    if json {
        return Ok(pretty(&rows.iter().map(value).collect()));
    }
    let rows: Vec<[String; 5]> = rows.iter().map(row).collect();
    Ok(columns(&["file", "ID", "title", "NATs", "expected"], &rows, Style::of(&std::io::stdout())))
}

/// A file, or all YAML files in a folder and those in it, in their order.
fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |source| Failure::File { what: "read", path: path.to_owned(), source };
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>())
        .map_err(failed)?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            find(&entry, files)?;
        }
    }
    Ok(())
}

fn row(scenario: &Scenario) -> [String; 5] {
    [
        scenario.file.clone().unwrap_or_default(),
        scenario.id.clone(),
        scenario.name.clone(),
        scenario.nats.iter().map(|nat| nat.name.as_str()).collect::<Vec<_>>().join(", "),
        scenario.expected.to_string(),
    ]
}

fn value(scenario: &Scenario) -> Value {
    json!({
        "file": scenario.file,
        "id": scenario.id,
        "title": scenario.name,
        "nats": scenario.nats.iter().map(|nat| nat.name.as_str()).collect::<Vec<_>>(),
        "expected": scenario.expected.to_string(),
    })
}

fn coverage(json: bool) -> String {
    let coverage = Coverage::standard();
    let last = last_results();
    if json {
        let values = |all: &[Covered]| all.iter().map(|one| covered_value(one, &last)).collect::<Vec<_>>();
        return pretty(&json!({ "boxes": values(&coverage.boxes), "cases": values(&coverage.cases) }));
    }
    let style = Style::of(&std::io::stdout());
    let heads =
        ["ID", "what is to be shown", "state", "runs on", "last result here", "shown by, or still lacking"];
    let part = |title: &str, all: &[Covered]| {
        let rows: Vec<[String; 6]> = all.iter().map(|one| covered_row(one, &last)).collect();
        format!("{title}\n{}\n{}\n", columns(&heads, &rows, style), totals(all))
    };
    part("The seed's check-list", &coverage.boxes) + "\n" + &part("The test plan", &coverage.cases)
}

/// What the newest runs under natrig-runs in this folder came to, by the ID of the cell.
type LastResults = BTreeMap<String, String>;

fn last_results() -> LastResults {
    let mut last = LastResults::new();
    for run in folder::runs() {
        // One that is under way, or of another version, says nothing.
        let Ok(results) = natrig_report::read(&run.join("results.json")) else { continue };
        for cell in results.cells {
            let told = format!("{} ({}, {})", cell.outcome, results.run.backend, results.run.started);
            last.insert(cell.id, told);
        }
    }
    last
}

/// What the cells that show something came to when they were last run.
fn last_of(one: &Covered, last: &LastResults) -> Option<String> {
    let found: Vec<&str> = one
        .by
        .iter()
        .filter_map(|shown| match shown {
            Shown::Cell { id, .. } => last.get(id).map(String::as_str),
            Shown::Test { .. } | Shown::Figure { .. } => None,
        })
        .collect();
    (!found.is_empty()).then(|| found.join("\n"))
}

fn covered_row(one: &Covered, last: &LastResults) -> [String; 6] {
    let issue = one.issue.map(|issue| format!("issue {issue}")).or_else(|| one.exception.clone());
    let rest = match (&one.lacks, issue) {
        (Some(lacks), Some(issue)) => Some(format!("lacks {lacks}: {issue}")),
        (_, issue) => issue,
    };
    let shown: Vec<String> = one.by.iter().map(ToString::to_string).chain(rest).collect();
    let last = last_of(one, last).unwrap_or_else(|| "–".to_owned());
    [one.id.clone(), one.what.clone(), state(one).to_owned(), runs_on(one), last, shown.join("\n")]
}

fn covered_value(one: &Covered, last: &LastResults) -> Value {
    let mut value = json!(one);
    value["state"] = json!(one.state());
    value["runs_on"] = json!(one.runs_on());
    value["last"] = json!(last_of(one, last));
    value
}

fn state(one: &Covered) -> &'static str {
    match one.state() {
        State::Covered => "covered",
        State::Partly => "partly",
        State::Exception => "exception",
        State::Open => "open",
    }
}

fn runs_on(one: &Covered) -> String {
    one.runs_on().iter().map(RunsOn::to_string).collect::<Vec<_>>().join(" ")
}

fn totals(all: &[Covered]) -> String {
    let count = |state: State| all.iter().filter(|one| one.state() == state).count();
    let both = all.iter().filter(|one| one.runs_on().contains(&RunsOn::Vm)).count();
    format!(
        "{} of {} covered, {} partly, {} exceptions, {} open; {both} on machines",
        count(State::Covered),
        all.len(),
        count(State::Partly),
        count(State::Exception),
        count(State::Open)
    )
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string())
}
