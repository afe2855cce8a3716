//! A matrix while it runs: the grid, filled in place.

use std::collections::BTreeMap;

use natrig_record::{Cell, Outcome, Path, Planned, Step};

use crate::{
    Style,
    style::Ink,
    wording::{came_to, printable},
};

/// Columns between a column and the next.
const GAP: usize = 2;

/// What a square of full width has room for: a sign and the longest word.
const SQUARE: usize = 10;

/// What a square of letters has room for.
const LETTERS: usize = 2;

/// Cells by their gateways, and how far each is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Board {
    rows: Vec<String>,
    columns: Vec<String>,
    /// Which square each cell belongs to: row, column.
    places: Vec<(usize, usize)>,
    squares: BTreeMap<(usize, usize), Square>,
}

/// All runs of one pair of gateways.
#[derive(Debug, Clone, Default, PartialEq)]
struct Square {
    planned: usize,
    running: BTreeMap<usize, Step>,
    finished: usize,
    as_expected: usize,
    /// What the worst one came to, and on which path.
    worst: Option<(Outcome, String)>,
}

impl Board {
    /// None if the cells are no grid: two by two at least, and more than half of it.
    pub fn of(planned: &[Planned]) -> Option<Self> {
        let mut board =
            Board { rows: Vec::new(), columns: Vec::new(), places: Vec::new(), squares: BTreeMap::new() };
        let place =
            |names: &mut Vec<String>, name: &String| match names.iter().position(|known| known == name) {
                Some(at) => at,
                None => {
                    names.push(name.clone());
                    names.len() - 1
                }
            };
        for cell in planned {
            let [nat1, nat2] = cell.nats.as_slice() else { return None };
            let at = (place(&mut board.rows, nat1), place(&mut board.columns, nat2));
            board.places.push(at);
            board.squares.entry(at).or_default().planned += 1;
        }
        let filled = board.squares.len() * 2 > board.rows.len() * board.columns.len();
        (board.rows.len() > 1 && board.columns.len() > 1 && filled).then_some(board)
    }

    /// A cell has come to a step.
    pub fn step(&mut self, cell: usize, step: Step) {
        if let Some(square) = self.square(cell) {
            square.running.insert(cell, step);
        }
    }

    /// A cell has ended.
    pub fn finish(&mut self, index: usize, cell: &Cell) {
        let Some(square) = self.square(index) else { return };
        square.running.remove(&index);
        square.finished += 1;
        square.as_expected += usize::from(cell.outcome == Outcome::AsExpected);
        let path = came_to(cell).unwrap_or_default();
        if square.worst.as_ref().is_none_or(|(worst, _)| gravity(cell.outcome) > gravity(*worst)) {
            square.worst = Some((cell.outcome, path));
        }
    }

    fn square(&mut self, cell: usize) -> Option<&mut Square> {
        self.squares.get_mut(self.places.get(cell)?)
    }

    /// The grid and what its signs mean, in words where there is room for them and in letters where not; none where there
    /// is no room for those either.
    pub fn lines(&self, style: Style, height: Option<u16>) -> Option<Vec<String>> {
        let width = style.width.map_or(usize::MAX, usize::from);
        // The head, the rule, two lines of legend; and the status below.
        let needed = self.rows.len() + 5;
        if height.is_some_and(|height| usize::from(height) <= needed) {
            return None;
        }
        let head = self.rows.iter().map(|name| wide(name)).max().unwrap_or(0);
        let heads = self.columns.iter().map(|name| wide(name)).max().unwrap_or(0);
        for column in [heads.max(SQUARE), SQUARE] {
            if head + self.columns.len() * (GAP + column) < width {
                return Some(self.in_words(style, head, column));
            }
        }
        let numbers = self.columns.len().to_string().len();
        let column = numbers.max(LETTERS);
        (numbers + 1 + head + self.columns.len() * (1 + column) < width)
            .then(|| self.in_letters(style, numbers, head, column))
    }

    fn in_words(&self, style: Style, head: usize, column: usize) -> Vec<String> {
        let heads = self.columns.iter().map(|name| (cut(name, column), Some(Ink::Strong)));
        let mut lines = vec![line(style, (&" ".repeat(head), None), heads, GAP, column)];
        lines.push("─".repeat(head + self.columns.len() * (GAP + column)));
        for (row, name) in self.rows.iter().enumerate() {
            let squares = self.row(row).map(|square| square.map_or(blank(), Square::words));
            let name = format!("{:head$}", printable(name));
            lines.push(line(style, (&name, Some(Ink::Strong)), squares, GAP, column));
        }
        lines.push(format!("rows dial columns  {}", legend(style)));
        lines
    }

