//! `report.html` in a real browser.

#![cfg(target_os = "linux")]

#[path = "support/browser.rs"]
mod browser;
#[path = "support/stories.rs"]
mod stories;
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use browser::{Browser, DOWN, ENTER, ESCAPE, RIGHT};
use natrig_record::{Cell, Failure, Outcome, Results, STORY, Step, Story};
use serde_json::Value;
use support::{Place, assert_code, repository, scenario};

const HOSTILE: &str =
    "</script><img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>";

/// Runs a scenario file in the simulator.
fn simulated(place: &Place, file: &str) -> (PathBuf, Results) {
    let file = scenario(file).display().to_string();
    let output = place.run(["run", "--backend", "sim", "--seed", "3", "--out", "out", &file]);
    assert_code(&output, 0);
    let folder = place.work().join("out");
    let results = natrig_report::read(&folder.join("results.json")).unwrap();
    (folder, results)
}

/// Writes a run anew as it would be with other cells.
fn rewrite(folder: &Path, results: Results) -> PathBuf {
    let results = Results::of(results.run, results.cells, results.interrupted);
    natrig_report::write_all(folder, &results).unwrap();
    folder.join("report.html")
}

fn tell(folder: &Path, cell: &Cell, story: &Story) {
    let text = serde_json::to_string(story).unwrap();
    fs::write(folder.join(&cell.evidence.folder).join(STORY), text).unwrap();
}

fn find<'a>(results: &'a mut Results, nats: [&str; 2]) -> &'a mut Cell {
    results.cells.iter_mut().find(|cell| cell.nats == nats).unwrap()
}

/// The 25 pairs, three of which ended otherwise than they did, with stories.
fn matrix(place: &Place) -> (PathBuf, Results) {
    let (folder, mut results) = simulated(place, "all-combinations.yaml");
    results.run.started = "2026-11-23T10:00:00Z".into();
    results.run.host = "AMD EPYC, 2 cores, 23 GiB".into();
    results.run.folder = "natrig-runs/2026-11-23T100000Z".into();
    results.run.elapsed_ms = 612.0;
    results.run.command[0] = "natrig".into();
    if let Some(file) = results.run.command.last_mut() {
        *file = "scenarios/all-combinations.yaml".into();
    }
    let cell = find(&mut results, ["port-restrict", "symmetric"]);
    cell.outcome = Outcome::NotAsExpected;
    cell.failure = Some(Failure {
        step: Step::Connect,
        message: "neither peer reported a direct path within 30 s".into(),
        lines: vec![
            "peer1 0.365 s punchStarted strategy=birthday".into(),
            "peer1 1.817 s punchResult success=false probes=633".into(),
            "peer2 1.818 s connectFailed reason=\"no relay session\"".into(),
        ],
        hint: Some("a birthday search needs both sides' ports: see `ports_probed` in results.json".into()),
    });
    tell(&folder, cell, &stories::punch());
    let cell = find(&mut results, ["symmetric", "symmetric"]);
    cell.outcome = Outcome::Disagree;
    cell.claims[0].path = natrig_record::Path::Direct;
    tell(&folder, cell, &stories::relay());
    let cell = find(&mut results, ["addr-restrict", "full-cone"]);
    tell(&folder, cell, &stories::lossy());
    let cell = find(&mut results, ["full-cone", "public"]);
    cell.outcome = Outcome::LabError;
    cell.failure = Some(Failure {
        step: Step::Proof,
        message: "nat1 is not what it is declared to be".into(),
        lines: Vec::new(),
        hint: None,
    });
    cell.verdict = None;
    cell.claims.clear();
    cell.connect_ms = None;
    cell.proofs[0].holds = false;
    cell.proofs[0].differs = vec!["filtering".into()];
    cell.proofs[0].measured.filtering = "APDF".into();
    rewrite(&folder, results.clone());
    (folder, results)
}

/// Keeps a picture for the documentation, if it is asked for.
fn keep(browser: &Browser, name: &str) {
    if std::env::var_os("NATRIG_UPDATE_DOCS").is_some() {
        fs::write(repository().join("docs/pictures").join(name), browser.picture()).unwrap();
    }
}

fn anchor(results: &mut Results, nats: [&str; 2]) -> String {
    find(results, nats).id.clone()
}

