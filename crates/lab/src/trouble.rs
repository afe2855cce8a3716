//! What can go wrong in a cell, and whose fault it is.

use std::fmt;

use natrig_record::{Failure, Step};

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The lab's: it says nothing about the node.
    Lab,
    /// The node's.
    Node,
}

/// Something that ends a cell.
///
/// It is no [`std::error::Error`], so that every one of those can be made one with `?`: the lab's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whose fault it is.
    pub who: Who,
    /// One sentence.
    pub message: String,
    /// The few lines that matter.
    pub lines: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Trouble {
    /// The lab's fault. Of a text with several lines the first is the sentence; a hint among them is told as such.
    pub fn lab(message: impl ToString) -> Self {
        let text = message.to_string();
        let mut trouble = Trouble { who: Who::Lab, message: String::new(), lines: Vec::new(), hint: None };
        for (number, line) in text.lines().enumerate() {
            match line.strip_prefix("hint: ") {
                _ if number == 0 => trouble.message = line.to_owned(),
                Some(hint) => trouble.hint = Some(hint.to_owned()),
                None => trouble.lines.push(line.to_owned()),
            }
        }
        trouble
    }

    /// The node's fault.
    pub fn node(message: impl ToString) -> Self {
        Trouble { who: Who::Node, ..Trouble::lab(message) }
    }

    /// Says where it happened.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Adds lines of a log.
    pub fn lines(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.lines.extend(lines);
        self
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl ToString) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// As it stands in a record.
    pub fn failure(self, step: Step) -> Failure {
        Failure { step, message: self.message, lines: self.lines, hint: self.hint }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Trouble::lab(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_many_lines_is_told_in_its_parts() {
        let trouble = Trouble::lab("it did not come up; its console ends with:\npanic\nhint: natrig doctor");
        assert_eq!(trouble.message, "it did not come up; its console ends with:");
        assert_eq!(trouble.lines, ["panic"]);
        assert_eq!(trouble.hint.as_deref(), Some("natrig doctor"));
        assert_eq!(Trouble::lab("one line").lines, [""; 0]);
    }
}
