//! The files for CI systems: they can be read, and the shards that they name make a whole.

mod support;

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;
use support::{Place, assert_code, repository, stdout};

fn file(name: &str) -> PathBuf {
    repository().join("ci").join(name)
}

fn read(name: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(file(name)).unwrap())
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All texts in a document.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => all.iter().flat_map(texts).collect(),
        Value::Object(all) => all.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn workflows_can_be_read_and_name_what_there_is() {
    for (name, wanted) in [
        (
            "github.yml",
            &["--shard ${{ matrix.part }}/2", "report merge", "report annotate", "make build"][..],
        ),
        ("gitlab.yml", &["--shard \"$CI_NODE_INDEX/$CI_NODE_TOTAL\"", "report merge", "whole/junit.xml"]),
        ("kubernetes.yaml", &["--shard \"$part/4\""]),
    ] {
        let all = texts(&read(name)).join("\n");
        for phrase in wanted {
            assert!(all.contains(phrase), "{name} lacks `{phrase}`");
        }
    }
    assert_eq!(read("kubernetes.yaml")["spec"]["completions"], 4);
}

/// As Slurm runs it, with the variables that it sets.
#[test]
fn a_job_array_makes_the_whole() {
    let place = Place::new();
    for task in 1..=2 {
        let mut job: Command = place.command(file("slurm.sh"));
        job.args(["--backend", "sim", "--seed", "1"])
            .env("NATRIG", env!("CARGO_BIN_EXE_natrig"))
            .env("SLURM_ARRAY_TASK_ID", task.to_string())
            .env("SLURM_ARRAY_TASK_COUNT", "2");
        assert_code(&job.output().unwrap(), 0);
    }
    let output = place.natrig(["report", "merge", "--out", "whole", "part-1", "part-2"]).output().unwrap();
    assert_code(&output, 0);
    assert!(stdout(&output).contains("25 as expected"), "{}", stdout(&output));
}
