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

/// Shows events as they come.
///
/// Elsewhere than on a terminal, a line for each cell that has finished. On a terminal the lines below are written over:
/// one that says what goes on, and above it a matrix as a grid that fills in place.
pub struct Progress<W: Write + Send> {
    state: Arc<Mutex<State<W>>>,
}

impl Progress<io::Stderr> {
    /// On stderr, in the way that fits it.
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let live = stderr.is_terminal() && !dumb;
        let progress = Progress::new(stderr, Style::of(&io::stderr()), live);
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
    pub fn new(out: W, style: Style, live: bool) -> Self {
        let state = State {
            out,
            style,
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
            What::StepStarted { step } => self.step(event.cell, *step, now),
            What::Note { message } => {
                let title = self.title(event.cell);
                self.keep(&format!("  note: {} ({title})", printable(message)), now)
            }
            What::Fault { message } => {
                let title = self.title(event.cell);
                self.keep(&format!("  fault: {} ({title})", printable(message)), now)
            }
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
mod tests {
    use natrig_record::{Results, Totals};

    use super::*;
    use crate::sample;

    /// Plays a run; what is shown between its events is handed out with them.
    fn play(results: &Results, style: Style, live: bool, mut seen: impl FnMut(&str, &str)) -> String {
        let progress = Progress::new(Vec::new(), style, live);
        let planned = |cell: &Cell| Planned {
            id: cell.id.clone(),
            nats: cell.nats.clone(),
            initiator: cell.initiator,
            ..Planned::default()
        };
        let began = Instant::now();
        let mut at_ms = 0.0;
        let mut all = String::new();
        let mut tell = |cell, what: What| {
            at_ms += 100.0;
            let name = format!("{what:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned();
            // The run's clock is the only one.
            lock(&progress.state).show(&Event { at_ms, cell, what }, began).unwrap();
            let shown = String::from_utf8(std::mem::take(&mut lock(&progress.state).out)).unwrap();
            seen(&name, &shown);
            all += &shown;
        };
        tell(None, What::Preparing { message: "building the gateway template".to_owned() });
        let info = Box::new(results.run.clone());
        let cells = results.cells.iter().map(planned).collect();
        tell(None, What::RunStarted { info, cells, maps: Vec::new() });
        for (index, cell) in results.cells.iter().enumerate() {
            tell(Some(index), What::CellStarted { title: cell.name.clone() });
            tell(Some(index), What::StepStarted { step: Step::Connect });
            if index == 1 {
                tell(Some(index), What::Fault { message: "cut relay.wan".to_owned() });
            }
            tell(Some(index), What::CellFinished { cell: Box::new(cell.clone()) });
        }
        let totals = Totals::of(&results.cells);
        tell(None, What::RunFinished { totals, interrupted: false });
        all
    }

    const NARROW: Style = Style { color: false, width: Some(60) };

    #[test]
    fn plain_lines_where_there_is_no_terminal() {
        insta::assert_snapshot!(play(&sample::four_outcomes(), Style::PLAIN, false, |_, _| ()));
        let matrix = play(&sample::matrix(), Style::PLAIN, false, |_, _| ());
        assert!(!matrix.contains('\x1b') && !matrix.contains('▸'), "{matrix}");
        assert_eq!(matrix.lines().filter(|line| line.contains("as expected ")).count(), 8);
    }

    #[test]
    fn one_line_written_over_on_a_terminal() {
        let style = Style { color: true, ..NARROW };
        let shown = play(&sample::four_outcomes(), style, true, |_, _| ());
        insta::assert_snapshot!(shown.replace('\x1b', "␛").replace('\r', "␍\n"));
    }

    #[test]
    fn without_colour_only_the_cursor_is_moved() {
        let shown = play(&sample::four_outcomes(), NARROW, true, |_, _| ()).replace("\r\x1b[K", "");
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }

    #[test]
    fn a_matrix_fills_in_place() {
        let style = Style { width: Some(100), ..NARROW };
        let mut screen = Screen::default();
        let mut frames = Vec::new();
        play(&sample::matrix(), style, true, |event, shown| {
            screen.write(shown);
            frames.push(format!("── after {event}\n{}", screen.text()));
        });
        // One in the middle of a cell, one after a wrong one, the end.
        let wrong = frames.iter().position(|frame| frame.contains("✗ relay")).unwrap();
        insta::assert_snapshot!([frames[6].as_str(), &frames[wrong], frames.last().unwrap()].join("\n"));
    }

    #[test]
    fn a_grid_has_letters_where_it_is_narrow_and_none_where_it_is_too_narrow_or_low() {
        let planned: Vec<Planned> = sample::matrix()
            .cells
            .iter()
            .map(|cell| Planned { nats: cell.nats.clone(), ..Planned::default() })
            .collect();
        let mut board = Board::of(&planned).unwrap();
        for (index, cell) in sample::matrix().cells.iter().enumerate().take(6) {
            board.finish(index, cell);
        }
        board.step(6, Step::Proof);
        let lines = |width, height| board.lines(Style { color: false, width: Some(width) }, height);
        insta::assert_snapshot!(lines(45, None).unwrap().join("\n"));
        assert_eq!(lines(20, None), None);
        assert!(lines(100, Some(9)).is_some());
        assert_eq!(lines(100, Some(8)), None);
        for width in 20..120 {
            let widest = |lines: &Vec<String>| lines.iter().take(5).map(|line| line.chars().count()).max();
            assert!(lines(width, None).is_none_or(|lines| widest(&lines) < Some(width.into())), "{width}");
        }
    }

    #[test]
    fn runs_of_one_pair_are_counted_in_one_square() {
        let nats = ["full-cone", "symmetric"];
        let cells: Vec<Cell> = sample::matrix().cells;
        let planned: Vec<Planned> = nats
            .iter()
            .flat_map(|one| nats.iter().map(move |two| [one, two]))
            .flat_map(|pair| {
                let nats: Vec<String> = pair.iter().map(|nat| (**nat).to_owned()).collect();
                vec![Planned { nats, ..Planned::default() }; 200]
            })
            .collect();
        let mut board = Board::of(&planned).unwrap();
        (0..200).for_each(|run| board.finish(run, &cells[0]));
        (200..237).for_each(|run| board.finish(run, &cells[if run == 203 { 5 } else { 0 }]));
        board.step(237, Step::Data);
        (400..420).for_each(|run| board.finish(run, &cells[0]));
        board.step(420, Step::Data);
        board.step(600, Step::Nodes);
        insta::assert_snapshot!(board.lines(Style::PLAIN, None).unwrap().join("\n"));
    }

    #[test]
    fn a_few_cells_are_no_grid() {
        assert_eq!(Board::of(&[]), None);
        let planned =
            |one: &str, two: &str| Planned { nats: vec![one.into(), two.into()], ..Planned::default() };
        assert_eq!(Board::of(&[planned("public", "symmetric"), planned("public", "full-cone")]), None);
        assert_eq!(Board::of(&[planned("a", "b"), planned("c", "d")]), None, "half of it");
    }

    #[test]
    fn the_time_that_is_left_is_told_from_the_cells_before() {
        let mut last = String::new();
        play(&sample::matrix(), Style { width: Some(100), ..NARROW }, true, |event, shown| {
            if event == "CellFinished" {
                last = shown.lines().last().unwrap_or_default().to_owned();
            }
        });
        assert!(last.contains("8 of 8 done"), "{last}");
        let state = Progress::new(Vec::new(), Style::PLAIN, true);
        let mut state = lock(&state.state);
        state.planned = vec![Planned::default(); 25];
        (state.finished, state.running) = (9, BTreeMap::from([(9, Step::Nodes), (10, Step::Data)]));
        assert_eq!(state.left(20_000.0), Some(30_000.0));
        state.finished = 1;
        assert_eq!(state.left(20_000.0), None);
        assert_eq!((minutes(75_400.0), minutes(3_725_000.0)), ("1:15".to_owned(), "1:02:05".to_owned()));
    }

    #[test]
    fn a_long_line_is_cut_by_what_is_seen_of_it() {
        let painted = Style { color: true, width: None }.paint(Ink::Good, "✓ punch");
        assert_eq!(within(&painted, 7), painted);
        assert_eq!(within(&painted, 3), "\x1b[32m✓ p\x1b[0m");
        assert_eq!(within("plain", 3), "pla");
    }

    /// As much of a terminal as is written for: it knows the cursor and how to erase.
    #[derive(Default)]
    struct Screen {
        lines: Vec<String>,
        row: usize,
        column: usize,
    }

    impl Screen {
        fn write(&mut self, text: &str) {
            let mut rest = text.chars();
            while let Some(c) = rest.next() {
                while self.lines.len() <= self.row {
                    self.lines.push(String::new());
                }
                match c {
                    '\r' => self.column = 0,
                    '\n' => (self.row, self.column) = (self.row + 1, 0),
                    '\x1b' => {
                        assert_eq!(rest.next(), Some('['));
                        let mut sequence = String::new();
                        while !sequence.ends_with(|c: char| c.is_ascii_alphabetic()) {
                            sequence.push(rest.next().unwrap());
                        }
                        match sequence.split_at(sequence.len() - 1) {
                            ("", "K") => self.cut(),
                            ("", "J") => {
                                self.cut();
                                self.lines.truncate(self.row + 1);
                            }
                            (count, "A") => self.row -= count.parse::<usize>().unwrap(),
                            other => panic!("{other:?}"),
                        }
                    }
                    c => {
                        let line = &mut self.lines[self.row];
                        assert_eq!(line.chars().count(), self.column, "written over without erasing: {line}");
                        line.push(c);
                        self.column += 1;
                    }
                }
            }
        }

        fn cut(&mut self) {
            let kept = self.lines[self.row].chars().take(self.column).collect();
            self.lines[self.row] = kept;
        }

        fn text(&self) -> String {
            self.lines.join("\n") + "\n"
        }
    }
}
