//! Nothing of natrig needs root.

mod support;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use support::{assert_code, repository, stdout};

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// From an empty cache to a verdict: packages, image, template, cell. As root, another user is taken for it.
#[test]
#[ignore = "long: make test-full"]
fn an_ordinary_user_gets_from_nothing_to_a_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(folder.path(), 0o755);
    for name in ["programs", "home", "work"] {
        fs::create_dir(place(name)).unwrap();
        open(&place(name), 0o755);
    }
    let made =
        std::env::var_os("NATRIG_PROGRAMS").map_or_else(|| repository().join("target/release"), Into::into);
    for program in ["natrig-guest", "omerta-mesh"] {
        fs::copy(made.join(program), place("programs").join(program)).unwrap();
    }
    fs::copy(env!("CARGO_BIN_EXE_natrig"), place("programs/natrig")).unwrap();
    fs::copy(support::scenario("seed/scenario-direct.yaml"), place("work/direct.yaml")).unwrap();

    let root = rustix::process::getuid().is_root();
    let mut command = match root {
        false => Command::new(place("programs/natrig")),
        true => {
            for name in ["home", "work"] {
                chown(place(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]);
            command.arg("--inh-caps=-all").arg(place("programs/natrig"));
            command
        }
    };
    let output = command
        .args(["run", "--out", "out", "direct.yaml"])
        .current_dir(place("work"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", place("home"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_code(&output, 0);
    assert!(stdout(&output).contains("1 as expected"), "{}", stdout(&output));
    let image = place("home/.cache/natrig/images");
    assert!(fs::read_dir(image).unwrap().count() > 0);
}
