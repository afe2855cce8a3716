//! Machines and simulator side by side, from the command line.

mod support;

use natrig_record::{Agreement, Comparison};
use serde_json::Value;
use support::{Place, assert_code, stderr, stdout};

/// Compares, and reads what was left in `out`.
fn compare(place: &Place, arguments: &[&str], code: i32) -> Vec<Comparison> {
    let mut command = place.natrig(["compare", "--out", "out"]);
    let output = command.args(arguments).output().unwrap();
    assert_code(&output, code);
    place.assert_clean(&["out"]);
    let text = std::fs::read(place.work().join("out/comparison.json")).unwrap();
    let left: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(left["schema"], "natrig/comparison/1");
    serde_json::from_value(left["cells"].clone())
        .unwrap_or_else(|error| panic!("{error}: {}", stdout(&output)))
}

fn assert_alike(all: &[Comparison]) {
    for one in all {
        let worse: Vec<_> =
            one.aspects.iter().filter(|aspect| aspect.agreement > Agreement::Explained).collect();
        assert!(worse.is_empty(), "{}: {worse:#?}", one.id);
    }
}

#[test]
fn a_direct_a_punched_and_a_relayed_cell_are_alike() {
    let all = compare(&Place::new(), &["--only", "T2.M.2,T2.M.19,T2.M.25"], 0);
    assert_eq!(all.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["T2.M.2", "T2.M.19", "T2.M.25"]);
    assert_alike(&all);
}

#[test]
#[ignore = "long: make test-full"]
fn all_cells_are_alike() {
    let all = compare(&Place::new(), &[], 0);
    assert_eq!(all.len(), 25);
    assert_alike(&all);
}

#[test]
fn files_and_gateways_do_not_go_together() {
    let output = Place::new().run(["compare", "x.yaml", "--nat", "cgn"]);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("cannot be used with"), "{}", stderr(&output));
}
