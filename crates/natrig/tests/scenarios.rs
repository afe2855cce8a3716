//! Scenarios from the command line to the evidence, on virtual machines.

mod support;

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use natrig_capture::Trace;
use natrig_record::{About, Cell, Kind, Outcome, Path as WirePath, Results, Step, Totals};
use support::{Place, assert_code, names, scenario, stderr, stdout};

/// Runs natrig, which must end with this code, and reads what it left in `out`.
fn results(place: &Place, arguments: &[&str], files: &[&str], code: i32) -> (Results, String) {
    let mut command = place.natrig([arguments[0], "--out", "out"]);
    command.args(&arguments[1..]).args(files.iter().map(|file| scenario(file)));
    let output = command.output().unwrap();
    assert_code(&output, code);
    let results = natrig_report::read(&place.work().join("out/results.json")).unwrap();
    place.assert_clean(&["out"]);
    (results, stdout(&output) + &stderr(&output))
}

/// Fails unless all evidence of a cell is there and can be read.
fn assert_evidence(run: &Path, cell: &Cell) {
    let folder = run.join(&cell.evidence.folder);
    let evidence = &cell.evidence;
    for file in evidence.captures.iter().chain(&evidence.logs).chain(&evidence.gateways) {
        assert!(folder.join(file).is_file(), "{} names {file}, which is not there", cell.id);
    }
    let links =
        ["nat1.lan", "nat1.wan", "nat2.lan", "nat2.wan", "peer1.lan", "peer2.lan", "relay.wan", "dropped"];
    // From where the gateways were proven.
    let stands = ["nat1.before", "nat1.behind", "nat2.before", "nat2.behind"];
    let captures = names(&folder.join("captures"));
    assert_eq!(captures, links.iter().chain(&stands).map(|link| format!("{link}.pcapng")).collect());
    let trace = Trace::read_folder(&folder.join("captures")).unwrap();
    assert!(!trace.frames().is_empty());

    for machine in ["nat1", "nat2", "peer1", "peer2", "relay"] {
        assert!(folder.join(format!("logs/{machine}.console.log")).is_file());
    }
    for node in ["peer1", "peer2", "relay"] {
        let log = fs::read_to_string(folder.join(format!("logs/{node}.log"))).unwrap();
        assert!(log.contains(r#""event":"started""#), "{node}: {log}");
    }
    for (gateway, nat) in ["nat1", "nat2"].iter().zip(&cell.nats) {
        let read = |kind| fs::read_to_string(folder.join(format!("{gateway}.{kind}"))).unwrap();
        assert!(read("nft").contains("table ip natrig"), "{nat}");
        assert!(read("ruleset").contains("table ip natrig"), "{nat}");
        if nat != "public" {
            assert!(read("conntrack").contains("udp"), "no connection in {gateway}, {nat}");
        }
    }
    assert_eq!(cell.proofs.len(), 2);
    for (proof, nat) in cell.proofs.iter().zip(&cell.nats) {
        assert!(proof.holds && &proof.profile == nat && proof.differs.is_empty(), "{proof:?}");
    }
}

/// Fails unless the captures showed what both gateways and the nodes of a cell had to show.
fn assert_shown(cell: &Cell) {
    let shown = |about| cell.assertions.iter().filter(move |one| one.about == about);
    assert!(cell.assertions.iter().all(|one| one.holds), "{:#?}", cell.assertions);
    for gateway in ["nat1 ", "nat2 "] {
        assert!(shown(About::Gateway).any(|one| one.what.starts_with(gateway)), "{:#?}", cell.assertions);
    }
    let expected = match kind(cell).unwrap() {
        Kind::Direct => 0,
        Kind::Reversal => 1,
        Kind::Punch | Kind::Birthday => 2,
        Kind::Relay => 3,
    };
    assert_eq!(shown(About::Node).count(), expected, "{:#?}", cell.assertions);
}

/// Fails unless the three files of a run tell of all its cells.
fn assert_reports(run: &Path, results: &Results) {
    let junit = fs::read_to_string(run.join("junit.xml")).unwrap();
    let report = quick_junit::Report::deserialize_from_str(&junit).unwrap();
    let tests: usize = report.test_suites.iter().map(|suite| suite.test_cases.len()).sum();
    assert_eq!(tests, results.cells.len());
    let summary = fs::read_to_string(run.join("summary.md")).unwrap();
    for cell in &results.cells {
        assert!(summary.contains(&cell.id) || summary.contains(&cell.name), "{}\n{summary}", cell.id);
    }
    assert!(["kvm", "tcg"].contains(&results.run.accelerator.as_str()));
    assert_eq!(results.totals, Totals::of(&results.cells));
    assert!(!results.interrupted);
}

fn kind(cell: &Cell) -> Option<Kind> {
    cell.verdict.as_ref().and_then(|verdict| verdict.kind)
}

#[test]
fn the_seeds_three_scenarios_end_as_the_seed_expects() {
    let place = Place::new();
    let files =
        ["seed/scenario-direct.yaml", "seed/scenario-holepunch.yaml", "seed/scenario-relay-fallback.yaml"];
    let (results, said) = results(&place, &["run", "--seed", "7"], &files, 0);
    let run = place.work().join("out");
    assert_reports(&run, &results);
    for cell in &results.cells {
        assert_eq!(cell.outcome, Outcome::AsExpected);
        assert!(cell.failure.is_none() && cell.connect_ms.is_some(), "{cell:?}");
        assert_evidence(&run, cell);
        assert_shown(cell);
        let verdict = cell.verdict.as_ref().unwrap();
        for direction in verdict.directions {
            assert_eq!(direction.sent, direction.arrived);
        }
        assert!(said.contains(&cell.name), "{said}");
    }
    let kinds: Vec<_> = results.cells.iter().map(kind).collect();
    assert_eq!(kinds, [Some(Kind::Direct), Some(Kind::Birthday), Some(Kind::Relay)]);
    assert_eq!(results.run.seed, 7);
    assert!(said.contains("3 as expected"), "{said}");
}

#[test]
fn the_seeds_matrix_ends_as_the_seed_expects() {
    let place = Place::new();
    let (results, _) = results(&place, &["run"], &["seed/test-matrix.yaml"], 0);
    assert_reports(&place.work().join("out"), &results);
    let rows: Vec<_> =
        results.cells.iter().map(|cell| (cell.priority.as_deref(), cell.expected.as_str())).collect();
    assert_eq!(
        rows,
        [
            (Some("P1"), "direct"),
            (Some("P1"), "hole-punch"),
            (Some("P1"), "relay"),
            (Some("P2"), "hole-punch"),
            (Some("P2"), "hole-punch"),
            (Some("P2"), "direct"),
        ]
    );
    assert_eq!(results.totals.as_expected, 6);
}

/// Hosts behind the gateways of a cell come to what its node comes to, and no node is there.
#[test]
fn an_experiment_finds_the_truth_without_a_node() {
    let place = Place::new();
    let arguments = ["matrix", "--experiment", "--nat", "addr-restrict,symmetric", "--seed", "7"];
    let (results, said) = results(&place, &arguments, &[], 0);
    assert_reports(&place.work().join("out"), &results);
    let found: Vec<_> =
        results.cells.iter().map(|cell| (cell.id.as_str(), cell.experiment.as_ref().unwrap().kind)).collect();
    let truth = [
        ("T2.M.13", Kind::Punch),
        ("T2.M.15", Kind::Punch),
        ("T2.M.23", Kind::Punch),
        ("T2.M.25", Kind::Relay),
    ];
    assert_eq!(found, truth);
    for cell in &results.cells {
        let experiment = cell.experiment.as_ref().unwrap();
        assert_eq!((experiment.trials.len(), experiment.order_matters), (5, false));
        assert!(cell.verdict.is_none() && cell.claims.is_empty());
        let logs = names(&place.work().join("out").join(&cell.id).join("logs"));
        assert_eq!(logs, ["nat1.console.log", "nat2.console.log"].map(str::to_owned).into());
    }
    assert!(said.contains("A alone"), "{said}");
}

/// Two runs have the same machines with the same addresses; neither must see a node of the other.
#[test]
fn two_runs_at_once_do_not_meet() {
    let places = [Place::new(), Place::new()];
    let cells = ["T2.M.1", "T2.M.25"];
    let logs = thread::scope(|scope| {
        let runs = [0, 1].map(|which| {
            let place = &places[which];
            scope.spawn(move || {
                let output = place.run(["matrix", "--only", cells[which], "--out", "out"]);
                assert_code(&output, 0);
                let run = place.work().join("out");
                let results = natrig_report::read(&run.join("results.json")).unwrap();
                assert_eq!(results.totals.as_expected, 1);
                place.assert_clean(&["out"]);
                ["peer1", "peer2", "relay"].map(|node| {
                    fs::read_to_string(run.join(format!("{}/logs/{node}.log", cells[which]))).unwrap()
                })
            })
        });
        runs.map(|run| run.join().unwrap())
    });
    for (own, other) in [(0, 1), (1, 0)] {
        for log in &logs[own] {
            let id = id(log);
            assert!(logs[own].iter().all(|log| log.contains(&id)), "{id} is not known in its own lab");
            assert!(!logs[other].iter().any(|log| log.contains(&id)), "{id} is known in the other lab");
        }
    }
}

/// Runs of dozens of cells go one after the other: side by side their machines wait more for processors than protocols' timers bear.
static LONG: Mutex<()> = Mutex::new(());

/// Relays that are killed, bootstrap nodes that are offline, each way that a punch can go: what the simulator is held to as well.
#[test]
#[ignore = "long: make test-full"]
fn the_meshs_scenarios_are_as_expected_on_machines() {
    let _alone = LONG.lock().unwrap_or_else(PoisonError::into_inner);
    let place = Place::new();
    let files = [
        "announcements",
        "bootstrap",
        "detection",
        "freshness",
        "hole-punching",
        "hostile",
        "keepalive",
        "messages",
        "one-lan",
        "relays",
        "sessions",
        "topologies",
    ]
    .map(|name| format!("mesh/{name}.yaml"));
    let words = ["run", "--jobs", "4"];
    let (results, _) = results(&place, &words, &files.each_ref().map(String::as_str), 0);
    assert_eq!(results.totals.as_expected, 82);
}

/// One of each kind of fault, on machines; all of them in `make test-full`.
#[test]
fn what_befalls_machines_is_survived() {
    let place = Place::new();
    let files = [
        "faults/crashes.yaml",
        "faults/netem.yaml",
        "faults/partitions.yaml",
        "faults/recovery.yaml",
        "memory.yaml",
    ];
    let only = "T3.6.4,recovery-roam,recovery-relays,T3.8.5,netem-delay,memory-limited";
    let (results, said) = results(&place, &["run", "--only", only], &files, 0);
    assert_eq!(results.totals.as_expected, 6, "{said}");
    let netem = results.cells.iter().find(|cell| cell.id == "netem-delay").unwrap();
    let of_links = netem.assertions.iter().filter(|one| one.about == About::Link && one.holds);
    assert_eq!(of_links.count(), 4, "{:#?}", netem.assertions);
    for cell in &results.cells {
        assert!(cell.talks.iter().all(|talk| talk.arrived > 0 && talk.twice == 0), "{:#?}", cell.talks);
    }
}

#[test]
#[ignore = "long: make test-full"]
fn all_that_befalls_machines_is_survived() {
    let _alone = LONG.lock().unwrap_or_else(PoisonError::into_inner);
    let place = Place::new();
    let files = ["clocks", "crashes", "latency", "loss", "netem", "order", "partitions", "rate", "recovery"]
        .map(|name| format!("faults/{name}.yaml"));
    let words = ["run", "--jobs", "4"];
    let (results, said) = results(&place, &words, &files.each_ref().map(String::as_str), 0);
    assert_eq!(results.totals.as_expected, 52, "{said}");
}

/// A node's name on the mesh, by its log.
fn id(log: &str) -> String {
    let started = log.lines().find(|line| line.contains(r#""event":"started""#)).unwrap();
    let event: serde_json::Value = serde_json::from_str(started).unwrap();
    event["id"].as_str().unwrap().to_owned()
}

/// Runs one of the negative controls; gives its only cell and all that was said.
fn control(name: &str, code: i32) -> (Cell, String) {
    let place = Place::new();
    let (mut results, said) = results(&place, &["run"], &[&format!("controls/{name}.yaml")], code);
    assert_evidence(&place.work().join("out"), &results.cells[0]);
    assert_reports(&place.work().join("out"), &results);
    (results.cells.remove(0), said)
}

/// Fails unless the terminal tells of the failure: the step, the sentence, lines, and where the evidence lies.
fn assert_told(cell: &Cell, said: &str) {
    let failure = cell.failure.as_ref().unwrap();
    for phrase in [
        &format!("{}: {}", failure.step, failure.message),
        &format!("evidence: out/{}", cell.evidence.folder),
        "  | ",
    ] {
        assert!(said.contains(phrase), "`{phrase}` is not in:\n{said}");
    }
    assert!(!failure.lines.is_empty());
}

#[test]
fn control_without_a_relay_nothing_arrives() {
    let (cell, said) = control("no-relay", 1);
    assert_eq!(cell.outcome, Outcome::NotAsExpected);
    assert_eq!(cell.failure.as_ref().unwrap().step, Step::Connect);
    assert!(cell.claims.is_empty(), "{:?}", cell.claims);
    assert_eq!(cell.connect_ms, None);
    assert_told(&cell, &said);
    assert!(said.contains("NOT as expected"), "{said}");
}

#[test]
fn control_a_blocked_pair_is_relayed() {
    let (cell, _) = control("blocked-pair", 0);
    assert_eq!(cell.outcome, Outcome::AsExpected);
    let verdict = cell.verdict.unwrap();
    assert_eq!((verdict.path, verdict.kind), (WirePath::Relay, Some(Kind::Relay)));
    assert_eq!(verdict.attempts_passed, [0, 0]);
}

#[test]
fn control_a_cut_relay_carries_nothing() {
    let (cell, said) = control("relay-cut", 1);
    assert_eq!(cell.outcome, Outcome::NotAsExpected);
    assert_eq!(cell.failure.as_ref().unwrap().step, Step::Connect);
    assert_told(&cell, &said);
    assert!(said.contains("cut relay.wan after bootstrapped"), "{said}");
}

#[test]
fn control_memory_is_weighed() {
    let (cell, said) = control("too-much-memory", 1);
    assert_eq!(cell.outcome, Outcome::NotAsExpected);
    assert!(said.contains("holds 1 MiB of memory at most"), "{said}");
    assert!(cell.figures["memory_of_peer1_mib"] > 1.0, "{:?}", cell.figures);
}

#[test]
fn control_events_are_looked_at() {
    let place = Place::new();
    let (results, said) = results(&place, &["run"], &["controls/unseen-event.yaml"], 1);
    assert_eq!(results.cells.len(), 2);
    for cell in &results.cells {
        assert_eq!(cell.outcome, Outcome::NotAsExpected);
        assert_told(cell, &said);
    }
    assert!(
        said.contains("expected within 3 s: peer1 reports relayLost, relay relay; it did so 0 times"),
        "{said}"
    );
    assert!(
        said.contains("expected within 30 s: peer1 reports bootstrapped, never; it did so 1 times"),
        "{said}"
    );
}

/// In the simulator, where the minutes of these cost nothing; machines have the same expectations read by the same code.
#[test]
fn control_events_depend_on_settings() {
    let place = Place::new();
    let words = ["run", "--backend", "sim"];
    let (results, said) = results(&place, &words, &["controls/settings.yaml"], 1);
    assert_eq!(results.cells.len(), 4);
    for cell in &results.cells {
        assert_eq!(cell.outcome, Outcome::NotAsExpected, "{said}");
        assert!(cell.failure.as_ref().unwrap().message.contains("it did so 0 times"), "{said}");
    }
}

#[test]
fn control_a_lying_node_is_contradicted() {
    let (cell, said) = control("lying-node", 1);
    assert_eq!(cell.outcome, Outcome::Disagree);
    let verdict = cell.verdict.as_ref().unwrap();
    assert_eq!(verdict.path, WirePath::Relay);
    assert_eq!(cell.claims[0].path, WirePath::Direct);
    assert_eq!(cell.failure.as_ref().unwrap().step, Step::Verdict);
    assert_told(&cell, &said);
    assert!(said.contains("DISAGREE"), "{said}");
}
