//! `natrig list`, and that the map of what is covered says nothing that is not so.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use natrig_scenario::{
    Scenario,
    coverage::{Coverage, RunsOn, Shown},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn natrig(words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_natrig"))
        .current_dir(root())
        .arg("list")
        .args(words)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Why something cannot show anything; none if it is there.
fn absent(shown: &Shown) -> Option<String> {
    match shown {
        Shown::Cell { file, id } => match Scenario::load(&root().join(file)) {
            Ok(cells) => {
                (!cells.iter().any(|cell| cell.id == *id)).then(|| format!("{file} has no cell {id}"))
            }
            Err(problem) => Some(format!("{file}: {problem}")),
        },
        Shown::Test { file, name } => match fs::read_to_string(root().join(file)) {
            Ok(text) => (!has_test(&text, name)).then(|| format!("{file} has no test {name}")),
            Err(error) => Some(format!("{file}: {error}")),
        },
        Shown::Figure { file, id } => match fs::read_to_string(root().join(file)) {
            Ok(text) => {
                (!text.contains(&format!("\"{id}\""))).then(|| format!("{file} has no figure of {id}"))
            }
            Err(error) => Some(format!("{file}: {error}")),
        },
    }
}

/// Whether a file has a function of this name with an attribute that makes it a test, or within `proptest!`.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").is_some_and(|rest| rest.starts_with(&format!("{name}(")))
    };
    lines.iter().position(|line| begins(line)).is_some_and(|at| {
        let before =
            lines.iter().take(at).rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        before.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn what_is_said_to_show_something_is_there() {
    let absent: Vec<String> = Coverage::standard().all().flat_map(|one| &one.by).filter_map(absent).collect();
    assert!(absent.is_empty(), "{absent:#?}");
}

#[test]
fn what_is_not_there_is_noticed() {
    for wrong in [
        "scenarios/nowhere.yaml#T1.1.1",
        "scenarios/mesh/hole-punching.yaml#T9.9.9",
        "crates/natrig/tests/nowhere.rs::a",
        "crates/natrig/tests/list.rs::nobody",
        // A function, but no test.
        "crates/natrig/tests/list.rs::has_test",
        "crates/meshd/benches/plan/main.rs::T9.9.9",
        "crates/meshd/benches/nowhere.rs::T5.2.1",
    ] {
        assert!(absent(&Shown::try_from(wrong.to_owned()).unwrap()).is_some(), "{wrong}");
    }
    let own = "crates/natrig/tests/list.rs::what_is_not_there_is_noticed".to_owned();
    assert_eq!(absent(&Shown::try_from(own).unwrap()), None);
}

/// Every cell of ours that bears the name of a case is in the map, at that case.
#[test]
fn cells_are_what_their_ids_say() {
    let (code, out, error) = natrig(&["--json"]);
    assert_eq!(code, Some(0), "{error}");
    let cells: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    let mut seen = BTreeSet::new();
    for cell in &cells {
        let [file, id] = ["file", "id"].map(|key| cell[key].as_str().unwrap());
        let Some(case) = Coverage::standard().cases.iter().find(|case| case.id == id) else { continue };
        let shown = Shown::Cell { file: file.to_owned(), id: id.to_owned() };
        assert!(case.by.contains(&shown), "{file}#{id} is not in docs/coverage.yaml at {id}");
        seen.insert(id);
    }
    assert!(seen.len() >= 25 + 6, "{seen:?}");
}

#[test]
fn all_scenarios_are_listed() {
    let (code, out, error) = natrig(&[]);
    assert_eq!(code, Some(0), "{error}");
    for phrase in
        ["scenarios/mesh/hole-punching.yaml", "T4.2.1", "Simultaneous punch", "addr-restrict, port-restrict"]
    {
        assert!(out.contains(phrase), "{out}");
    }
    assert!(!out.contains("populations"), "{out}");
    let (code, _, error) = natrig(&["nowhere"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("nowhere"), "{error}");
}

/// What a cell came to when it was last run stands beside the case that it shows.
#[test]
fn the_last_result_is_shown() {
    let work = tempfile::tempdir().unwrap();
    let natrig = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_natrig"));
        command.current_dir(work.path()).args(words);
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    let punch = |out: &str| {
        let map: serde_json::Value = serde_json::from_str(out).unwrap();
        map["cases"].as_array().unwrap().iter().find(|case| case["id"] == "T4.2.2").unwrap()["last"].clone()
    };
    assert_eq!(punch(&natrig(&["list", "--ids", "--json"])), serde_json::Value::Null);
    let file = root().join("scenarios/mesh/hole-punching.yaml").canonicalize().unwrap();
    natrig(&["run", "--backend", "sim", "--only", "T4.2.2", &file.display().to_string()]);
    let last = punch(&natrig(&["list", "--ids", "--json"]));
    assert!(last.as_str().unwrap().starts_with("as expected (sim, "), "{last}");
}

#[test]
fn exceptions_have_their_page() {
    let page = include_str!("../../../docs/exceptions.md");
    for one in Coverage::standard().all().filter(|one| one.exception.is_some()) {
        assert!(page.contains(&format!("## {}", one.id)), "{} is not in docs/exceptions.md", one.id);
    }
}

#[test]
fn the_map_is_shown_with_what_is_open() {
    let (_, out, _) = natrig(&["--ids"]);
    for phrase in [
        "The seed's check-list",
        "T2.M.25",
        "lacks half of the goodput",
        "scenarios/mesh/hole-punching.yaml#T4.2.1",
        "of 161 covered",
    ] {
        assert!(out.contains(phrase), "{out}");
    }
    let (_, out, _) = natrig(&["--ids", "--json"]);
    let map: serde_json::Value = serde_json::from_str(&out).unwrap();
    let punch = map["cases"].as_array().unwrap().iter().find(|case| case["id"] == "T4.2.1").unwrap();
    assert_eq!(punch["state"], "covered");
    assert_eq!(punch["runs_on"], serde_json::json!([RunsOn::Vm, RunsOn::Sim]));
}
