//! What a cell leaves of its packets: one capture of all links, each packet with what became of it.

mod support;

use std::{fs, path::Path, process::Command};

use natrig_capture::Reader;
use serde_json::Value;
use support::{Place, assert_code};

/// All packets' comments.
fn comments(capture: &Path) -> Vec<String> {
    let reader = Reader::new(fs::File::open(capture).unwrap()).unwrap();
    reader.flat_map(|record| record.unwrap().comments).collect()
}

fn run(backend: &str, scenario: &str) -> (Place, std::path::PathBuf) {
    run_with(backend, scenario, &[])
}

fn run_with(backend: &str, scenario: &str, options: &[&str]) -> (Place, std::path::PathBuf) {
    let place = Place::new();
    fs::write(place.work().join("x.yaml"), scenario).unwrap();
    let words = [&["run", "--backend", backend, "--seed", "1", "--out", "out", "x.yaml"], options].concat();
    let output = place.run(words);
    assert_code(&output, 0);
    let cell = fs::read_dir(place.work().join("out")).unwrap().flatten().find(|entry| entry.path().is_dir());
    let cell = cell.unwrap().path();
    (place, cell)
}

const PUNCH: &str = "{name: x, nat1: port-restrict, nat2: port-restrict, expected: hole-punch}";

#[test]
fn each_packet_says_what_became_of_it() {
    let (_place, cell) = run("sim", PUNCH);
    let said = comments(&cell.join("merged.pcapng"));
    let made =
        "probe 1 of peer1 to 192.168.100.2, nat1 made 10.0.1.2:4400 into 192.168.100.1:4400 [observed]";
    let kept = "not passed by nat2: APDF, no entry: nothing had left from 192.168.100.2:4400 to 192.168.100.1:4400 [inferred]";
    assert!(said.contains(&format!("{made}, {kept}")), "{said:#?}");
    // Captures of single links are as the switch wrote them.
    assert_eq!(comments(&cell.join("captures/nat2.wan.pcapng")), Vec::<String>::new());

    let story: Value = serde_json::from_slice(&fs::read(cell.join("story.json")).unwrap()).unwrap();
    let order: Vec<_> =
        story["machines"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(order, ["peer1", "nat1", "relay", "nat2", "peer2"]);
    let moments = story["moments"].as_array().unwrap();
    let settled = moments.iter().filter(|one| one["kind"] == "path");
    assert!(settled.clone().any(|one| one["what"].as_str().unwrap().contains("peer peer2")), "{moments:#?}");
}

#[test]
fn captures_are_kept_within_limits() {
    let (_place, cell) = run_with("sim", PUNCH, &["--snap", "60", "--ring", "1"]);
    let (_other_place, whole) = run("sim", PUNCH);
    let read = |cell: &Path, name: &str| -> Vec<natrig_capture::Record> {
        let file = fs::File::open(cell.join(name)).unwrap();
        Reader::new(file).unwrap().map(Result::unwrap).collect()
    };
    for name in ["merged.pcapng", "captures/nat1.wan.pcapng"] {
        let (kept, all) = (read(&cell, name), read(&whole, name));
        assert!(kept.iter().all(|record| record.data.len() <= 60));
        let bytes: usize = kept.iter().map(|record| record.data.len()).sum();
        assert!(bytes <= 1 << 20, "{name}: {bytes}");
        let last = |records: &[natrig_capture::Record]| {
            let last = records.last().unwrap();
            (last.at_ns, last.original_length, last.comments.clone())
        };
        assert_eq!(last(&kept), last(&all), "the newest stay, with their lengths and comments");
    }
    assert!(read(&whole, "merged.pcapng").iter().any(|record| record.data.len() > 1000));
}

fn tshark(capture: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark").arg("-r").arg(capture).args(arguments).output();
    let output = output.expect("tshark starts: apt-get install tshark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "long, and needs tshark: make test-full"]
fn wireshark_reads_what_quic_carried_where_a_scenario_has_keys_written() {
    let keys = PUNCH.replace("expected", "node: {session_keys: true}, expected");
    let (_place, cell) = run("vm", &keys);
    let merged = cell.join("merged.pcapng");
    // What the nodes have encrypted may look like the beginning of anything.
    assert_eq!(tshark(&merged, &["-Y", "_ws.malformed && !(udp.port == 4400)"]), "");
    let streams = |capture: &Path| tshark(capture, &["-Y", "quic.stream.stream_id"]).lines().count();
    assert!(streams(&cell.join("captures/peer1.lan.pcapng")) > 3, "what the relay told the peer is read");
    assert!(fs::read_to_string(cell.join("session-keys.log")).unwrap().contains("CLIENT_TRAFFIC_SECRET_0"));
    // Without the keys nobody reads it.
    let (_other_place, other) = run("vm", PUNCH);
    assert_eq!(streams(&other.join("captures/peer1.lan.pcapng")), 0);
    let commented = tshark(&merged, &["-Y", "frame.comment contains \"not passed by nat2\""]);
    assert!(!commented.is_empty(), "the first probe comes too early for the far gateway");
}
