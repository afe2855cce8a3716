//! The daemon never has the stand-in for QUIC's cryptography in it, which protects nothing.

use std::process::Command;

/// The features of the core that a build of the daemon alone turns on.
fn core_features() -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "omerta-mesh", "--edges", "normal,features"])
        .args(["--invert", "omerta-mesh-core", "--depth", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_daemon_is_built_without_the_stand_in() {
    let features = core_features();
    assert!(features.contains("omerta-mesh-core feature \"default\""), "{features}");
    assert!(!features.contains("stand-in"), "{features}");
}

/// In a build of the whole workspace the code is there, for the simulator.
#[test]
fn the_daemon_does_not_name_the_stand_in() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources = std::fs::read_dir(folder).expect("sources").map(|entry| entry.expect("a file").path());
    let mut rustls = 0;
    for path in sources {
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(!text.contains("StandIn") && !text.contains("stand_in"), "{}", path.display());
        rustls += text.matches("RustlsCrypto::").count();
    }
    assert_eq!(rustls, 1, "one place says what protects a connection");
}
