//! A run while it goes on.

use std::{
    collections::BTreeMap,
    env,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use natrig_record::{Cell, Event, Outcome, Planned, Sink, Step, What};
use serde_json::Value;

use crate::{
    Style,
    board::Board,
    style::Ink,
    wording::{ground, kind, nats, printable, reason, seconds, totals, wire},
};

/// How often what is on a terminal is drawn again when nothing happens: time passes.
const TICK: Duration = Duration::from_millis(500);

/// After so many finished cells the time that is left is worth a guess.
const ENOUGH: usize = 2;

/// How much of a run is shown while it goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Told {
    /// Cells that did not end as expected.
    Failures,
    /// How far it is.
    #[default]
    Progress,
    /// That, and all that nodes report and write.
    Everything,
}

/// Shows events as they come.
///
/// Elsewhere than on a terminal, a line for each cell that has finished. On a terminal the lines below are written over:
/// one that says what goes on, and above it a matrix as a grid that fills in place.
pub struct Progress<W: Write + Send> {
    state: Arc<Mutex<State<W>>>,
}

impl Progress<io::Stderr> {
    /// On stderr, in the way that fits it.
    pub fn stderr(told: Told) -> Self {
        let stderr = io::stderr();
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let live = stderr.is_terminal() && !dumb && told != Told::Failures;
        let progress = Progress::new(stderr, Style::of(&io::stderr()), live, told);
        if live {
            let state = Arc::downgrade(&progress.state);
            // It ends with the progress; without it only the clock stands still.
            let _ = thread::Builder::new().name("progress".to_owned()).spawn(move || tick(&state));
        }
        progress
    }
}

/// Draws again as long as there is something to draw.
fn tick(state: &Weak<Mutex<State<io::Stderr>>>) {
    loop {
        thread::sleep(TICK);
        let Some(state) = state.upgrade() else { return };
        let mut state = lock(&state);
        state.resize(Style::of(&io::stderr()), crate::style::height(&io::stderr()));
        let now = Instant::now();
        let _ = state.redraw(now);
    }
}

/// After a panic elsewhere the rest of the run still deserves to be seen.
fn lock<W>(state: &Mutex<State<W>>) -> MutexGuard<'_, State<W>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Write + Send> Progress<W> {
    /// On a stream; `live` says that lines on it can be written over.
    pub fn new(out: W, style: Style, live: bool, told: Told) -> Self {
        let state = State {
            out,
            style,
            told,
            height: None,
            live,
            planned: Vec::new(),
            board: None,
            finished: 0,
            running: BTreeMap::new(),
            preparing: None,
            clock: None,
            drawn: 0,
        };
        Progress { state: Arc::new(Mutex::new(state)) }
    }
}

impl<W: Write + Send> Sink for Progress<W> {
    fn event(&self, event: Event) {
        // A broken stderr stops nothing.
        let _ = lock(&self.state).show(&event, Instant::now());
    }
}

struct State<W> {
    out: W,
    style: Style,
    told: Told,
    /// Lines of the terminal, where they are known.
    height: Option<u16>,
    live: bool,
    planned: Vec<Planned>,
    board: Option<Board>,
    finished: usize,
    running: BTreeMap<usize, Step>,
    preparing: Option<String>,
    /// When the first cell began, and what the run's own clock said last.
    clock: Option<Clock>,
    /// How many lines are to be written over.
    drawn: usize,
}

/// The run's time, which events bear, carried on between them.
#[derive(Debug, Clone, Copy)]
struct Clock {
    /// When the first cell began, by events.
    began_ms: f64,
    /// The last event's time.
    event_ms: f64,
    /// And when it came.
    event_at: Instant,
}

