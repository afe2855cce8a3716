//! What gateways came to without a node, beside what the truth says.

use comfy_table::Cell as Field;
use natrig_record::{Experiment, Results};

use crate::{
    Style,
    rows::Row,
    table::{bold, colored, empty, finish},
    wording::{came_to, nats, printable},
};

/// Whether the cells were tried without a node.
pub(crate) fn is_one(results: &Results) -> bool {
    results.cells.iter().any(|cell| cell.experiment.is_some())
}

/// The heads of the columns: A is the peer that dials, B the other one.
pub(crate) fn heads(results: &Results) -> Vec<String> {
    let mut heads: Vec<String> = ["cell", "NATs", "truth", "found"].map(str::to_owned).into();
    heads.extend(senders(results).iter().map(|senders| short(senders)));
    heads.extend(["search", "outcome"].map(str::to_owned));
    heads
}

/// The cells, field by field.
pub(crate) fn rows(results: &Results) -> Vec<Vec<String>> {
    let senders = senders(results);
    Row::all(results).iter().map(|row| fields(row, &senders)).collect()
}

/// A table of both.
pub(crate) fn table(results: &Results, style: Style) -> String {
    let mut table = empty(style);
    table.set_header(heads(results).iter().map(|head| bold(Field::new(head))));
    for (of, mut row) in Row::all(results).iter().zip(rows(results)) {
        let outcome = row.pop().unwrap_or_default();
        let fields = row.into_iter().map(Field::new);
        table.add_row(fields.chain([colored(Field::new(outcome), of.outcome())]));
    }
    format!(
        "{}A is the peer that dials, B the other one; yes: a packet got through, and its answer did.\n",
        finish(table)
    )
}

fn fields(row: &Row<'_>, senders: &[String]) -> Vec<String> {
    let cell = row.cell;
    let found = match &cell.experiment {
        Some(Experiment { order_matters: true, kind, .. }) => format!("{kind}, by order"),
        _ => came_to(cell).unwrap_or_else(|| "–".to_owned()),
    };
    let mut fields = vec![printable(&cell.id), nats(cell), cell.expected.clone(), found];
    let experiment = cell.experiment.as_ref();
    fields.extend(senders.iter().map(|senders| {
        let trial = experiment.and_then(|all| all.trials.iter().find(|trial| trial.senders == *senders));
        trial.map_or("–", |trial| if trial.connected { "yes" } else { "no" }).to_owned()
    }));
    fields.push(match experiment.and_then(|all| all.search) {
        Some(search) if search.connected => format!("found, {} probes", search.probes),
        Some(search) => format!("nothing, {} probes", search.probes),
        None => String::new(),
    });
    fields.push(row.ending());
    fields
}

/// Who sends in the trials, in their order.
fn senders(results: &Results) -> Vec<String> {
    let mut senders: Vec<String> = Vec::new();
    let experiments = results.cells.iter().filter_map(|cell| cell.experiment.as_ref());
    for trial in experiments.flat_map(|experiment| &experiment.trials) {
        if !senders.contains(&trial.senders) {
            senders.push(trial.senders.clone());
        }
    }
    senders
}

fn short(senders: &str) -> String {
    let short = senders.replace("initiator", "A").replace("responder", "B");
    short.trim_start_matches("both").trim_start_matches([',', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{markdown, sample};

    #[test]
    fn trials_stand_beside_the_truth() {
        insta::assert_snapshot!(table(&sample::experiment(), Style::PLAIN));
    }

    #[test]
    fn the_summary_has_the_same_fields() {
        let markdown = markdown(&sample::experiment());
        assert!(markdown.contains("| cell | NATs | truth | found | A alone |"), "{markdown}");
        assert!(markdown.contains("| **NOT as expected** |"), "{markdown}");
    }
}