#[test]
fn the_cause_is_on_the_first_screen_and_every_cell_a_key_away() {
    let place = Place::new();
    let (folder, mut results) = matrix(&place);
    let [punch, relay, lab] =
        [["port-restrict", "symmetric"], ["symmetric", "symmetric"], ["full-cone", "public"]]
            .map(|nats| anchor(&mut results, nats));
    {
        let browser = Browser::start(&place);
        browser.open(&folder.join("report.html"), "");
        assert_eq!(browser.text("h1"), "3 of 25 cells did not end as expected.");
        // What failed, where, why, the lines and the hint, without scrolling.
        let first = browser.text("#failures");
        for phrase in [
            "failed at connect",
            "neither peer reported a direct path within 30 s",
            "punchResult success=false probes=633",
            "hint: a birthday search",
            "NOT as expected",
            "DISAGREE",
            "but peer1 says direct",
            "LAB ERROR",
            "<- differs",
        ] {
            assert!(first.contains(phrase), "{phrase}: {first}");
        }
        let bottom = browser.is("document.querySelector('#failures .reason').getBoundingClientRect().bottom");
        assert!(bottom.as_f64().unwrap() < 600.0, "{bottom}");
        assert!(
            first.find("NOT as expected") < first.find("LAB ERROR"),
            "what says something of the node comes first"
        );
        keep(&browser, "report-overview.png");

        // The grid: 25 squares, each with a sign and a word.
        assert_eq!(browser.is("document.querySelectorAll('#grid button').length"), 25);
        let square = |nats: &str| {
            browser.run(&format!(
                "return [...document.querySelectorAll('#grid button')]\
                 .find((square) => square.getAttribute('aria-label').startsWith('{nats}:')).innerText"
            ))
        };
        let words = square("port-restrict → symmetric").as_str().unwrap().to_owned();
        assert!(words.starts_with('✗') && words.contains("birthday"), "{words}");
        let words = square("public → public").as_str().unwrap().to_owned();
        assert!(words.starts_with('✓') && words.contains("direct"), "{words}");

        // By mouse, and back.
        browser.click(&format!("#failures a[href='#cell-{punch}']"));
        browser.until_open(&punch);
        browser.press(&[ESCAPE]);
        browser.until("document.getElementById('cell').hidden");

        // By keys: the grid's tab stop is the first failed cell; down and right of it are others.
        browser.run("document.querySelector('#grid button[tabindex=\"0\"]').focus()");
        browser.press(&[DOWN, RIGHT, ENTER]);
        browser.until("document.getElementById('cell').getAttribute('aria-busy') === 'false'");
        let below = browser.text("#where");
        let expected = results.cells.iter().find(|cell| cell.nats == ["addr-restrict", "full-cone"]).unwrap();
        assert_eq!(below, expected.id, "down and right of full-cone → public");
        browser.press(&[ESCAPE]);
        browser.until("document.getElementById('cell').hidden");
        assert_eq!(
            browser.is("document.activeElement.classList.contains('square')"),
            true,
            "the focus comes back"
        );

        // n and p go from failure to failure, and around.
        let mut order = vec![lab, punch.clone(), relay];
        for anchor in order.clone() {
            browser.press(&["n"]);
            browser.until_open(&anchor);
        }
        order.reverse();
        for anchor in &order[1..] {
            browser.press(&["p"]);
            browser.until_open(anchor);
        }

        // A slash leads to the filter, from everywhere.
        browser.press(&["/"]);
        browser.until("document.activeElement.id === 'filter'");
        browser.press(&["o", "u", "t", "c", "o", "m", "e", ":", "f", "a", "i", "l", "e", "d"]);
        assert_eq!(
            browser.is("[...document.querySelectorAll('.list a.row')].filter((row) => !row.hidden).length"),
            3
        );
        browser.press(&[ENTER, DOWN, ENTER]);
        browser.until_open(&punch);
        browser.assert_silent();
    }
    place.assert_no_process();
}

