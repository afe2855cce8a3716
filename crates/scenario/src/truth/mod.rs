//! What physics allows between two gateways: the oracle that scenarios may ask with `expected: truth`.
//!
//! It is data (`truth/matrix.yaml`), and the node under test shares no code with it.

mod because;
mod rule;

use std::{collections::BTreeMap, sync::LazyLock};

use natrig_nat::Preset;
use natrig_record::Kind;

use crate::{
    Mistake, Nat, Problem,
    fields::{self, Fields, Mistakes},
    read::{self, KINDS},
    yaml,
};

pub use rule::Unknown;

/// The kind of path for each pair of gateways, initiator first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    cells: BTreeMap<(Preset, Preset), Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    without_birthday: Kind,
}

impl Truth {
    /// The table that comes with natrig.
    pub fn standard() -> &'static Truth {
        static STANDARD: LazyLock<Truth> = LazyLock::new(|| {
            Truth::parse("truth/matrix.yaml", include_str!("../../../../truth/matrix.yaml"))
                .unwrap_or_else(|problem| panic!("the built-in table: {}", problem.render(false)))
        });
        &STANDARD
    }

    /// Reads a table; it must have all pairs of presets, each once.
    pub fn parse(file: &str, text: &str) -> Result<Truth, Problem> {
        let mut mistakes = Mistakes::default();
        let table = yaml::parse(text)
            .map_err(|mistake| Problem::invalid(file, text, vec![mistake]))
            .map(|root| cells(&root, &mut mistakes))?;
        match table {
            Some(cells) if mistakes.0.is_empty() => Ok(Truth { cells }),
            _ => Err(Problem::invalid(file, text, mistakes.0)),
        }
    }

    /// The kind of path between what stands before two sites: from the table if it has both, and otherwise from what
    /// mappings and filters let pass.
    pub fn of(&self, initiator: &Nat, responder: &Nat, birthday: bool) -> Result<Kind, Unknown> {
        match initiator.preset().zip(responder.preset()) {
            Some((initiator, responder)) => Ok(self.lookup(initiator, responder, birthday)),
            None => rule::kind(initiator, responder, birthday),
        }
    }

    /// The kind of path when the first dials the second, with or without the birthday search.
    pub fn lookup(&self, initiator: Preset, responder: Preset, birthday: bool) -> Kind {
        // `parse` has seen to it that every pair is there.
        let entry = &self.cells[&(initiator, responder)];
        match birthday {
            true => entry.kind,
            false => entry.without_birthday,
        }
    }
}

fn cells(root: &yaml::Node, mistakes: &mut Mistakes) -> Option<BTreeMap<(Preset, Preset), Entry>> {
    let top = Fields::open(root, "the table", &["cells"], mistakes)?;
    let rows = top.need("cells", "a list of pairs", mistakes)?;
    let mut cells = BTreeMap::new();
    for row in fields::list(rows, "`cells`", mistakes)? {
        let known = ["initiator", "responder", "kind", "without_birthday"];
        let Some(row) = Fields::open(row, "a pair", &known, mistakes) else {
            continue;
        };
        let mut side = |key| {
            let node = row.need(key, "name a gateway behaviour", mistakes)?;
            read::preset(node, mistakes)
        };
        let pair = side("initiator").zip(side("responder"));
        let kind = row
            .need("kind", "name a kind of path", mistakes)
            .and_then(|node| fields::word(node, "kind of path", &KINDS, mistakes));
        let without_birthday = match row.find("without_birthday") {
            Some(node) => fields::word(node, "kind of path", &KINDS, mistakes),
            None => kind,
        };
        if let (Some(pair), Some(kind), Some(without_birthday)) = (pair, kind, without_birthday) {
            let entry = Entry { kind, without_birthday };
            if cells.insert(pair, entry).is_some() {
                mistakes
                    .0
                    .push(Mistake::new(row.at(), format!("the pair {}, {} is given twice", pair.0, pair.1)));
            }
        }
    }
    for initiator in Preset::ALL {
        for responder in Preset::ALL {
            if mistakes.0.is_empty() && !cells.contains_key(&(initiator, responder)) {
                mistakes.0.push(Mistake::new(
                    rows.at.clone(),
                    format!("the pair {initiator}, {responder} is missing"),
                ));
            }
        }
    }
    Some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as people draw it, to be compared by eye with the specification.
    #[test]
    fn the_standard_table() {
        let mut grid = format!("{:<14}", "");
        for responder in Preset::ALL {
            grid += &format!("{responder:<15}");
        }
        for birthday in [true, false] {
            grid += &format!("\nbirthday search: {birthday}\n");
            for initiator in Preset::ALL {
                grid += &format!("{initiator:<14}");
                for responder in Preset::ALL {
                    let kind = Truth::standard().lookup(initiator, responder, birthday);
                    grid += &format!("{kind:<15}");
                }
                grid.truncate(grid.trim_end().len());
                grid += "\n";
            }
        }
        insta::assert_snapshot!(grid);
    }

    #[test]
    fn a_table_with_a_hole_or_a_repetition_is_refused() {
        let standard = include_str!("../../../../truth/matrix.yaml");
        let pair = standard.lines().find(|line| line.contains("{initiator")).unwrap();
        let hole = standard.replacen(pair, "", 1);
        let twice = standard.replacen(pair, &format!("{pair}\n{pair}"), 1);
        for (table, word) in [(hole, "missing"), (twice, "twice")] {
            let problem = Truth::parse("t.yaml", &table).unwrap_err().render(false);
            assert!(problem.contains(word), "{problem}");
        }
    }
}
