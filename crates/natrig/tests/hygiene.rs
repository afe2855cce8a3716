//! What natrig leaves behind when it is interrupted, killed, or panics.

mod support;

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
};

use natrig_record::Outcome;
use rustix::process::Signal;
use support::{Place, Running, assert_code, scenario};

const CELL: &str = "relay-fallback-both-symmetric";

/// A moment of a run, told by what a run leaves when it comes there.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// apt fetches packages.
    Packages,
    /// Packages are there; the image is put together.
    Image,
    /// A guest boots, to be saved.
    Template,
    /// The machines of the cell come up.
    Machines,
    /// The gateways are proven.
    Proof,
    /// The nodes have been started.
    Nodes,
    /// The lab's bytes are on their way.
    Data,
}

impl Moment {
    /// What is in the cache when the run starts.
    fn cached(self) -> &'static [&'static str] {
        match self {
            Moment::Packages => &[],
            Moment::Image | Moment::Template => &["packages"],
            _ => &["packages", "images", "templates", "disks"],
        }
    }

    fn wait(self, place: &Place, run: &mut Running) {
        let cell = place.work().join("out").join(CELL);
        let log = cell.join("logs/peer1.log");
        let logged = |phrase: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(phrase));
        match self {
            Moment::Packages => {
                run.until_said("fetching");
                run.until("apt works", || {
                    place.processes().iter().any(|(_, command)| command.starts_with("apt-get"))
                });
            }
            Moment::Image => run.until_said("putting the guest's image together"),
            Moment::Template => {
                run.until_said("booting a guest with");
                run.until("a guest boots", || place.machines() == 1);
            }
            Moment::Machines => run.until("the machines come up", || place.machines() >= 3),
            Moment::Proof => run.until("the rules are loaded", || cell.join("nat2.nft").exists()),
            Moment::Nodes => run.until("the node has started", || logged("started")),
            Moment::Data => run.until("the path is settled", || logged("settled")),
        }
    }
}

/// A cache for one test, warm up to a moment.
fn cache(moment: Moment) -> tempfile::TempDir {
    static WARM: OnceLock<PathBuf> = OnceLock::new();
    let from = WARM.get_or_init(|| {
        let place = Place::new();
        // The users' cache, after a run that made what was missing in it.
        assert_code(&place.natrig(["run"]).arg(scenario("seed/scenario-direct.yaml")).output().unwrap(), 0);
        natrig_vmm::Store::open_default().unwrap().root().to_owned()
    });
    let cache = tempfile::tempdir().unwrap();
    // What was found out of KVM, where there is one.
    let kvm = from.join("kvm").is_dir().then_some(&"kvm");
    for part in moment.cached().iter().chain(kvm) {
        copy(&from.join(part), &cache.path().join(part));
    }
    cache
}

