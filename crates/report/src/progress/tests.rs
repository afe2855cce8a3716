use natrig_record::{Results, Totals};

use super::*;
use crate::sample;

/// Plays a run; what is shown between its events is handed out with them.
fn play(results: &Results, style: Style, live: bool, seen: impl FnMut(&str, &str)) -> String {
    play_as(Told::Progress, results, style, live, seen)
}

fn play_as(
    told: Told,
    results: &Results,
    style: Style,
    live: bool,
    mut seen: impl FnMut(&str, &str),
) -> String {
    let progress = Progress::new(Vec::new(), style, live, told);
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
            let event = serde_json::json!({"event": "connected", "peer": "ab12", "elapsed": 3});
            tell(Some(index), What::Node { machine: "peer1".to_owned(), event });
            tell(Some(index), What::Log { machine: "peer2".to_owned(), line: "a\x1b[31mline".to_owned() });
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
fn quiet_shows_what_failed_and_verbose_what_nodes_say() {
    let quiet = play_as(Told::Failures, &sample::four_outcomes(), Style::PLAIN, false, |_, _| ());
    insta::assert_snapshot!("quiet", quiet);
    let verbose = play_as(Told::Everything, &sample::four_outcomes(), Style::PLAIN, false, |_, _| ());
    insta::assert_snapshot!("verbose", verbose);
    assert!(!verbose.contains('\x1b'), "{verbose:?}");
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
    let planned = |one: &str, two: &str| Planned { nats: vec![one.into(), two.into()], ..Planned::default() };
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
    let state = Progress::new(Vec::new(), Style::PLAIN, true, Told::Progress);
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