#[test]
fn a_cell_is_told_from_its_packets() {
    let place = Place::new();
    let (folder, mut results) = matrix(&place);
    let page = folder.join("report.html");
    let [punch, relay, lossy, plain, lab] = [
        ["port-restrict", "symmetric"],
        ["symmetric", "symmetric"],
        ["addr-restrict", "full-cone"],
        ["public", "public"],
        ["full-cone", "public"],
    ]
    .map(|nats| anchor(&mut results, nats));
    let browser = Browser::start(&place);
    browser.open(&page, &format!("#cell-{punch}"));
    browser.until_open(&punch);

    // The diagram: what was dropped, why, and how that is known.
    let drawn = browser.is("document.querySelector('#packets .diagram').textContent");
    let drawn = drawn.as_str().unwrap();
    for phrase in [
        "probe ×3 · 56 B",
        "10.0.1.2:4400 → 192.168.100.2:33034",
        "from 192.168.100.1:4400",
        "⋮ 1.4",
        "peer1 is told to connect",
        "● path peer1 · direct (birthday)",
    ] {
        assert!(drawn.contains(phrase), "{phrase}: {drawn}");
    }
    let why = browser.run(
        "return [...document.querySelectorAll('#packets .journey.dropped')]\
         .map((one) => [...one.querySelectorAll('.why')].map((line) => line.textContent).join(' '))",
    );
    assert_eq!(why[0], format!("dropped at nat2: {} (inferred)", stories::REASON));
    assert_eq!(why.as_array().unwrap().len(), 4);
    let count = |selector: &str| browser.is(&format!("document.querySelectorAll({selector:?}).length"));
    assert_eq!((count(".cross.inferred circle"), count(".cross.observed rect")), (3.into(), 1.into()));
    assert_eq!(count("line.leg.lost.inferred"), 3);

    // In words on one clock, by machine.
    let text_of = |selector: &str| {
        let text = browser.is(&format!("document.querySelector({selector:?}).textContent"));
        text.as_str().unwrap().to_owned()
    };
    let clock = text_of("#clock");
    assert!(clock.contains("nat1 sends it on from 192.168.100.1:4400"), "{clock}");
    browser.run(
        "const machine = document.querySelector('#clock select'); machine.value = 'relay';\
         machine.dispatchEvent(new Event('change'))",
    );
    assert_eq!(count("#clock li"), 3, "what the relay sent and got");

    // Again, gateways and logs.
    let facts = browser.text("#facts");
    let again =
        format!("natrig run --backend sim scenarios/all-combinations.yaml --seed {} --only {punch}", {
            find(&mut results, ["port-restrict", "symmetric"]).seed.unwrap()
        });
    assert!(facts.contains(&again), "{again}: {facts}");
    let gateways = browser.text("#gateways");
    for phrase in [
        "nat1 port-restrict",
        "measured as declared",
        "Table after",
        "10.0.1.2:4400",
        "Changes during the cell: 2",
    ] {
        assert!(gateways.contains(phrase), "{phrase}: {gateways}");
    }
    browser.click("#logs details:first-of-type summary");
    browser.until("document.querySelector('#logs pre')?.textContent.includes('natDetected') === true");
    assert!(browser.text("#timeline svg").contains("direct (birthday)"));
    assert_eq!(count("#plots .plot"), 2);
    let axes = browser.text("#plots");
    for phrase in ["Mbit/s", "time after the connect command", "site to site, back", "half within"] {
        assert!(axes.contains(phrase), "{phrase}: {axes}");
    }
    browser.resize(1280, 940, false);
    browser.run("document.querySelector('#packets').scrollIntoView()");
    keep(&browser, "report-packets.png");

    browser.open(&page, &format!("#cell-{lossy}"));
    browser.until_open(&lossy);
    let timeline = browser.text("#timeline svg");
    assert!(timeline.contains("cut nat1.wan for 4s") && timeline.contains("peer2 path"), "{timeline}");
    let drawn = browser.is("document.querySelector('#packets .diagram').textContent");
    assert!(drawn.as_str().unwrap().contains("dropped at nat1.wan: the link is cut (observed)"));

    browser.open(&page, &format!("#cell-{relay}"));
    browser.until_open(&relay);
    assert!(browser.text("#packets").contains("12 more datagrams are not told"));

    // Where something is not there, that is said.
    fs::remove_file(folder.join(&plain).join(STORY)).unwrap_or_default();
    fs::write(folder.join(&lab).join(STORY), "[1, 2").unwrap();
    assert_code(&place.run(["report", "html", "out"]), 0);
    browser.open(&page, &format!("#cell-{plain}"));
    browser.until_open(&plain);
    assert!(browser.text("#packets").contains("there is no"), "{}", browser.text("#packets"));
    browser.open(&page, &format!("#cell-{lab}"));
    browser.until_open(&lab);
    assert!(
        browser.text("#packets").contains("story.json could not be read"),
        "{}",
        browser.text("#packets")
    );
    assert!(browser.text("#gateways").contains("≠ differs"));
    browser.assert_silent();
}

