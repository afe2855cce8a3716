//! What ARCHITECTURE.md says of the crates, held against the crates.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The longest a source file may be: beyond it, it holds more than one idea.
const LONGEST: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Crate folders and their floors, from the table in ARCHITECTURE.md.
fn floors() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut fields = line.split('|').map(str::trim).skip(1);
        let floor = fields.next()?.parse().ok()?;
        let name = fields.next()?.split('`').nth(1)?;
        Some((name.to_owned(), floor))
    });
    rows.collect()
}

/// The crates of the workspace: folder, package, and the packages it depends on outside tests.
fn crates() -> Vec<(String, String, Vec<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    packages
        .iter()
        .map(|package| {
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            let folder = manifest.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
            let dependencies = package["dependencies"].as_array().unwrap();
            let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
            (folder, text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

#[test]
fn every_crate_has_a_floor_and_uses_only_lower_ones() {
    let (floors, crates) = (floors(), crates());
    let folder_of: BTreeMap<&str, &str> =
        crates.iter().map(|(folder, package, _)| (package.as_str(), folder.as_str())).collect();
    assert!(crates.len() > 15);
    for (folder, _, dependencies) in &crates {
        let floor =
            floors.get(folder).unwrap_or_else(|| panic!("ARCHITECTURE.md has no floor for `{folder}`"));
        for dependency in dependencies.iter().filter_map(|name| folder_of.get(name.as_str())) {
            assert!(floors[*dependency] < *floor, "`{folder}` (floor {floor}) uses `{dependency}`");
        }
    }
}

/// Rust sources under a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn what_must_know_no_clock_and_no_socket_knows_none() {
    let forbidden = [
        "Instant::now(",
        "SystemTime::now(",
        "UdpSocket",
        "TcpStream",
        "thread_rng",
        "rand::rng()",
        "tokio::",
    ];
    for name in ["nat", "netmodel", "stun", "probe", "mesh", "lab"] {
        let mut files = Vec::new();
        sources(&root().join("crates").join(name).join("src"), &mut files);
        assert!(!files.is_empty());
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            // Unit tests need a first moment; virtual time has no other source.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let is_test = file.components().any(|part| part.as_os_str() == "tests")
                || file.file_name().is_some_and(|name| name == "tests.rs");
            for word in forbidden {
                assert!(is_test || !code.contains(word), "{} has `{word}`", file.display());
            }
        }
    }
}

/// Crates in which the same seed gives the same run: docs/determinism.md.
const REPEATABLE: [&str; 6] = ["nat", "netmodel", "stun", "probe", "mesh", "sim"];

#[test]
fn what_must_be_repeatable_is_linted() {
    let lints = ["clippy::disallowed_methods", "clippy::disallowed_types", "clippy::iter_over_hash_type"];
    for name in REPEATABLE {
        let text = fs::read_to_string(root().join("crates").join(name).join("src/lib.rs")).unwrap();
        let denied = text.split("deny(").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_default();
        for lint in lints {
            assert!(denied.contains(lint), "`{name}` does not deny {lint} in its lib.rs");
        }
    }
    let list = fs::read_to_string(root().join("clippy.toml")).unwrap();
    for banned in ["std::time::Instant::now", "rand::rng", "std::collections::HashMap"] {
        assert!(list.contains(&format!("\"{banned}\"")), "clippy.toml lets {banned} pass");
    }
}

#[test]
fn the_node_does_not_know_the_truth() {
    for (folder, _, dependencies) in crates() {
        if ["mesh", "meshd"].contains(&folder.as_str()) {
            for oracle in ["natrig-scenario", "natrig-lab", "natrig-nat"] {
                assert!(!dependencies.iter().any(|name| name == oracle), "`{folder}` uses {oracle}");
            }
        }
    }
}

#[test]
fn files_hold_one_idea() {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    for file in files {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines", file.display());
    }
}
