//! The command that runs a cell again.

use natrig_record::{Cell, RunInfo};

use crate::wording::printable;

/// Commands that take `--only`.
const PICK: [&str; 3] = ["run", "matrix", "compare"];

/// Options with a value that are of the whole run, or that are given anew.
const WITH_VALUE: [&str; 7] = ["--seed", "--out", "--only", "--repeat", "--shard", "--jobs", "-j"];

/// The run's command line, for one cell and with its seed; nothing if it is not known.
pub(crate) fn again(run: &RunInfo, cell: &Cell) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut given = run.command.iter();
    while let Some(word) = given.next() {
        if WITH_VALUE.contains(&word.as_str()) {
            given.next();
        } else if word != "--json" && !has_value(word) {
            words.push(word.clone());
        }
    }
    if words.is_empty() || !words.iter().any(|word| PICK.contains(&word.as_str())) {
        return join(&run.command);
    }
    let seed = cell.seed.unwrap_or(run.seed).to_string();
    words.extend(["--seed".to_owned(), seed, "--only".to_owned(), cell.id.clone()]);
    join(&words)
}

/// Whether a word is one of these options and its value at once.
fn has_value(word: &str) -> bool {
    WITH_VALUE.iter().any(|option| {
        word.strip_prefix(option)
            .is_some_and(|rest| rest.starts_with('=') || *option == "-j" && !rest.is_empty())
    })
}

fn join(words: &[String]) -> String {
    words.iter().map(|word| quoted(&printable(word))).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(command: &str, seed: Option<u64>, id: &str) -> String {
        let run = RunInfo {
            command: command.split_whitespace().map(str::to_owned).collect(),
            seed: 7,
            ..RunInfo::default()
        };
        again(&run, &Cell { id: id.into(), seed, ..Cell::default() })
    }

    #[test]
    fn what_was_of_the_whole_run_is_left_out() {
        let command =
            "natrig run --backend sim --seed 1 --out /tmp/r --repeat=20 -j2 --json --shard 1/2 some.yaml";
        assert_eq!(
            of(command, Some(99), "T2.M.1"),
            "natrig run --backend sim some.yaml --seed 99 --only T2.M.1"
        );
        assert_eq!(of("natrig matrix -j 4", None, "T2.M.1"), "natrig matrix --seed 7 --only T2.M.1");
    }

    #[test]
    fn a_command_that_picks_no_cells_is_given_as_it_was() {
        assert_eq!(of("natrig chaos some.yaml --seed 3", None, "x"), "natrig chaos some.yaml --seed 3");
        assert_eq!(of("", None, "x"), "");
    }

    #[test]
    fn nothing_in_an_id_is_a_command_to_a_shell() {
        assert_eq!(
            of("natrig matrix", None, "a'; rm -rf /\n"),
            r"natrig matrix --seed 7 --only 'a'\''; rm -rf /'"
        );
    }
}
