//! Where a scenario comes from.

use std::path::PathBuf;

use crate::{Error, Scenario};

/// What the text of a scenario goes by where another one has the name of its file.
const NAME: &str = "scenario";

/// What a lab is made from: a scenario, or where one is to be read.
#[derive(Debug, Clone)]
pub enum Source {
    /// As it stands in a file.
    Text(String),
    /// A file. A test's working folder is its package's.
    File(PathBuf),
    /// One that has been read.
    Scenario(Box<Scenario>),
}

impl Source {
    /// A file with one cell.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Source::File(path.into())
    }

    /// The one scenario in it.
    pub(crate) fn read(self) -> Result<Scenario, Error> {
        let (name, mut cells) = match self {
            Source::Scenario(scenario) => return Ok(*scenario),
            Source::Text(text) => (NAME.to_owned(), Scenario::parse(NAME, &text)?),
            Source::File(path) => (path.display().to_string(), Scenario::load(&path)?),
        };
        match (cells.pop(), cells.as_slice()) {
            (Some(scenario), []) => Ok(scenario),
            (last, before) => {
                let ids = before.iter().chain(&last).map(|cell| cell.id.clone()).collect();
                Err(Error::Cells { name, ids })
            }
        }
    }
}

impl From<&str> for Source {
    fn from(text: &str) -> Self {
        Source::Text(text.to_owned())
    }
}

impl From<String> for Source {
    fn from(text: String) -> Self {
        Source::Text(text)
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Source::File(path)
    }
}

impl From<Scenario> for Source {
    fn from(scenario: Scenario) -> Self {
        Source::Scenario(Box::new(scenario))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_where_it_stands() {
        let text = "name: x\nnat1: full-cone\nnat2: ful-cone\nexpected: direct\n";
        let error = format!("{:?}", Source::from(text).read().unwrap_err());
        for phrase in
            ["\n  × no gateway profile is called `ful-cone`", "[scenario:3:7]", "did you mean `full-cone`?"]
        {
            assert!(error.contains(phrase), "`{phrase}` is not in\n{error}");
        }
        let error = Source::file("no/such.yaml").read().unwrap_err().to_string();
        assert!(error.contains("cannot read no/such.yaml"), "{error}");
    }

    #[test]
    fn one_lab_is_made_of_one_cell() {
        let several = "{name: two, id: t, nat1: [public, symmetric], nat2: full-cone, expected: any}";
        let error = Source::from(several).read().unwrap_err().to_string();
        assert!(
            error.starts_with("scenario holds 2 cells: t-public-full-cone, t-symmetric-full-cone\nhint: "),
            "{error}"
        );
        let one = Scenario::parse("x", several).unwrap().remove(1);
        assert_eq!(Source::from(one).read().unwrap().id, "t-symmetric-full-cone");
    }
}
