//! The page of a run that goes on, in a real browser: `--web`.

#![cfg(target_os = "linux")]

#[path = "support/browser.rs"]
mod browser;
mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use browser::Browser;
use natrig_record::{Cell, Column, Map, Outcome, Planned, Role, RunInfo};
use natrig_scenario::Scenario;
use serde_json::{Value, json};
use support::{Place, repository, scenario};

/// Keeps a picture for the documentation, if it is asked for.
fn keep(browser: &Browser, name: &str) {
    if std::env::var_os("NATRIG_UPDATE_DOCS").is_some() {
        fs::write(repository().join("docs/pictures").join(name), browser.picture()).unwrap();
    }
}

#[test]
fn cells_appear_while_they_run_and_stay_when_the_run_is_over() {
    let place = Place::new();
    {
        let browser = Browser::start(&place);
        let arguments = "matrix --web --backend sim --seed 3 --jobs 1 --repeat 12 --keep all --out out";
        let mut run = place.start(arguments.split(' '));
        run.until_said("web: http://127.0.0.1:");
        let said = run.said();
        let address = said.lines().find_map(|line| line.strip_prefix("web: ")).unwrap().to_owned();
        browser.open_at(&address);
        browser.run("window.marked = true");
        browser.until("document.getElementById('live-status').textContent === '● live'");
        let ended = "natrig.run.cells.filter((cell) => cell.outcome).length";
        browser.until(&format!("{ended} > 0"));
        let [first, over] = [ended, "natrig.run.ended === true"].map(|what| browser.is(what));
        assert_eq!(over, false, "the run was over before it was looked at");
        assert!(first.as_u64() < Some(300), "{first}");
        assert_eq!(browser.is("document.querySelectorAll('#grid button').length"), 25);
        browser.until(&format!("{ended} > {first}"));
        assert!(browser.text("h1").contains("of 300"), "{}", browser.text("h1"));
        assert!(browser.text("#now-line").contains("running"), "{}", browser.text("#now-line"));
        keep(&browser, "live-run.png");

        // A cell that has ended is the same as in a run's page, while others run.
        browser.run("location.hash = '#cell-T2.M.1/1'");
        browser.until_open("T2.M.1/1");
        for (part, phrase) in [
            ("#packets .diagram", "▸ step · connect"),
            ("#because", "hold"),
            ("#gateways", "declared"),
            ("#logs", "peer1.log"),
        ] {
            let text = browser.is(&format!("document.querySelector({part:?}).textContent"));
            assert!(text.as_str().unwrap().contains(phrase), "{part}: {text}");
        }
        assert!(browser.text("#facts .command").contains("--only T2.M.1"));
        assert!(!browser.text("#facts .command").contains("--web"), "it is run again as it is");
        browser.run("location.hash = ''");

        browser.until("natrig.run.ended === true");
        assert_eq!(run.wait().code(), Some(0));
        assert_eq!(browser.text("h1"), "All 300 cells ended as expected.");
        let notice = browser.text("#ended");
        assert!(notice.contains("The run has ended") && notice.contains("out/report.html"), "{notice}");
        assert_eq!(browser.text("#live-status"), "■ the run has ended");
        assert!(browser.text("#repeats").contains("T2.M.25"), "what follows from all cells is there");
        assert_eq!(browser.is("window.marked"), true, "it was never loaded again");
        browser.assert_silent_within(&address, |asked| {
            asked.strip_prefix(&address).is_some_and(|path| {
                path.is_empty() || path == "events" || path.starts_with("cell/") || path.starts_with('#')
            })
        });

        // What was opened is there, and of the rest it is said where it is.
        browser.run("location.hash = '#cell-T2.M.1/1'");
        browser.until_open("T2.M.1/1");
        assert!(browser.text("#packets .diagram").contains("▸ step · connect"));
        browser.run("location.hash = '#cell-T2.M.2/1'");
        browser.until_open("T2.M.2/1");
        assert!(browser.text("#packets").contains("natrig has ended"), "{}", browser.text("#packets"));

        let results = fs::read_to_string(place.work().join("out/results.json")).unwrap();
        assert!(!results.contains("--web"), "how a run was watched is no part of it");
    }
    place.assert_no_process();
}

