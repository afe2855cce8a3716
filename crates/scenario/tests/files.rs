//! The scenario files that come with natrig, and the ways to get one wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use natrig_nat::Preset::{self, *};
use natrig_record::Kind;
use natrig_scenario::{
    Action, Expected, Fault, Filter, Link, Machine, Moment, Priority, Problem, Scenario, Side, load_all,
};

fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(file)
}

fn load(file: &str) -> Vec<Scenario> {
    Scenario::load(&shipped(file)).unwrap_or_else(|problem| panic!("{}", problem.render(false)))
}

/// What stands before the sites.
fn presets(scenario: &Scenario) -> [Preset; 2] {
    [0, 1].map(|site: usize| scenario.nats[site].preset().unwrap())
}

fn only(file: &str) -> Scenario {
    let mut scenarios = load(file);
    assert_eq!(scenarios.len(), 1, "{file}");
    scenarios.remove(0)
}

#[test]
fn the_seeds_files_are_valid_as_they_stand() {
    let direct = only("seed/scenario-direct.yaml");
    assert_eq!(direct.name, "Direct connection (both full-cone)");
    assert_eq!(direct.id, "direct-connection-both-full-cone");
    assert_eq!(presets(&direct), [FullCone, FullCone]);
    assert!(!direct.use_relay);
    assert_eq!(direct.expected, Expected::Exactly(Kind::Direct));
    assert_eq!(direct.timeout, Duration::from_secs(30));
    assert_eq!(direct.initiator, Side::One);

    let punch = only("seed/scenario-holepunch.yaml");
    assert_eq!(presets(&punch), [PortRestrict, Symmetric]);
    assert_eq!(punch.expected, Expected::HolePunch);
    assert!(punch.node.birthday);

    let relay = only("seed/scenario-relay-fallback.yaml");
    assert!(relay.use_relay);
    assert_eq!(relay.expected, Expected::Exactly(Kind::Relay));
}

/// The files in the repository are the seed's, to the byte.
#[test]
fn the_seeds_text_is_untouched() {
    let seed = r#"
# scenario-direct.yaml
name: "Direct connection (both full-cone)"
nat1: full-cone
nat2: full-cone
use_relay: false
expected: direct
timeout: 30

# scenario-holepunch.yaml
name: "Hole punch (cone + symmetric)"
nat1: port-restricted
nat2: symmetric
use_relay: false  # But coordinator available
expected: hole-punch
timeout: 45

# scenario-relay-fallback.yaml
name: "Relay fallback (both symmetric)"
nat1: symmetric
nat2: symmetric
use_relay: true
expected: relay
timeout: 60
"#;
    let files = ["scenario-direct.yaml", "scenario-holepunch.yaml", "scenario-relay-fallback.yaml"]
        .map(|file| fs::read_to_string(shipped("seed").join(file)).unwrap());
    assert_eq!(files.join("\n"), seed.trim_start());
}

