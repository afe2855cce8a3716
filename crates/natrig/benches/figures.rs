//! The spine's figures, each beside its goal: `make bench`.
//!
//! Runs the release programs as a user does and reads what they wrote. The goals are for 2 cores without hardware
//! virtualisation.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use natrig_record::Results;

const RUNS: usize = 5;

fn main() {
    // `cargo test --benches` asks every bench to show that it starts.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let work = tempfile::tempdir().expect("a folder for the runs");
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let direct = scenarios.join("seed/scenario-direct.yaml");
    let run =
        |name: &str, words: &[&str], cache: Option<&Path>| natrig(&work.path().join(name), words, cache);

    let direct_words = ["run", &direct.display().to_string()];
    // The first one makes image and templates where they are missing.
    let warm = run("warm", &direct_words, None).0;
    println!(
        "{}; {} ({}), guests' kernel {}",
        warm.run.host, warm.run.accelerator, warm.run.qemu, warm.run.guest_kernel
    );
    println!("load of the host before: {}", load());
    println!();
    println!("{:58} {:>9} {:>9}  least to most, runs", "figure", "goal", "median");

    let cells: Vec<Results> = (0..RUNS).map(|n| run(&format!("direct-{n}"), &direct_words, None).0).collect();
    let figure = |name: &str| -> Vec<f64> { cells.iter().map(|run| run.cells[0].figures[name]).collect() };
    let seconds = |values: Vec<f64>| values.into_iter().map(|ms| ms / 1000.0).collect::<Vec<f64>>();
    row("five-machine lab from warm templates, ready for nodes", "1.5 s", "s", seconds(figure("machines")));
    row("own memory of those five", "350 MiB", "MiB", figure("own_memory_mib"));
    row("one direct cell, start to verdict, gateways proven", "4 s", "s", seconds(figure("total")));
    row("  of that: gateways loaded, proven and flushed", "", "s", seconds(figure("proof")));

    let matrix: Vec<Results> = (0..2).map(|n| run(&format!("matrix-{n}"), &["matrix"], None).0).collect();
    row("25 cells, warm", "60 s", "s", seconds(matrix.iter().map(|run| run.run.elapsed_ms).collect()));
    let spent = matrix.iter().flat_map(|run| &run.cells);
    let spent = spent.map(|cell| cell.figures["processor_time_of_machines"]).collect();
    row("  processor time of a cell's machines", "", "s", seconds(spent));
    let outcomes: Vec<String> =
        matrix.iter().map(|run| format!("{} of 25", run.totals.as_expected)).collect();
    println!("  as expected: {}", outcomes.join(", "));

    let simulated: Vec<Results> =
        (0..RUNS).map(|n| run(&format!("simulated-{n}"), &["matrix", "--backend", "sim"], None).0).collect();
    let took = simulated.iter().map(|run| run.run.elapsed_ms).collect();
    row("25 cells in the simulator", "1 s", "s", seconds(took));
    let outcomes: Vec<String> =
        simulated.iter().map(|run| format!("{} of 25", run.totals.as_expected)).collect();
    println!("  as expected: {}", outcomes.join(", "));

    let first: Vec<f64> = (0..2)
        .map(|n| {
            let cache = tempfile::tempdir().expect("a folder for a cache");
            run(&format!("first-{n}"), &direct_words, Some(cache.path())).1
        })
        .collect();
    row("first verdict without packages, image and templates", "60 s", "s", first);
    println!();
    println!("load of the host after: {}", load());
}

/// Runs natrig and reads its results; an exit that is not 0 ends the benchmark.
fn natrig(out: &Path, words: &[&str], cache: Option<&Path>) -> (Results, f64) {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release");
    let mut command = Command::new(built.join("natrig"));
    command.args(words).arg("--out").arg(out).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("NATRIG_PROGRAMS", &built);
    if let Some(cache) = cache {
        command.env("NATRIG_CACHE", cache);
    }
    let started = Instant::now();
    let status = command.status().expect("`make build` makes natrig");
    let elapsed = started.elapsed().as_secs_f64();
    let results = natrig_report::read(&PathBuf::from(out).join("results.json"));
    let results = results.unwrap_or_else(|error| panic!("natrig {}: {status}: {error}", words.join(" ")));
    if !status.success() {
        println!("! natrig {} ended with {status}: {}", words.join(" "), natrig_report::summary(&results));
    }
    (results, elapsed)
}

fn row(name: &str, goal: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let (least, most, median) = (values[0], values[values.len() - 1], values[values.len() / 2]);
    let digits = usize::from(unit == "s") * 2;
    println!(
        "{name:58} {goal:>9} {:>9}  {least:.digits$} to {most:.digits$}, {}",
        format!("{median:.digits$} {unit}"),
        values.len()
    );
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .split(' ')
        .next()
        .unwrap_or_default()
        .to_owned()
}