/// A server that sends what a test says.
struct Told {
    address: String,
    events: Sender<Value>,
}

impl Told {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let (events, told) = mpsc::channel();
        thread::spawn(move || serve(&listener, told));
        Told { address, events }
    }

    fn tell(&self, event: Value) {
        self.events.send(event).unwrap();
    }

    fn node(&self, machine: &str, event: Value) {
        self.tell(json!({"type": "node", "at_ms": 1200, "cell": 0, "machine": machine, "event": event}));
    }
}

fn serve(listener: &TcpListener, told: Receiver<Value>) {
    let mut told = Some(told);
    let page = natrig_report::live::page().unwrap();
    for mut stream in listener.incoming().flatten() {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
            request.push(byte[0]);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let head =
            |kind: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
        if request.starts_with("GET /events ") {
            let told = told.take().expect("the page asks for events once");
            thread::spawn(move || {
                stream.write_all(head("text/event-stream").as_bytes()).unwrap();
                // Until the browser has gone, or the test is over.
                let _ = told.iter().try_for_each(|event| write!(stream, "data: {event}\n\n"));
            });
        } else if request.starts_with("POST /fault ") {
            let length = request.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length: ").map(|length| length.parse::<usize>().unwrap())
            });
            let mut body = vec![0; length.unwrap()];
            stream.read_exact(&mut body).unwrap();
            let words = serde_json::from_slice::<Value>(&body).unwrap()["words"].clone();
            let words: Vec<String> = serde_json::from_value(words).unwrap();
            let answer = match words[0].as_str() {
                "nonsense" => json!({"problem": "that is no fault of this lab"}),
                _ => json!({"done": words.join("|")}),
            };
            let _ = write!(stream, "{}{answer}", head("application/json"));
        } else if request.starts_with("GET / ") {
            let _ = stream.write_all((head("text/html; charset=utf-8") + &page.html).as_bytes());
        } else {
            let _ = stream
                .write_all((head("application/json") + r#"{"problem": "It was not kept."}"#).as_bytes());
        }
    }
}

/// What the lab says of faults, by the scenario language itself.
fn phrases(faults: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(scenario("faults/partitions.yaml")).unwrap();
    let network = Scenario::parse("x.yaml", &text).unwrap().remove(0);
    faults.iter().map(|words| network.action(&[(*words).to_owned()]).unwrap().to_string()).collect()
}

/// So many sites and a relay.
fn star(sites: usize) -> Map {
    let column = |name: &str, role, detail: &str| Column { name: name.into(), role, detail: detail.into() };
    let link = |name: &str, segment: &str| {
        let machine = name.split('.').next().unwrap().to_owned();
        natrig_record::Cable { name: name.into(), machine, segment: segment.into() }
    };
    let mut map = Map::default();
    for site in 1..=sites {
        let nat = if site == 1 { "port-restrict" } else { "full-cone" };
        map.machines.push(column(&format!("peer{site}"), Role::Peer, &site.to_string()));
        map.machines.push(column(&format!("nat{site}"), Role::Gateway, nat));
        map.links.push(link(&format!("nat{site}.wan"), "internet"));
        map.links.push(link(&format!("nat{site}.lan"), &format!("lan{site}")));
        map.links.push(link(&format!("peer{site}.lan"), &format!("lan{site}")));
    }
    map.machines.push(column("relay", Role::Public, ""));
    map.links.push(link("relay.wan", "internet"));
    map
}

