//! The documentation's commands, run as they stand there: page by page, in one folder each, as a reader would.

mod said;
mod support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use said::{Said, commands};
use support::{Place, repository, stderr, stdout};

/// What would take long is done in small: the words of the page, and those that are run.
const IN_SMALL: [(&str, &str); 12] = [
    ("matrix --app examples/ice/app.yaml", "matrix --app examples/ice/app.yaml --only T2.M.13"),
    ("--repeat 200", "--repeat 2"),
    ("--repeat 25", "--repeat 2"),
    ("--seeds 1000 --for 5m", "--seeds 3 --for 30s"),
    ("--seed 7 --for 10m", "--seed 7 --for 30s"),
    ("--nodes 1000", "--nodes 100"),
    ("--for 10m --seed 1", "--for 1m --seed 1"),
    ("--for 30m --seed 1 --seeds 20", "--for 1m --seed 1 --seeds 2"),
    ("--count 100", "--count 2"),
    ("capture nat1.wan -w -", "capture nat1.wan --count 2 -w -"),
    ("logs peer1 --follow", "logs peer1"),
    ("times 3 every 500ms", "times 1 every 100ms"),
];

/// Commands that end with something else than 0, as their pages say.
const CODES: [(&str, i32); 6] = [
    ("controls/relay-dead.yaml", 1),
    ("nat show --nft windows-winnat", 2),
    ("scenarios/controls/no-relay.yaml", 1),
    ("scenarios/controls/lying-node.yaml", 1),
    ("wrong.yaml", 1),
    ("report diff before after", 1),
];

/// Commands that do what they say also where they end with 1: two runs of a machine may differ by chance.
const EITHER: [&str; 1] = ["natrig compare"];

/// Commands that are for machines, though nothing in them says so.
const ON_MACHINES: [&str; 16] = [
    "chaos", "up", "down", "status", "fault", "exec", "probe", "shell", "logs", "capture", "compare",
    "doctor", "image", "clean", "matrix", "run",
];

fn is_for_machines(command: &Said) -> bool {
    let word = command.text.split(' ').nth(1).unwrap_or_default();
    let simulated = command.text.contains("--backend sim");
    // It puts together what ran on machines.
    let merges = command.text.contains("report merge");
    let measures = command.text.starts_with("natrig nat kernels");
    (ON_MACHINES.contains(&word) || merges || measures) && !simulated
}

/// Files that a page has its reader make from another one.
const EDITS: [(&str, &str, &str, &str); 2] = [
    ("wrong.yaml", "first.yaml", "expected: truth", "expected: direct"),
    (
        "slower.yaml",
        "first.yaml",
        "expected: truth",
        "expected: truth\nlinks:\n  - {link: nat1.wan, like: 4g}",
    ),
];

fn pages() -> Vec<PathBuf> {
    let folders = ["docs", "docs/mesh"].map(|folder| fs::read_dir(repository().join(folder)).unwrap());
    let docs = folders.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    pages.push(repository().join("README.md"));
    pages.sort();
    pages
}

/// A place where the repository's scenarios are where pages say.
fn reader() -> Place {
    let place = Place::new();
    for folder in ["scenarios", "truth", "docs", "examples"] {
        symlink(repository().join(folder), place.work().join(folder)).unwrap();
    }
    let bin = place.work().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_natrig"), bin.join("natrig")).unwrap();
    place
}