impl<W: Write> State<W> {
    fn show(&mut self, event: &Event, now: Instant) -> io::Result<()> {
        if let Some(clock) = &mut self.clock {
            clock.event_ms = event.at_ms;
            clock.event_at = now;
        }
        if self.told == Told::Failures {
            return self.show_failure(event, now);
        }
        match &event.what {
            What::RunStarted { info, cells, .. } => {
                self.planned.clone_from(cells);
                self.board = Board::of(cells);
                self.preparing = None;
                self.clock = Some(Clock { began_ms: event.at_ms, event_ms: event.at_ms, event_at: now });
                let on = ground(info);
                self.keep(&format!("{}{on}, {}", count(cells.len()), info.host), now)
            }
            What::Preparing { message } if self.live => {
                self.preparing = Some(printable(message));
                self.redraw(now)
            }
            What::Preparing { message } => self.keep(&printable(message), now),
            What::CellStarted { .. } => self.step(event.cell, Step::Machines, now),
            What::StepStarted { step } => {
                if self.told == Told::Everything {
                    self.keep_of(event.cell, "step", &step.to_string(), now)?;
                }
                self.step(event.cell, *step, now)
            }
            What::Node { machine, event: said } if self.told == Told::Everything => {
                self.keep_of(event.cell, machine, &node_event(said), now)
            }
            What::Log { machine, line } if self.told == Told::Everything => {
                self.keep_of(event.cell, machine, line, now)
            }
            What::Note { message } => self.keep_of(event.cell, "note", message, now),
            What::Fault { message } => self.keep_of(event.cell, "fault", message, now),
            What::CellFinished { cell } => {
                self.finished += 1;
                if let Some(index) = event.cell {
                    self.running.remove(&index);
                    if let Some(board) = &mut self.board {
                        board.finish(index, cell);
                    }
                }
                // The grid says what went well.
                match self.live && self.grid().is_some() && cell.outcome == Outcome::AsExpected {
                    true => self.redraw(now),
                    false => {
                        let line = self.finished_line(cell);
                        self.keep(&line, now)
                    }
                }
            }
            What::RunFinished { totals: all, interrupted } => {
                self.running.clear();
                // What came of it is printed by others.
                self.board = None;
                self.clock = None;
                let end = if *interrupted { "interrupted: " } else { "" };
                let line = format!("{end}{}, after {}", totals(all), seconds(Some(event.at_ms)));
                self.keep(&line, now)
            }
            _ => Ok(()),
        }
    }

