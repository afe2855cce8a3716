//! What has changed from one run to another, and whether it is worse.

use std::{collections::BTreeMap, fmt::Write as _};

use natrig_record::{Better, Metric, Outcome, Results};

use crate::{
    Style,
    metrics::{title, unit, value},
    table::columns,
};

/// What has changed from one run to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    /// Cells that fare otherwise, each in a sentence, and whether that is worse.
    pub cells: Vec<(String, bool)>,
    /// Figures of both, and whether the second is worse by more than the threshold.
    pub metrics: Vec<(Metric, Metric, bool)>,
    /// What makes the two runs of different kinds, so that figures say little.
    pub unlike: Vec<String>,
}

impl Diff {
    /// Compares two runs. A figure is worse if it is by more than this share of what it was, and by more than 50 ms,
    /// half a per cent of a share, or 1 MiB.
    pub fn of(before: &Results, after: &Results, threshold: f64) -> Self {
        let metrics = before.metrics.iter().filter_map(|one| {
            let other = after.metrics.iter().find(|other| other.is_as(one))?;
            Some((one.clone(), other.clone(), is_worse(one, other, threshold)))
        });
        let kinds = [
            ("backend", &before.run.backend, &after.run.backend),
            ("accelerator", &before.run.accelerator, &after.run.accelerator),
            ("host", &before.run.host, &after.run.host),
        ];
        let unlike = kinds.into_iter().filter(|(_, one, other)| one != other);
        Diff {
            cells: cells(before, after),
            metrics: metrics.collect(),
            unlike: unlike.map(|(what, one, other)| format!("{what}: {one}, then {other}")).collect(),
        }
    }

    /// Whether anything is worse.
    pub fn is_worse(&self) -> bool {
        self.cells.iter().any(|(_, worse)| *worse) || self.metrics.iter().any(|(.., worse)| *worse)
    }

    /// All of it as text.
    pub fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for unlike in &self.unlike {
            let _ = writeln!(text, "not the same kind of run: {unlike}");
        }
        for (said, worse) in &self.cells {
            let _ = writeln!(text, "{}{said}", if *worse { "WORSE  " } else { "       " });
        }
        let rows: Vec<[String; 5]> = self
            .metrics
            .iter()
            .map(|(one, other, worse)| {
                let change = match one.value {
                    0.0 => String::new(),
                    before => format!("{:+.1} %", (other.value / before - 1.0) * 100.0),
                };
                let mark = if *worse { "WORSE" } else { "" };
                [
                    title(one),
                    value(&one.name, one.value),
                    value(&other.name, other.value),
                    change,
                    mark.to_owned(),
                ]
            })
            .collect();
        text + &columns(&["figure", "before", "after", "change", ""], &rows, style)
    }
}

/// Less than this is nothing, whatever share it is.
fn floor(name: &str) -> f64 {
    match unit(name) {
        Some("seconds") => 0.05,
        Some("bytes") => f64::from(1 << 20),
        _ => 0.005,
    }
}

fn is_worse(before: &Metric, after: &Metric, threshold: f64) -> bool {
    let by = match before.better {
        Better::Less => after.value - before.value,
        Better::More => before.value - after.value,
        Better::Neither => return false,
    };
    by > floor(&before.name) && by > before.value.abs() * threshold
}

/// How the repetitions of a cell fared.
#[derive(Default, PartialEq)]
struct Fared {
    as_expected: u32,
    judged: u32,
    paths: BTreeMap<String, u32>,
}

fn fared(results: &Results) -> BTreeMap<&str, Fared> {
    let mut all: BTreeMap<&str, Fared> = BTreeMap::new();
    for cell in &results.cells {
        let fared = all.entry(&cell.id).or_default();
        if cell.outcome == Outcome::LabError {
            continue;
        }
        fared.judged += 1;
        fared.as_expected += u32::from(cell.outcome == Outcome::AsExpected);
        if let Some(verdict) = &cell.verdict {
            let path = verdict.kind.map_or(verdict.path.to_string(), |kind| kind.to_string());
            *fared.paths.entry(path).or_default() += 1;
        }
    }
    all
}

fn cells(before: &Results, after: &Results) -> Vec<(String, bool)> {
    let (before, after) = (fared(before), fared(after));
    let mut said = Vec::new();
    for (id, one) in &before {
        let Some(other) = after.get(id) else {
            said.push((format!("{id}: not in the second run"), false));
            continue;
        };
        let share = |fared: &Fared| f64::from(fared.as_expected) / f64::from(fared.judged.max(1));
        let paths = |fared: &Fared| fared.paths.keys().cloned().collect::<Vec<_>>().join(", ");
        if other.judged == 0 && one.judged > 0 {
            said.push((format!("{id}: nothing but lab errors now"), true));
        } else if share(one) != share(other) && one.judged > 0 {
            let worse = share(other) < share(one);
            let (a, b, c, d) = (one.as_expected, one.judged, other.as_expected, other.judged);
            said.push((format!("{id}: {a} of {b} as expected, then {c} of {d}"), worse));
        } else if paths(one) != paths(other) && one.judged > 0 {
            said.push((format!("{id}: {}, then {}", paths(one), paths(other)), false));
        }
    }
    let new = after.keys().filter(|id| !before.contains_key(*id));
    said.extend(new.map(|id| (format!("{id}: not in the first run"), false)));
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn run() -> Results {
        sample::four_outcomes()
    }

    #[test]
    fn the_same_run_is_no_worse() {
        let diff = Diff::of(&run(), &run(), 0.1);
        assert!(!diff.is_worse() && diff.cells.is_empty() && diff.unlike.is_empty(), "{diff:?}");
        assert!(!diff.metrics.is_empty());
    }

    #[test]
    fn what_is_slower_or_fails_is_worse() {
        let (before, mut after) = (run(), run());
        for metric in after.metrics.iter_mut().filter(|metric| metric.name == "connect_seconds") {
            metric.value = metric.value * 1.5 + 0.1;
        }
        assert!(Diff::of(&before, &after, 0.2).is_worse());
        assert!(!Diff::of(&before, &after, 50.0).is_worse());
        let mut failed = run();
        failed.cells[0].outcome = Outcome::NotAsExpected;
        failed.run.accelerator = "kvm".to_owned();
        let diff = Diff::of(&before, &failed, 0.2);
        insta::assert_snapshot!("diff", diff.text(Style::PLAIN));
        assert!(diff.is_worse());
        assert!(!Diff::of(&failed, &before, 0.2).is_worse(), "better is not worse");
    }

    #[test]
    fn little_is_nothing() {
        let (before, mut after) = (run(), run());
        for metric in after.metrics.iter_mut().filter(|metric| metric.name == "connect_seconds") {
            metric.value += 0.04;
        }
        assert!(!Diff::of(&before, &after, 0.0).is_worse());
    }
}