#[test]
fn a_running_cell_shows_links_paths_and_events_as_they_change() {
    let place = Place::new();
    let browser = Browser::start(&place);
    let told = Told::start();
    browser.resize(1300, 1240, false);
    browser.open_at(&format!("{}#cell-star", told.address));

    let map = star(4);
    let planned = |id: &str, nats: [&str; 2]| Planned {
        id: id.into(),
        name: format!("The {id}"),
        nats: nats.map(str::to_owned).to_vec(),
        initiator: 1,
        expected: "punch".into(),
        pair: vec!["peer1".into(), "peer2".into()],
        map: Some(0),
        ..Planned::default()
    };
    let cells = [planned("star", ["port-restrict", "full-cone"]), planned("other", ["symmetric", "public"])];
    let info =
        RunInfo { folder: "/runs/one".into(), started: "2026-11-23T10:00:00Z".into(), ..RunInfo::default() };
    told.tell(json!({"type": "hello", "now_ms": 0}));
    told.tell(json!({
        "type": "runStarted", "at_ms": 0, "info": info, "seed": "7", "maps": [map],
        "cells": cells.each_ref().map(|cell| natrig_report::live::coming(cell).unwrap()),
    }));
    browser.until("document.getElementById('waits')?.textContent === 'It has not begun.'");
    told.tell(json!({"type": "cellStarted", "at_ms": 5, "cell": 0, "title": "star"}));
    told.tell(json!({"type": "stepStarted", "at_ms": 10, "cell": 0, "step": "connect"}));
    browser.until("document.getElementById('waits').textContent.includes('waits for: connect, for 0:0')");
    assert_eq!(browser.is("document.querySelectorAll('.topology .link').length"), 13);
    assert_eq!(browser.is("document.querySelectorAll('.topology .machine-box').length"), 9);
    assert!(browser.text("#paths").contains("nothing said yet"));

    // Paths, as nodes say them, and what breaks.
    let ids = ["aa", "bb", "cc", "dd"];
    for (number, id) in ids.iter().enumerate() {
        told.node(&format!("peer{}", number + 1), json!({"event": "started", "id": id}));
    }
    told.node("peer1", json!({"event": "connected", "peer": "bb", "kind": "relay"}));
    browser.until("document.querySelector('.topology .way.relay .word')?.textContent === '┅ relay'");
    told.node(
        "peer1",
        json!({"event": "pathChanged", "peer": "bb", "from": "relay", "to": "direct", "reason": "punched"}),
    );
    told.node("peer2", json!({"event": "settled", "peer": "aa", "path": "direct", "kind": "punch"}));
    told.node("peer3", json!({"event": "connected", "peer": "dd", "kind": "direct"}));
    browser.until("document.querySelector('.topology .way.direct .word')?.textContent.includes('━ direct')");
    assert!(browser.text("#paths").contains("direct (punch)") && browser.text("#paths").contains("punched"));
    for phrase in phrases(&[
        "cut: nat1.wan",
        "{impair: nat2.wan, loss: 10%}",
        "partition: [[nat1.wan, nat2.wan], [nat3.wan]]",
        "kill: peer3",
        "freeze: peer4",
        "{roam: peer2, to: lan1}",
    ]) {
        told.tell(json!({"type": "fault", "at_ms": 1300, "cell": 0, "message": format!("{phrase} after connected")}));
    }
    browser.until("document.querySelectorAll('#broken li').length === 6");
    let state = |link: &str| browser.text(&format!(".topology [data-link='{link}']"));
    assert!(state("nat1.wan").contains("✂ cut") && state("nat2.wan").contains("≈ impaired"));
    assert!(!state("nat3.wan").contains("✂"));
    assert!(browser.text(".topology .segment.apart").contains("‖ partitioned"));
    assert!(browser.text(".topology [data-machine='peer3']").contains("! no node"));
    assert!(browser.text("#broken").contains("peer2 has moved to lan1"));
    told.node("peer1", json!({"event": "pathFailed", "peer": "bb", "path": "direct", "reason": "silence"}));
    browser.until("document.querySelector('#paths .way-word.none')?.textContent === '✗ none'");
    keep(&browser, "live-cell.png");
    for phrase in
        phrases(&["heal: nat1.wan", "mend: nat2.wan", "rejoin: internet", "restart: peer3", "thaw: peer4"])
    {
        told.tell(json!({"type": "fault", "at_ms": 1400, "cell": 0, "message": format!("{phrase} after connected")}));
    }
    browser.until("document.querySelectorAll('#broken li').length === 1");
    assert!(browser.text("#events").contains("⚡ fault"));

    // Nothing that a node says becomes markup.
    let hostile = "<img src=x onerror=\"document.title='taken'\">";
    told.tell(json!({"type": "log", "at_ms": 1500, "cell": 0, "machine": hostile, "line": hostile}));
    told.node(hostile, json!({"event": hostile, "__proto__": hostile, "peer": "constructor"}));
    browser.until(&format!("document.getElementById('events').textContent.includes({hostile:?})"));
    assert_eq!(browser.is("document.images.length"), 0);

    // When it ends it is a cell like others.
    let record = Cell {
        id: "star".into(),
        name: "The star".into(),
        nats: cells[0].nats.clone(),
        outcome: Outcome::AsExpected,
        ..Cell::default()
    };
    let brief = natrig_report::live::brief(&info, &record).unwrap();
    told.tell(json!({"type": "cellFinished", "at_ms": 1600, "cell": 0, "brief": brief}));
    browser.until("document.querySelector('#cell .facts').textContent.includes('✓ as expected')");
    browser.until_open("star");
    browser.run("location.hash = ''");
    browser.until("!document.getElementById('overview').hidden");
    assert_eq!(browser.text("h1"), "1 of 2 cells have ended, as expected.");
    let squares =
        browser.is("[...document.querySelectorAll('#grid .sign')].map((one) => one.textContent).join('')");
    assert_eq!(squares, "✓·");
    // What was not run is not waited for once the run is over.
    told.tell(json!({"type": "ended", "problem": "it broke"}));
    browser.until("document.getElementById('ended')?.textContent.includes('it broke') === true");
    browser.assert_silent_within(&told.address, |asked| asked.starts_with(&told.address));
}