fn in_small(text: &str) -> String {
    IN_SMALL.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Runs one; gives what is wrong with it.
fn run(place: &Place, command: &Said) -> Option<String> {
    for (file, from, old, new) in EDITS {
        let edited = place.work().join(file);
        if command.text.contains(file) && !edited.exists() {
            let text = fs::read_to_string(place.work().join(from)).unwrap();
            assert!(text.contains(old), "{from} has no `{old}` to edit");
            fs::write(edited, text.replace(old, new)).unwrap();
        }
    }
    let text = in_small(&command.text);
    let path = format!("{}:{}", place.work().join("bin").display(), std::env::var("PATH").unwrap());
    let mut shell = place.command("bash");
    shell.args(["-o", "pipefail", "-c", &text]).env("PATH", path).env("NATRIG_LAB", place.lab());
    let output = shell.output().unwrap();
    let expected = CODES.iter().find(|(part, _)| text.contains(part)).map_or(0, |(_, code)| *code);
    let chance = EITHER.iter().any(|part| text.starts_with(part)) && output.status.code() == Some(1);
    (output.status.code() != Some(expected) && !chance).then(|| {
        let said = format!("{}{}", stdout(&output), stderr(&output));
        format!("{}: {text}\nended with {}, not {expected}\n{said}", command.at, output.status)
    })
}

/// Runs those commands of each page that are meant, two pages at a time; what a page cleans would be missed by another one.
fn all(meant: impl Fn(&Said) -> bool + Sync) {
    let cleans = |page: &PathBuf| commands(page).iter().any(|one| one.text.starts_with("natrig clean"));
    let (alone, beside): (Vec<_>, Vec<_>) = pages().into_iter().partition(cleans);
    let beside = Mutex::new(beside.into_iter());
    let next = || beside.lock().unwrap().next();
    let mut results = thread::scope(|scope| {
        let work = || std::iter::from_fn(next).map(|page| of_page(&page, &meant)).collect::<Vec<_>>();
        let both = [scope.spawn(work), scope.spawn(work)];
        both.map(|worker| worker.join().unwrap()).concat()
    });
    results.extend(alone.iter().map(|page| of_page(page, &meant)));
    let count: usize = results.iter().map(|(count, _)| count).sum();
    let wrong: Vec<String> = results.into_iter().flat_map(|(_, wrong)| wrong).collect();
    assert!(wrong.is_empty(), "{} of {count} commands:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(count > 10, "the pages hold no more commands than {count}");
}

/// How many commands of a page were run, and what is wrong with them.
fn of_page(page: &Path, meant: impl Fn(&Said) -> bool) -> (usize, Vec<String>) {
    let mut commands: Vec<Said> =
        commands(page).into_iter().filter(|one| !one.is_usage && meant(one)).collect();
    // What a page says of a lab below the line that ends it is about one that is up.
    commands.sort_by_key(|command| command.text == "natrig down");
    if commands.is_empty() {
        return (0, Vec::new());
    }
    let place = reader();
    prepare(&place, page);
    let wrong = commands.iter().filter_map(|command| run(&place, command)).collect();
    // Whatever a page has started.
    let _ = place.natrig(["down", "--lab", &place.lab()]).output();
    (commands.len(), wrong)
}

/// What a page takes for granted that its reader has.
fn prepare(place: &Place, page: &Path) {
    let text = fs::read_to_string(page).unwrap();
    let said = |part: &str| commands(page).iter().any(|one| !one.is_usage && one.text.starts_with(part));
    if said("natrig status") && !said("natrig up") {
        let output = place.run(["up", "scenarios/seed/scenario-direct.yaml", "--lab", &place.lab()]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    if text.contains("natrig report") || text.contains("mine.yaml") {
        for arguments in [
            &["run", "--backend", "sim", "scenarios/seed/scenario-direct.yaml"][..],
            &["nat", "show", "port-restrict"],
        ] {
            let output = place.run(arguments);
            assert!(output.status.success(), "{}", stderr(&output));
            if arguments[0] == "nat" && !text.contains("> mine.yaml") {
                fs::write(place.work().join("mine.yaml"), stdout(&output)).unwrap();
            }
        }
    }
}

#[test]
fn what_the_pages_say_of_the_simulator_works() {
    all(|command| !is_for_machines(command));
}

#[test]
#[ignore = "long, and needs tshark: make test-full"]
fn what_the_pages_say_of_machines_works() {
    all(is_for_machines);
}

#[test]
fn usages_name_commands_that_there_are() {
    let place = reader();
    let mut count = 0;
    for usage in pages().iter().flat_map(|page| commands(page)).filter(|one| one.is_usage) {
        // `nat list | show` stands for several.
        let words: Vec<&str> = usage.text.split(' ').skip(1).collect();
        let (group, kinds) = match words.iter().position(|word| *word == "|") {
            Some(bar) => {
                (&words[..bar - 1], words[bar - 1..].iter().filter(|word| **word != "|").copied().collect())
            }
            None => (&words[..1], vec![]),
        };
        let kinds: Vec<Vec<&str>> = match kinds {
            kinds if kinds.is_empty() => vec![group.to_vec()],
            kinds => kinds.into_iter().map(|kind| [group, &[kind]].concat()).collect(),
        };
        for command in kinds {
            let output = place.run([&["help"], command.as_slice()].concat());
            assert!(output.status.success(), "{}: {command:?}: {}", usage.at, stderr(&output));
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}
