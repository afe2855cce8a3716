//! Two backends side by side.

use comfy_table::Cell as Field;
use natrig_record::{Agreement, Aspect, Comparison, Outcome};

use crate::{
    Style,
    style::Ink,
    table::{bold, colored, empty, finish},
    wording::printable,
};

/// What is shown of each cell; the other aspects are, where they are not the same.
const SHOWN: [&str; 4] = ["path", "kind", "coordinator asked", "time to connect"];

/// A line for each cell, then what differs and why it may.
pub fn comparison(all: &[Comparison], style: Style) -> String {
    let mut table = empty(style);
    let heads = ["cell", "path", "kind", "asked", "connect", "runs", "machines and simulator"];
    table.set_header(heads.map(|head| bold(Field::new(head))));
    for one in all {
        let aspect =
            |name: &str| one.aspects.iter().find(|aspect| aspect.name == name).map_or(String::new(), both);
        let mut row: Vec<Field> = vec![Field::new(printable(&one.id))];
        row.extend(SHOWN.map(|name| Field::new(aspect(name))));
        row.push(Field::new(format!("{} / {}", one.runs[0], one.runs[1])));
        row.push(colored(Field::new(one.agreement()), outcome(one.agreement())));
        table.add_row(row);
    }
    let mut text = finish(table);
    text.push('\n');
    for one in all {
        for aspect in one.aspects.iter().filter(|aspect| aspect.agreement >= Agreement::Explained) {
            text.push_str(&line(one, aspect, style));
        }
    }
    text.push_str(&summary(all));
    text.push('\n');
    text
}

fn line(one: &Comparison, aspect: &Aspect, style: Style) -> String {
    let [machines, sim] = aspect.values.each_ref().map(|value| printable(value));
    let mark = style.paint(Ink::of(outcome(aspect.agreement)), &aspect.agreement.to_string());
    let note = aspect.note.as_ref().map_or(String::new(), |note| format!(" ({})", printable(note)));
    format!("{mark} {}, {}: machines {machines}; simulator {sim}{note}\n", printable(&one.id), aspect.name)
}

/// How many cells agree in all.
fn summary(all: &[Comparison]) -> String {
    let count = |agreement| all.iter().filter(|one| one.agreement() == agreement).count();
    let alike = count(Agreement::Same) + count(Agreement::Within);
    let mut parts = vec![format!("{alike} of {} alike", all.len())];
    for (agreement, word) in [
        (Agreement::Explained, "explained"),
        (Agreement::Differs, "DIFFER"),
        (Agreement::Unknown, "could not be compared"),
    ] {
        if count(agreement) > 0 {
            parts.push(format!("{} {word}", count(agreement)));
        }
    }
    parts.join(", ")
}

/// One value where both have it.
fn both(aspect: &Aspect) -> String {
    match &aspect.values {
        [a, b] if a == b => printable(a),
        [a, b] => format!("{} / {}", printable(a), printable(b)),
    }
}

fn outcome(agreement: Agreement) -> Outcome {
    match agreement {
        Agreement::Same | Agreement::Within | Agreement::Explained => Outcome::AsExpected,
        Agreement::Differs => Outcome::NotAsExpected,
        Agreement::Unknown => Outcome::LabError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aspect(name: &str, values: [&str; 2], agreement: Agreement) -> Aspect {
        Aspect { name: name.to_owned(), values: values.map(str::to_owned), agreement, note: None }
    }

    fn one(id: &str, aspects: Vec<Aspect>) -> Comparison {
        Comparison { id: id.to_owned(), runs: [1, 1], aspects }
    }

    #[test]
    fn what_differs_is_said_below_the_table() {
        let alike = one(
            "T2.M.19",
            vec![
                aspect("path", ["direct", "direct"], Agreement::Same),
                aspect("kind", ["punch", "punch"], Agreement::Same),
                aspect("time to connect", ["150 ms", "60.1 ms"], Agreement::Within),
            ],
        );
        let other = one("T2.M.20", vec![aspect("path", ["direct", "relay"], Agreement::Differs)]);
        let broken = one("T2.M.21", vec![aspect("outcome", ["no room", "ran"], Agreement::Unknown)]);
        insta::assert_snapshot!(comparison(&[alike, other, broken], Style::PLAIN), @"
        cell     path            kind   asked  connect           runs   machines and simulator
        ───────────────────────────────────────────────────────────────────────────────────────
        T2.M.19  direct          punch         150 ms / 60.1 ms  1 / 1  within its band
        T2.M.20  direct / relay                                  1 / 1  DIFFERS
        T2.M.21                                                  1 / 1  LAB ERROR

        DIFFERS T2.M.20, path: machines direct; simulator relay
        LAB ERROR T2.M.21, outcome: machines no room; simulator ran
        1 of 3 alike, 1 DIFFER, 1 could not be compared
        ");
    }
}