/// What the page of a lab is told first.
fn tell_of_a_lab(told: &Told, faults: bool) {
    let planned = Planned { id: "direct".into(), name: "Direct".into(), map: Some(0), ..Planned::default() };
    let info = RunInfo { folder: "/runs/lab".into(), ..RunInfo::default() };
    told.tell(json!({"type": "hello", "now_ms": 0}));
    told.tell(json!({
        "type": "runStarted", "at_ms": 0, "info": info, "seed": "7", "maps": [star(2)],
        "cells": [natrig_report::live::coming(&planned).unwrap()],
    }));
    told.tell(json!({"type": "cellStarted", "at_ms": 5, "cell": 0, "title": "Direct"}));
    told.tell(stands(faults, json!({})));
}

/// How things stand with a lab, with what is not whole.
fn stands(faults: bool, broken: Value) -> Value {
    let mut state = json!({
        "cut": [], "impaired": [], "parted": [], "gateways": {}, "off": [], "frozen": [], "ended": [],
        "paused": [], "moved": {}, "doing": [], "paths": [],
    });
    for (name, value) in broken.as_object().unwrap() {
        state[name] = value.clone();
    }
    json!({"type": "lab", "at_ms": 100, "cell": 0, "name": "lab", "faults": faults, "state": state})
}

