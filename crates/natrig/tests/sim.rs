//! `natrig sim` as its users run it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn mixes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/populations")
}

fn natrig(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_natrig")).arg("sim").args(words).output().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// All that two runs must have in common.
fn told(threads: &str) -> Value {
    let (mix, churn) = (mixes().join("internet-2025.yaml"), mixes().join("restless.churn.yaml"));
    let (mix, churn) = (mix.display().to_string(), churn.display().to_string());
    let words =
        ["--nodes", "40", "--nat-mix", &mix, "--churn", &churn, "--for", "30s", "--seed", "5", "--json"];
    let output = natrig(&[&words[..], &["--threads", threads]].concat());
    let (out, error) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{error}");
    let mut value: Value = serde_json::from_str(&out).unwrap();
    let host = value.as_object_mut().unwrap().remove("host").unwrap();
    assert!(host["events_per_second"].as_f64().unwrap() > 0.0);
    value
}

#[test]
fn two_processes_with_one_and_two_threads_tell_the_same() {
    let one = told("1");
    assert_eq!(one["schema"], "natrig/population/1");
    assert_eq!(one, told("1"));
    assert_eq!(one, told("2"));
}

#[test]
fn a_run_leaves_its_document_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let (mix, out) = (mixes().join("nat-check-2005.yaml"), folder.path().join("run"));
    let (mix, out) = (mix.display().to_string(), out.display().to_string());
    let words = ["--nodes", "10", "--nat-mix", &mix, "--for", "20s", "--seed", "1", "--seeds", "2"];
    let output = natrig(&[&words[..], &["--out", &out]].concat());
    let (text, error) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(text.contains("2 seeds") && text.contains("pairs reached"), "{text}");
    let document = std::fs::read_to_string(Path::new(&out).join("population.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["worlds"].as_array().unwrap().len(), 2);
    let page = std::fs::read_to_string(Path::new(&out).join("report.html")).unwrap();
    assert!(page.contains("<svg"));
}

#[test]
fn a_breach_ends_with_1_and_the_command_that_shows_it_again() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing comes through: nobody can find a relay.
    let text = std::fs::read_to_string(mixes().join("nat-check-2005.yaml")).unwrap();
    let broken = text.replace("{share: 60%, delay: 4ms}", "{share: 60%, delay: 4ms, loss: 100%}");
    let file = folder.path().join("broken.yaml").display().to_string();
    std::fs::write(&file, broken).unwrap();
    let output = natrig(&["--nodes", "10", "--nat-mix", &file, "--for", "60s", "--seed", "3"]);
    let (text, error) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{error}");
    assert!(text.contains("with seed 3") && text.contains("without a relay"), "{text}");
    let again = error.lines().find_map(|line| line.strip_prefix("to see it again: natrig sim ")).unwrap();
    let again = natrig(&again.split_whitespace().collect::<Vec<_>>());
    assert_eq!(again.status.code(), Some(1));
    let breach = |text: &str| text.lines().find(|line| line.contains("without a relay")).unwrap().to_owned();
    assert_eq!(breach(&said(&again).0), breach(&text));
}

#[test]
fn a_wrong_mix_is_shown_where_it_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(mixes().join("nat-check-2005.yaml")).unwrap();
    let file = folder.path().join("wrong.yaml").display().to_string();
    std::fs::write(&file, text.replace("82%, nat: port-restrict", "81%, nat: port-restrct")).unwrap();
    let output = natrig(&["--nodes", "10", "--nat-mix", &file]);
    let (_, error) = said(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("did you mean `port-restrict`") && error.contains("wrong.yaml:"), "{error}");
    let few =
        natrig(&["--nodes", "1", "--nat-mix", &mixes().join("internet-2025.yaml").display().to_string()]);
    assert_eq!(few.status.code(), Some(2));
    assert!(said(&few).1.contains("2 to 1000000 members"), "{}", said(&few).1);
}
