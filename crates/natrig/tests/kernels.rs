//! Machines with kernels of their own.

mod support;

use std::{collections::BTreeSet, fs, process::Command};

use natrig_record::Outcome;
use support::{Place, assert_code, stderr, stdout};

/// The oldest cloud kernel that the distribution still has: its package.
fn oldest() -> String {
    let pattern = "^linux-image-[0-9.]+-[0-9]+-cloud-amd64$";
    let output = Command::new("apt-cache").args(["search", "--names-only", pattern]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let packages = said.lines().filter_map(|line| line.split(' ').next());
    let number = |package: &str| {
        let numbers = package.split(['-', '.']).filter_map(|word| word.parse::<u32>().ok());
        numbers.collect::<Vec<_>>()
    };
    packages.min_by_key(|package| number(package)).expect("apt lists kernels").to_owned()
}

#[test]
#[ignore = "long: make test-full"]
fn gateways_of_two_kernels_stand_in_one_lab() {
    let place = Place::new();
    let kernel = oldest();
    let text = format!(
        "{{name: Two kernels, nat1: port-restrict, nat2: symmetric, expected: truth, machines: {{nat1: {{kernel: {kernel}}}}}}}"
    );
    fs::write(place.work().join("two.yaml"), text).unwrap();
    let output = place.run(["run", "--out", "out", "two.yaml"]);
    assert_code(&output, 0);
    let results = natrig_report::read(&place.work().join("out/results.json")).unwrap();
    let cell = &results.cells[0];
    assert_eq!(cell.outcome, Outcome::AsExpected);
    let release = kernel.strip_prefix("linux-image-").unwrap();
    assert_eq!(cell.kernels, [("nat1".to_owned(), release.to_owned())].into());
    assert_ne!(results.run.guest_kernel, release, "the archive has one kernel only");
    assert!(cell.proofs.iter().all(|proof| proof.steps == "whole"));
    // As the machines themselves say.
    let booted = |machine: &str| {
        let console = place.work().join(format!("out/{}/logs/{machine}.console.log", cell.id));
        fs::read_to_string(console).unwrap()
    };
    assert!(!booted("nat2").contains(release));
}

#[test]
#[ignore = "long: make test-full"]
fn what_kernels_differ_in_is_printed() {
    let place = Place::new();
    let kernel = oldest();
    let output = place.run(["nat", "kernels", &kernel, "--nat", "symmetric,full-cone", "--out", "out"]);
    assert_code(&output, 0);
    let said = stdout(&output);
    let release = kernel.strip_prefix("linux-image-").unwrap();
    assert!(said.contains(" of 2 gateways on ") && said.contains(release), "{said}");
    let results = natrig_report::read(&place.work().join("out/results.json")).unwrap();
    let kernels: BTreeSet<_> = results.cells.iter().flat_map(|cell| cell.kernels.values()).collect();
    assert_eq!((results.cells.len(), kernels.len()), (4, 1));

    let wrong = place.run(["nat", "kernels", "linux-image-0.0.0-0-cloud-amd64", "--nat", "symmetric"]);
    assert_code(&wrong, 2);
    assert!(stderr(&wrong).contains("linux-image-0.0.0-0-cloud-amd64"), "{}", stderr(&wrong));
    assert!(stderr(&wrong).contains("hint: "), "{}", stderr(&wrong));
}
