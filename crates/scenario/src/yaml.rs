//! YAML text as a tree whose every node knows where it stands.
//!
//! The only place that knows the YAML library. Duplicate keys, several documents, cyclic or exploding aliases and deep
//! nesting are refused here.

use std::{fmt, ops::Range};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::{fields::shorten, problem::Mistake};

/// The largest file that is read.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// A value and the bytes of the text it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub at: Range<usize>,
    pub value: Value,
}

/// What YAML can say.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The key of a mapping's entry.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub at: Range<usize>,
    pub text: String,
}

impl Value {
    /// What it is, for messages.
    pub fn noun(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Reads one document.
pub(crate) fn parse(text: &str) -> Result<Node, Mistake> {
    if text.len() > MAX_BYTES {
        return Err(Mistake::new(
            0..0,
            format!("the file has {} bytes; a scenario may have {MAX_BYTES}", text.len()),
        ));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            flow_nesting_limit: 16,
            max_events: 50_000,
            max_nodes: 20_000,
            max_aliases: 200,
            max_anchors: 100,
            max_documents: 2,
            max_recorded_anchor_events: 20_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 8,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options)
        .map(node)
        .map_err(|error| mistake(&error, text))
}

fn node(spanned: Spanned<Value>) -> Node {
    Node { at: bytes(&spanned.referenced), value: spanned.value }
}

fn bytes(location: &Location) -> Range<usize> {
    let span = location.span();
    let start = span.byte_offset().unwrap_or(0) as usize;
    start..start + span.byte_len().unwrap_or(0) as usize
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Build)
    }
}

struct Build;

impl<'de> Visitor<'de> for Build {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Spanned<Value>>()? {
            items.push(node(item));
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Value>>()? {
            let key = Key { at: bytes(&key.referenced), text: key.value };
            entries.push((key, node(value)));
        }
        Ok(Value::Map(entries))
    }
}

/// Translates the library's error; where its own words would not help a reader, with ours.
fn mistake(error: &serde_saphyr::Error, text: &str) -> Mistake {
    use serde_saphyr::Error;
    let at = error.location().map_or(0..0, |location| place(&location, text));
    let mut error = error.without_snippet();
    while let Error::AliasError { error: inner, .. } = error {
        error = inner.without_snippet();
    }
    match error {
        Error::MultipleDocuments { .. } => {
            Mistake::new(at, "a second document begins here; a file holds one")
                .hint("for several rows in one file use `cells:`, or split the file")
        }
        Error::DuplicateMappingKey { key, .. } => Mistake::new(
            at,
            match key {
                Some(key) => format!("`{}` is given twice", shorten(key)),
                None => "a key is given twice".to_owned(),
            },
        ),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::Budget { .. } => Mistake::new(at, "the file grows too large or too deep here")
            .hint("a scenario needs few aliases and no deep nesting"),
        error => {
            let tab = line(text, at.start).contains('\t');
            let said = Mistake::new(at, plain(error));
            match tab {
                true => said.hint("YAML indents with spaces; this line has a tab"),
                false => said,
            }
        }
    }
}

/// The library's words without the place, which is shown beside them.
fn plain(error: &serde_saphyr::Error) -> String {
    let mut said = error.render();
    if let Some(place) = said.find(" at line ") {
        said.truncate(place);
    }
    said
}

/// Where an error is; some know only line and column.
fn place(location: &Location, text: &str) -> Range<usize> {
    if location.span().byte_offset().is_some() {
        return bytes(location);
    }
    let line = location.line().saturating_sub(1) as usize;
    let column = location.column().saturating_sub(1) as usize;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let into_line: usize = text.get(start..).unwrap_or("").chars().take(column).map(char::len_utf8).sum();
    start + into_line..start + into_line
}

fn line(text: &str, offset: usize) -> &str {
    let start = text.get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or("")
}
