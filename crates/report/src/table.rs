//! Cells as a table, and a matrix as a grid.

use comfy_table::{
    Attribute, Cell as Field, Color, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle,
};
use natrig_record::{Outcome, Results};

use crate::{
    Style, experiment,
    rows::Row,
    wording::{came_to, claims, nats, printable, seconds, wire},
};

/// Columns between a column and the next.
const GAP: usize = 2;

/// The heads of the table's columns.
pub(crate) const COLUMNS: [&str; 8] =
    ["scenario", "NATs", "expected", "on the wire", "node says", "connect", "outcome", "evidence"];

/// What the table says of a cell, column by column.
pub(crate) fn fields(row: Row<'_>) -> [String; 8] {
    let cell = row.cell;
    let name = match &cell.priority {
        Some(priority) => format!("{priority} {}", cell.name),
        None => cell.name.clone(),
    };
    [
        printable(&name),
        nats(cell),
        cell.expected.clone(),
        wire(cell),
        claims(cell),
        seconds(cell.connect_ms),
        row.ending(),
        cell.evidence.folder.clone(),
    ]
}

/// All cells, a line each.
///
/// Where a terminal is narrow, the evidence column goes (a cell's folder has its ID as its name), then lines wrap.
pub fn table(results: &Results, style: Style) -> String {
    if experiment::is_one(results) {
        return experiment::table(results, style);
    }
    let cells = Row::all(results);
    let rows: Vec<[String; 8]> = cells.iter().copied().map(fields).collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|column| {
            let fields = rows.iter().map(|row| row[column].as_str());
            fields.chain([COLUMNS[column]]).map(columns_of).max().unwrap_or(0) + GAP
        })
        .collect();
    // A name can be broken into lines, so a little is enough for it.
    let needed = |columns: &[usize]| widths[0].min(20) + columns[1..].iter().sum::<usize>();
    let room = style.width.map_or(usize::MAX, usize::from);
    let shown = match needed(&widths) <= room {
        true => COLUMNS.len(),
        false => COLUMNS.len() - 1,
    };

    let mut table = empty(style);
    table.set_header(COLUMNS[..shown].iter().map(|head| bold(Field::new(head))));
    for (cell, row) in cells.iter().zip(rows) {
        table.add_row(row.into_iter().zip(COLUMNS).take(shown).map(|(text, column)| {
            let field = Field::new(text);
            match column {
                "outcome" => colored(field, cell.outcome()),
                _ => field,
            }
        }));
    }
    if needed(&widths[..shown]) <= room {
        for column in table.column_iter_mut().skip(1) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    finish(table)
}

/// Any rows under their heads, in the manner of [`table()`]; where a terminal is narrow, the last column wraps.
pub fn columns<const N: usize>(heads: &[&str; N], rows: &[[String; N]], style: Style) -> String {
    let mut table = empty(style);
    table.set_header(heads.iter().map(|head| bold(Field::new(head))));
    for row in rows {
        table.add_row(row.iter().map(|text| Field::new(printable(text))));
    }
    for column in table.column_iter_mut().take(N.saturating_sub(1)) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    finish(table)
}

/// The cells as a grid, site 1's gateway down, site 2's across; none if they are no grid.
///
/// A cell shows the kind of path on the wire, and what is wrong with it where something is.
pub fn grid(results: &Results, style: Style) -> Option<String> {
    let grid = Grid::of(results)?;
    let mut table = empty(style);
    let corner = ["NAT 1 ↓  NAT 2 →"];
    let heads = corner.into_iter().chain(grid.columns.iter().copied());
    table.set_header(heads.map(|head| bold(Field::new(head))));
    for nat1 in &grid.rows {
        let cells = grid.columns.iter().map(|nat2| match grid.at(nat1, nat2) {
            Some(row) => colored(Field::new(mark(row)), row.outcome()),
            None => Field::new("·"),
        });
        table.add_row([bold(Field::new(nat1))].into_iter().chain(cells));
    }
    Some(finish(table))
}

/// Cells by their gateways.
pub(crate) struct Grid<'a> {
    pub rows: Vec<&'a str>,
    pub columns: Vec<&'a str>,
    cells: Vec<Row<'a>>,
}

