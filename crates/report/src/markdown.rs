//! The summary as Markdown, for people and for the pages of CI systems.

use std::fmt::Write;

use natrig_record::{About, Outcome, Results};

use crate::{
    experiment,
    failures::{details, hint, shown, which},
    rows::Row,
    table::{COLUMNS, Grid, fields, mark},
    wording::{evidence, nats, summary},
};

/// The results as Markdown.
pub fn markdown(results: &Results) -> String {
    let mut text = format!("# natrig: {}\n", summary(results));
    cells(&mut text, results);
    if let Some(grid) = Grid::of(results) {
        matrix(&mut text, &grid);
    }
    failures(&mut text, results);
    gateways(&mut text, results);
    circumstances(&mut text, results);
    text
}

fn cells(text: &mut String, results: &Results) {
    if results.cells.is_empty() {
        return;
    }
    text.push('\n');
    if experiment::is_one(results) {
        return trials(text, results);
    }
    line(text, COLUMNS);
    line(text, COLUMNS.map(|_| "---"));
    for row in Row::all(results) {
        let mut fields = fields(row);
        if row.outcome() != Outcome::AsExpected {
            fields[6] = format!("**{}**", fields[6]);
        }
        if !fields[7].is_empty() {
            fields[7] = format!("[{0}]({0}/)", fields[7]);
        }
        line(text, fields.map(|field| field.replace('|', "\\|")));
    }
    text.push_str(
        "\nThe arrow goes from the peer that dials. Bytes: those that took the path, from the initiator and back.\n",
    );
}

fn trials(text: &mut String, results: &Results) {
    let heads = experiment::heads(results);
    line(text, &heads);
    line(text, heads.iter().map(|_| "---"));
    for (row, mut fields) in Row::all(results).iter().zip(experiment::rows(results)) {
        if let (Some(outcome), true) = (fields.last_mut(), row.outcome() != Outcome::AsExpected) {
            *outcome = format!("**{outcome}**");
        }
        line(text, fields.iter().map(|field| field.replace('|', "\\|")));
    }
    text.push_str(
        "\nA is the peer that dials, B the other one; yes: a packet got through, and its answer did.\n",
    );
}

fn matrix(text: &mut String, grid: &Grid<'_>) {
    text.push_str("\n## Matrix\n\nRows: NAT 1, columns: NAT 2.\n\n");
    line(text, [""].iter().chain(&grid.columns));
    line(text, [""].iter().chain(&grid.columns).map(|_| "---"));
    for nat1 in &grid.rows {
        let cells = grid.columns.iter().map(|nat2| match grid.at(nat1, nat2) {
            Some(row) if row.outcome() == Outcome::AsExpected => mark(row),
            Some(row) => format!("**{}**", mark(row)),
            None => "·".to_owned(),
        });
        line(text, [format!("**{nat1}**")].into_iter().chain(cells));
    }
}

fn failures(text: &mut String, results: &Results) {
    for cell in shown(results) {
        let _ = writeln!(text, "\n## {}: {}, {}{}\n", cell.outcome, cell.name, nats(cell), which(cell));
        // Indented text is shown as it is, whatever a log holds.
        for line in details(cell) {
            let _ = writeln!(text, "    {line}");
        }
        let links: Vec<String> = evidence(cell)
            .map(|path| format!("[{}]({path})", path.rsplit('/').next().unwrap_or(&path)))
            .collect();
        if !links.is_empty() {
            let _ = writeln!(text, "\nEvidence: {}", links.join(", "));
        }
        if let Some(hint) = hint(cell) {
            let _ = writeln!(text, "\nhint: {hint}");
        }
    }
}

fn gateways(text: &mut String, results: &Results) {
    let proofs: usize = results.cells.iter().map(|cell| cell.proofs.len()).sum();
    let held: usize = results.cells.iter().flat_map(|cell| &cell.proofs).filter(|proof| proof.holds).count();
    if proofs > 0 {
        let _ = writeln!(
            text,
            "\n## Gateways\n\n{held} of {proofs} gateways measured as declared, before a node started."
        );
    }
    let assertions = || results.cells.iter().flat_map(|cell| &cell.assertions);
    for (about, whose) in [
        (About::Gateway, "the gateways"),
        (About::Link, "the links"),
        (About::Node, "the nodes"),
        (About::Messages, "the lab's messages"),
    ] {
        let all = || assertions().filter(|assertion| assertion.about == about);
        if all().count() > 0 {
            let held = all().filter(|assertion| assertion.holds).count();
            let _ =
                writeln!(text, "\n{held} of {} assertions on {whose} hold in the captures.", all().count());
        }
    }
}

fn circumstances(text: &mut String, results: &Results) {
    let run = &results.run;
    text.push_str("\n## How it ran\n\n");
    for (what, value) in [
        ("natrig", &run.natrig),
        ("backend", &run.backend),
        ("accelerator", &run.accelerator),
        ("host", &run.host),
        ("QEMU", &run.qemu),
        ("guest kernel", &run.guest_kernel),
        ("image", &run.image),
        ("started", &run.started),
        ("seed", &run.seed.to_string()),
        ("command", &run.command.join(" ")),
    ] {
        if !value.is_empty() {
            let _ = writeln!(text, "- {what}: {value}");
        }
    }
}

fn line<S: AsRef<str>>(text: &mut String, fields: impl IntoIterator<Item = S>) {
    text.push('|');
    for field in fields {
        let _ = write!(text, " {} |", field.as_ref());
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_four_outcomes() {
        insta::assert_snapshot!(markdown(&sample::four_outcomes()));
    }

    #[test]
    fn a_matrix() {
        insta::assert_snapshot!(markdown(&sample::matrix()));
    }
}
