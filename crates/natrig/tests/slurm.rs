//! A run that a Slurm job array shares: one host that is controller and node, on loopback.

mod support;

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use support::{Place, assert_code, repository, stdout};

/// Ports of the controller and of the node, on loopback.
const PORTS: [u16; 2] = [16_817, 16_818];

/// How long the cluster may take to come up, and a job to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon of the cluster, ended with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Cluster {
    place: Place,
    _daemons: Vec<Daemon>,
}

impl Cluster {
    fn up() -> Self {
        let place = Place::new();
        let home = place.work();
        for folder in ["state", "spool"] {
            fs::create_dir(home.join(folder)).unwrap();
        }
        let key: Vec<u8> = (0..128).map(|at: u8| at.wrapping_mul(37)).collect();
        fs::write(home.join("munge.key"), key).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode;
        fs::set_permissions(home.join("munge.key"), mode(0o600)).unwrap();
        fs::write(home.join("slurm.conf"), configuration(&home)).unwrap();
        let path = |name: &str| home.join(name).display().to_string();
        let munged = daemon(
            &place,
            "munged",
            &[
                "--foreground",
                "--force",
                &format!("--key-file={}", path("munge.key")),
                &format!("--socket={}", path("munge.socket")),
                &format!("--pid-file={}", path("munged.pid")),
                &format!("--log-file={}", path("munged.log")),
                &format!("--seed-file={}", path("munge.seed")),
            ],
        );
        until("munged has its socket", || home.join("munge.socket").exists());
        let controller = daemon(&place, "slurmctld", &["-D"]);
        let node = daemon(&place, "slurmd", &["-D"]);
        let cluster = Cluster { place, _daemons: vec![munged, controller, node] };
        until("the node is idle", || {
            let output = cluster.command("sinfo").args(["-h", "-o", "%T"]).output().unwrap();
            stdout(&output).trim() == "idle"
        });
        cluster
    }

    fn command(&self, program: &str) -> Command {
        command(&self.place, program)
    }
}

fn command(place: &Place, program: &str) -> Command {
    let mut command = place.command(program);
    // Where daemons are, and ordinary users do not look.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    command.env("PATH", path).env("SLURM_CONF", place.work().join("slurm.conf"));
    command
}

fn daemon(place: &Place, program: &str, arguments: &[&str]) -> Daemon {
    let log = fs::File::create(place.work().join(format!("{program}.out"))).unwrap();
    let mut command = command(place, program);
    command.args(arguments).stdout(Stdio::null()).stderr(log);
    let started = command.spawn();
    Daemon(started.unwrap_or_else(|error| panic!("{program}: {error}; apt-get install slurm-wlm brings it")))
}

fn configuration(home: &Path) -> String {
    let home = home.display();
    let word = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (host, user) = (word("hostname", "-s"), word("id", "-un"));
    let [controller, node] = PORTS;
    format!(
        "ClusterName=natrig\nSlurmctldHost={host}(127.0.0.1)\nAuthType=auth/munge\nAuthInfo=socket={home}/munge.socket\n\
         SlurmUser={user}\nSlurmdUser={user}\nSlurmctldPort={controller}\nSlurmdPort={node}\nStateSaveLocation={home}/state\n\
         SlurmdSpoolDir={home}/spool\nSlurmctldPidFile={home}/slurmctld.pid\nSlurmdPidFile={home}/slurmd.pid\n\
         ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSelectType=select/cons_tres\nSchedulerType=sched/builtin\n\
         JobAcctGatherType=jobacct_gather/none\nMpiDefault=none\nReturnToService=2\n\
         NodeName={host} NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN\n\
         PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
    )
}

fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "long, and needs Slurm: make test-full"]
fn a_job_array_runs_the_matrix() {
    let cluster = Cluster::up();
    let script = repository().join("ci/slurm.sh");
    let output = cluster
        .command("sbatch")
        .args(["--wait", "--array=1-2", "--export=ALL"])
        .arg(script)
        .args(["--backend", "sim", "--seed", "1"])
        .env("NATRIG", env!("CARGO_BIN_EXE_natrig"))
        .output()
        .unwrap();
    assert_code(&output, 0);
    let output =
        cluster.place.natrig(["report", "merge", "--out", "whole", "part-1", "part-2"]).output().unwrap();
    assert_code(&output, 0);
    assert!(stdout(&output).contains("25 as expected"), "{}", stdout(&output));
    let whole = natrig_report::read(&cluster.place.work().join("whole/results.json")).unwrap();
    let first: Vec<&str> = whole.cells.iter().take(3).map(|cell| cell.id.as_str()).collect();
    assert_eq!(first, ["T2.M.1", "T2.M.2", "T2.M.3"]);
}