    fn in_letters(&self, style: Style, numbers: usize, head: usize, column: usize) -> Vec<String> {
        let heads = (1..=self.columns.len()).map(|number| (number.to_string(), Some(Ink::Strong)));
        let mut lines = vec![line(style, (&" ".repeat(numbers + 1 + head), None), heads, 1, column)];
        lines.push("─".repeat(numbers + 1 + head + self.columns.len() * (1 + column)));
        for (row, name) in self.rows.iter().enumerate() {
            let squares = self.row(row).map(|square| square.map_or(blank(), Square::letters));
            let number = self.columns.iter().position(|column| column == name);
            let number = number.map_or_else(String::new, |at| (at + 1).to_string());
            let name = format!("{number:numbers$} {:head$}", printable(name));
            lines.push(line(style, (&name, Some(Ink::Strong)), squares, 1, column));
        }
        lines.push("D direct R reversal P punch B birthday L relay".to_owned());
        lines.push(legend(style));
        lines
    }

    fn row(&self, row: usize) -> impl Iterator<Item = Option<&Square>> {
        (0..self.columns.len()).map(move |column| self.squares.get(&(row, column)))
    }
}

/// A word with its colour.
type Word = (String, Option<Ink>);

fn blank() -> Word {
    (String::new(), None)
}

impl Square {
    /// A sign and a word: the step of what runs, or the path of what has ended. Of many runs, how many of them have ended;
    /// or once something went wrong, how many of those were as expected.
    fn words(&self) -> Word {
        let (sign, ink) = self.sign();
        let word = match (&self.worst, self.running.values().next()) {
            _ if self.planned > 1 && self.finished > 0 => match self.as_expected == self.finished {
                true => format!("{}/{}", self.finished, self.planned),
                false => format!("{}/{}", self.as_expected, self.finished),
            },
            (_, Some(step)) => step.to_string(),
            (Some((Outcome::LabError, _)), _) => "lab error".to_owned(),
            (Some((_, path)), None) => path.clone(),
            (None, None) => String::new(),
        };
        (cut(format!("{sign} {word}").trim_end(), SQUARE), ink)
    }

    /// A sign and a letter.
    fn letters(&self) -> Word {
        let (sign, ink) = self.sign();
        let letter = match (&self.worst, self.running.values().next()) {
            (_, Some(step)) => step.to_string().chars().next(),
            (Some((Outcome::LabError, _)), _) | (None, None) => None,
            (Some((_, path)), None) => Some(letter(path)),
        };
        (letter.map_or(sign.to_string(), |letter| format!("{sign}{letter}")), ink)
    }

    fn sign(&self) -> (char, Option<Ink>) {
        match &self.worst {
            // What went wrong stays to be seen while other runs of the pair go on.
            Some((outcome, _)) if *outcome != Outcome::AsExpected => {
                (sign(*outcome), Some(Ink::of(*outcome)))
            }
            _ if !self.running.is_empty() => ('▸', None),
            Some((outcome, _)) if self.finished == self.planned => (sign(*outcome), Some(Ink::of(*outcome))),
            _ => ('·', Some(Ink::Faint)),
        }
    }
}

/// What tells an outcome without its colour.
pub(crate) fn sign(outcome: Outcome) -> char {
    match outcome {
        Outcome::AsExpected => '✓',
        Outcome::NotAsExpected => '✗',
        Outcome::Disagree => '≠',
        Outcome::LabError => '!',
    }
}

fn gravity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::AsExpected => 0,
        Outcome::LabError => 1,
        Outcome::NotAsExpected => 2,
        Outcome::Disagree => 3,
    }
}

/// A path's letter; small letters are steps.
fn letter(path: &str) -> char {
    match path {
        "relay" => 'L',
        // Mixed, nothing arrived, nothing known.
        _ if path == Path::Mixed.to_string() => '%',
        _ if path.is_empty() || path == Path::None.to_string() => '-',
        path => path.chars().next().map_or('-', |first| first.to_ascii_uppercase()),
    }
}

fn legend(style: Style) -> String {
    let outcomes = [Outcome::AsExpected, Outcome::NotAsExpected, Outcome::Disagree, Outcome::LabError];
    let signs = outcomes.map(|outcome| {
        style.paint(Ink::of(outcome), &format!("{} {}", sign(outcome), outcome.to_string().to_lowercase()))
    });
    format!("▸ runs  {}", signs.join("  "))
}

fn line(
    style: Style,
    (head, ink): (&str, Option<Ink>),
    words: impl Iterator<Item = Word>,
    gap: usize,
    column: usize,
) -> String {
    let paint =
        |text: &str, ink: Option<Ink>| ink.map_or_else(|| text.to_owned(), |ink| style.paint(ink, text));
    let mut line = paint(head, ink);
    let mut pending = 0;
    for (word, ink) in words {
        line += &" ".repeat(pending + gap);
        line += &paint(&word, ink);
        pending = column.saturating_sub(wide(&word));
    }
    line
}

fn wide(text: &str) -> usize {
    printable(text).chars().count()
}

/// A text that is no longer than a column.
fn cut(text: &str, column: usize) -> String {
    let text = printable(text);
    match text.chars().count() > column {
        true => text.chars().take(column.saturating_sub(1)).chain(['…']).collect(),
        false => text,
    }
}
