//! Scenarios in the simulator end as on machines.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use natrig_lab::{Backend, Halt};
use natrig_nat::profile::Named;
use natrig_record::{About, Cell, Kind, Outcome, Path as WirePath, Step, What};
use natrig_scenario::{Machine, Matrix, Nat, Scenario};
use natrig_sim::backend::{Experimenter, Simulator, Stop};
use tempfile::TempDir;

const MATRIX: &str = include_str!("../../../scenarios/all-combinations.yaml");

fn scenarios(folder: &str) -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    natrig_scenario::load_all(&files).unwrap()
}

fn scenario(text: &str) -> Scenario {
    let text = format!("name: test\nid: test\n{text}");
    Scenario::parse("test.yaml", &text).unwrap_or_else(|wrong| panic!("{}", wrong.render(false))).remove(0)
}

/// A cell that ran, with what it left and what was told of it.
struct Ran {
    cell: Cell,
    folder: TempDir,
    told: Vec<What>,
}

impl Ran {
    fn by(backend: &dyn Backend, scenario: &Scenario) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let told = Mutex::new(Vec::new());
        let events = |what| told.lock().unwrap().push(what);
        let cell = backend.run(scenario, 1, folder.path(), &events, &Halt::default());
        Ran { cell, folder, told: told.into_inner().unwrap() }
    }

    fn of(text: &str) -> Self {
        Ran::by(&Simulator::new(7), &scenario(text))
    }

    fn kind(&self) -> Option<Kind> {
        self.cell.verdict.as_ref()?.kind
    }

    fn failure(&self) -> &str {
        self.cell.failure.as_ref().map_or("", |failure| &failure.message)
    }

    fn faults(&self) -> Vec<&str> {
        let faults = self.told.iter().filter_map(|what| match what {
            What::Fault { message } => Some(&**message),
            _ => None,
        });
        faults.collect()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn expect(self, outcome: Outcome) -> Self {
        assert_eq!(self.cell.outcome, outcome, "{:#?}\n{:#?}", self.cell.failure, self.cell.verdict);
        self
    }
}

#[test]
fn all_of_the_matrix_is_as_expected() {
    for scenario in Scenario::parse("matrix.yaml", MATRIX).unwrap() {
        let ran = Ran::by(&Simulator::new(7), &scenario).expect(Outcome::AsExpected);
        assert!(ran.cell.proofs.iter().all(|proof| proof.holds && proof.steps == "whole"), "{}", scenario.id);
        assert!(ran.cell.assertions.iter().any(|one| one.about == About::Gateway));
        assert_eq!(ran.cell.claims.len(), 2);
    }
}

#[test]
fn all_of_the_matrix_is_as_expected_without_nodes() {
    for scenario in Scenario::parse("matrix.yaml", MATRIX).unwrap() {
        let simulator = Simulator::new(7);
        let ran = Ran::by(&Experimenter::new(&simulator), &scenario).expect(Outcome::AsExpected);
        assert!(ran.cell.experiment.is_some() && ran.cell.verdict.is_none());
    }
}

fn named() -> Vec<Nat> {
    Named::all().iter().map(Nat::of).collect()
}

/// Pairs of gateways of which the truth is known are as it says.
fn expect_pairs(nats: &[Nat], wanted: impl Fn(&Scenario) -> bool) -> usize {
    let cells: Vec<Scenario> = Matrix::of(nats).cells.into_iter().filter(wanted).collect();
    for scenario in &cells {
        let ran = Ran::by(&Simulator::new(7), scenario);
        assert_eq!(ran.cell.outcome, Outcome::AsExpected, "{}: {:#?}", scenario.id, ran.cell.failure);
    }
    cells.len()
}

#[test]
fn every_named_gateway_is_proven_and_comes_to_what_the_truth_says() {
    let one_is = |name: &'static str| move |cell: &Scenario| cell.nats.iter().any(|nat| nat.name == name);
    assert!(expect_pairs(&named(), one_is("port-restrict")) > 40);
}

#[test]
#[ignore = "long: make test-full"]
fn all_pairs_of_named_gateways_come_to_what_the_truth_says() {
    assert!(expect_pairs(&named(), |_| true) > 500);
}

