//! App files as their authors see them.

use std::{fs, path::Path};

use natrig_scenario::{App, Scenario};
use proptest::prelude::*;

/// Each file in `tests/broken-apps` is wrong in its own way; the snapshot is what its author sees.
#[test]
fn broken_apps_say_what_is_wrong_and_what_to_do() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken-apps");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 25, "{} files", files.len());
    let said: Vec<String> = files
        .iter()
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap();
            let problem = App::parse(name, &fs::read_to_string(file).unwrap()).expect_err(name);
            problem.render(false)
        })
        .collect();
    insta::assert_snapshot!("broken-apps", said.join("\n"));
}

#[test]
fn an_app_that_is_not_there_is_named() {
    let text = "{name: x, nat1: public, nat2: public, expected: direct, app: nowhere.yaml}";
    let problem = Scenario::parse("x.yaml", text).unwrap_err().to_string();
    assert!(problem.contains("cannot read nowhere.yaml"), "{problem}");
    let app = "{name: x, nat1: public, nat2: public, expected: direct, app: 7}";
    let problem = Scenario::parse("x.yaml", app).unwrap_err().render(false);
    assert!(problem.contains("`app` must be text"), "{problem}");
}

/// The examples are what people start from.
#[test]
fn the_examples_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        App::load(&entry.unwrap().path().join("app.yaml")).unwrap();
        count += 1;
    }
    assert!(count >= 2, "{count} examples");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,300}") {
        let _ = App::parse("app.yaml", &text);
    }

    #[test]
    fn no_value_makes_it_panic(key in "[a-z]{1,10}", value in "[ -~]{0,40}") {
        let peer = "peer: {command: [x], connect: {input: go}, connected: {line: up}, delivered: {line: got}}";
        let _ = App::parse("app.yaml", &format!("name: x\n{peer}\n{key}: {value}\n"));
    }
}