#[test]
fn the_seeds_test_matrix() {
    let rows: Vec<String> = load("seed/test-matrix.yaml")
        .iter()
        .map(|row| {
            format!(
                "{} {} {} to {}: {}",
                row.priority.unwrap(),
                row.id,
                row.nats_of_pair().unwrap()[0],
                row.nats_of_pair().unwrap()[1],
                row.expected,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            "P1 seed-full-cone-full-cone full-cone to full-cone: direct",
            "P1 seed-full-cone-symmetric full-cone to symmetric: hole-punch",
            "P1 seed-symmetric-symmetric symmetric to symmetric: relay",
            "P2 seed-port-restrict-port-restrict port-restrict to port-restrict: hole-punch",
            "P2 seed-addr-restrict-symmetric addr-restrict to symmetric: hole-punch",
            "P2 seed-public-symmetric symmetric to public: direct",
        ]
    );
}

#[test]
fn the_25_cells_are_numbered_and_ask_the_truth() {
    let cells = load("all-combinations.yaml");
    let ids: Vec<_> = cells.iter().map(|cell| cell.id.clone()).collect();
    let numbers: Vec<_> = (1..=25).map(|n| format!("T2.M.{n}")).collect();
    assert_eq!(ids, numbers);
    let cell = |n: usize| (presets(&cells[n - 1]), cells[n - 1].expected);
    assert_eq!(cell(3), ([Public, AddrRestrict], Expected::Exactly(Kind::Reversal)));
    assert_eq!(cell(20), ([PortRestrict, Symmetric], Expected::Exactly(Kind::Birthday)));
    assert_eq!(cell(25), ([Symmetric, Symmetric], Expected::Exactly(Kind::Relay)));
}

#[test]
fn without_the_birthday_search_the_truth_is_another() {
    let text = fs::read_to_string(shipped("all-combinations.yaml")).unwrap();
    let cells = Scenario::parse("t.yaml", &format!("{text}node: {{birthday: false}}\n")).unwrap();
    assert_eq!(cells[19].expected, Expected::Exactly(Kind::Relay));
    assert_eq!(cells[18].expected, Expected::Exactly(Kind::Punch));
}

#[test]
fn the_truth_is_asked_from_the_side_that_dials() {
    let text = "{name: a, nat1: public, nat2: symmetric, expected: truth, initiator: 2}";
    let scenario = &Scenario::parse("t.yaml", text).unwrap()[0];
    assert_eq!(scenario.nats_of_pair().unwrap()[0].preset(), Some(Symmetric));
    assert_eq!(scenario.expected, Expected::Exactly(Kind::Direct));
}

#[test]
fn the_controls_say_what_they_break() {
    let blocked = only("controls/blocked-pair.yaml");
    assert_eq!(blocked.filters, [Filter { between: [Link::NAT1_WAN, Link::NAT2_WAN] }]);
    let cut = only("controls/relay-cut.yaml");
    assert_eq!(cut.faults, [Fault { after: Moment::Bootstrapped, action: Action::Cut(Link::RELAY_WAN) }]);
    let lying = only("controls/lying-node.yaml");
    assert_eq!(lying.node.args(Machine::PEER1), ["--hostile", "lie-path"]);
    assert!(lying.node.args(Machine::PEER2).is_empty());
    assert!(!only("controls/no-relay.yaml").use_relay);
}

#[test]
fn everything_optional_at_once() {
    let text = r#"
name: Lossy
id: lossy.1
priority: P2
nat1: [full-cone, Port Restricted Cone]
nat2: none
initiator: 2
expected: reversal
timeout: 1.5
machines:
  gateway: {memory: 256 MB}
  relay: {memory: 1 GB}
links:
  - {link: nat1.wan, delay: 50ms, loss: 0.5%, direction: out}
  - {link: nat1.wan, cut: true, direction: in}
  - {link: peer2.lan, loss: 0.01}
faults:
  - {after: connected, cut: relay.wan}
  - {after: settled, heal: relay.wan}
node:
  birthday: false
  args:
    peer2: [--verbose]
"#;
    let scenarios =
        Scenario::parse("lossy.yaml", text).unwrap_or_else(|problem| panic!("{}", problem.render(false)));
    insta::assert_debug_snapshot!(scenarios);
}

#[test]
fn an_anchor_may_save_typing() {
    let text = "
name: a
expected: relay
cells:
  - &row {id: one, nat1: symmetric, nat2: symmetric, priority: P1}
  - {<<: *row, id: two}
";
    let cells = Scenario::parse("t.yaml", text).unwrap();
    assert_eq!(cells[1].id, "two");
    assert_eq!(cells[1].priority, Some(Priority::P1));
}

#[test]
fn gateways_of_any_kind() {
    let text = "
name: a
nat1:
  - port-restrict
  - {like: port-restrict, engine: model}
  - {name: impatient, like: port-restrict, timers: {stream: 45s}}
  - {name: even, like: symmetric, ports: {parity: true}}
nat2: {name: mobile, chain: [port-restrict, {like: symmetric, engine: model}]}
expected: truth
faults:
  - {after: settled, become: nat1, nat: {like: full-cone, engine: model}}
  - {after: settled, rebind: cgn2}
  - {after: settled, idle: 40s}
";
    let cells = Scenario::parse("t.yaml", text).unwrap_or_else(|problem| panic!("{}", problem.render(false)));
    let said: Vec<String> = cells
        .iter()
        .map(|cell| {
            let engines: Vec<String> = cell
                .nats
                .iter()
                .flat_map(|nat| &nat.gateways)
                .map(|gateway| gateway.engine.to_string())
                .collect();
            format!("{} ({}) {}", cell.id, engines.join(" "), cell.expected)
        })
        .collect();
    assert_eq!(
        said,
        [
            "a-port-restrict-mobile (kernel kernel model) birthday",
            "a-port-restrict-model-mobile (model kernel model) birthday",
            "a-impatient-mobile (kernel kernel model) birthday",
            "a-even-mobile (model kernel model) relay",
        ]
    );
    assert_eq!(cells[2].nats[0].gateways[0].profile.timers.stream, Duration::from_secs(45));
    let faults: Vec<String> = cells[0].faults.iter().map(|fault| fault.action.to_string()).collect();
    assert_eq!(faults, ["make nat1 full-cone", "rebind cgn2", "idle for 40s"]);
}

#[test]
fn one_id_in_two_files_is_told_with_both() {
    let file = shipped("seed/scenario-direct.yaml");
    let problem = load_all(&[&file, &file]).unwrap_err();
    assert!(matches!(problem, Problem::SameId { .. }));
    let text = problem.render(false);
    assert!(text.contains("direct-connection-both-full-cone"), "{text}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Scenario::load(Path::new("no/such.yaml")).unwrap_err();
    assert!(missing.render(false).contains("no/such.yaml"));
    let endless = Scenario::load(Path::new("/dev/zero")).unwrap_err();
    assert!(endless.render(false).contains("a scenario may have"));
    let folder = Scenario::load(&shipped("seed")).unwrap_err();
    assert!(matches!(folder, Problem::Unreadable { .. }));
}

/// Each file in `tests/broken` is wrong in its own way; the snapshot is what its author sees.
#[test]
fn mistakes_are_shown_where_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 12);
    for path in files {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let problem = match Scenario::parse(&format!("{stem}.yaml"), &text) {
            Ok(scenarios) => panic!("{stem} is taken for valid: {scenarios:?}"),
            Err(problem) => problem,
        };
        insta::assert_snapshot!(stem, problem.render(false));
    }
}

/// The examples in the documentation are scenarios, or parts of one.
#[test]
fn documented_examples_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/scenarios.md")).unwrap();
    let mut examples: Vec<String> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let indented = readme.lines().skip_while(|line| !line.starts_with("    name:"));
    examples.push(indented.map_while(|line| line.strip_prefix("    ")).collect::<Vec<_>>().join("\n"));
    assert!(examples.len() > 7);
    for example in examples {
        let lacks = |key: &&str| !example.lines().any(|line| line.starts_with(key));
        let rest = [("name:", "Example"), ("nat1:", "public"), ("nat2:", "public"), ("expected:", "direct")];
        // Rows have what their file has not.
        let rest = rest.iter().filter(|(key, _)| lacks(key) && lacks(&"cells:"));
        let whole = rest.fold(example.clone(), |whole, (key, value)| format!("{key} {value}\n{whole}"));
        if let Err(problem) = Scenario::parse("example.yaml", &whole) {
            panic!("{}", problem.render(false));
        }
    }
}
