//! Cells that did not end as expected, as GitHub shows them beside a change.

use std::fmt::Write as _;

use natrig_record::{Outcome, Results};

use crate::wording::nats;

/// A workflow command for each cell that did not end as expected
/// (<https://docs.github.com/actions/reference/workflow-commands-for-github-actions>).
pub fn annotations(results: &Results) -> String {
    let mut text = String::new();
    for cell in results.cells.iter().filter(|cell| cell.outcome != Outcome::AsExpected) {
        let file = cell.file.as_ref().map_or(String::new(), |file| format!("file={},", property(file)));
        let title = property(&format!("{}: {}", cell.outcome, cell.id));
        let why = match &cell.failure {
            Some(failure) => format!("{}: {}", failure.step, failure.message),
            None => cell.outcome.to_string(),
        };
        let message = data(&format!("{}, {}: {why}", cell.name, nats(cell)));
        let _ = writeln!(text, "::error {file}title={title}::{message}");
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn what_failed_is_annotated_in_a_line_each() {
        let mut results = sample::four_outcomes();
        results.cells[1].name = "100 %\nof all".to_owned();
        insta::assert_snapshot!(annotations(&results));
    }
}
