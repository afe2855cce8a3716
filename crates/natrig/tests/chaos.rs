//! `natrig chaos` in the simulator.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

fn natrig(work: &TempDir, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_natrig")).current_dir(work.path()).args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn stress() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/stress-test.yaml");
    fs::read_to_string(file).unwrap()
}

/// The seed's stress test: nothing that befalls them for a minute costs a message that was acknowledged, or the way back.
#[test]
fn faults_by_lot_are_survived_and_the_same_each_time() {
    let work = TempDir::new().unwrap();
    fs::write(work.path().join("stress.yaml"), stress()).unwrap();
    let words = [
        "chaos",
        "stress.yaml",
        "--backend",
        "sim",
        "--seed",
        "1",
        "--seeds",
        "3",
        "--for",
        "1m",
        "--json",
        "--out",
    ];
    let [one, other] = ["one", "other"].map(|out| {
        let output = natrig(&work, &[&words[..], &[out]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        value["seeds"].clone()
    });
    assert_eq!(one, other);
    let faults: u64 = one.as_array().unwrap().iter().map(|seed| seed["faults"].as_u64().unwrap()).sum();
    assert!(faults > 20, "{one}");
}

/// Nobody is back within 5 ms: what is left in the file is what it takes to show it, and `natrig run` does.
#[test]
fn what_is_not_survived_is_told_with_the_fewest_faults() {
    let work = TempDir::new().unwrap();
    let strict = stress().replace("again: 30s", "again: 5ms");
    fs::write(work.path().join("stress.yaml"), strict).unwrap();
    let words = ["chaos", "stress.yaml", "--backend", "sim", "--seed", "1", "--for", "1m", "--out", "out"];
    let output = natrig(&work, &words);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("0 of 1 seeds as expected"), "{}", said(&output));
    let text = fs::read_to_string(work.path().join("out/chaos-1.yaml")).unwrap();
    let deeds = text.lines().filter(|line| line.contains("after: settled") && !line.contains("idle")).count();
    assert!(deeds <= 2, "{text}");
    let again =
        natrig(&work, &["run", "--backend", "sim", "--seed", "1", "--out", "again", "out/chaos-1.yaml"]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

#[test]
fn files_that_will_not_do_are_refused() {
    let work = TempDir::new().unwrap();
    let silent = stress().replace(", again: 30s", "");
    fs::write(work.path().join("silent.yaml"), silent).unwrap();
    fs::write(work.path().join("broken.yaml"), "name: x\n").unwrap();
    for (file, phrase) in [
        ("silent.yaml", "hint: such as `talks:"),
        ("broken.yaml", "lacks `nat1`"),
        ("nowhere.yaml", "cannot read"),
        ("/dev/zero", "bytes"),
    ] {
        let output = natrig(&work, &["chaos", file, "--backend", "sim", "--out", "out"]);
        assert_eq!(output.status.code(), Some(2), "{file}: {}", said(&output));
        assert!(said(&output).contains(phrase), "{file}: {}", said(&output));
    }
}
