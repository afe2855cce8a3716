//! The figures of a run: as a table, and as OpenMetrics.

use std::fmt::Write as _;

use natrig_record::{Metric, Results};

use crate::{Style, table::columns};

/// The figures as a table.
pub fn metrics(results: &Results, style: Style) -> String {
    let rows: Vec<[String; 2]> =
        results.metrics.iter().map(|metric| [title(metric), value(&metric.name, metric.value)]).collect();
    columns(&["figure", "value"], &rows, style)
}

/// The figures as OpenMetrics text.
pub fn open_metrics(results: &Results) -> String {
    let mut text = String::new();
    let mut last = "";
    for metric in &results.metrics {
        if metric.name != last {
            let _ = writeln!(text, "# TYPE natrig_{} gauge", metric.name);
            if let Some(unit) = unit(&metric.name) {
                let _ = writeln!(text, "# UNIT natrig_{} {unit}", metric.name);
            }
            last = &metric.name;
        }
        let labels: Vec<String> =
            [("backend", &results.run.backend), ("accelerator", &results.run.accelerator)]
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .chain(metric.labels.iter().map(|(key, value)| (key.as_str(), value)))
                .map(|(key, value)| format!("{key}=\"{}\"", escaped(value)))
                .collect();
        let _ = writeln!(text, "natrig_{}{{{}}} {}", metric.name, labels.join(","), metric.value);
    }
    text + "# EOF\n"
}

/// What a figure is of, in a word or two.
pub(crate) fn title(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|(key, value)| format!("{key} {value}")).collect();
    if labels.is_empty() { metric.name.clone() } else { format!("{}, {}", metric.name, labels.join(", ")) }
}

/// A figure with its unit, for people.
pub(crate) fn value(name: &str, value: f64) -> String {
    match unit(name) {
        Some("seconds") => format!("{value:.3} s"),
        Some("bytes") => format!("{:.1} MiB", value / f64::from(1 << 20)),
        Some("ratio") if name.starts_with("relay_") => format!("{value:.3}"),
        Some("ratio") => format!("{:.2} %", value * 100.0),
        _ => format!("{value:.2}"),
    }
}

/// The unit that ends a name, as OpenMetrics wants it.
pub(crate) fn unit(name: &str) -> Option<&'static str> {
    ["seconds", "bytes", "ratio"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_run_is_told_in_figures() {
        let results = sample::four_outcomes();
        insta::assert_snapshot!("metrics_table", metrics(&results, Style::PLAIN));
        insta::assert_snapshot!("open_metrics", open_metrics(&results));
    }
}
