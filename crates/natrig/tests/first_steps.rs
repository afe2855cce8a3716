//! What a newcomer does first: write a scenario, run it, ask why.

mod support;

use std::{fs, path::Path, process::Output};

use support::{Place, assert_code, stderr, stdout};

fn natrig(place: &Place, arguments: &[&str], code: i32) -> Output {
    let output = place.natrig(arguments).output().unwrap();
    assert_code(&output, code);
    output
}

/// The scenarios that come with natrig.
fn shipped() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").display().to_string()
}

#[test]
fn what_init_writes_can_be_run() {
    let place = Place::new();
    natrig(&place, &["init"], 0);
    let said = stdout(&natrig(
        &place,
        &["run", "--backend", "sim", "--seed", "1", "--out", "out", "scenario.yaml"],
        0,
    ));
    assert!(said.contains("2 as expected"), "{said}");
}

#[test]
fn init_leaves_alone_what_is_there() {
    let place = Place::new();
    fs::write(place.work().join("mine.yaml"), "mine").unwrap();
    let said = stderr(&natrig(&place, &["init", "mine.yaml"], 2));
    assert!(said.contains("cannot write mine.yaml"), "{said}");
    assert_eq!(fs::read_to_string(place.work().join("mine.yaml")).unwrap(), "mine");
    let said = stderr(&natrig(&place, &["init", "no/such/folder.yaml"], 2));
    assert!(said.contains("no/such/folder.yaml"), "{said}");
    assert!(stdout(&natrig(&place, &["init", "-"], 0)).starts_with("# A scenario for natrig."));
}

#[test]
fn a_cell_is_explained() {
    let place = Place::new();
    insta::assert_snapshot!("explain_matrix", stdout(&natrig(&place, &["explain", "T2.M.23"], 0)));
    let said = stdout(&natrig(&place, &["explain", "recovery-interruption", &shipped()], 0));
    for phrase in
        ["8.1: reconnects after", "cut nat1.wan", "both endpoints are known", "--only recovery-interruption"]
    {
        assert!(said.contains(phrase), "{phrase}: {said}");
    }
}

#[test]
fn a_case_of_the_plan_is_explained() {
    let said = stdout(&natrig(&Place::new(), &["explain", "t3.4.3"], 0));
    assert!(
        said.contains("shown by scenarios/faults/order.yaml#T3.4.3") && said.contains("lacks half"),
        "{said}"
    );
}

#[test]
fn what_there_is_not_is_said_with_what_there_is() {
    let place = Place::new();
    let said = stderr(&natrig(&place, &["explain", "T2.M.26"], 2));
    assert!(said.contains("no cell or case `T2.M.26`") && said.contains("T2.M.1"), "{said}");
    let said = stderr(&natrig(&place, &["man", "nope"], 2));
    assert!(said.contains("no command `nope`") && said.contains("matrix"), "{said}");
    natrig(&place, &["completion", "tcsh"], 2);
}

#[test]
fn shells_and_man_are_served() {
    let place = Place::new();
    for (shell, phrase) in
        [("bash", "complete -F _natrig"), ("zsh", "#compdef natrig"), ("fish", "complete -c natrig")]
    {
        let said = stdout(&natrig(&place, &["completion", shell], 0));
        assert!(said.contains(phrase) && said.contains("matrix"), "{shell}");
    }
    for (page, phrase) in [(&["man"][..], ".TH natrig 1"), (&["man", "run"], "scenario files")] {
        let said = stdout(&natrig(&place, page, 0));
        assert!(said.to_lowercase().contains(&phrase.to_lowercase()), "{page:?}: {said}");
    }
}
