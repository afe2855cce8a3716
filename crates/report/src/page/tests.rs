use std::{fs, io::Read};

use flate2::read::GzDecoder;
use natrig_record::{
    Basis, Cell, Column, End, Failure, Journey, Leg, Outcome, Role, STORY, Step, Story, Throughput,
};
use serde_json::Value;

use super::*;
use crate::sample;

const HOSTILE: &str = "</script><img src=x onerror=alert(1)><!--<script>{{pieces}}";

/// The JSON in an element with an ID.
fn element<'a>(page: &'a str, id: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!(" id=\"{id}\">"))?;
    Some(rest.split_once("</script>").unwrap().0)
}

fn brief(page: &str) -> Value {
    serde_json::from_str(element(page, "run").unwrap()).unwrap()
}

fn piece(page: &str, id: &str) -> Option<Value> {
    let packed = BASE64_STANDARD.decode(element(page, id)?).unwrap();
    let mut json = String::new();
    GzDecoder::new(&packed[..]).read_to_string(&mut json).unwrap();
    Some(serde_json::from_str(&json).unwrap())
}

/// A story with one datagram that is dropped.
fn story() -> Story {
    let end = |text: &str| text.parse().unwrap();
    let leg = Leg {
        from: "peer1".into(),
        to: Some("nat1".into()),
        left_ms: 1.0,
        arrived_ms: None,
        source: end("10.0.1.2:4400"),
        destination: end("192.168.100.2:4400"),
        frame: 7,
    };
    Story {
        machines: vec![Column { name: "peer1".into(), role: Role::Peer, detail: "1".into() }],
        journeys: vec![Journey {
            at_ms: 1.0,
            what: "probe".into(),
            bytes: 56,
            count: 1,
            legs: vec![leg],
            end: End::Dropped { at: "nat2".into(), why: HOSTILE.into(), basis: Basis::Inferred },
        }],
        throughput: Throughput::default(),
        ..Story::default()
    }
}

/// A run's folder in which the evidence of the first two cells is.
fn run() -> (tempfile::TempDir, Results) {
    let folder = tempfile::tempdir().unwrap();
    let results = sample::four_outcomes();
    for cell in &results.cells[..2] {
        let place = folder.path().join(&cell.evidence.folder);
        fs::create_dir_all(place.join("logs")).unwrap();
        fs::write(place.join("logs/peer1.log"), format!("{HOSTILE}\n")).unwrap();
        fs::write(place.join("nat1.nft"), "table ip natrig {}\n").unwrap();
        fs::write(place.join(STORY), serde_json::to_string(&story()).unwrap()).unwrap();
    }
    (folder, results)
}

#[test]
fn a_page_has_every_cell_and_what_is_known_of_it() {
    let (folder, results) = run();
    let page = page(&results, folder.path(), BUDGET).unwrap();
    let brief = brief(&page);
    let cells = brief["cells"].as_array().unwrap();
    assert_eq!(cells.len(), results.cells.len());
    assert_eq!(cells[1]["step"], "connect");
    assert_eq!(cells[1]["reason"], "connect: neither peer reported a path within 30 s");
    assert_eq!(cells[1]["lines"].as_array().unwrap().len(), 2);
    assert_eq!(cells[0].get("lines"), None, "nothing failed");
    let told: Story = serde_json::from_value(piece(&page, "piece-1-story").unwrap()).unwrap();
    assert_eq!(told, story());
    let record: Cell = serde_json::from_value(piece(&page, "piece-4-record").unwrap()).unwrap();
    assert_eq!(record, results.cells[4]);
    let files = piece(&page, "piece-0-files").unwrap();
    assert_eq!(files[0]["path"], "nat1.nft");
    assert_eq!(files[1]["text"], format!("{HOSTILE}\n"));
}

/// A script's numbers end at 2 to the 53rd.
#[test]
fn a_seed_is_shown_to_its_last_digit() {
    let (folder, mut results) = run();
    results.run.seed = u64::MAX;
    let page = page(&results, folder.path(), BUDGET).unwrap();
    assert_eq!(brief(&page)["seed"], "18446744073709551615");
    assert!(
        SCRIPTS
            .iter()
            .chain([&MAIN])
            .chain(&live::LIVE)
            .all(|script| !script.contains("run.run.seed") && !script.contains("info.seed"))
    );
}

