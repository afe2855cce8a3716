//! The phrases in which every report speaks of a cell.

use natrig_record::{Cell, Experiment, Outcome, Path, Results, RunInfo, Totals, Verdict};

/// The gateways, site 1 first; the arrow goes from the peer that dials. Further sites follow the pair.
pub(crate) fn nats(cell: &Cell) -> String {
    gateways(&cell.nats, cell.initiator)
}

/// The same of a cell that may not have been run.
pub(crate) fn gateways(nats: &[String], initiator: u8) -> String {
    let arrow = if initiator == 2 { " ← " } else { " → " };
    match nats {
        [one] => format!("one LAN behind {one}"),
        [one, two, others @ ..] => {
            others.iter().fold(format!("{one}{arrow}{two}"), |text, other| text + ", " + other)
        }
        [] => String::new(),
    }
}

/// What the wire showed: kind of path, and the bytes that took it, from the initiator and back.
pub(crate) fn wire(cell: &Cell) -> String {
    if let Some(experiment) = &cell.experiment {
        return trials(experiment);
    }
    let Some(verdict) = &cell.verdict else {
        return "–".to_owned();
    };
    let [there, back] = verdict.directions;
    let relayed = |d: natrig_record::Direction| d.to_third_bytes.min(d.from_third_bytes);
    let direct = || both(there.direct_bytes, back.direct_bytes);
    let relay = || both(relayed(there), relayed(back));
    match verdict.path {
        Path::Direct => format!("{} {}", kind(verdict), direct()),
        Path::Relay => format!("{} {}", kind(verdict), relay()),
        Path::Mixed => format!("mixed: direct {}, relay {}", direct(), relay()),
        Path::None => "nothing arrived".to_owned(),
    }
}

/// What hosts behind the gateways came to, and from what that follows: who got through alone, and who together.
fn trials(experiment: &Experiment) -> String {
    let connected: Vec<&str> = experiment
        .trials
        .iter()
        .filter(|trial| trial.connected)
        .map(|trial| trial.senders.as_str())
        .collect();
    let mut text = match connected.is_empty() {
        true => format!("{}: nobody got through", experiment.kind),
        false => format!("{}: {}", experiment.kind, connected.join("; ")),
    };
    if let Some(search) = experiment.search {
        let found = if search.connected { "found" } else { "nothing found" };
        text += &format!("; {found} with {} probes", search.probes);
    }
    text
}

/// What a cell came to, in a word; none if it came to nothing.
pub(crate) fn came_to(cell: &Cell) -> Option<String> {
    let found = cell.experiment.as_ref().map(|experiment| experiment.kind.to_string());
    found.or_else(|| cell.verdict.as_ref().map(kind))
}

/// The kind of path, or the path where no kind could be told.
pub(crate) fn kind(verdict: &Verdict) -> String {
    match verdict.kind {
        Some(kind) => kind.to_string(),
        None => verdict.path.to_string(),
    }
}

fn both(there: u64, back: u64) -> String {
    let kib = |bytes: u64| (bytes + 512) / 1024;
    format!("{}+{} KiB", kib(there), kib(back))
}

/// What the nodes say: one phrase if they agree, else the initiator's first.
pub(crate) fn claims(cell: &Cell) -> String {
    let mut said: Vec<String> = Vec::new();
    for claim in &cell.claims {
        let path = claim.path.to_string();
        let phrase = match &claim.kind {
            Some(kind) if *kind != path => format!("{path} ({})", printable(kind)),
            _ => path,
        };
        if !said.contains(&phrase) {
            said.push(phrase);
        }
    }
    match said.is_empty() {
        true => "–".to_owned(),
        false => said.join(" / "),
    }
}

/// Milliseconds as seconds.
pub(crate) fn seconds(ms: Option<f64>) -> String {
    match ms {
        Some(ms) if ms < 9_995.0 => format!("{:.2} s", ms / 1e3),
        Some(ms) => format!("{:.1} s", ms / 1e3),
        None => "–".to_owned(),
    }
}

/// Why a cell did not end as expected, in one sentence; none if it did.
pub(crate) fn reason(cell: &Cell) -> Option<String> {
    if cell.outcome == Outcome::AsExpected {
        return None;
    }
    if let Some(failure) = &cell.failure {
        return Some(format!("{}: {}", failure.step, printable(&failure.message)));
    }
    Some(match (&cell.verdict, cell.outcome) {
        (Some(verdict), Outcome::Disagree) => {
            format!("verdict: the wire shows {}, but {}", kind(verdict), dissent(cell, verdict))
        }
        (Some(_), Outcome::NotAsExpected) => {
            format!("verdict: {} was expected, the wire shows: {}", cell.expected, wire(cell))
        }
        _ => "no reason was recorded".to_owned(),
    })
}

/// Which node says otherwise.
fn dissent(cell: &Cell, verdict: &Verdict) -> String {
    let dissenters: Vec<String> = cell
        .claims
        .iter()
        .filter(|claim| claim.path != verdict.path)
        .map(|claim| format!("{} says {}", claim.machine, claim.path))
        .collect();
    match dissenters.is_empty() {
        true => format!("the node says {}", claims(cell)),
        false => dissenters.join(", "),
    }
}

/// All files of a cell's evidence, from the run's folder.
pub(crate) fn evidence(cell: &Cell) -> impl Iterator<Item = String> {
    let evidence = &cell.evidence;
    [&evidence.captures, &evidence.logs, &evidence.gateways]
        .into_iter()
        .flatten()
        .map(|path| format!("{}/{path}", evidence.folder))
}

/// How many cells ended in which way, leaving out what did not occur.
pub fn totals(totals: &Totals) -> String {
    let counted: Vec<String> = [
        (totals.as_expected, Outcome::AsExpected),
        (totals.not_as_expected, Outcome::NotAsExpected),
        (totals.disagree, Outcome::Disagree),
        (totals.lab_error, Outcome::LabError),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, outcome)| format!("{count} {outcome}"))
    .collect();
    match counted.is_empty() {
        true => "no cell ran".to_owned(),
        false => counted.join(", "),
    }
}

/// One line on the whole run: totals, time, accelerator and folder.
pub fn summary(results: &Results) -> String {
    let run = &results.run;
    let mut line = totals(&results.totals);
    if results.interrupted {
        line += ", interrupted";
    }
    line += &format!(" in {}", seconds(Some(run.elapsed_ms)));
    line += &ground(run);
    if !run.folder.is_empty() {
        line += &format!("; evidence in {}", run.folder);
    }
    line
}

/// What a run runs on; of a simulator, what repeats it.
pub(crate) fn ground(run: &RunInfo) -> String {
    match (run.backend.as_str(), run.accelerator.as_str()) {
        (SIMULATOR, _) => format!(" in the simulator, --seed {}", run.seed),
        (_, "") => String::new(),
        (_, accelerator) => format!(" on {accelerator}"),
    }
}

/// The options that repeat one cell of a simulator, where its own seed alone does.
pub(crate) fn repeated_by(cell: &Cell) -> Option<String> {
    let seed = cell.seed?;
    Some(format!("--backend {SIMULATOR} --seed {seed} --only {}", cell.id))
}

/// What the simulator is called as a backend.
const SIMULATOR: &str = "sim";

/// A text from a machine, without what would move a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    text.trim_end()
        .chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}
