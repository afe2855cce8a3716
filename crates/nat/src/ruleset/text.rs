//! A ruleset's text as it grows.

use std::fmt::Write as _;

use super::{TABLE, sets::Set};
use crate::Profile;

/// The most characters of elements in a line.
const WIDTH: usize = 100;

pub(super) struct Text(String);

impl Text {
    /// What was loaded before goes in the same transaction.
    pub fn of(profile: &Profile) -> Self {
        let mapping = profile.mapping.map_or("no NAT".to_owned(), |mapping| mapping.to_string());
        // A name may be any text; in a comment it must stay on its line.
        let name: String = profile.name.chars().filter(|letter| !letter.is_control()).collect();
        Text(format!("# {name}: {mapping}, {}\nflush ruleset\ntable ip {TABLE} {{\n", profile.filtering))
    }

    pub fn set(&mut self, set: &Set) {
        let (flags, timeout) = match set.timeout {
            Some(timeout) => ("dynamic,timeout", format!("        timeout {timeout}s\n")),
            None => ("dynamic", String::new()),
        };
        let _ = write!(
            self.0,
            "    # {}\n    {} {} {{\n        type {}\n        size {}\n        flags {flags}\n{timeout}    }}\n",
            set.comment, set.state.kind, set.state.name, set.kind, set.size
        );
    }

    /// A map that stays as it is.
    pub fn table(&mut self, comment: &str, name: &str, types: &str, elements: &[String]) {
        let _ = write!(
            self.0,
            "    # {comment}\n    map {name} {{\n        type {types}\n        elements = {}\n    }}\n",
            braces(elements, 12)
        );
    }

    /// A whole object, line by line.
    pub fn object(&mut self, head: &str, lines: &[String]) {
        let _ = writeln!(self.0, "    {head} {{");
        for line in lines {
            let _ = writeln!(self.0, "        {line}");
        }
        self.0.push_str("    }\n");
    }

    /// A chain at a hook.
    pub fn hooked(&mut self, comment: &str, name: &str, hook: &str, policy: &str, rules: &[String]) {
        if !comment.is_empty() {
            let _ = writeln!(self.0, "    # {comment}");
        }
        let mut lines = vec![format!("type {hook}; policy {policy};")];
        lines.extend_from_slice(rules);
        self.object(&format!("chain {name}"), &lines);
    }

    /// A chain that others jump to.
    pub fn chain(&mut self, comment: &str, name: &str, rules: &[String]) {
        if !comment.is_empty() {
            let _ = writeln!(self.0, "    # {comment}");
        }
        self.object(&format!("chain {name}"), rules);
    }

    pub fn end(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

/// Elements in braces, broken into lines where they are many.
pub(super) fn braces(elements: &[String], indent: usize) -> String {
    let whole = elements.join(", ");
    if whole.len() <= WIDTH {
        return format!("{{ {whole} }}");
    }
    let mut text = "{".to_owned();
    let mut line = WIDTH;
    for element in elements {
        if line + element.len() + 2 > WIDTH {
            let _ = write!(text, "\n{:indent$}", "");
            line = 0;
        } else {
            text.push(' ');
        }
        let _ = write!(text, "{element},");
        line += element.len() + 2;
    }
    let _ = write!(text, "\n{:1$}}}", "", indent - 4);
    text
}
