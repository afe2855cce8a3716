//! The example does as its comment says: two processes on 127.0.0.1.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Dies with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Cargo builds examples before tests run, beside the program.
fn example() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_omerta-mesh"));
    let built = program.with_file_name("examples").join("talk");
    if !built.exists() {
        let build = Command::new(env!("CARGO"))
            .args(["build", "--offline", "-p", "omerta-mesh", "--example", "talk"])
            .status()
            .expect("cargo runs");
        assert!(build.success());
    }
    built
}

#[test]
fn the_example_talks() {
    let mut waiting =
        Running(Command::new(example()).stdout(Stdio::piped()).spawn().expect("the example runs"));
    let mut link = String::new();
    let stdout = waiting.0.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut link).expect("a link");
    let asked = Command::new(example()).arg(link.trim()).output().expect("the example runs");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "you said \"hello\"\nDirect\n");
}
