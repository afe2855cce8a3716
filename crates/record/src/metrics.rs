//! A run in figures that can be held against those of another one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Cell, Outcome, Talk, Verdict};

/// A figure of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, which ends in its unit: `connect_seconds`, `arrived_ratio`.
    pub name: String,
    /// What it is of, where there are several: `quantile` or `path`, and which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The figure.
    pub value: f64,
    /// Which way is better.
    pub better: Better,
}

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Less of it.
    Less,
    /// More of it.
    More,
    /// It only tells what was run.
    Neither,
}

/// Half took no longer, 95 of 100 did, and all.
const QUANTILES: [f64; 3] = [0.5, 0.95, 1.0];

impl Metric {
    /// The name of a cell's figure: how many packets left both sites while peers talked.
    pub const PACKETS_WHILE_TALKING: &str = "packets_while_talking";

    /// The figures of cells; of what no cell has, there is none.
    pub fn of(cells: &[Cell]) -> Vec<Self> {
        let mut all = Vec::new();
        let judged: Vec<&Cell> = cells.iter().filter(|cell| cell.outcome != Outcome::LabError).collect();
        all.extend(ratio(
            "as_expected_ratio",
            judged.iter().filter(|cell| cell.outcome == Outcome::AsExpected).count() as f64,
            judged.len() as f64,
            Better::More,
        ));
        let verdicts: Vec<&Verdict> = judged.iter().filter_map(|cell| cell.verdict.as_ref()).collect();
        let directions = || verdicts.iter().flat_map(|verdict| verdict.directions);
        let sent: u64 = directions().map(|direction| direction.sent).sum();
        let arrived: u64 = directions().map(|direction| direction.arrived).sum();
        all.extend(ratio("arrived_ratio", arrived as f64, sent as f64, Better::More));
        all.extend(paths(&verdicts));
        all.extend(quantiles("connect_seconds", seconds(judged.iter().filter_map(|cell| cell.connect_ms))));
        all.extend(quantiles("settle_seconds", seconds(judged.iter().filter_map(|cell| cell.settle_ms))));
        let relayed = || {
            let relayed = verdicts.iter().filter(|verdict| verdict.kind == Some(crate::Kind::Relay));
            relayed.flat_map(|verdict| verdict.directions)
        };
        let carried: u64 = relayed().map(|direction| direction.arrived).sum();
        let to_relay: u64 = relayed().map(|direction| direction.to_third_bytes).sum();
        all.extend(ratio("relay_bytes_ratio", to_relay as f64, carried as f64, Better::Less));
        all.extend(talks(judged.iter().flat_map(|cell| &cell.talks)));
        let counted = || {
            judged
                .iter()
                .filter_map(|cell| Some((*cell.figures.get(Self::PACKETS_WHILE_TALKING)?, &cell.talks)))
        };
        let messages = counted().flat_map(|(_, talks)| talks).map(|talk| talk.arrived as f64).sum();
        let packets = counted().map(|(packets, _)| packets).sum();
        all.extend(ratio("packets_per_message", packets, messages, Better::Less));
        all.extend(host(&judged));
        all
    }

    /// Whether another one is of the same thing.
    pub fn is_as(&self, other: &Metric) -> bool {
        self.name == other.name && self.labels == other.labels
    }

    fn new(name: &str, label: Option<(&str, String)>, value: f64, better: Better) -> Self {
        let labels = label.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Metric { name: name.to_owned(), labels, value, better }
    }
}

fn paths(verdicts: &[&Verdict]) -> Vec<Metric> {
    let mut count: BTreeMap<String, u32> = BTreeMap::new();
    for verdict in verdicts {
        let path = verdict.kind.map_or(verdict.path.to_string(), |kind| kind.to_string());
        *count.entry(path).or_default() += 1;
    }
    let all = verdicts.len() as f64;
    let of = |(path, count): (String, u32)| {
        Metric::new("path_ratio", Some(("path", path)), f64::from(count) / all, Better::Neither)
    };
    count.into_iter().map(of).collect()
}

fn talks<'a>(talks: impl Iterator<Item = &'a Talk> + Clone) -> Vec<Metric> {
    let (mut sent, mut arrived) = (0.0, 0.0);
    for talk in talks.clone() {
        sent += talk.sent as f64;
        arrived += talk.arrived as f64;
    }
    let mut all: Vec<Metric> =
        ratio("message_loss_ratio", sent - arrived, sent, Better::Less).into_iter().collect();
    all.extend(quantiles("silence_seconds", seconds(talks.clone().map(|talk| talk.silence_ms))));
    all.extend(quantiles("message_latency_seconds", seconds(talks.map(|talk| talk.latency_ms[0]))));
    all
}

