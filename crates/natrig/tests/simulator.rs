//! `--backend sim`: the same files to the same results, with nothing but the program.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use natrig_record::{Cell, Outcome, Results};
use support::{Place, assert_code, repository, scenario, stderr, stdout};

/// natrig in a place, where it finds no other program.
fn alone(place: &Place, words: &[&str]) -> Command {
    let mut command = place.natrig(words);
    command.env("PATH", "/nonexistent").env("NATRIG_PROGRAMS", "/nonexistent");
    command
}

fn results(place: &Place, run: &str) -> Results {
    let text = fs::read(place.work().join(run).join("results.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Everything in a folder.
fn left(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().to_owned();
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

/// What two runs by one seed must have in common: their cells, and all evidence.
fn repeatable(place: &Place, run: &str) -> (Vec<Cell>, BTreeMap<PathBuf, Vec<u8>>) {
    let mut left = left(&place.work().join(run));
    // These tell when the run was, and how long it took.
    for report in ["results.json", "junit.xml", "summary.md", "report.html"] {
        assert!(left.remove(Path::new(report)).is_some(), "no {report}");
    }
    (results(place, run).cells, left)
}

#[test]
fn the_matrix_needs_nothing_but_the_program() {
    let place = Place::new();
    let output =
        alone(&place, &["matrix", "--backend", "sim", "--seed", "7", "--out", "run"]).output().unwrap();
    assert_code(&output, 0);
    assert!(stdout(&output).contains("25 as expected"), "{}", stdout(&output));
    assert!(stdout(&output).contains("in the simulator, --seed 7; evidence in run"), "{}", stdout(&output));
    let Results { run, totals, cells, .. } = results(&place, "run");
    assert_eq!((run.backend.as_str(), run.seed, totals.as_expected), ("sim", 7, 25));
    assert_eq!([run.accelerator, run.qemu, run.guest_kernel, run.image], [""; 4]);
    for file in ["captures/nat1.wan.pcapng", "case.json", "nat1.model.json", "logs/peer1.log"] {
        assert!(place.work().join("run").join(&cells[0].id).join(file).is_file(), "no {file}");
    }
    place.assert_clean(&["run"]);
}

#[test]
fn the_same_seed_is_the_same_run_on_any_number_of_threads() {
    let place = Place::new();
    for (run, jobs) in [("one", "1"), ("two", "2")] {
        let words =
            ["matrix", "--backend", "sim", "--seed", "11", "--jobs", jobs, "--repeat", "2", "--out", run];
        assert_code(&alone(&place, &words).output().unwrap(), 0);
    }
    let (one, two) = (repeatable(&place, "one"), repeatable(&place, "two"));
    assert!(one.0 == two.0, "the records differ");
    let differ: Vec<&PathBuf> = one.1.keys().filter(|file| one.1.get(*file) != two.1.get(*file)).collect();
    assert!(differ.is_empty() && one.1.len() == two.1.len(), "{differ:?}");
    // A repetition has a seed of its own, which repeats it alone.
    let second = one.0.iter().find(|cell| cell.id == "T2.M.24" && cell.repetition == Some(2)).unwrap();
    let seed = second.seed.unwrap().to_string();
    let words = ["matrix", "--backend", "sim", "--seed", &seed, "--only", "T2.M.24", "--out", "again"];
    assert_code(&alone(&place, &words).output().unwrap(), 0);
    let again = left(&place.work().join("again/T2.M.24"));
    assert!(again == left(&place.work().join("one/T2.M.24/2")), "the repetition was not repeated");
}

#[test]
fn a_seed_is_drawn_and_told() {
    let place = Place::new();
    let direct = scenario("seed/scenario-direct.yaml");
    let seeds = ["one", "two"].map(|run| {
        let words = ["run", "--backend", "sim", "--out", run, direct.to_str().unwrap()];
        let output = alone(&place, &words).output().unwrap();
        assert_code(&output, 0);
        let seed = results(&place, run).run.seed;
        assert!(stderr(&output).contains(&format!("--seed {seed}")), "{}", stderr(&output));
        seed
    });
    assert_ne!(seeds[0], seeds[1]);
}

#[test]
fn gateways_are_tried_without_nodes() {
    let place = Place::new();
    let words = ["matrix", "--backend", "sim", "--experiment", "--nat", "cgn,symmetric", "--out", "run"];
    let output = alone(&place, &words).output().unwrap();
    assert_code(&output, 0);
    assert!(results(&place, "run").cells.iter().all(|cell| cell.experiment.is_some()));
}

#[test]
fn a_scenario_that_needs_a_kernel_is_a_lab_error() {
    let place = Place::new();
    let text = "name: x\nnat1: {like: full-cone, engine: kernel}\nnat2: public\nexpected: direct\n";
    fs::write(place.work().join("kernel.yaml"), text).unwrap();
    let output = alone(&place, &["run", "--backend", "sim", "kernel.yaml"]).output().unwrap();
    assert_code(&output, 2);
    let said = stdout(&output);
    assert!(said.contains("LAB ERROR") && said.contains("the simulator has no kernel"), "{said}");
    assert!(said.contains("engine: kernel") && said.contains("--backend vm"), "{said}");
    for machine in ["{kernel: linux-image-6.1.0-47-cloud-amd64}", "{image: debian-12}"] {
        let text =
            format!("name: x\nnat1: public\nnat2: public\nexpected: direct\nmachines: {{peer: {machine}}}\n");
        fs::write(place.work().join("kernel.yaml"), text).unwrap();
        let output = alone(&place, &["run", "--backend", "sim", "kernel.yaml"]).output().unwrap();
        assert_code(&output, 2);
        assert!(stdout(&output).contains("`machines` names one that is to be booted"), "{}", stdout(&output));
    }
}

#[test]
fn a_failure_tells_how_to_see_it_again() {
    let place = Place::new();
    let control = scenario("controls/no-relay.yaml");
    let words = ["run", "--backend", "sim", "--seed", "5", "--out", "run", control.to_str().unwrap()];
    let output = alone(&place, &words).output().unwrap();
    assert_code(&output, 1);
    let again = "again: --backend sim --seed 5 --only control-no-relay";
    assert!(stdout(&output).contains(again), "{}", stdout(&output));
}

#[test]
fn time_is_stopped_and_a_machine_is_traced() {
    let place = Place::new();
    let direct = scenario("seed/scenario-direct.yaml");
    let words = ["run", "--backend", "sim", "--trace", "peer1", "--stop-at", "peer1:settled", "--out", "run"];
    let output = alone(&place, &words).arg(&direct).output().unwrap();
    assert_code(&output, 2);
    let cell = results(&place, "run").cells.remove(0);
    assert_eq!(cell.outcome, Outcome::LabError);
    let said = stdout(&output);
    assert!(said.contains("time was stopped at peer1:settled") && said.contains("stopped.json"), "{said}");
    let folder = place.work().join("run").join(&cell.evidence.folder);
    assert!(folder.join("stopped.json").is_file() && folder.join("logs/peer1.trace.jsonl").is_file());
    assert!(cell.evidence.logs.contains(&"logs/peer1.trace.jsonl".to_owned()), "{:?}", cell.evidence.logs);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_runs() {
    let direct = scenario("seed/scenario-direct.yaml");
    let direct = direct.to_str().unwrap();
    for (words, said) in [
        (&["run", "--backend", "simulator", direct][..], &["simulator", "sim"][..]),
        (&["run", "--backend", "sim", "--trace", "nat3", direct], &["no machine `nat3`", "peer1"]),
        (&["run", "--backend", "sim", "--trace", "cgn1", direct], &["no machine `cgn1`", "nat1"]),
        (&["run", "--backend", "sim", "--stop-at", "soon", direct], &["`soon` is no moment", "3.2s"]),
        (&["run", "--backend", "sim", "--stop-at", "nat1:settled", direct], &["no node runs on `nat1`"]),
        (&["run", "--backend", "sim", "--jobs", "0", direct], &["--jobs 0"]),
        (&["run", "--backend", "sim", "nowhere.yaml"], &["cannot read nowhere.yaml"]),
        #[cfg(feature = "machines")]
        (&["run", "--backend", "sim", "--fresh", direct], &["--fresh is for machines"]),
        #[cfg(feature = "machines")]
        (
            &["run", "--backend", "vm", "--trace", "peer1", direct],
            &["--trace is for the simulator", "--backend sim"],
        ),
        #[cfg(feature = "machines")]
        (&["matrix", "--stop-at", "1s"], &["--stop-at is for the simulator", "--backend sim"]),
    ] {
        let place = Place::new();
        let output = alone(&place, words).output().unwrap();
        assert_code(&output, 2);
        for phrase in said {
            assert!(stderr(&output).contains(phrase), "`{phrase}` is not in:\n{}", stderr(&output));
        }
        place.assert_clean(&[]);
    }
}

/// The packages that natrig is made of without its machines, on every system.
fn without_machines() -> Vec<String> {
    let words = ["tree", "-p", "natrig", "--no-default-features", "--edges", "normal", "--prefix", "none"];
    let output = Command::new(env!("CARGO"))
        .args(words)
        // Packages of other systems are not there after a build: Cargo fetches them.
        .args(["--target", "all", "--locked", "--format", "{p}"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let mut packages: Vec<String> =
        stdout(&output).lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
    packages.sort();
    packages.dedup();
    packages
}

#[test]
fn the_simulator_is_made_of_nothing_that_is_linuxs_alone() {
    let packages = without_machines();
    for there in ["natrig-sim", "omerta-mesh-core"] {
        assert!(packages.iter().any(|name| name == there), "no {there} in {packages:?}");
    }
    let foreign = [
        "natrig-machines",
        "natrig-vmm",
        "natrig-wire",
        "natrig-guest",
        "natrig-agent-proto",
        "omerta-mesh",
        "tokio",
        "socket2",
        "nfq",
        "netlink-packet-core",
        "netlink-packet-route",
    ];
    for name in foreign {
        assert!(!packages.iter().any(|package| package == name), "{name} is part of the simulator");
    }
}
