//! What machines of a distribution cost: first boot, copies, memory. The disk is one of Debian's packages (`scripts/debian-cloud-image`, for which
//! root is needed), the cache an empty one.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use natrig_record::Results;

/// How often a lab is started from what is in the cache.
const RUNS: usize = 5;

const SCENARIO: &str = "name: Debian\nnat1: port-restrict\nnat2: symmetric\nexpected: truth\nmachines:\n";

fn main() {
    // `cargo test --benches` asks every bench to show that it starts.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let work = tempfile::tempdir().expect("a folder for the runs");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let disk = work.path().join("debian.qcow2");
    let began = Instant::now();
    let made =
        Command::new(repository.join("scripts/debian-cloud-image")).arg(&disk).stdout(Stdio::null()).status();
    assert!(made.expect("the script starts").success(), "no disk");
    println!("a disk of Debian's packages: {:.0} s", began.elapsed().as_secs_f64());
    let bench = Bench { work: work.path().to_owned() };
    // Packages, the small image and its template.
    bench.run("small", "  peer: {memory: 160 MB}\n");
    let image = |role: &str| format!("  {role}: {{image: {}}}\n", disk.display());
    for (what, machines) in
        [("peers", image("peer")), ("all", ["gateway", "peer", "relay"].map(image).concat())]
    {
        let (_, first) = bench.run(what, &machines);
        let later: Vec<(Results, f64)> = (0..RUNS).map(|_| bench.run(what, &machines)).collect();
        let run = &later[0].0.run;
        if what == "peers" {
            println!("{}; {} ({})", run.host, run.accelerator, run.qemu);
        }
        println!("Debian: {what}, kernel {}", later[0].0.cells[0].kernels["peer1"]);
        let least = later.iter().map(|(_, seconds)| *seconds).fold(f64::MAX, f64::min);
        println!("  {:38} {:>8.0} ms", "first boots, until machines are saved", 1e3 * (first - least));
        for (name, figure, unit) in [
            ("five machines, ready for nodes", "machines", "ms"),
            ("start to verdict", "total", "ms"),
            ("own memory of the five", "own_memory_mib", "MiB"),
        ] {
            let mut values: Vec<f64> =
                later.iter().map(|(results, _)| results.cells[0].figures[figure]).collect();
            values.sort_by(f64::total_cmp);
            println!("  {name:38} {:>8.0} {unit}", values[values.len() / 2]);
        }
    }
}

struct Bench {
    work: PathBuf,
}

impl Bench {
    /// Runs a scenario with these machines; gives its results, and the seconds that it took.
    fn run(&self, name: &str, machines: &str) -> (Results, f64) {
        let file = self.work.join(format!("{name}.yaml"));
        std::fs::write(&file, format!("{SCENARIO}{machines}")).expect("a scenario");
        let out = self.work.join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_natrig"));
        command.arg("run").arg(&file).arg("--out").arg(&out).env("NATRIG_CACHE", self.work.join("cache"));
        let began = Instant::now();
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("natrig starts");
        let seconds = began.elapsed().as_secs_f64();
        assert!(status.success(), "{name} ended with {status}");
        let results = natrig_report::read(&out.join("results.json")).expect("results");
        std::fs::remove_dir_all(&out).expect("the run's folder");
        (results, seconds)
    }
}
