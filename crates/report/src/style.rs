//! How much a text may make of where it is shown.

#[cfg(unix)]
use std::os::fd::AsFd as AsStream;
#[cfg(windows)]
use std::os::windows::io::AsHandle as AsStream;
use std::{env, io::IsTerminal};

use natrig_record::Outcome;
use terminal_size::{Height, Width, terminal_size_of};

/// Whether to use colour, and how wide lines may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Colour and bold type, as ANSI sequences.
    pub color: bool,
    /// Columns of the terminal; none leaves lines as long as they are.
    pub width: Option<u16>,
}

impl Style {
    /// For files and pipes: no colour, long lines.
    pub const PLAIN: Style = Style { color: false, width: None };

    /// For a stream: plain unless it is a terminal, and colour only if `NO_COLOR` and `TERM=dumb` do not forbid it.
    pub fn of<S: IsTerminal + AsStream>(stream: &S) -> Style {
        if !stream.is_terminal() {
            return Style::PLAIN;
        }
        let forbidden = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|term| term == "dumb");
        let width =
            terminal_size_of(stream).map(|(Width(columns), _)| columns).filter(|columns| *columns > 0);
        Style { color: !forbidden, width }
    }

    pub(crate) fn paint(self, ink: Ink, text: &str) -> String {
        match self.color {
            true => format!("\x1b[{}m{text}\x1b[0m", ink.code()),
            false => text.to_owned(),
        }
    }
}

/// Lines of a terminal; none where it does not say.
pub(crate) fn height<S: AsStream>(stream: &S) -> Option<u16> {
    terminal_size_of(stream).map(|(_, Height(rows))| rows).filter(|rows| *rows > 0)
}

/// What a text is, as far as its colour goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ink {
    Good,
    Bad,
    Lab,
    Strong,
    Faint,
}

impl Ink {
    pub fn of(outcome: Outcome) -> Ink {
        match outcome {
            Outcome::AsExpected => Ink::Good,
            Outcome::NotAsExpected | Outcome::Disagree => Ink::Bad,
            Outcome::LabError => Ink::Lab,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Ink::Good => "32",
            Ink::Bad => "1;31",
            Ink::Lab => "1;33",
            Ink::Strong => "1",
            Ink::Faint => "2",
        }
    }
}
