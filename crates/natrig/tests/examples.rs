//! The example nodes, on virtual machines: what each comes to behind gateways.

mod support;

use std::{path::PathBuf, process::Command};

use natrig_record::Kind;
use support::{Place, assert_code, repository, stderr, stdout};

/// Two that can be punched, and two that cannot; what becomes of each pair is known of any node.
const CELLS: [(&str, Kind); 2] = [("T2.M.13", Kind::Punch), ("T2.M.25", Kind::Relay)];

fn check(example: &str) {
    let app = repository().join("examples").join(example).join("app.yaml");
    let place = Place::new();
    let ids = CELLS.map(|(id, _)| id).join(",");
    let output = place.run(["matrix", "--only", &ids, "--out", "out", "--app", app.to_str().unwrap()]);
    let said = stdout(&output) + &stderr(&output);
    assert_code(&output, 0);
    let results = natrig_report::read(&place.work().join("out/results.json")).unwrap();
    let kinds: Vec<_> =
        results.cells.iter().map(|cell| cell.verdict.as_ref().and_then(|verdict| verdict.kind)).collect();
    assert_eq!(kinds, CELLS.map(|(_, kind)| Some(kind)), "{said}");
    // Both say which way they go, and the wire agrees.
    assert!(results.cells.iter().all(|cell| cell.claims.len() == 2), "{said}");
}

#[test]
#[ignore = "long: make test-full"]
fn ice_punches_and_relays() {
    check("ice");
}

#[test]
#[ignore = "long: make test-full"]
fn libp2p_punches_and_relays() {
    let folder = repository().join("examples/libp2p");
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut build = Command::new(cargo);
    // The tests' own target folder is locked by their build, and flags for guests do not fit here.
    build
        .args(["build", "--release", "--locked", "--quiet"])
        .current_dir(folder)
        .env_remove("CARGO_TARGET_DIR");
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check("libp2p");
}
