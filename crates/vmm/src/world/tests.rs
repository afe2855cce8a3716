use super::*;

struct Place {
    home: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path().join("cache")).unwrap();
        Place { home, store }
    }

    /// A file, as an app brings it.
    fn file(&self, name: &str, mode: u16, content: &[u8]) -> WorldFile {
        let from = self.home.path().join(name);
        std::fs::write(&from, content).unwrap();
        WorldFile { from, to: name.to_owned(), mode: Some(mode) }
    }

    fn build(&self, spec: &WorldSpec) -> Result<AppDisk> {
        World::build(&self.store, spec, &mut |_| ())
    }

    /// What is said of an app that cannot run, without the test's own folder.
    fn refusal(&self, spec: &WorldSpec) -> String {
        let error = self.build(spec).unwrap_err().to_string();
        error.replace(&self.home.path().display().to_string(), "HOME")
    }
}

fn own() -> Vec<u8> {
    std::fs::read(std::env::current_exe().unwrap()).unwrap()
}

fn starts(program: &str, files: Vec<WorldFile>) -> WorldSpec {
    WorldSpec { files, programs: vec![program.to_owned()], ..WorldSpec::default() }
}

#[test]
fn the_same_app_is_the_same_disk_and_a_changed_program_another_one() {
    let place = Place::new();
    let disk = |content: &[u8]| {
        let file = place.file("node", 0o755, content);
        place.build(&starts("/app/node", vec![file])).unwrap()
    };
    let first = disk(&own());
    assert_eq!(disk(&own()), first);
    let mut changed = own();
    changed.push(0);
    assert_ne!(disk(&changed), first);
}

#[test]
fn scripts_have_a_shell_that_no_package_brings() {
    let place = Place::new();
    for first in ["#!/bin/sh\n", "#!/usr/bin/env sh\n"] {
        let script = place.file("node.sh", 0o755, first.as_bytes());
        place.build(&starts("/app/node.sh", vec![script])).unwrap();
    }
    place.build(&starts("sh", Vec::new())).unwrap();
}

#[test]
fn a_folder_is_brought_with_all_that_is_in_it() {
    let place = Place::new();
    let folder = place.home.path().join("lib/inner");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a"), b"a").unwrap();
    let mut tree = Tree::default();
    let mut brought = Vec::new();
    bring(&mut tree, &place.home.path().join("lib"), "app/lib", None, &mut brought).unwrap();
    assert_eq!(brought, ["app/lib/inner/a"]);
    assert_eq!(tree.file("app/lib/inner/a"), Some(&b"a"[..]));
}

/// Each of these is said before anything boots.
#[test]
fn what_cannot_run_says_why() {
    let place = Place::new();
    let arm = {
        let mut program = own();
        program[18..20].copy_from_slice(&183_u16.to_le_bytes());
        program
    };
    let small = {
        let mut program = own();
        // ELFCLASS32
        program[4] = 1;
        program
    };
    let number = std::cell::Cell::new(0);
    let of_mode = |mode, content: &[u8]| {
        number.set(number.get() + 1);
        let file = place.file(&format!("node{}", number.get()), mode, content);
        vec![WorldFile { to: "node".to_owned(), ..file }]
    };
    let node = |content: &[u8]| of_mode(0o755, content);
    let empty = place.home.path().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    let cases: Vec<(&str, WorldSpec)> = vec![
        (
            "file-missing",
            starts(
                "/app/node",
                vec![WorldFile { from: "/nowhere/node".into(), to: "node".into(), mode: None }],
            ),
        ),
        ("program-missing", starts("/app/other", node(&own()))),
        ("program-unknown", starts("turnserver", Vec::new())),
        ("not-executable", starts("/app/node", of_mode(0o644, &own()))),
        ("no-program", starts("/app/node", node(b"MZ\x90\x00 and so on"))),
        ("empty-program", starts("/app/node", node(b""))),
        ("other-processor", starts("/app/node", node(&arm))),
        ("small-addresses", starts("/app/node", node(&small))),
        ("cut-short", starts("/app/node", node(&own()[..100]))),
        ("no-interpreter", starts("/app/node", node(b"#!/usr/bin/python3\n"))),
        ("no-interpreter-by-env", starts("/app/node", node(b"#!/usr/bin/env node\n"))),
        ("script-for-nothing", starts("/app/node", node(b"#!\n"))),
        ("no-sysroot", WorldSpec { sysroot: Some("/nowhere".into()), ..starts("/app/node", node(&own())) }),
        ("empty-sysroot", WorldSpec { sysroot: Some(empty), ..starts("/app/node", node(&own())) }),
        (
            "no-library",
            WorldSpec { libraries: vec!["libnowhere.so.9".into()], ..starts("/app/node", node(&own())) },
        ),
        (
            "no-package-file",
            WorldSpec { package_files: vec!["/nowhere/x.deb".into()], ..WorldSpec::default() },
        ),
        (
            "bad-package-file",
            WorldSpec {
                package_files: vec![place.file("x.deb", 0o644, b"not one").from],
                ..WorldSpec::default()
            },
        ),
    ];
    let said: Vec<String> =
        cases.iter().map(|(name, spec)| format!("{name}\n{}\n", place.refusal(spec))).collect();
    insta::assert_snapshot!("refusals", said.join("\n"));
}

#[test]
fn what_was_unpacked_goes_with_the_disks() {
    let place = Place::new();
    let kept = place.store.folder(WORLDS).unwrap().join("x.tar");
    std::fs::write(&kept, b"").unwrap();
    let disk = place.build(&starts("sh", Vec::new())).unwrap();
    AppDisk::remove_all(&place.store).unwrap();
    assert!(!kept.exists() && !disk.path().exists());
}
