//! Machines that boot a distribution's disk: Debian's kernel, systemd and cloud-init, from a disk like those that it publishes for clouds.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Mutex, PoisonError},
};

use natrig_record::{Outcome, Path as Way};
use support::{Place, assert_code, repository, scenario, stderr, stdout};

/// The disk, made by `scripts/debian-cloud-image` once for each version of that script.
fn disk() -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let script = repository().join("scripts/debian-cloud-image");
    let version = hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(fs::read(&script).unwrap())[..8]);
    let folder = repository().join("target/images");
    fs::create_dir_all(&folder).unwrap();
    let disk = folder.join(format!("debian-{version}.qcow2"));
    if !disk.exists() {
        let lists = || support::names(Path::new("/var/lib/apt/lists"));
        let before = lists();
        let output = Command::new(&script).arg(&disk).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(lists(), before, "the script has changed this host");
    }
    disk
}

/// A scenario of the seed, with machines of that disk.
fn with_machines(seed: &str, machines: &str) -> String {
    let text = fs::read_to_string(scenario(&format!("seed/{seed}.yaml"))).unwrap();
    format!("{text}\nmachines:\n{}", machines.replace("DISK", disk().to_str().unwrap()))
}

#[test]
#[ignore = "long: make test-full"]
fn seed_scenarios_pass_with_a_distributions_machines() {
    let place = Place::new();
    let both = "  gateway: {image: DISK}\n  peer: {image: DISK}\n";
    let all = format!("{both}  relay: {{image: DISK}}\n");
    let scenarios = [
        ("all", "scenario-holepunch", all.as_str(), Way::Direct),
        ("relayed", "scenario-relay-fallback", both, Way::Relay),
        ("direct", "scenario-direct", both, Way::Direct),
        // A distribution's peers behind gateways of natrig's own, and the other way about.
        ("peers", "scenario-relay-fallback", "  peer: {image: DISK}\n", Way::Relay),
        ("gateway", "scenario-direct", "  nat1: {image: DISK}\n", Way::Direct),
    ];
    let files = scenarios.map(|(name, seed, machines, _)| {
        let file = format!("{name}.yaml");
        let text = with_machines(seed, machines);
        fs::write(place.work().join(&file), format!("{text}\nid: {name}\n")).unwrap();
        file
    });
    let output = place.run(["run", "--out", "out"].into_iter().chain(files.iter().map(String::as_str)));
    assert_code(&output, 0);
    let results = natrig_report::read(&place.work().join("out/results.json")).unwrap();
    assert_eq!(results.cells.len(), scenarios.len());
    for (name, _, _, path) in scenarios {
        let cell = results.cells.iter().find(|cell| cell.id == name).unwrap();
        assert_eq!(cell.outcome, Outcome::AsExpected, "{name}");
        assert_eq!(cell.verdict.as_ref().unwrap().path, path, "{name}");
        assert!(cell.proofs.iter().all(|proof| proof.steps == "whole"), "{name}");
        assert!(cell.kernels.values().all(|kernel| kernel.ends_with("-cloud-amd64")), "{:?}", cell.kernels);
    }
    place.assert_no_process();
}

/// A lab that stays up, and is taken down with the test, however that ends.
struct Lab<'a>(&'a Place);

impl Lab<'_> {
    fn exec(&self, machine: &str, words: &[&str]) -> Output {
        let lab = self.0.lab();
        self.0.run(["exec", "--lab", &lab, machine, "--"].iter().chain(words))
    }
}

impl Drop for Lab<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(["down", "--lab", &self.0.lab()]);
    }
}

#[test]
#[ignore = "long: make test-full"]
fn a_distributions_machine_is_itself() {
    let place = Place::new();
    let text = with_machines("scenario-holepunch", "  peer: {image: DISK}\n");
    fs::write(place.work().join("one.yaml"), text).unwrap();
    assert_code(&place.run(["up", "one.yaml", "--lab", &place.lab()]), 0);
    let lab = Lab(&place);
    let said = |words: &[&str]| {
        let output = lab.exec("peer1", words);
        assert_code(&output, 0);
        stdout(&output).trim().to_owned()
    };
    assert_eq!(said(&["cat", "/proc/1/comm"]), "systemd");
    assert_eq!(said(&["sh", "-c", ". /etc/os-release; echo $ID-$VERSION_ID"]), "debian-12");
    assert_eq!(said(&["hostname"]), "peer1");
    assert_eq!(said(&["cloud-init", "status"]), "status: done");
    let timer = said(&["sh", "-c", "systemctl is-enabled apt-daily.timer || true"]);
    assert_eq!(timer, "disabled", "what cloud-init was told");
    // Copies are not twins.
    let of = |machine: &str| stdout(&lab.exec(machine, &["cat", "/etc/machine-id"]));
    assert_ne!(of("peer1"), of("peer2"));
    // What one writes, the other does not see.
    said(&["sh", "-c", "echo 1 > /root/mine; sync"]);
    let other = lab.exec("peer2", &["cat", "/root/mine"]);
    assert!(stderr(&other).contains("No such file"), "{}", stderr(&other));
    drop(lab);
    place.assert_no_process();
}

#[test]
#[ignore = "long: make test-full"]
fn a_distribution_that_fails_to_set_itself_up_is_told() {
    let place = Place::new();
    fs::write(place.work().join("bad.yaml"), "#cloud-config\nruncmd:\n  - [false]\n").unwrap();
    let text = with_machines("scenario-relay-fallback", "  peer1: {image: DISK, cloud_init: bad.yaml}\n");
    fs::write(place.work().join("one.yaml"), text).unwrap();
    let output = place.run(["run", "--out", "out", "one.yaml"]);
    let said = stderr(&output) + &stdout(&output);
    assert_code(&output, 2);
    assert!(said.contains("cloud-init failed in the machine") && said.contains("runcmd"), "{said}");
    place.assert_no_process();
}