#[test]
fn nothing_that_a_run_says_becomes_markup() {
    let place = Place::new();
    let (folder, mut results) = simulated(&place, "seed/scenario-relay-fallback.yaml");
    let cell = &mut results.cells[0];
    cell.name = HOSTILE.into();
    cell.outcome = Outcome::NotAsExpected;
    cell.failure = Some(Failure {
        step: Step::Data,
        message: HOSTILE.into(),
        lines: vec![HOSTILE.into()],
        hint: Some(HOSTILE.into()),
    });
    let own = folder.join(&cell.evidence.folder);
    fs::write(own.join(&cell.evidence.logs[0]), format!("{HOSTILE}\n")).unwrap();
    fs::write(own.join(&cell.evidence.gateways[0]), format!(r#"{{"table": [{{"inside": {HOSTILE:?}}}]}}"#))
        .unwrap();
    let mut story = stories::punch();
    story.machines[1].detail = HOSTILE.into();
    story.journeys[3].what = HOSTILE.into();
    story.moments[2].what = HOSTILE.into();
    fs::write(own.join(STORY), serde_json::to_string(&story).unwrap()).unwrap();
    let anchor = cell.id.clone();
    let page = rewrite(&folder, results);
    let browser = Browser::start(&place);
    browser.open(&page, "");
    assert!(browser.text("#failures").contains(HOSTILE));
    browser.open(&page, &format!("#cell-{anchor}"));
    browser.until_open(&anchor);
    browser.click("#logs details:first-of-type summary");
    browser
        .until(&format!("document.querySelector('#logs pre')?.textContent.includes({HOSTILE:?}) === true"));
    for part in ["#cell .cause", "#packets", "#clock", "#gateways"] {
        let text = browser.is(&format!("document.querySelector({part:?}).textContent"));
        assert!(text.as_str().unwrap().contains("onerror="), "{part}");
    }
    assert_eq!(browser.is("document.querySelectorAll('img').length"), 0);
    assert_ne!(browser.is("document.title"), "taken");
    browser.assert_silent();
    // Even markup that came in would run nothing.
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"document.title=1\">')",
    );
    browser.until("document.images[0].complete");
    assert_ne!(browser.is("document.title"), "1");
}

#[test]
fn it_fits_a_phone_and_the_dark() {
    let place = Place::new();
    let (folder, mut results) = matrix(&place);
    let punch = anchor(&mut results, ["port-restrict", "symmetric"]);
    let page = folder.join("report.html");
    let browser = Browser::start(&place);
    browser.resize(360, 740, true);
    browser.open(&page, "");
    let assert_fits = || {
        let wide = browser.is("document.documentElement.scrollWidth");
        let beyond = browser.run(
            "return [...document.querySelectorAll('body *')]\
             .filter((one) => one.getBoundingClientRect().right > 361 && !one.closest('.wide, .diagram, pre, code, .unseen'))\
             .map((one) => `${one.localName}.${one.className} ${one.getBoundingClientRect().right}`)",
        );
        assert_eq!(wide, 360, "the page scrolls sideways: {beyond}");
    };
    assert_fits();
    let bottom = browser.is("document.querySelector('#failures .reason').getBoundingClientRect().bottom");
    assert!(bottom.as_f64().unwrap() < 740.0, "the cause is not on the first screen: {bottom}");
    browser.run(&format!("location.hash = '#cell-{punch}'"));
    browser.until_open(&punch);
    assert_fits();
    browser.prefer("dark");
    keep(&browser, "report-phone.png");

    let ground = "getComputedStyle(document.body).backgroundColor";
    let dark = browser.is(ground);
    browser.prefer("light");
    let light = browser.is(ground);
    let brightness = |color: &Value| -> u32 {
        let digits = color.as_str().unwrap().split(|c: char| !c.is_ascii_digit());
        digits.filter_map(|part| part.parse::<u32>().ok()).take(3).sum()
    };
    assert!(brightness(&dark) < 150 && brightness(&light) > 700, "{dark} {light}");
    browser.assert_silent();
}

#[test]
fn a_page_follows_a_run_that_goes_on() {
    let place = Place::new();
    let (folder, _) = simulated(&place, "seed/test-matrix.yaml");
    let browser = Browser::start(&place);
    browser.open(&folder.join("report.html"), "");
    assert_eq!(browser.text("h1"), "All 6 cells ended as expected.");
    browser.run(
        "natrig.take.cell(2, {outcome: 'not-as-expected', reason: 'data: nothing came', step: 'data', wire: 'nothing arrived'})",
    );
    assert_eq!(browser.text("h1"), "1 of 6 cells did not end as expected.");
    assert!(browser.text("#failures").contains("nothing came"));
    assert_eq!(
        browser.is("document.querySelectorAll('#grid button')[2].querySelector('.sign').textContent"),
        "✗"
    );
    assert!(browser.text(".list a.row[data-index='2']").contains("nothing arrived"));
    // One that was not known before.
    browser.run("natrig.take.cell(6, {...natrig.run.cells[0], anchor: 'new', id: 'new', outcome: undefined, running: 'proof'})");
    assert_eq!(browser.is("document.querySelectorAll('#grid button').length"), 7);
    assert!(browser.text(".list a.row[data-index='6']").contains("proof"));
    browser.assert_silent();
}

/// Opening and scrolling a page of many cells, against bounds that only a page that lays out everything at once would miss.
#[test]
fn a_thousand_cells_stay_smooth() {
    const OPEN: Duration = Duration::from_secs(15);
    const SCROLL: Duration = Duration::from_secs(10);

    let place = Place::new();
    let (folder, results) = matrix(&place);
    let size = |path: &Path| fs::metadata(path).unwrap().len() as f64 / 1e6;
    println!("{} cells: {:.2} MB", results.cells.len(), size(&folder.join("report.html")));
    let mut many = results.clone();
    many.cells = (0..40)
        .flat_map(|round| {
            results.cells.iter().map(move |cell| Cell { id: format!("{}-{round}", cell.id), ..cell.clone() })
        })
        .collect();
    let begun = Instant::now();
    let page = rewrite(&folder, many);
    println!("1000 cells: {:.2} MB, written in {:.2} s", size(&page), begun.elapsed().as_secs_f64());

    let browser = Browser::start(&place);
    let begun = Instant::now();
    browser.open(&page, "");
    browser.until("document.querySelectorAll('.list a.row').length === 1000");
    let opened = begun.elapsed();
    let scrolled = browser.run_async(
        "const done = arguments[0]; const begun = performance.now(); let frames = 0, longest = 0, last = begun;\
         const step = () => { const now = performance.now(); longest = Math.max(longest, now - last); last = now; frames += 1;\
           scrollBy(0, 900); if (scrollY + innerHeight >= document.documentElement.scrollHeight - 5 || frames > 400) \
             done([now - begun, frames, longest]); else requestAnimationFrame(step); };\
         requestAnimationFrame(step);",
    );
    let [took, frames, longest] = [0, 1, 2].map(|at| scrolled[at].as_f64().unwrap());
    println!(
        "opened in {:.2} s; {frames} frames to its end in {:.2} s, the longest {longest:.0} ms",
        opened.as_secs_f64(),
        took / 1e3
    );
    assert!(opened < OPEN, "{opened:?}");
    assert!(took < SCROLL.as_secs_f64() * 1e3, "{took} ms");
    let filtered = browser.run(
        "const filter = document.getElementById('filter'); filter.value = 'symmetric-7'; const begun = performance.now();\
         filter.dispatchEvent(new Event('input')); document.body.offsetHeight; return performance.now() - begun",
    );
    println!("filtered in {filtered} ms");
    assert!(filtered.as_f64().unwrap() < 2_000.0);
    browser.assert_silent();
}

/// What matters begins with the connect command; and the usual five machines fit beside each other.
#[test]
fn a_diagram_begins_with_the_connect_command_and_fits() {
    let place = Place::new();
    let (folder, _) = simulated(&place, "seed/test-matrix.yaml");
    let browser = Browser::start(&place);
    browser.resize(1300, 900, false);
    browser.open(&folder.join("report.html"), "");
    let anchors = browser.is("natrig.run.cells.map((cell) => cell.anchor)");
    for anchor in anchors.as_array().unwrap() {
        let anchor = anchor.as_str().unwrap();
        browser.run(&format!("location.hash = '#cell-{anchor}'"));
        browser.until_open(anchor);
        let seen = browser.run(
            "const box = document.querySelector('#packets .diagram'), top = box.getBoundingClientRect().top;\
             const heads = box.querySelector('.heads').getBoundingClientRect().bottom - top;\
             const row = [...box.querySelectorAll('.band')].find((one) => one.textContent.includes('step · connect'));\
             return [row.getBoundingClientRect().top - top, heads, box.scrollTop, box.scrollWidth - box.clientWidth]",
        );
        let [row, heads, scrolled, beyond] = [0, 1, 2, 3].map(|at| seen[at].as_f64().unwrap());
        assert!(scrolled > 0.0, "{anchor}: what was before is above");
        assert!((heads - 2.0..heads + 60.0).contains(&row), "{anchor}: {row} under {heads}");
        assert!(beyond <= 0.0, "{anchor}: {beyond} px are cut");
    }
    browser.assert_silent();
}