#[test]
fn a_lab_that_stays_up_is_broken_and_mended_from_its_page() {
    let place = Place::new();
    let browser = Browser::start(&place);
    let told = Told::start();
    browser.resize(1300, 1800, false);
    browser.open_at(&told.address);
    tell_of_a_lab(&told, true);
    // It is opened at once: there is nothing else.
    browser.until("location.hash === '#cell-direct' && document.getElementById('bench') !== null");
    assert!(browser.text("#waits").contains("has been up for"), "{}", browser.text("#waits"));
    let enabled =
        |fault: &str| browser.is(&format!("!document.querySelector(\"[data-fault='{fault}']\").disabled"));
    assert_eq!((enabled("cut nat1.wan"), enabled("heal nat1.wan")), (json!(true), json!(false)));
    assert_eq!((enabled("kill peer1"), enabled("power_on relay")), (json!(true), json!(false)));

    browser.run("document.querySelector(\"[data-fault='cut nat1.wan']\").click()");
    browser.until("document.getElementById('deed').textContent === 'Done: cut|nat1.wan'");
    told.tell(stands(
        true,
        json!({
            "cut": ["nat1.wan"], "impaired": ["nat2.wan, direction: out, loss: 10%"], "ended": ["peer1"],
            "parted": [["nat1.wan", "relay.wan"]], "gateways": {"nat2": "symmetric, 192.168.100.2"},
            "doing": ["flap nat1.wan 3 times, every 1s"],
            "paths": [{"from": "peer1", "to": "peer2", "path": "direct", "kind": "punch", "why": null}],
        }),
    ));
    browser.until("document.querySelectorAll('#broken li').length === 5");
    for words in [
        "✂ nat1.wan is cut",
        "≈ nat2.wan is impaired",
        "! peer1: no node",
        "nothing from nat1.wan to relay.wan",
    ] {
        assert!(browser.text("#broken").contains(words), "{words}: {}", browser.text("#broken"));
    }
    assert!(browser.text("#waits").contains("Being done: flap nat1.wan"), "{}", browser.text("#waits"));
    assert!(browser.text("#paths").contains("direct (punch)"));
    assert_eq!((enabled("cut nat1.wan"), enabled("heal nat1.wan")), (json!(false), json!(true)));
    assert_eq!((enabled("kill peer1"), enabled("restart peer1")), (json!(false), json!(true)));
    keep(&browser, "live-lab.png");

    // Whatever `natrig fault` takes can be written.
    for (text, answer) in [
        ("impair nat1.wan loss 10%", "Done: impair|nat1.wan|loss|10%"),
        ("{partition: [[nat1.wan], [relay.wan]]}", "Done: {partition: [[nat1.wan], [relay.wan]]}"),
        ("nonsense", "that is no fault of this lab"),
    ] {
        browser.run(&format!("document.getElementById('any-fault').value = {text:?}"));
        browser.run("document.querySelector('#bench form').requestSubmit()");
        browser.until(&format!("document.getElementById('deed').textContent === {answer:?}"));
    }
    told.tell(stands(true, json!({})));
    browser.until("document.getElementById('broken').textContent.includes('Nothing is broken')");
    told.tell(json!({"type": "ended", "down": true}));
    browser.until("document.getElementById('live-status').textContent === '■ the lab is down'");
    browser.assert_silent_within(&told.address, |asked| asked.starts_with(&told.address));
}

#[test]
fn a_lab_is_only_shown_where_faults_are_not_allowed() {
    let place = Place::new();
    let browser = Browser::start(&place);
    let told = Told::start();
    browser.open_at(&told.address);
    tell_of_a_lab(&told, false);
    browser.until("document.getElementById('waits')?.textContent.includes('has been up for') === true");
    assert_eq!(browser.is("document.querySelectorAll('[data-fault], #any-fault').length"), 0);
}

#[test]
#[ignore = "long: make test-full"]
fn a_lab_on_machines_is_broken_and_mended_from_its_page() {
    /// Takes the lab down, whatever became of the test.
    struct Down<'a>(&'a Place, String);
    impl Drop for Down<'_> {
        fn drop(&mut self) {
            let _ = self.0.natrig(["down", "--lab", &self.1]).output();
        }
    }

    let place = Place::new();
    let browser = Browser::start(&place);
    let lab = place.lab();
    let _down = Down(&place, lab.clone());
    let mut up = place.natrig(["up", "--lab", &lab, "--out", "out", "--web", "--web-faults"]);
    let output = up.arg(scenario("seed/scenario-direct.yaml")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let address = said.lines().find_map(|line| line.trim().strip_prefix("page: ")).unwrap().to_owned();
    browser.open_at(&address);
    browser.until("document.getElementById('bench') !== null");
    let press =
        |fault: &str| browser.run(&format!("document.querySelector(\"[data-fault='{fault}']\").click()"));
    press("connect peer1 to peer2");
    browser.until("document.getElementById('paths').textContent.includes('━ direct')");
    press("cut nat2.wan");
    browser.until("document.getElementById('broken').textContent.includes('✂ nat2.wan is cut')");
    browser.until("document.getElementById('paths').textContent.includes('✗ none')");
    // What is done by hand is seen as well.
    let healed = place.natrig(["fault", "--lab", &lab, "heal", "nat2.wan"]).output().unwrap();
    assert!(healed.status.success());
    browser.until("document.getElementById('broken').textContent.includes('Nothing is broken')");
    browser.until("document.getElementById('events').textContent.includes('heal nat2.wan')");
    let down = place.natrig(["down", "--lab", &lab]).output().unwrap();
    assert!(down.status.success());
    browser.until("document.getElementById('live-status').textContent === '■ the lab is down'");
}