/// What the machines took: nothing of that is known of a simulated one.
fn host(cells: &[&Cell]) -> Vec<Metric> {
    let figure = |name: &str| -> Vec<f64> {
        cells.iter().filter_map(|cell| cell.figures.get(name).copied()).collect()
    };
    let processor = figure("processor_time_of_machines");
    let mut all: Vec<Metric> = ratio(
        "processor_seconds_per_cell",
        processor.iter().sum::<f64>() / 1000.0,
        processor.len() as f64,
        Better::Less,
    )
    .into_iter()
    .collect();
    let nodes =
        cells.iter().flat_map(|cell| &cell.figures).filter(|(name, _)| name.starts_with("memory_of_"));
    all.extend(quantiles(
        "node_memory_bytes",
        nodes.map(|(_, mebibytes)| mebibytes * f64::from(1 << 20)).collect(),
    ));
    all
}

fn seconds(milliseconds: impl Iterator<Item = f64>) -> Vec<f64> {
    milliseconds.map(|time| time / 1000.0).collect()
}

fn ratio(name: &str, part: f64, of: f64, better: Better) -> Option<Metric> {
    (of > 0.0).then(|| Metric::new(name, None, part / of, better))
}

fn quantiles(name: &str, mut values: Vec<f64>) -> Vec<Metric> {
    values.sort_by(f64::total_cmp);
    let of = |share: f64| {
        let at = (values.len() as f64 * share).ceil() as usize;
        let value = values.get(at.checked_sub(1)?)?;
        Some(Metric::new(name, Some(("quantile", share.to_string())), *value, Better::Less))
    };
    QUANTILES.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Kind, Path};

    fn cell(kind: Kind, connect_ms: f64) -> Cell {
        let third = if kind == Kind::Relay { 120 } else { 0 };
        let direction = Direction { sent: 100, arrived: 100, to_third_bytes: third, ..Direction::default() };
        let verdict = Verdict {
            path: if kind == Kind::Relay { Path::Relay } else { Path::Direct },
            kind: Some(kind),
            directions: [direction; 2],
            coordinator_asked: true,
            ports_tried: 1,
            ports_probed: [1, 1],
            attempts_arrived: [1, 1],
            attempts_passed: [1, 1],
            because: Vec::new(),
        };
        Cell {
            outcome: Outcome::AsExpected,
            verdict: Some(verdict),
            connect_ms: Some(connect_ms),
            figures: [("memory_of_peer1_mib".to_owned(), 2.0)].into(),
            ..Cell::default()
        }
    }

    fn value(metrics: &[Metric], name: &str, label: Option<&str>) -> Option<f64> {
        let found = metrics.iter().find(|metric| {
            metric.name == name
                && label.is_none_or(|label| metric.labels.values().any(|value| value == label))
        });
        found.map(|metric| metric.value)
    }

    #[test]
    fn cells_are_told_in_figures() {
        let mut cells: Vec<Cell> = (1..=9).map(|n| cell(Kind::Punch, f64::from(n) * 100.0)).collect();
        cells.push(cell(Kind::Relay, 2000.0));
        cells.push(Cell::default());
        let metrics = Metric::of(&cells);
        let value = |name, label| value(&metrics, name, label);
        assert_eq!(value("as_expected_ratio", None), Some(1.0), "lab errors say nothing");
        assert_eq!(value("path_ratio", Some("relay")), Some(0.1));
        assert_eq!(value("connect_seconds", Some("0.5")), Some(0.5));
        assert_eq!(value("connect_seconds", Some("1")), Some(2.0));
        assert_eq!(value("relay_bytes_ratio", None), Some(1.2));
        assert_eq!(value("node_memory_bytes", Some("1")), Some(f64::from(2 << 20)));
        assert_eq!(value("message_loss_ratio", None), None, "nobody talked");
        assert_eq!(value("packets_per_message", None), None);
        let talk = |arrived| Talk { arrived, ..Talk::default() };
        for (packets, talks) in
            [(Some(30.0), vec![talk(10)]), (Some(70.0), vec![talk(15), talk(15)]), (None, vec![talk(9)])]
        {
            let figures = packets.map(|count| (Metric::PACKETS_WHILE_TALKING.to_owned(), count));
            cells.push(Cell { figures: figures.into_iter().collect(), talks, ..cell(Kind::Punch, 1.0) });
        }
        let metrics = Metric::of(&cells);
        let metric = metrics.iter().find(|metric| metric.name == "packets_per_message");
        assert_eq!(
            metric.map(|metric| metric.value),
            Some(2.5),
            "where packets were not counted, neither are messages"
        );
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        assert_eq!(Metric::of(&[]), []);
    }
}
