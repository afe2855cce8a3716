//! What captures cost machines: one sends to the other as fast as it can, with and without them, by turns.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use natrig_agent_proto::Start;
use natrig_lab::Halt;
use natrig_machines::{Lab, Programs, Rig};
use natrig_scenario::{Machine, Scenario};
use natrig_vmm::PackageSource;

/// How much is sent each time, in MiB; it lies in the sender's memory.
const MEBIBYTES: usize = 48;

/// How often it is sent with captures, and how often without.
const ROUNDS: usize = 40;

const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    // `cargo test --benches` asks every bench to show that it starts.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release");
    let programs = Programs::in_folder(&built).expect("`make build` makes the programs");
    let rig = Rig::prepare(&programs, PackageSource::Apt, 7, &mut |line| eprintln!("{line}"))
        .expect("machines run here");
    let text =
        "name: capture\nnat1: public\nnat2: public\nexpected: direct\nmachines: {relay: {memory: 256 MB}}\n";
    let scenario = Scenario::parse("capture.yaml", text).expect("a scenario").remove(0);
    let folder = tempfile::tempdir().expect("a folder for captures");
    let only = |name| name == Machine::RELAY || name == Machine::NAT1;
    let mut lab =
        Lab::boot_only(&rig, &scenario, only, folder.path(), &Halt::default()).expect("two machines");
    lab.set_up();
    let host = lab.topology().hosts().iter().find(|host| host.machine == Machine::NAT1).expect("a receiver");
    let to =
        format!("{}:9000", host.nics.iter().find(|nic| nic.name == "wan").expect("a cable").addresses[0].0);
    let sender = lab.agent(Machine::RELAY).expect("a sender");
    let file = format!("dd if=/dev/zero of=/run/file bs=1M count={MEBIBYTES}");
    assert!(sender.run(&["sh", "-c", &file], &[], PATIENCE).expect("a file").status.success());

    println!(
        "{} ({}), one machine to another, {MEBIBYTES} MiB at a time",
        rig.accelerator().accelerator,
        rig.qemu().version()
    );
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..2 * (ROUNDS + 1) {
        let captured = round % 2;
        let captures = folder.path().join(format!("captures-{round}"));
        lab.switch().isolate().expect("captures end");
        lab.switch().begin(7, (captured == 1).then_some(captures.as_path())).expect("captures begin");
        let seconds = send(&lab, &to);
        // In the first of either, the emulator still translates.
        if round > 1 {
            took[captured].push(seconds);
        }
        let _ = std::fs::remove_dir_all(captures);
    }
    let [without, with] = took.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times
    });
    for (name, times) in [("without captures", &without), ("with captures", &with)] {
        let rate = |seconds: f64| MEBIBYTES as f64 / seconds;
        let (least, median, most) = (times[times.len() - 1], times[times.len() / 2], times[0]);
        println!("{name:18} median {:6.1} MiB/s  ({:.1} to {:.1})", rate(median), rate(least), rate(most));
    }
    let [without, with] = [without, with].map(|times| times[times.len() / 2]);
    println!("slower by {:.1} %; goal: 5", (with / without - 1.0) * 100.0);
}

/// Sends the file; gives the seconds from the sender's start to its end.
fn send(lab: &Lab, to: &str) -> f64 {
    let words = |words: [&str; 4]| words.map(str::to_owned).to_vec();
    let receiver = lab.agent(Machine::NAT1).expect("a receiver");
    let argv = words(["carry", "listen", to, "/dev/null"]);
    let (_listening, said) = receiver.start(Start { argv, ..Start::default() }).expect("a receiver");
    said.recv_timeout(PATIENCE).expect("it is ready");
    let began = Instant::now();
    let output =
        lab.agent(Machine::RELAY).expect("a sender").run(&["carry", "send", to, "/run/file"], &[], PATIENCE);
    let output = output.expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    began.elapsed().as_secs_f64()
}
