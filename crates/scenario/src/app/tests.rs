use std::time::Duration;

use super::*;

const WHOLE: &str = r#"
name: ice
files:
  - node.py
  - {from: ../target/node, to: bin/node, mode: 755}
packages: [python3, ./local.deb]
libraries: [libnss_dns.so.2]
sysroot: sys
env: {LEVEL: debug}
stun: {command: [stund], started: {port: udp/3490}}
relay: {command: [turn, "{address}"], stop: {within: 2s}}
peer:
  command: [python3, /app/node.py, "{name}", "{relay}:9000", "{stun}"]
  started: {line: 'ready as (?P<id>\S+)'}
  connect: {input: "connect {peer.id}"}
  connected: {event: up}
  failed: {line: 'gave up'}
  settled: {after: 3s}
  send: {run: [send, "{peer.id}", "{file}"]}
  received: {line: 'got (?P<file>\S+)'}
"#;

fn app(text: &str) -> App {
    App::parse("apps/ice.yaml", text).unwrap()
}

#[test]
fn an_app_is_read_whole() {
    let app = app(WHOLE);
    assert_eq!((app.name.as_str(), app.folder.as_path()), ("ice", Path::new("apps")));
    let bin = Brought { from: "apps/../target/node".into(), to: "bin/node".to_owned(), mode: Some(0o755) };
    assert_eq!(app.files[1], bin);
    assert_eq!(app.packages[1], AppPackage::File("apps/./local.deb".into()));
    assert_eq!(app.sysroot.as_deref(), Some(Path::new("apps/sys")));
    let roles: Vec<Role> = app.public.iter().map(|(role, _)| *role).collect();
    assert_eq!(roles, [Role::Stun, Role::Relay]);
    assert_eq!(app.main().unwrap().1.stop, Some(Stop { signal: 15, within: Duration::from_secs(2) }));
    assert_eq!(app.peer.settles_after, Some(Duration::from_secs(3)));
    assert_eq!(app.peer.sign("connected"), Some(&Sign::Event("up".to_owned())));
    assert!(matches!(app.proof, AppProof::Send(Deed::Run(_))));
}

#[test]
fn where_the_lab_carries_bytes_may_be_told_in_one_word() {
    let carry = |text: &str| {
        let text = format!(
            "{{name: x, peer: {{command: [x], connect: {{run: [go]}}, connected: {{exit: 0}}, carry: {text}}}}}"
        );
        match app(&text).proof {
            AppProof::Carry { to, at } => (to.to_string(), at.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let both = ("{peer.address}:7000".to_owned(), "0.0.0.0:7000".to_owned());
    assert_eq!(carry("'{peer.address}:7000'"), both);
    let own = ("127.0.0.1:7001".to_owned(), "127.0.0.1:7000".to_owned());
    assert_eq!(carry("{to: '127.0.0.1:7001', at: '127.0.0.1:7000'}"), own);
}

fn scenario(more: &str) -> Scenario {
    let text = format!("{{name: x, nat1: public, nat2: public, expected: direct{more}}}");
    Scenario::parse("x.yaml", &text).unwrap().remove(0)
}

#[test]
fn an_app_suits_what_does_not_need_omerta_mesh() {
    let two = app(&WHOLE.replace("{relay}:9000", "{relay2.address}:9000"));
    assert_eq!(two.suits(&scenario("")), Err(Unfit::Lacks(Machine::Relay(1))));
    assert_eq!(two.suits(&scenario(", relays: 2")), Ok(()));
    let app = app(WHOLE);
    assert_eq!(app.suits(&scenario("")), Ok(()));
    assert_eq!(app.suits(&scenario(", node: {birthday: false}")), Err(Unfit::Options));
    let asked = ", faults: [{after: settled, find: peer1, whom: peer2}]";
    assert_eq!(app.suits(&scenario(asked)), Err(Unfit::Asked));
}

#[test]
fn a_scenario_names_its_app_and_a_cell_another_one() {
    let home = std::env::temp_dir().join(format!("natrig-apps-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    for name in ["one", "two"] {
        let text = WHOLE.replace("name: ice", &format!("name: {name}"));
        std::fs::write(home.join(format!("{name}.yaml")), text).unwrap();
    }
    let text = "{nat1: public, nat2: public, expected: direct, app: one.yaml, cells: [{name: a}, {name: b, app: two.yaml}]}";
    let file = home.join("x.yaml");
    let scenarios = Scenario::parse(file.to_str().unwrap(), text).unwrap();
    let names: Vec<_> = scenarios.iter().map(|one| one.app.as_ref().unwrap().name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    // A mistake in an app is shown in the app.
    std::fs::write(home.join("two.yaml"), "{name: two}").unwrap();
    let problem = Scenario::parse(file.to_str().unwrap(), text).unwrap_err().to_string();
    assert!(problem.contains("two.yaml is not a valid app file"), "{problem}");
    std::fs::remove_dir_all(&home).unwrap();
}
