//! A case of the plan as a row of the table.

use std::fmt;

/// What a case wants, and what was measured.
pub struct Row {
    pub id: &'static str,
    pub what: &'static str,
    pub target: String,
    pub actual: String,
    pub reached: bool,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, what, target, actual, reached } = self;
        let reached = if *reached { "yes" } else { "**no**" };
        write!(f, "| {id} | {what} | {target} | {actual} | loopback | {reached} |")
    }
}
