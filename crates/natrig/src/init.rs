//! `natrig init`.

use std::{fs::OpenOptions, io::Write as _, path::Path};

use crate::{
    failure::Failure,
    output::{print, tell},
};

/// A scenario with comments; a test runs it.
const TEMPLATE: &str = include_str!("init.yaml");

/// Writes a scenario to begin with; a file that is there stays as it is.
pub fn init(file: &Path) -> Result<u8, Failure> {
    if file == Path::new("-") {
        print(TEMPLATE)?;
        return Ok(0);
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut to| to.write_all(TEMPLATE.as_bytes()));
    written.map_err(|source| Failure::File { what: "write", path: file.to_owned(), source })?;
    let name = file.display();
    tell(&format!("{name} is written; to run it: natrig run {name}, or natrig run --backend sim {name}"));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use natrig_scenario::Scenario;

    use super::*;

    #[test]
    fn what_is_written_is_a_scenario() {
        let scenarios = Scenario::parse("init.yaml", TEMPLATE)
            .unwrap_or_else(|problem| panic!("{}", problem.render(false)));
        assert_eq!(scenarios.len(), 2);
    }

    /// Each key that is shown as a comment is one that there is.
    #[test]
    fn what_is_commented_out_is_a_scenario_as_well() {
        let text: String = TEMPLATE
            .lines()
            .map(|line| match line.trim_start().strip_prefix("#: ") {
                Some(rest) => format!("{}{rest}\n", " ".repeat(line.len() - line.trim_start().len())),
                None => format!("{line}\n"),
            })
            .collect();
        assert_ne!(text, TEMPLATE);
        Scenario::parse("init.yaml", &text).unwrap_or_else(|problem| panic!("{}", problem.render(false)));
    }
}
