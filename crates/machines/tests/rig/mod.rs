//! Labs for tests: real machines, made from the programs that `make build` left.

use std::{path::Path, sync::OnceLock};

use natrig_agent_proto::Exit;
use natrig_lab::Halt;
use natrig_machines::{Lab, Programs, Rig};
use natrig_scenario::{Machine, Scenario};
use natrig_vmm::PackageSource;

/// One for all tests of a binary.
pub fn rig() -> &'static Rig {
    static RIG: OnceLock<Rig> = OnceLock::new();
    RIG.get_or_init(|| {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release");
        let programs = Programs::in_folder(&built).expect("`make build` makes the programs");
        Rig::prepare(&programs, PackageSource::Apt, 7, &mut |line| eprintln!("{line}"))
            .expect("machines run here")
    })
}

/// A scenario with two NATs and nothing else of note.
#[allow(dead_code, reason = "not every test needs it")]
pub fn scenario(nat1: &str, nat2: &str) -> Scenario {
    let text = format!("name: test\nnat1: {nat1}\nnat2: {nat2}\nexpected: truth\n");
    Scenario::parse("test.yaml", &text).unwrap().remove(0)
}

/// Its machines, without nodes.
#[allow(dead_code, reason = "not every test needs all")]
pub fn boot(scenario: &Scenario, folder: &Path) -> Lab {
    let mut lab = Lab::boot(rig(), scenario, folder, &Halt::default()).unwrap();
    lab.set_up();
    lab
}

/// What a shell in a machine prints, and how it ends.
#[allow(dead_code, reason = "not every test asks a machine")]
pub fn shell(lab: &Lab, machine: Machine, script: &str) -> (String, Exit) {
    let output = lab
        .agent(machine)
        .unwrap()
        .run(&["sh", "-c", script], &[], std::time::Duration::from_secs(60))
        .unwrap();
    (String::from_utf8_lossy(&output.stdout).trim().to_owned(), output.status)
}