#[test]
fn what_is_not_there_is_said_in_its_place() {
    let (folder, mut results) = run();
    let own = folder.path().join(&results.cells[0].evidence.folder);
    fs::write(own.join(STORY), "{\"origin_ns\": \"soon\"}").unwrap();
    fs::remove_file(own.join("logs/peer1.log")).unwrap();
    fs::remove_file(folder.path().join(&results.cells[1].evidence.folder).join(STORY)).unwrap();
    results.cells[3].evidence = Default::default();
    let page = page(&results, folder.path(), BUDGET).unwrap();
    let brief = brief(&page);
    let said = |cell: usize, part: &str| brief["cells"][cell]["has"][part].as_str().unwrap().to_owned();
    assert!(said(0, "story").contains("story.json could not be read: invalid type"), "{}", said(0, "story"));
    assert!(said(1, "story").contains("there is no symmetric-symmetric/story.json"), "{}", said(1, "story"));
    assert!(said(2, "files").contains("public-symmetric could not be looked into"), "{}", said(2, "files"));
    assert_eq!(said(3, "story"), "The evidence of this cell was not kept.");
    assert_eq!(brief["cells"][3]["has"]["record"], Value::Null);
    let files = piece(&page, "piece-0-files").unwrap();
    assert!(files[1]["problem"].as_str().unwrap().contains("No such file"), "{files}");
}

#[test]
fn failed_cells_come_first_and_the_rest_is_named() {
    let (folder, mut results) = run();
    // As expected comes first in the run, and last into the page.
    let whole = page(&results, folder.path(), BUDGET).unwrap();
    let of_failed: usize = whole
        .lines()
        .filter(|line| line.starts_with("<script type=\"text/plain\"") && !line.contains("\"piece-0-"))
        .map(|line| line.len() + 1)
        .sum();
    results.cells[0].outcome = Outcome::AsExpected;
    let page = page(&results, folder.path(), of_failed + 80).unwrap();
    assert!(piece(&page, "piece-1-story").is_some() && piece(&page, "piece-1-files").is_some());
    assert_eq!(piece(&page, "piece-0-story"), None);
    let said = brief(&page)["cells"][0]["has"]["story"].as_str().unwrap().to_owned();
    assert!(
        said.contains("did not fit") && said.contains("port-restrict-addr-restrict/story.json"),
        "{said}"
    );
    assert!(page.len() < whole.len());
}

#[test]
fn a_page_stays_within_its_budget_however_many_cells_there_are() {
    let (folder, results) = run();
    let cells: Vec<Cell> = results.cells.iter().cycle().take(400).cloned().collect();
    let results = Results::of(results.run, cells, false);
    let budget = 60_000;
    let page = page(&results, folder.path(), budget).unwrap();
    let packed: usize = page
        .lines()
        .filter(|line| line.starts_with("<script type=\"text/plain\""))
        .map(|line| line.len() + 1)
        .sum();
    assert!(packed <= budget && packed > budget * 9 / 10, "{packed}");
    let last = &brief(&page)["cells"][399]["has"];
    assert!(last["files"].as_str().unwrap().contains("0.06 MB"), "{last}");
}

#[test]
fn nothing_that_a_run_says_is_markup() {
    let (folder, mut results) = run();
    let cell = &mut results.cells[1];
    cell.name = HOSTILE.into();
    cell.id = HOSTILE.into();
    cell.failure = Some(Failure {
        step: Step::Connect,
        message: HOSTILE.into(),
        lines: vec![HOSTILE.into()],
        hint: Some(HOSTILE.into()),
    });
    let safe = page(&sample::matrix(), folder.path(), BUDGET).unwrap();
    let page = page(&results, folder.path(), BUDGET).unwrap();
    for sign in ["<img", "<!--"] {
        assert_eq!(page.matches(sign).count(), 0, "{sign}");
    }
    let scripts =
        |page: &str| page.matches("<script").count() - page.matches("<script type=\"text/plain\"").count();
    assert_eq!(scripts(&page), scripts(&safe), "an element of its own");
    assert_eq!(page.matches("<script").count(), page.matches("</script").count());
    assert_eq!(brief(&page)["cells"][1]["name"], HOSTILE, "and yet it is all there");
    assert_eq!(brief(&page)["cells"][1]["reason"], format!("connect: {HOSTILE}"));
}

#[test]
fn a_page_asks_nobody_for_anything() {
    let (folder, results) = run();
    let page = page(&results, folder.path(), BUDGET).unwrap();
    for sign in ["http://", "https://", "@import", "url(", "{{"] {
        // The name of SVG is no address.
        let found = page.matches(sign).count() - usize::from(sign == "http://");
        assert_eq!(found, 0, "{sign}");
    }
    let script = page.rsplit_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    let hash = BASE64_STANDARD.encode(Sha256::digest(script));
    assert!(page.contains(&format!("script-src 'sha256-{hash}'")), "the script is the one that may run");
    assert!(page.contains("default-src 'none'") && page.contains("connect-src 'none'"));
}

/// What comes from a run is set as text: there is no other way in the scripts to make elements of it.
#[test]
fn scripts_make_no_markup_of_text() {
    for script in SCRIPTS.into_iter().chain([MAIN]).chain(live::LIVE) {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
        {
            assert!(!script.contains(way), "{way}");
        }
    }
}

#[test]
fn the_same_run_gives_the_same_page() {
    let (folder, results) = run();
    let twice = [(); 2].map(|()| page(&results, folder.path(), BUDGET).unwrap());
    assert_eq!(twice[0], twice[1]);
}
