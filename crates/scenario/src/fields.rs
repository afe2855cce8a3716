//! A mapping with known keys, and the mistakes made in it.

pub(crate) use natrig_nat::profile::similar::{meant, shorten};

use crate::{
    problem::Mistake,
    yaml::{Key, Node, Value},
};

/// Collects mistakes, so that one look at a file shows them all.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// Notes one; gives none, for the value that could not be read.
    pub fn add<T>(&mut self, mistake: Mistake) -> Option<T> {
        self.0.push(mistake);
        None
    }

    /// Notes that a value is not what belongs there.
    pub fn wanted<T>(&mut self, node: &Node, what: &str, wanted: &str) -> Option<T> {
        self.add(Mistake::new(node.at.clone(), format!("{what} must be {wanted}, not {}", node.value.noun())))
    }
}

/// A mapping whose keys have been checked.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    what: &'a str,
    node: &'a Node,
    entries: &'a [(Key, Node)],
    strange: bool,
}

impl<'a> Fields<'a> {
    /// Takes a node as a mapping; a key that is not among `known` is a mistake.
    pub fn open(node: &'a Node, what: &'a str, known: &[&str], mistakes: &mut Mistakes) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return mistakes.wanted(node, what, "a mapping of keys to values");
        };
        let mut strange = false;
        for (key, _) in entries {
            if !known.contains(&key.text.as_str()) {
                strange = true;
                mistakes.0.push(
                    Mistake::new(key.at.clone(), format!("{what} has no key `{}`", shorten(&key.text)))
                        .hint(meant(&key.text, known.iter().copied())),
                );
            }
        }
        Some(Fields { what, node, entries, strange })
    }

    /// The value of a key.
    pub fn find(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find_map(|(k, value)| (k.text == key).then_some(value))
    }

    /// The value of a key that must be there.
    pub fn need(&self, key: &str, hint: &str, mistakes: &mut Mistakes) -> Option<&'a Node> {
        self.find(key).or_else(|| {
            mistakes.add(Mistake::new(self.at(), format!("{} lacks `{key}`", self.what)).hint(hint))
        })
    }

    /// Whether it has keys that mean nothing; what seems to be missing may be meant by them.
    pub fn is_strange(&self) -> bool {
        self.strange
    }

    /// Where it begins: its first key.
    pub fn at(&self) -> std::ops::Range<usize> {
        self.entries.first().map_or_else(|| self.node.at.clone(), |(key, _)| key.at.clone())
    }
}

/// Reads text.
pub(crate) fn text<'a>(node: &'a Node, what: &str, mistakes: &mut Mistakes) -> Option<&'a str> {
    match &node.value {
        Value::Text(text) if !text.trim().is_empty() => Some(text),
        Value::Text(_) => mistakes.add(Mistake::new(node.at.clone(), format!("{what} is empty"))),
        Value::Number(_) | Value::Bool(_) => mistakes.add(
            Mistake::new(node.at.clone(), format!("{what} must be text, not {}", node.value.noun()))
                .hint("put it in quotes"),
        ),
        _ => mistakes.wanted(node, what, "text"),
    }
}

/// Reads true or false.
pub(crate) fn flag(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<bool> {
    match node.value {
        Value::Bool(flag) => Some(flag),
        _ => mistakes.wanted(node, what, "true or false"),
    }
}

/// Reads how many there are of something, from one to `most`; `told` says that of another number.
pub(crate) fn count(
    node: &Node,
    what: &str,
    told: &str,
    most: usize,
    mistakes: &mut Mistakes,
) -> Option<usize> {
    match node.value {
        Value::Number(number) => (1..=most)
            .find(|count| *count as f64 == number)
            .or_else(|| mistakes.add(Mistake::new(node.at.clone(), told))),
        _ => mistakes.wanted(node, what, &format!("a number from 1 to {most}")),
    }
}

/// Reads a list with at least one item.
pub(crate) fn list<'a>(node: &'a Node, what: &str, mistakes: &mut Mistakes) -> Option<&'a [Node]> {
    match &node.value {
        Value::List(items) if items.is_empty() => {
            mistakes.add(Mistake::new(node.at.clone(), format!("{what} is an empty list")))
        }
        Value::List(items) => Some(items),
        _ => mistakes.wanted(node, what, "a list"),
    }
}

/// Reads one word of a few.
pub(crate) fn word<T: Copy>(
    node: &Node,
    what: &str,
    words: &[(&'static str, T)],
    mistakes: &mut Mistakes,
) -> Option<T> {
    let text = text(node, &format!("the {what}"), mistakes)?;
    words.iter().find_map(|(word, value)| (*word == text).then_some(*value)).or_else(|| {
        mistakes.add(
            Mistake::new(node.at.clone(), format!("`{}` is no {what}", shorten(text)))
                .hint(meant(text, words.iter().map(|(word, _)| *word))),
        )
    })
}