#[test]
fn a_gateway_that_passes_no_udp_is_proven_to_pass_none() {
    let ran = Ran::of("nat1: udp-blocked\nnat2: public\nexpected: relay\ntimeout: 30\n")
        .expect(Outcome::NotAsExpected);
    let proof = &ran.cell.proofs[0];
    assert!(proof.holds && proof.measured.other["udp"] == "blocked", "{proof:?}");
}

#[test]
fn the_seeds_scenarios_are_as_expected() {
    for scenario in scenarios("seed") {
        Ran::by(&Simulator::new(7), &scenario).expect(Outcome::AsExpected);
    }
}

/// T4.2.1, T4.2.2, T4.2.3, T2.2.3, T2.3.3, T2.4.2 and others: each way that a punch can go.
#[test]
fn the_meshs_scenarios_are_as_expected() {
    for scenario in scenarios("mesh") {
        Ran::by(&Simulator::new(7), &scenario).expect(Outcome::AsExpected);
    }
}

/// T3.1.1 to T3.9.4, and what is lost and found again.
#[test]
fn what_befalls_them_is_survived() {
    for scenario in scenarios("faults") {
        let ran = Ran::by(&Simulator::new(7), &scenario).expect(Outcome::AsExpected);
        let talked = ran.cell.assertions.iter().filter(|one| one.about == About::Messages).count();
        assert!(talked >= 2 * scenario.talks.len(), "{}: {:#?}", scenario.id, ran.cell.assertions);
    }
}