impl<'a> Grid<'a> {
    /// At least two by two, every pair of gateways at most once.
    pub fn of(results: &'a Results) -> Option<Self> {
        let mut grid = Grid { rows: Vec::new(), columns: Vec::new(), cells: Row::all(results) };
        let mut pairs = Vec::new();
        for row in &grid.cells {
            let [nat1, nat2] = row.cell.nats.as_slice() else {
                return None;
            };
            if pairs.contains(&(nat1, nat2)) {
                return None;
            }
            pairs.push((nat1, nat2));
            for (side, nat) in [(&mut grid.rows, nat1), (&mut grid.columns, nat2)] {
                if !side.contains(&nat.as_str()) {
                    side.push(nat);
                }
            }
        }
        let filled = pairs.len() * 2 > grid.rows.len() * grid.columns.len();
        (grid.rows.len() > 1 && grid.columns.len() > 1 && filled).then_some(grid)
    }

    pub fn at(&self, nat1: &str, nat2: &str) -> Option<&Row<'a>> {
        self.cells.iter().find(|row| row.cell.nats[0] == nat1 && row.cell.nats[1] == nat2)
    }
}

/// A cell in a few letters.
pub(crate) fn mark(row: &Row<'_>) -> String {
    let cell = row.cell;
    let mark = match (came_to(cell), cell.outcome) {
        (_, Outcome::LabError) => "LAB ERROR".to_owned(),
        (Some(path), Outcome::AsExpected) => path,
        (Some(path), Outcome::NotAsExpected) if path == cell.expected => format!("NOT so: {path}"),
        (Some(path), Outcome::NotAsExpected) => format!("NOT {}: {path}", cell.expected),
        (Some(path), Outcome::Disagree) => format!("DISAGREE: {path}"),
        (None, outcome) => outcome.to_string(),
    };
    match (row.count(), row.repeats.is_some_and(|repeats| repeats.flaky())) {
        (Some(count), true) => format!("FLAKY {count}"),
        (Some(count), false) => format!("{mark} {count}"),
        (None, _) => mark,
    }
}

pub(crate) fn empty(style: Style) -> Table {
    const RULED: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
    let mut table = Table::new();
    table.load_style(RULED);
    match style.color {
        true => table.enforce_styling(),
        false => table.force_no_tty(),
    };
    match style.width {
        Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

pub(crate) fn finish(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        // The other space is where borders would be.
        column.set_padding((0, 1));
    }
    table.trim_fmt() + "\n"
}

pub(crate) fn bold(field: Field) -> Field {
    field.add_attribute(Attribute::Bold)
}

pub(crate) fn colored(field: Field, outcome: Outcome) -> Field {
    match outcome {
        Outcome::AsExpected => field.fg(Color::DarkGreen),
        Outcome::NotAsExpected | Outcome::Disagree => bold(field.fg(Color::DarkRed)),
        Outcome::LabError => bold(field.fg(Color::DarkYellow)),
    }
}

/// Roughly the columns a text takes; only used to choose a layout.
fn columns_of(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_four_outcomes_in_a_table() {
        insta::assert_snapshot!(table(&sample::four_outcomes(), Style::PLAIN));
    }

    #[test]
    fn a_narrow_terminal_wraps_names_and_drops_the_evidence() {
        for width in [150, 120, 80] {
            let style = Style { color: false, width: Some(width) };
            let table = table(&sample::four_outcomes(), style);
            let widest = table.lines().map(columns_of).max().unwrap();
            assert!(widest <= usize::from(width), "{widest} > {width}");
            insta::assert_snapshot!(format!("table_in_{width}_columns"), table);
        }
    }

    #[test]
    fn colour_marks_the_outcome() {
        let style = Style { color: true, width: Some(150) };
        let table = table(&sample::four_outcomes(), style);
        insta::assert_snapshot!(table.replace('\x1b', "␛"));
    }

    #[test]
    fn a_matrix_is_a_grid() {
        insta::assert_snapshot!(grid(&sample::matrix(), Style::PLAIN).unwrap());
    }

    #[test]
    fn a_few_scenarios_are_no_grid() {
        assert_eq!(grid(&sample::four_outcomes(), Style::PLAIN), None);
    }
}
