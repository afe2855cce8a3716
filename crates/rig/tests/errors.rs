//! What a test program says where nothing can be run.

use std::process::Command;

use natrig_rig::{Error, Rig};

/// Names the program below; without it nothing happens there.
const WITHOUT: &str = "NATRIG_TEST_WITHOUT_PROGRAMS";

#[test]
fn who_has_no_programs_is_told_which_and_where() {
    let nothing = tempfile::tempdir().unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "a_test_without_programs"])
        .env(WITHOUT, "1")
        .env("NATRIG_PROGRAMS", nothing.path());
    let output = test.output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    let missing =
        format!("Error: the program {} is missing: ", nothing.path().join("natrig-guest").display());
    let remedy = "\nhint: `make build` makes it, and NATRIG_PROGRAMS says in which folder it is\n";
    assert!(said.contains(&missing) && said.contains(remedy), "{said}");
}

/// Does nothing but in the process that the one above starts.
#[tokio::test]
async fn a_test_without_programs() -> Result<(), Error> {
    match std::env::var_os(WITHOUT) {
        None => Ok(()),
        Some(_) => Rig::shared().await.map(drop),
    }
}
