//! What natrig says to users who ask for what cannot be; no machine runs here.

mod support;

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use support::{Place, assert_code, scenario, stderr, stdout};

const DIRECT: &str = "seed/scenario-direct.yaml";

/// Fails unless the output is an error with exit code 2 that names all of these; gives what was said.
fn assert_refused(output: &Output, phrases: &[&str]) -> String {
    assert_code(output, 2);
    let said = stderr(output);
    for phrase in phrases {
        assert!(said.contains(phrase), "`{phrase}` is not in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// `run`, or `up` of a lab that nobody else has.
fn asked(place: &Place, command: &str) -> Command {
    let mut asked = place.natrig([command]);
    if command == "up" {
        asked.args(["--lab", &place.lab()]);
    }
    asked
}

/// Runs a scenario text that must be refused.
fn refuse(text: &str, phrases: &[&str]) -> String {
    let place = Place::new();
    fs::write(place.work().join("bad.yaml"), text).unwrap();
    let said = assert_refused(&place.run(["run", "bad.yaml"]), phrases);
    place.assert_clean(&["bad.yaml"]);
    said
}

#[test]
fn the_help_names_every_command() {
    let help = Place::new().run(["--help"]);
    assert_code(&help, 0);
    insta::assert_snapshot!(stdout(&help));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let place = Place::new();
    let output = place.run(["run", "nowhere.yaml"]);
    assert_refused(&output, &["cannot read nowhere.yaml", "scenarios/seed/scenario-direct.yaml"]);
    assert_refused(&asked(&place, "up").arg("nowhere.yaml").output().unwrap(), &["cannot read nowhere.yaml"]);
    place.assert_clean(&[]);
}

#[test]
fn a_mistake_in_a_file_is_shown_at_its_place() {
    let said = refuse(
        "name: x\nnat1: symetric\nnat2: public\nexpected: direct\n",
        &["bad.yaml:2:7", "no gateway profile is called `symetric`", "did you mean `symmetric`?"],
    );
    insta::assert_snapshot!(said);
    refuse("name: [x\n", &["bad.yaml:1:7", "unclosed bracket"]);
    refuse("", &["bad.yaml"]);
    refuse("\u{0}\u{1}", &["bad.yaml"]);
}

#[test]
fn two_cells_with_one_name_are_refused() {
    let place = Place::new();
    let file = scenario(DIRECT);
    assert_refused(&place.run([&"run".into(), &file, &file]), &["direct-connection-both-full-cone"]);
    place.assert_clean(&[]);
}

#[test]
fn an_unknown_cell_is_answered_with_those_there_are() {
    let place = Place::new();
    let output = place.natrig(["run", "--only", "nothing"]).arg(scenario(DIRECT)).output().unwrap();
    assert_refused(&output, &["no cell has the ID `nothing`", "direct-connection-both-full-cone"]);
    let output = place.run(["matrix", "--only", "T2.M.26"]);
    assert_refused(&output, &["no cell has the ID `T2.M.26`", "T2.M.25"]);
    let output = asked(&place, "up").arg(scenario("seed/test-matrix.yaml")).output().unwrap();
    assert_refused(&output, &["holds several cells", "--only"]);
    place.assert_clean(&[]);
}

#[test]
fn a_matrix_is_asked_for_by_gateways_that_there_are() {
    let place = Place::new();
    let matrix = |nats: &str, phrases: &[&str]| {
        let output = place.run(["matrix", "--jobs", "0", "--nat", nats]);
        assert_refused(&output, phrases);
    };
    matrix("symetric", &["symetric", "did you mean `symmetric`?", "natrig nat list"]);
    matrix("no/such.yaml", &["cannot read no/such.yaml"]);
    matrix("symmetric,cgn,symmetric", &["names `symmetric` twice"]);
    matrix("udp-blocked", &["no pair of which the truth is known", "left out", "passes no UDP"]);
    fs::write(place.work().join("mine.yaml"), "like: symmetric\nengine: modl\n").unwrap();
    matrix("mine.yaml", &["mine.yaml:2", "modl"]);
    let output = place.run(["matrix", "--nat", "cgn,symmetric", "--only", "T2.M.20"]);
    assert_refused(
        &output,
        &["no cell has the ID `T2.M.20`", "cgn_cgn, cgn_symmetric, symmetric_cgn, T2.M.25"],
    );
    place.assert_clean(&["mine.yaml"]);
}

#[test]
fn a_run_of_no_jobs_is_refused_before_anything_is_made() {
    let place = Place::new();
    assert_refused(&place.run(["matrix", "--jobs", "0"]), &["--jobs 0"]);
    assert_refused(&place.run(["matrix", "--jobs", "many"]), &["--jobs"]);
    assert_refused(&place.run(["run"]), &["<FILES>"]);
    place.assert_clean(&[]);
}

#[test]
fn evidence_of_two_runs_does_not_mix() {
    let place = Place::new();
    fs::create_dir(place.work().join("old")).unwrap();
    fs::write(place.work().join("old/results.json"), "{}").unwrap();
    for command in ["run", "up"] {
        let output = asked(&place, command).args(["--out", "old"]).arg(scenario(DIRECT)).output().unwrap();
        assert_refused(&output, &["old is not empty", "--out"]);
    }
    let output = place.natrig(["run", "--out", "old/results.json"]).arg(scenario(DIRECT)).output().unwrap();
    assert_refused(&output, &["old/results.json"]);
    assert_eq!(fs::read(place.work().join("old/results.json")).unwrap(), b"{}");
    place.assert_clean(&["old"]);
}

#[test]
fn a_lab_that_is_not_up_is_told_how_to_be() {
    let place = Place::new();
    let lab = place.lab();
    for arguments in [
        &["status"][..],
        &["fault", "cut", "nat1.wan"],
        &["down"],
        &["logs", "peer1"],
        &["shell", "peer1"],
        &["exec", "peer1", "--", "true"],
    ] {
        let mut command = place.natrig([arguments[0], "--lab", &lab]);
        let output = command.args(&arguments[1..]).output().unwrap();
        assert_refused(&output, &[&format!("no lab called `{lab}` is up"), "natrig up FILE"]);
    }
    place.assert_clean(&[]);
}

#[test]
fn a_lab_with_a_name_that_is_too_long_is_refused() {
    let place = Place::new();
    let name = "x".repeat(200);
    let output = place.natrig(["up", "--lab", &name]).arg(scenario(DIRECT)).output().unwrap();
    assert_refused(&output, &["cannot make the lab's socket"]);
    place.assert_clean(&[]);
}

#[test]
fn without_the_guests_programs_the_remedy_is_named() {
    let place = Place::new();
    for command in ["run", "up"] {
        let mut command = asked(&place, command);
        command.arg(scenario(DIRECT)).env("NATRIG_PROGRAMS", place.work());
        let output = command.output().unwrap();
        assert_refused(&output, &["natrig-guest is missing", "make build"]);
    }
    let doctor = place.natrig(["doctor"]).env("NATRIG_PROGRAMS", place.work()).output().unwrap();
    assert_code(&doctor, 2);
    assert!(stdout(&doctor).contains("hint: `make build` makes it"), "{}", stdout(&doctor));
    place.assert_clean(&[]);
}

#[test]
fn without_qemu_the_command_that_installs_it_is_named() {
    let place = Place::new();
    let empty = place.work();
    let install = "sudo apt-get install --no-install-recommends qemu-system-x86";
    let run = place.natrig(["run"]).arg(scenario(DIRECT)).env("PATH", &empty).output().unwrap();
    assert_refused(&run, &["qemu-system-x86_64 is not installed", install]);
    let doctor = place.natrig(["doctor"]).env("PATH", &empty).output().unwrap();
    assert_code(&doctor, 2);
    assert!(stdout(&doctor).contains(install), "{}", stdout(&doctor));
    place.assert_clean(&[]);
}

#[test]
fn another_program_is_not_taken_for_qemu() {
    let place = Place::new();
    let impostor = place.work().join("qemu-system-x86_64");
    for (script, phrase) in [
        ("#!/bin/sh\necho hello\n", "it does not tell its version"),
        ("#!/bin/sh\necho QEMU emulator version 5.2.0\n", "it is version 5.2.0"),
    ] {
        fs::write(&impostor, script).unwrap();
        fs::set_permissions(&impostor, fs::Permissions::from_mode(0o755)).unwrap();
        let run = place.natrig(["run"]).arg(scenario(DIRECT)).env("NATRIG_QEMU", &impostor).output().unwrap();
        assert_refused(&run, &[phrase, "version 7.2 or later"]);
    }
    place.assert_clean(&["qemu-system-x86_64"]);
}

#[test]
fn a_cache_that_cannot_be_is_named_with_its_setting() {
    let place = Place::new();
    let file = place.work().join("file");
    fs::write(&file, "").unwrap();
    for cache in [file.as_path(), &file.join("below")] {
        let run = place.natrig(["run"]).arg(scenario(DIRECT)).env("NATRIG_CACHE", cache).output().unwrap();
        assert_refused(&run, &[&cache.display().to_string(), "NATRIG_CACHE"]);
        let doctor = place.natrig(["doctor"]).env("NATRIG_CACHE", cache).output().unwrap();
        assert_code(&doctor, 2);
        assert!(stdout(&doctor).contains("hint: "), "{}", stdout(&doctor));
    }
    place.assert_clean(&["file"]);
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let place = Place::new();
    for (name, value, phrase) in
        [("NATRIG_ACCEL", "fast", "kvm, tcg or auto expected"), ("NATRIG_SLOTS", "0", "a number from 1")]
    {
        let run = place.natrig(["run"]).arg(scenario(DIRECT)).env(name, value).output().unwrap();
        assert_refused(&run, &[&format!("{name}={value}"), phrase]);
        let doctor = place.natrig(["doctor"]).env(name, value).output().unwrap();
        assert_code(&doctor, 2);
        assert!(stdout(&doctor).contains(&format!("unset {name}")), "{}", stdout(&doctor));
    }
    place.assert_clean(&[]);
}

/// As told by a cell, and by a lab that is to stay up.
#[test]
fn a_host_without_room_says_how_to_go_on() {
    let place = Place::new();
    for (name, sign) in [("run", "LAB ERROR"), ("up", "error: ")] {
        let mut command = asked(&place, name);
        command.args(["--out", name]).arg(scenario(DIRECT)).env("NATRIG_SLOTS", "4");
        let output = command.output().unwrap();
        assert_code(&output, 2);
        let said = stdout(&output) + &stderr(&output);
        for phrase in [sign, "room for 4 at once", "hint: NATRIG_SLOTS=5"] {
            assert!(said.contains(phrase), "`{phrase}` is not in:\n{said}");
        }
        assert!(!said.contains('\u{fffd}'), "{said}");
    }
    place.assert_clean(&["run", "up"]);
}

#[test]
fn an_image_that_is_not_there_cannot_be_removed() {
    let place = Place::new();
    assert_refused(
        &place.run(["image", "rm", "zzz"]),
        &["no image's ID starts with `zzz`", "natrig image ls"],
    );
    assert_refused(&place.run(["image", "rm"]), &["--all"]);
}

#[test]
fn a_folder_without_packages_says_what_it_should_hold() {
    let cache = tempfile::tempdir().unwrap();
    let place = Place::with_cache(Some(cache.path().to_owned()));
    let output = place.run(["image", "build", "--packages", "."]);
    assert_refused(&output, &["holds no .deb files", "apt-get download"]);
    place.assert_clean(&[]);
}

/// A reader that has seen enough, such as `head`, ends nothing with a panic.
#[test]
fn a_pipe_that_nobody_reads_is_no_error() {
    let place = Place::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = place.natrig(["doctor"]).stdout(writer).output().unwrap();
    assert_code(&output, 0);
    assert_eq!(stderr(&output), "");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.natrig(["run", "nowhere.yaml"]);
    let mut child = command.stdout(Stdio::piped()).stderr(writer).spawn().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn a_full_disk_is_an_error() {
    let place = Place::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place.natrig(["doctor"]).stdout(full).output().unwrap();
    assert_refused(&output, &["cannot write to standard output"]);
}
