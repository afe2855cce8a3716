//! A run while it goes on.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
};

use natrig_record::{Cell, Event, Outcome, Sink, Step, What};

use crate::{
    Style,
    style::Ink,
    wording::{kind, nats, printable, reason, seconds, totals},
};

/// Shows events as they come: a line for each finished cell, and on a terminal one line that says what goes on.
pub struct Progress<W: Write + Send> {
    state: Mutex<State<W>>,
}

impl Progress<io::Stderr> {
    /// On stderr, in the way that fits it.
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        let live = stderr.is_terminal();
        let style = Style::of(&stderr);
        Progress::new(stderr, style, live)
    }
}

impl<W: Write + Send> Progress<W> {
    /// On a stream; `live` says that lines on it can be written over.
    pub fn new(out: W, style: Style, live: bool) -> Self {
        Progress {
            state: Mutex::new(State {
                out,
                style,
                live,
                titles: Vec::new(),
                finished: 0,
                running: BTreeMap::new(),
            }),
        }
    }
}

impl<W: Write + Send> Sink for Progress<W> {
    fn event(&self, event: Event) {
        // After a panic elsewhere the rest of the run still deserves to be seen; a broken stderr stops nothing.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = state.show(&event);
    }
}

struct State<W> {
    out: W,
    style: Style,
    live: bool,
    titles: Vec<String>,
    finished: usize,
    running: BTreeMap<usize, Step>,
}

impl<W: Write> State<W> {
    fn show(&mut self, event: &Event) -> io::Result<()> {
        match &event.what {
            What::RunStarted { info, cells } => {
                self.titles.clone_from(cells);
                let on = match info.accelerator.as_str() {
                    "" => String::new(),
                    accelerator => format!(" on {accelerator}"),
                };
                self.keep(&format!("{}{on}, {}", count(cells.len()), info.host))
            }
            What::Preparing { message } => match self.live {
                true => self.replace(&printable(message)),
                false => self.keep(&printable(message)),
            },
            What::CellStarted { .. } => self.step(event.cell, Step::Machines),
            What::StepStarted { step } => self.step(event.cell, *step),
            What::Fault { message } => {
                let title = self.title(event.cell);
                self.keep(&format!("  fault: {} ({title})", printable(message)))
            }
            What::CellFinished { cell } => {
                self.finished += 1;
                if let Some(index) = event.cell {
                    self.running.remove(&index);
                }
                let line = self.finished_line(cell);
                self.keep(&line)?;
                self.status()
            }
            What::RunFinished { totals: all, interrupted } => {
                self.running.clear();
                let end = if *interrupted { "interrupted: " } else { "" };
                let line = format!("{end}{}, after {}", totals(all), seconds(Some(event.at_ms)));
                self.keep(&line)
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, cell: Option<usize>, step: Step) -> io::Result<()> {
        if let Some(cell) = cell {
            self.running.insert(cell, step);
        }
        self.status()
    }

    /// What goes on, on the line that is written over.
    fn status(&mut self) -> io::Result<()> {
        let Some((&cell, step)) = self.running.first_key_value() else {
            return Ok(());
        };
        let others = match self.running.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        let line = format!(
            "[{}/{}] {}: {step}{others}",
            self.finished + 1,
            self.titles.len(),
            self.title(Some(cell)),
        );
        self.replace(&line)
    }

    fn finished_line(&self, cell: &Cell) -> String {
        let place = format!("[{}/{}]", self.finished, self.titles.len());
        let outcome = self.style.paint(Ink::of(cell.outcome), &format!("{:<15}", cell.outcome));
        let result = match (&cell.verdict, cell.outcome) {
            (Some(verdict), Outcome::AsExpected) => {
                format!("{} in {}", kind(verdict), seconds(cell.connect_ms))
            }
            _ => reason(cell).unwrap_or_default(),
        };
        format!(
            "{} {outcome} {}, {}: {result}",
            self.style.paint(Ink::Faint, &place),
            printable(&cell.name),
            nats(cell),
        )
    }

    fn title(&self, cell: Option<usize>) -> String {
        cell.and_then(|cell| self.titles.get(cell))
            .map_or_else(|| "the run".to_owned(), |title| printable(title))
    }

    /// A line that stays.
    fn keep(&mut self, line: &str) -> io::Result<()> {
        if self.live {
            write!(self.out, "\r\x1b[K")?;
        }
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// A line that the next one writes over; nothing where that cannot be done.
    fn replace(&mut self, line: &str) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        let most = usize::from(self.style.width.unwrap_or(80)).saturating_sub(1);
        let line: String = line.chars().take(most).collect();
        write!(self.out, "\r\x1b[K{line}")?;
        self.out.flush()
    }
}

fn count(cells: usize) -> String {
    match cells {
        1 => "1 cell".to_owned(),
        n => format!("{n} cells"),
    }
}

#[cfg(test)]
mod tests {
    use natrig_record::Totals;

    use super::*;
    use crate::sample;

    fn shown(style: Style, live: bool) -> String {
        let progress = Progress::new(Vec::new(), style, live);
        let results = sample::four_outcomes();
        let mut at_ms = 0.0;
        let mut tell = |cell, what| {
            at_ms += 100.0;
            progress.event(Event { at_ms, cell, what });
        };
        let cells = results.cells.iter().map(|cell| cell.name.clone()).collect();
        let info = Box::new(results.run.clone());
        tell(None, What::RunStarted { info, cells });
        let message = "building the gateway template".to_owned();
        tell(None, What::Preparing { message });
        for (index, cell) in results.cells.iter().enumerate() {
            let title = cell.name.clone();
            tell(Some(index), What::CellStarted { title });
            tell(Some(index), What::StepStarted { step: Step::Connect });
            if index == 1 {
                let message = "cut relay.wan".to_owned();
                tell(Some(index), What::Fault { message });
            }
            let cell = Box::new(cell.clone());
            tell(Some(index), What::CellFinished { cell });
        }
        let totals = Totals::of(&results.cells);
        let interrupted = false;
        tell(None, What::RunFinished { totals, interrupted });
        let state = progress.state.into_inner().unwrap();
        String::from_utf8(state.out).unwrap()
    }

    #[test]
    fn plain_lines_where_there_is_no_terminal() {
        insta::assert_snapshot!(shown(Style::PLAIN, false));
    }

    #[test]
    fn one_line_written_over_on_a_terminal() {
        let style = Style { color: true, width: Some(60) };
        let shown = shown(style, true).replace('\x1b', "␛").replace('\r', "␍\n");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn without_colour_only_the_cursor_is_moved() {
        let style = Style { color: false, width: Some(60) };
        let shown = shown(style, true).replace("\r\x1b[K", "");
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
}