/// Copies a folder, by links where that can be done: a cache's files never change.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else if fs::hard_link(entry.path(), &to).is_err() {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// These tests count machines and wait for moments: one at a time keeps moments apart on a small host.
fn alone() -> impl Drop {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(place: &Place) -> Running {
    let mut command = place.natrig(["run", "--out", "out"]);
    command.arg(scenario("seed/scenario-relay-fallback.yaml"));
    Running::start(command)
}

/// Kills a run at a moment; nothing may be left but its folder, and the next run must not notice.
fn kill_at(moment: Moment) {
    let _alone = alone();
    let cache = cache(moment);
    let place = Place::with_cache(Some(cache.path().to_owned()));
    let mut run = start(&place);
    moment.wait(&place, &mut run);
    run.signal(Signal::KILL);
    assert_eq!(run.wait().code(), None);
    match moment {
        // Packages and images that are complete stay.
        Moment::Packages | Moment::Template => place.assert_no_process(),
        Moment::Image => place.assert_clean(&[]),
        _ => place.assert_clean(&["out"]),
    }
    let next = place.natrig(["run", "--out", "next"]).arg(scenario("seed/scenario-direct.yaml")).output();
    assert_code(&next.unwrap(), 0);
    place.assert_no_process();
}

#[test]
#[ignore = "long: make test-full"]
fn killed_while_packages_are_fetched() {
    kill_at(Moment::Packages);
}

#[test]
fn killed_while_the_image_is_made() {
    kill_at(Moment::Image);
}

#[test]
fn killed_while_the_template_boots() {
    kill_at(Moment::Template);
}

#[test]
fn killed_while_machines_come_up() {
    kill_at(Moment::Machines);
}

#[test]
fn killed_during_the_proof() {
    kill_at(Moment::Proof);
}

#[test]
fn killed_while_nodes_run() {
    kill_at(Moment::Nodes);
}

#[test]
fn killed_while_data_is_on_its_way() {
    kill_at(Moment::Data);
}

/// Ends a run with a signal that asks; it must leave its results.
fn interrupt_at(moment: Moment, signal: Signal) {
    let _alone = alone();
    let cache = cache(Moment::Nodes);
    let place = Place::with_cache(Some(cache.path().to_owned()));
    let mut run = start(&place);
    moment.wait(&place, &mut run);
    run.signal(signal);
    assert_eq!(run.wait().code(), Some(130), "{}", run.said());
    place.assert_clean(&["out"]);
    let out = place.work().join("out");
    let results = natrig_report::read(&out.join("results.json")).unwrap();
    assert!(results.interrupted);
    assert_eq!(results.cells.len(), 1);
    assert_eq!(results.cells[0].outcome, Outcome::LabError);
    assert_eq!(results.cells[0].failure.as_ref().unwrap().message, "interrupted");
    for report in ["junit.xml", "summary.md", "report.html"] {
        assert!(out.join(report).exists());
    }
    assert!(run.said().contains("interrupted"), "{}", run.said());
}

#[test]
fn interrupted_while_machines_come_up() {
    interrupt_at(Moment::Machines, Signal::INT);
}

#[test]
fn interrupted_during_the_proof() {
    interrupt_at(Moment::Proof, Signal::INT);
}

#[test]
fn interrupted_while_nodes_run() {
    interrupt_at(Moment::Nodes, Signal::INT);
}

#[test]
fn terminated_while_nodes_run() {
    interrupt_at(Moment::Nodes, Signal::TERM);
}

/// Ctrl-C in a terminal is for all processes in its foreground; the machines must last until the evidence is gathered.
#[test]
fn interrupted_at_a_terminal() {
    let _alone = alone();
    let cache = cache(Moment::Nodes);
    let place = Place::with_cache(Some(cache.path().to_owned()));
    let mut command = place.natrig(["run", "--out", "out"]);
    command.arg(scenario("seed/scenario-relay-fallback.yaml")).process_group(0);
    let mut run = Running::start(command);
    Moment::Nodes.wait(&place, &mut run);
    run.signal_group(Signal::INT);
    assert_eq!(run.wait().code(), Some(130), "{}", run.said());
    place.assert_clean(&["out"]);
    let results = natrig_report::read(&place.work().join("out/results.json")).unwrap();
    let evidence = &results.cells[0].evidence;
    assert_eq!((evidence.captures.len(), evidence.gateways.len()), (13, 6), "{evidence:?}");
}

#[test]
fn interrupted_before_any_machine_runs() {
    let _alone = alone();
    let cache = cache(Moment::Image);
    let place = Place::with_cache(Some(cache.path().to_owned()));
    let mut run = start(&place);
    Moment::Image.wait(&place, &mut run);
    run.signal(Signal::INT);
    assert_eq!(run.wait().code(), Some(130));
    // No results, but no folder either.
    place.assert_clean(&[]);
}

/// A run that waits for the room that another one has can be interrupted, too.
#[test]
fn interrupted_while_waiting_for_room() {
    let _alone = alone();
    let cache = cache(Moment::Nodes);
    let places = [(); 2].map(|()| Place::with_cache(Some(cache.path().to_owned())));
    let [mut first, mut second] = [&places[0], &places[1]].map(|place| {
        let mut command = place.natrig(["run", "--out", "out"]);
        command.arg(scenario("seed/scenario-relay-fallback.yaml")).env("NATRIG_SLOTS", "5");
        let mut run = Running::start(command);
        let folder = place.work().join("out").join(CELL);
        run.until("the cell has begun", || folder.exists());
        run
    });
    second.signal(Signal::INT);
    assert_eq!(second.wait().code(), Some(130), "{}", second.said());
    let results = natrig_report::read(&places[1].work().join("out/results.json")).unwrap();
    assert!(results.interrupted);
    assert_eq!(first.wait().code(), Some(0), "{}", first.said());
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let _alone = alone();
    let cache = cache(Moment::Nodes);
    let place = Place::with_cache(Some(cache.path().to_owned()));
    let mut run = start(&place);
    Moment::Nodes.wait(&place, &mut run);
    run.signal(Signal::INT);
    run.until_said("once more to end at once");
    run.signal(Signal::INT);
    assert_eq!(run.wait().code(), Some(130));
    place.assert_clean(&["out"]);
}

/// Nobody reads what is said; the second signal must be heard all the same.
#[test]
fn interrupts_are_heard_without_a_terminal() {
    let _alone = alone();
    let cache = cache(Moment::Nodes);
    let place = Place::with_cache(Some(cache.path().to_owned()));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.natrig(["run", "--out", "out"]);
    command.arg(scenario("seed/scenario-relay-fallback.yaml"));
    let mut child = command.stdout(std::process::Stdio::null()).stderr(writer).spawn().unwrap();
    support::until("machines run", || match place.machines() {
        5 => Ok(()),
        some => Err(format!("{some}")),
    });
    for _ in 0..2 {
        rustix::process::kill_process(support::pid(child.id()), Signal::INT).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    place.assert_clean(&["out"]);
}

/// Runs the test below in a process of its own, where it panics or aborts with machines up.
fn fall(how: &str) {
    let _alone = alone();
    let cache = cache(Moment::Nodes);
    let place = Place::with_cache(Some(cache.path().to_owned()));
    let mut command: Command = place.command(std::env::current_exe().unwrap());
    command.args(["--exact", "a_program_with_machines_falls", "--nocapture"]).env(FALL, how);
    let mut run = Running::start(command);
    assert!(!run.wait().success());
    assert!(run.said().contains("five machines are up"), "{}", run.said());
    place.assert_clean(&["evidence"]);
}

const FALL: &str = "NATRIG_TEST_FALL";

#[test]
fn a_panic_takes_the_machines_along() {
    fall("panic");
}

#[test]
fn a_panic_of_another_thread_takes_the_machines_along() {
    fall("thread");
}

#[test]
fn an_abort_takes_the_machines_along() {
    fall("abort");
}

/// Does nothing but in the processes that [`fall`] starts.
#[test]
fn a_program_with_machines_falls() {
    let Some(how) = std::env::var_os(FALL) else {
        return;
    };
    let programs = natrig_machines::Programs::find().unwrap();
    let rig =
        natrig_machines::Rig::prepare(&programs, natrig_vmm::PackageSource::Apt, 7, &mut |_| {}).unwrap();
    let scenario = natrig_scenario::Scenario::load(&scenario("seed/scenario-direct.yaml")).unwrap().remove(0);
    let lab =
        natrig_machines::Lab::boot(&rig, &scenario, Path::new("evidence"), &natrig_lab::Halt::default())
            .unwrap();
    assert_eq!(lab.members().len(), 5);
    eprintln!("five machines are up");
    match how.to_str() {
        Some("abort") => std::process::abort(),
        Some("thread") => std::thread::scope(|scope| {
            let user = scope.spawn(|| -> Option<&natrig_machines::Lab> {
                let _lab = &lab;
                panic!("as it was told to")
            });
            user.join().unwrap();
        }),
        _ => panic!("as it was told to"),
    }
}
