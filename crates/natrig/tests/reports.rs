//! Runs in figures, held against each other, and put together from parts.

mod support;

use std::process::Output;

use natrig_record::{Outcome, Results};
use support::{Place, assert_code, scenario, stderr, stdout};

fn natrig(place: &Place, arguments: &[&str], code: i32) -> Output {
    let output = place.natrig(arguments).output().unwrap();
    assert_code(&output, code);
    output
}

/// Runs the seed's matrix in the simulator.
fn matrix(place: &Place, out: &str, more: &[&str]) -> Results {
    let file = scenario("seed/test-matrix.yaml").display().to_string();
    let words = ["run", "--backend", "sim", "--seed", "3", "--out", out, &file];
    natrig(place, &[&words[..], more].concat(), 0);
    natrig_report::read(&place.work().join(out).join("results.json")).unwrap()
}

#[test]
fn parts_of_a_run_make_the_whole() {
    let place = Place::new();
    let whole = matrix(&place, "whole", &[]);
    let parts = ["1/3", "2/3", "3/3"].map(|part| {
        let out = format!("part-{}", &part[..1]);
        matrix(&place, &out, &["--shard", part]);
        out
    });
    let said = natrig(&place, &["report", "merge", "--out", "merged", &parts[0], &parts[1], &parts[2]], 0);
    assert!(stdout(&said).contains("6 as expected"), "{}", stdout(&said));
    let merged = natrig_report::read(&place.work().join("merged/results.json")).unwrap();
    let ids = |results: &Results| results.cells.iter().map(|cell| cell.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&merged), ids(&whole));
    for cell in &merged.cells {
        let folder = place.work().join("merged").join(&cell.evidence.folder);
        assert!(cell.evidence.captures.iter().all(|capture| folder.join(capture).is_file()), "{}", cell.id);
    }
    natrig(&place, &["report", "diff", "whole", "merged"], 0);
    let said = natrig(&place, &["report", "merge", "--out", "twice", "whole", "part-1"], 2);
    assert!(stderr(&said).contains("is in another part as well"), "{}", stderr(&said));
    assert!(!place.work().join("twice").exists());
    natrig(&place, &["report", "merge", "--out", "merged", "part-1"], 2);
}

#[test]
fn a_run_that_is_worse_is_told() {
    let place = Place::new();
    let mut worse = matrix(&place, "before", &[]);
    worse.cells[2].outcome = Outcome::NotAsExpected;
    worse.cells.iter_mut().for_each(|cell| cell.connect_ms = cell.connect_ms.map(|time| time + 200.0));
    let text = serde_json::to_string(&worse).unwrap();
    std::fs::write(place.work().join("after.json"), text).unwrap();
    let said = stdout(&natrig(&place, &["report", "diff", "before", "after.json"], 1));
    for phrase in [": 1 of 1 as expected, then 0 of 1", "connect_seconds, quantile 0.5", "WORSE"] {
        assert!(said.contains(phrase), "{phrase}: {said}");
    }
    natrig(&place, &["report", "diff", "after.json", "before"], 0);
}

#[test]
fn figures_are_shown() {
    let place = Place::new();
    matrix(&place, "out", &[]);
    let said = stdout(&natrig(&place, &["report", "show", "out"], 0));
    assert!(said.contains("path_ratio, path relay") && said.contains("6 as expected"), "{said}");
    let said = stdout(&natrig(&place, &["report", "show", "--open-metrics", "out"], 0));
    assert!(said.ends_with("# EOF\n") && said.contains(r#"{backend="sim",quantile="0.5"}"#), "{said}");
    assert_eq!(said, std::fs::read_to_string(place.work().join("out/metrics.txt")).unwrap());
}

#[test]
fn a_page_is_written_again() {
    let place = Place::new();
    matrix(&place, "out", &[]);
    let page = place.work().join("out/report.html");
    let first = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_file(&page).unwrap();
    let said = natrig(&place, &["report", "html", "out"], 0);
    assert_eq!(stdout(&said), "out/report.html\n");
    assert_eq!(std::fs::read_to_string(&page).unwrap(), first);
    // The evidence is found from the results' file as well.
    natrig(&place, &["report", "html", "out/results.json", "-o", "other.html"], 0);
    assert_eq!(std::fs::read_to_string(place.work().join("other.html")).unwrap(), first);
    let said = natrig(&place, &["report", "html", "out", "-o", "no/such/folder/x.html"], 2);
    assert!(stderr(&said).contains("cannot write no/such/folder/x.html"), "{}", stderr(&said));
}

#[test]
fn what_is_no_run_is_refused() {
    let place = Place::new();
    std::fs::write(place.work().join("text.json"), "text").unwrap();
    for (words, phrase) in [
        (&["report", "show", "nowhere"][..], "cannot read nowhere"),
        (&["report", "show", "text.json"], "text.json holds no results"),
        (&["report", "diff", "--threshold", "much", "a", "b"], "give a share"),
        (&["matrix", "--backend", "sim", "--shard", "5/4"], "which of how many"),
    ] {
        let said = stderr(&natrig(&place, words, 2));
        assert!(said.contains(phrase), "{phrase}: {said}");
    }
}