/// What links do is read back from the captures, and a link that did something else would be a lab error.
#[test]
fn conditions_are_read_back_and_one_that_did_not_take_is_told() {
    let ran = Ran::of(
        "nat1: port-restrict\nnat2: port-restrict\nexpected: punch\n\
         links: [{link: nat1.wan, delay: 50ms, jitter: 10ms, loss: 1%}, {link: nat2.wan, rate: 2 Mbit/s, direction: out}]\n",
    )
    .expect(Outcome::AsExpected);
    let of_links = |assertions: &[natrig_record::Assertion]| -> Vec<bool> {
        assertions.iter().filter(|one| one.about == About::Link).map(|one| one.holds).collect()
    };
    assert_eq!(of_links(&ran.cell.assertions), [true, true, true], "{:#?}", ran.cell.assertions);
    let case: natrig_lab::verdict::Case = serde_json::from_str(&ran.read("case.json")).unwrap();
    let trace = natrig_capture::Trace::read_folder(&ran.folder.path().join("captures")).unwrap();
    let told = |change: &dyn Fn(&mut natrig_netmodel::Conditions)| {
        let mut conditions = case.conditions.clone();
        conditions.iter_mut().for_each(|one| change(&mut one.conditions));
        let shown = natrig_lab::assertions::links::shown(&trace, &conditions);
        shown.into_iter().filter(|one| !one.holds).map(|one| one.detail).collect::<Vec<_>>().join("\n")
    };
    let time = std::time::Duration::from_millis;
    assert_eq!(told(&|_| ()), "");
    type Change<'a> = &'a dyn Fn(&mut natrig_netmodel::Conditions);
    let changes: [(Change<'_>, &str); 5] = [
        (&|one| one.delay *= 2, "the fastest of"),
        (
            &|one| one.loss.chance = natrig_netmodel::Probability::new(0.4).unwrap(),
            "were lost, where 40 % should be",
        ),
        (&|one| one.loss.chance = natrig_netmodel::Probability::NEVER, "were lost, where 0 % should be"),
        (&|one| one.jitter.spread = time(1), "the fastest of"),
        (
            &|one| {
                one.rate = one.rate.map(|rate| natrig_netmodel::Rate {
                    bits_per_second: 500_000.try_into().unwrap(),
                    ..rate
                })
            },
            "before 500000 bit/s allow it",
        ),
    ];
    for (change, said) in changes {
        assert!(told(change).contains(said), "{said}: {}", told(change));
    }
}

/// T3.7.3: what is on its way when the receiver says goodbye arrives or is given up, and the sender knows which.
#[test]
fn t3_7_3_a_transfer_fails_cleanly_when_its_receiver_leaves() {
    let ran = Ran::of(
        "nat1: port-restrict\nnat2: port-restrict\nexpected: punch\ncarry: 10s\n\
         links: [{link: nat1.wan, rate: 1 Mbit/s}]\n\
         faults: [{after: carrying, idle: 500ms}, {after: carrying, stop: peer2}]\n",
    )
    .expect(Outcome::NotAsExpected);
    let sender = ran.read("logs/peer1.log");
    let told = |event: &str| sender.lines().filter(|line| line.contains(&format!("\"{event}\""))).count();
    assert_eq!((told("disconnected"), told("sendFailed") + told("sent")), (1, 1), "{sender}");
    assert!(!ran.read("logs/peer2.log").contains("messageReceived"), "it got a part of a message");
}

/// T3.4.3, T3.5.3: what is out of order or comes twice costs no more than a part of the goodput.
#[test]
fn disorder_and_copies_cost_little() {
    let carrying = |link: &str| {
        let text = format!(
            "nat1: port-restrict\nnat2: port-restrict\nexpected: punch\nlinks: [{{link: nat1.wan, {link}}}]\n"
        );
        Ran::of(&text).expect(Outcome::AsExpected).cell.figures["data"]
    };
    let undisturbed = carrying("delay: 20ms");
    let (disorder, copies) = (carrying("delay: 20ms, reorder: 50%"), carrying("delay: 20ms, duplicate: 50%"));
    // Half of the goodput would be 2: with half of all frames 20 ms early, QUIC takes too many for lost (docs/omerta-mesh.md, Limits).
    assert!(disorder < 2.5 * undisturbed, "{disorder} ms, undisturbed {undisturbed} ms");
    assert!(copies < 1.2 * undisturbed, "{copies} ms, undisturbed {undisturbed} ms");
}

/// A peer in another LAN has another address there, and what it says is held against its new site.
#[test]
fn a_peer_that_has_moved_is_watched_where_it_is() {
    let ran = Ran::of(
        "nat1: full-cone\nnat2: port-restrict\nnat3: port-restrict\nexpected: hole-punch\n\
         talks: [{from: peer1, to: peer2, silence: 15s}]\n\
         faults: [{after: settled, roam: peer1, to: lan3}, {after: settled, idle: 60s}]\n",
    )
    .expect(Outcome::AsExpected);
    let case = ran.read("case.json");
    let case: serde_json::Value = serde_json::from_str(&case).unwrap();
    assert_eq!(case["pair"]["sites"][0]["wan"], "nat3.wan");
}

#[test]
fn controls_end_as_they_must() {
    let ended: BTreeMap<String, Outcome> = scenarios("controls")
        .iter()
        .map(|scenario| (scenario.id.clone(), Ran::by(&Simulator::new(7), scenario).cell.outcome))
        .collect();
    let must = [
        ("control-blocked-pair", Outcome::AsExpected),
        ("control-bound", Outcome::NotAsExpected),
        ("control-lost-messages", Outcome::NotAsExpected),
        ("control-lying-node", Outcome::Disagree),
        ("control-no-relay", Outcome::NotAsExpected),
        ("control-not-proven", Outcome::LabError),
        ("control-nothing-expires", Outcome::NotAsExpected),
        ("control-punch-lost", Outcome::NotAsExpected),
        ("control-punch-report", Outcome::NotAsExpected),
        ("control-relay-cut", Outcome::NotAsExpected),
        ("control-relay-dead", Outcome::NotAsExpected),
        ("control-room", Outcome::NotAsExpected),
        // Nobody measures memory here.
        ("control-too-much-memory", Outcome::LabError),
        ("control-unseen-event", Outcome::NotAsExpected),
        ("control-unwanted-event", Outcome::NotAsExpected),
    ];
    assert_eq!(ended, must.map(|(id, outcome)| (id.to_owned(), outcome)).into());
}

#[test]
fn a_carriers_gateway_is_proven_alone_and_together_with_the_one_behind_it() {
    let ran = Ran::of("nat1: cgn\nnat2: full-cone\nexpected: direct\n").expect(Outcome::AsExpected);
    let proven: Vec<&str> = ran.cell.proofs.iter().map(|proof| &*proof.gateway).collect();
    assert_eq!(proven, ["nat1", "cgn1", "nat2", "nat1 behind cgn1"]);
}

/// What befell a gateway before the peers connect, and what they come to then.
#[test]
fn gateways_live_and_what_befell_them_is_shown() {
    for (fault, shown, kind) in [
        ("reboot: nat1", "started anew", Kind::Punch),
        ("rebind: nat1", "no endpoint gets the port it had", Kind::Punch),
        ("renumber: nat1", "192.168.100.1 is now 192.168.100.112", Kind::Punch),
        ("become: nat1, nat: symmetric", "`port-restrict` is now `symmetric`", Kind::Relay),
        ("become: nat1, nat: full-cone", "`port-restrict` is now `full-cone`", Kind::Punch),
        ("fill: nat1", "another one was refused", Kind::Relay),
        ("idle: 40s", "idle for 40s", Kind::Punch),
    ] {
        let ran = Ran::of(&format!(
            "nat1: port-restrict\nnat2: port-restrict\nexpected: {kind}\nnode: {{birthday: false}}\n\
             faults: [{{after: bootstrapped, {fault}}}]\n"
        ));
        assert_ne!(ran.cell.outcome, Outcome::LabError, "{fault}: {:#?}", ran.cell.failure);
        assert_eq!(ran.kind(), Some(kind), "{fault}");
        let told = ran.faults();
        assert!(told.iter().any(|told| told.contains(shown)), "{fault}: {told:?}");
        let lives = ran.read("case.json").matches("from_ns").count();
        // A gateway each, a new life after what befell one of them, and the window.
        let befallen = !fault.starts_with("idle") && !fault.starts_with("fill");
        assert_eq!(lives, 3 + usize::from(befallen), "{fault}");
    }
}

#[test]
fn a_connection_survives_what_is_cut_and_healed() {
    let ran = Ran::of(
        "nat1: port-restrict\nnat2: port-restrict\nexpected: punch\nfaults:\n  \
         - {after: bootstrapped, cut: relay.wan}\n  - {after: bootstrapped, heal: relay.wan}\n",
    );
    assert_eq!(ran.expect(Outcome::AsExpected).faults().len(), 2);
}

#[test]
fn a_link_may_be_bad() {
    let ran = Ran::of(
        "nat1: port-restrict\nnat2: port-restrict\nexpected: punch\n\
         links: [{link: peer1.lan, delay: 40ms, loss: 1%}]\n",
    )
    .expect(Outcome::AsExpected);
    assert!(ran.cell.connect_ms.unwrap() > 80.0, "there and back takes twice 40 ms");
}

#[test]
fn what_needs_a_kernel_is_the_labs_error() {
    for (text, said) in [
        ("nat1: {like: port-restrict, engine: kernel}\nnat2: public\nexpected: direct\n", "engine: kernel"),
        (
            "nat1: port-restrict\nnat2: symmetric\nexpected: relay\nport_mapping: {nat1: {protocols: [pcp]}}\n",
            "miniupnpd",
        ),
        (
            "nat1: public\nnat2: public\nexpected: direct\n\
             faults: [{after: settled, become: nat1, nat: {like: full-cone, engine: kernel}}]\n",
            "engine: kernel",
        ),
    ] {
        let scenario = scenario(text);
        let simulator = Simulator::new(7);
        for backend in [&simulator as &dyn Backend, &Experimenter::new(&simulator)] {
            let ran = Ran::by(backend, &scenario).expect(Outcome::LabError);
            assert!(ran.failure().contains(said), "{}", ran.failure());
            let hint = ran.cell.failure.as_ref().unwrap().hint.as_deref();
            assert!(hint.is_some_and(|hint| hint.contains("--backend vm")), "{hint:?}");
        }
    }
    // What the scenario leaves to the lab may be the model's.
    Ran::of("nat1: {like: full-cone, engine: auto}\nnat2: public\nexpected: direct\n")
        .expect(Outcome::AsExpected);
}

#[test]
fn a_node_with_wrong_options_ends_before_it_starts() {
    let text = "nat1: public\nnat2: public\nexpected: direct\nnode: {args: {peer1: [--dance]}}\n";
    let ran = Ran::of(text).expect(Outcome::NotAsExpected);
    assert!(ran.failure().starts_with("peer1 ended before it had started"), "{}", ran.failure());
}

#[test]
fn what_is_not_what_it_says_is_refused() {
    // No gateway is opened so wide that two datagrams a second go through it.
    let text = "nat1: {like: full-cone, limits: {flows: 2, mappings: 2}}\nnat2: public\nexpected: direct\n";
    let ran = Ran::of(text).expect(Outcome::LabError);
    assert_eq!(ran.cell.failure.as_ref().unwrap().step, Step::Proof);
}

/// Everything that a cell leaves behind.
fn left(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

#[test]
fn the_same_seed_is_the_same_cell_and_another_is_another() {
    let scenario = scenario(
        "nat1: symmetric\nnat2: port-restrict\nexpected: birthday\n\
         links: [{link: peer2.lan, delay: 5ms, jitter: 2ms, loss: 1%}]\n",
    );
    let run = |seed, repetition| {
        let folder = tempfile::tempdir().unwrap();
        let halt = Halt::default();
        let mut cell = Simulator::new(seed).run(&scenario, repetition, folder.path(), &|_| (), &halt);
        cell.evidence.folder.clear();
        (cell, left(folder.path()))
    };
    let first = run(7, 1);
    assert_eq!(first.0.outcome, Outcome::AsExpected, "{:#?}", first.0.failure);
    assert!(first == run(7, 1));
    assert!(first.1 != run(8, 1).1);
    // Repetitions differ, and each is a run of its own by its seed.
    let second = run(7, 2);
    assert!(first.1 != second.1);
    assert!(second == run(second.0.seed.unwrap(), 1));
}

#[test]
fn a_machine_is_traced_and_time_is_stopped() {
    let simulator = Simulator::new(7)
        .trace(Machine::PEER1)
        .trace(Machine::NAT1)
        .stop_at(Stop::Event(Machine::PEER1, "punchStarted".to_owned()));
    let scenario = scenario("nat1: symmetric\nnat2: symmetric\nexpected: relay\n");
    let ran = Ran::by(&simulator, &scenario).expect(Outcome::LabError);
    assert!(ran.failure().contains("stopped at peer1:punchStarted"), "{}", ran.failure());
    let stopped: serde_json::Value = serde_json::from_str(&ran.read("stopped.json")).unwrap();
    let machines = &stopped["world"]["machines"];
    let peer = &machines["peer1"]["role"]["programs"][0];
    let peers = peer["peers"].as_array().unwrap();
    assert!(peers.iter().any(|peer| peer["contact"]["stage"] == "dial"), "{peer}");
    assert!(!machines["nat1"]["role"]["flows"].as_array().unwrap().is_empty());
    assert_eq!(stopped["world"]["links"]["peer1.lan"]["cut"], false);

    let lines = ran.read("logs/peer1.trace.jsonl");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for what in ["received", "sent", "woken", "noted"] {
        assert!(lines.iter().any(|line| line.get(what).is_some()), "no line tells what was {what}");
    }
    let last = lines.iter().rev().find_map(|line| line["noted"]["event"]["event"].as_str());
    assert_eq!(last, Some("punchStarted"));
    assert!(ran.read("logs/nat1.trace.jsonl").contains("\"sent\""));
}

#[test]
fn a_stop_that_never_comes_is_told() {
    let simulator = Simulator::new(7).stop_at(Stop::Event(Machine::PEER1, "pathFailed".to_owned()));
    let scenario = scenario("nat1: public\nnat2: public\nexpected: direct\n");
    let ran = Ran::by(&simulator, &scenario).expect(Outcome::AsExpected);
    let note =
        What::Note { message: "time did not stop at peer1:pathFailed: it never came to that".to_owned() };
    assert!(ran.told.contains(&note), "{:?}", ran.told);
}

#[test]
fn a_halted_run_ends_at_once() {
    let (folder, halt) = (tempfile::tempdir().unwrap(), Halt::default());
    halt.raise();
    let scenario = scenario("nat1: public\nnat2: public\nexpected: direct\n");
    let cell = Simulator::new(7).run(&scenario, 1, folder.path(), &|_| (), &halt);
    assert_eq!(cell.failure.map(|failure| failure.message).as_deref(), Some("interrupted"));
}

#[test]
fn bytes_that_came_through_are_counted_on_the_wire() {
    let ran = Ran::of("nat1: symmetric\nnat2: symmetric\nexpected: relay\n").expect(Outcome::AsExpected);
    let verdict = ran.cell.verdict.unwrap();
    assert_eq!(verdict.path, WirePath::Relay);
    for direction in verdict.directions {
        assert_eq!((direction.sent, direction.arrived), (256 * 1024, 256 * 1024));
        assert!(direction.to_third_bytes > 256 * 1024 && direction.direct_bytes == 0);
    }
}