    /// Shows a cell that did not end as expected, and nothing else.
    fn show_failure(&mut self, event: &Event, now: Instant) -> io::Result<()> {
        match &event.what {
            What::RunStarted { cells, .. } => self.planned.clone_from(cells),
            What::CellFinished { cell } => {
                self.finished += 1;
                if cell.outcome != Outcome::AsExpected {
                    let line = self.finished_line(cell);
                    return self.keep(&line, now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A line about a cell that stays.
    fn keep_of(&mut self, cell: Option<usize>, who: &str, what: &str, now: Instant) -> io::Result<()> {
        let title = self.title(cell);
        self.keep(&format!("  {}: {} ({title})", printable(who), printable(what)), now)
    }

    fn step(&mut self, cell: Option<usize>, step: Step, now: Instant) -> io::Result<()> {
        if let Some(cell) = cell {
            self.running.insert(cell, step);
            if let Some(board) = &mut self.board {
                board.step(cell, step);
            }
        }
        self.redraw(now)
    }

    fn resize(&mut self, style: Style, height: Option<u16>) {
        self.style.width = style.width;
        self.height = height;
    }

    /// The lines that are written over: the grid, and what goes on.
    fn below(&self, now: Instant) -> Vec<String> {
        if let Some(message) = &self.preparing {
            return vec![message.clone()];
        }
        let Some(status) = self.status(now) else { return Vec::new() };
        self.grid().unwrap_or_default().into_iter().chain([status]).collect()
    }

    fn grid(&self) -> Option<Vec<String>> {
        self.board.as_ref()?.lines(self.style, self.height)
    }

    /// What goes on, and how long it has taken and will take.
    fn status(&self, now: Instant) -> Option<String> {
        let clock = self.clock?;
        let waiting = self.planned.len().saturating_sub(self.finished + self.running.len());
        let mut line = match (self.running.first_key_value(), &self.board) {
            (None, _) if self.finished == 0 => return None,
            (Some((&cell, step)), None) => {
                let others = match self.running.len() {
                    1 => String::new(),
                    n => format!(" and {} more", n - 1),
                };
                format!(
                    "[{}/{}] {}: {step}{others}",
                    self.finished + 1,
                    self.planned.len(),
                    self.title(Some(cell))
                )
            }
            _ => format!(
                "{} of {} done, {} running, {waiting} waiting",
                self.finished,
                self.planned.len(),
                self.running.len()
            ),
        };
        let passed = clock.event_ms - clock.began_ms + now.duration_since(clock.event_at).as_secs_f64() * 1e3;
        line += &format!(", {}", minutes(passed));
        if let Some(left) = self.left(passed) {
            line += &format!(", about {} left", minutes(left));
        }
        Some(line)
    }

    /// What the cells that are left will take if they take as long as those before.
    fn left(&self, passed_ms: f64) -> Option<f64> {
        if self.finished < ENOUGH || self.finished >= self.planned.len() {
            return None;
        }
        // What runs is half done, more or less.
        let done = self.finished as f64 + self.running.len() as f64 / 2.0;
        Some(passed_ms / done * (self.planned.len() as f64 - done))
    }

    fn finished_line(&self, cell: &Cell) -> String {
        let place = format!("[{}/{}]", self.finished, self.planned.len());
        let outcome = self.style.paint(Ink::of(cell.outcome), &format!("{:<15}", cell.outcome));
        let result = match (&cell.verdict, cell.outcome) {
            (Some(verdict), Outcome::AsExpected) => {
                format!("{} in {}", kind(verdict), seconds(cell.connect_ms))
            }
            (None, Outcome::AsExpected) => wire(cell),
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
        cell.and_then(|cell| self.planned.get(cell))
            .map_or_else(|| "the run".to_owned(), |planned| printable(&planned.id))
    }

    /// A line that stays, above what is written over.
    fn keep(&mut self, line: &str, now: Instant) -> io::Result<()> {
        let mut text = self.erased();
        text += line;
        text.push('\n');
        self.write(text, now)
    }

    /// Writes over what is written over; nothing where that cannot be done.
    fn redraw(&mut self, now: Instant) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        let text = self.erased();
        self.write(text, now)
    }

    /// What takes away the lines that are drawn, and leaves the cursor where the first of them was.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 if self.live => "\r\x1b[K".to_owned(),
            0 => String::new(),
            1 => "\r\x1b[K".to_owned(),
            lines => format!("\r\x1b[{}A\x1b[J", lines - 1),
        }
    }

    /// Writes a text and the lines below it at once, so that nothing flickers.
    fn write(&mut self, mut text: String, now: Instant) -> io::Result<()> {
        if self.live {
            let lines = self.below(now);
            let most = usize::from(self.style.width.unwrap_or(80)).saturating_sub(1);
            self.drawn = lines.len();
            let shown: Vec<String> = lines.iter().map(|line| within(line, most)).collect();
            text += &shown.join("\n");
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// A line without what does not fit; sequences for colour take no room, and are ended.
fn within(line: &str, most: usize) -> String {
    let mut shown = String::new();
    let (mut columns, mut in_sequence, mut painted) = (0, false, false);
    for c in line.chars() {
        if c == '\x1b' {
            in_sequence = true;
            painted = true;
        } else if !in_sequence {
            if columns == most {
                break;
            }
            columns += 1;
        }
        shown.push(c);
        in_sequence &= !c.is_ascii_alphabetic();
    }
    if painted && !shown.ends_with("\x1b[0m") {
        shown += "\x1b[0m";
    }
    shown
}

/// What a node reported: its name, and its fields as they are.
fn node_event(said: &Value) -> String {
    let mut line = said.get("event").and_then(Value::as_str).unwrap_or("event").to_owned();
    for (field, value) in said.as_object().into_iter().flatten() {
        match value {
            _ if field == "event" => {}
            Value::String(text) => line += &format!(" {field}={text}"),
            value => line += &format!(" {field}={value}"),
        }
    }
    line
}

/// A span of time as minutes and seconds.
fn minutes(ms: f64) -> String {
    let seconds = (ms / 1e3).round().max(0.0) as u64;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

fn count(cells: usize) -> String {
    match cells {
        1 => "1 cell".to_owned(),
        n => format!("{n} cells"),
    }
}

#[cfg(test)]
mod tests;
