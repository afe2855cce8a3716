//! Text with places for what is known only in a lab.

use std::fmt;

/// Text in which `{name}` stands for something, and `{{` for `{`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(String),
}

/// What a template cannot be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A brace without its other one.
    #[error("a `{0}` stands alone")]
    Brace(char),
    /// A place that means nothing here.
    #[error("`{{{0}}}` stands for nothing here")]
    Unknown(String),
}

impl Template {
    /// Reads it; `known` says which places mean something.
    pub fn parse(text: &str, known: impl Fn(&str) -> bool) -> Result<Self, BadTemplate> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = if rest[at..].starts_with('{') { '{' } else { '}' };
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push(brace);
                rest = after;
                continue;
            }
            let end = rest.find('}').filter(|_| brace == '{').ok_or(BadTemplate::Brace(brace))?;
            let (place, after) = rest.split_at(end);
            if !known(place) {
                return Err(BadTemplate::Unknown(place.to_owned()));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Place(place.to_owned()));
            rest = &after[1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template { pieces })
    }

    /// What is to be filled in.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Place(place) => Some(place.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text with all places filled; the first one that stands for nothing, if one does.
    pub fn fill(&self, means: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => Ok(text.clone()),
                Piece::Place(place) => means(place).ok_or_else(|| place.clone()),
            })
            .collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Piece::Place(place) => write!(f, "{{{place}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> Result<String, BadTemplate> {
        let known = ["name", "peer.id"];
        let template = Template::parse(text, |place| known.contains(&place))?;
        Ok(template.fill(|place| Some(place.to_uppercase())).unwrap())
    }

    #[test]
    fn places_are_filled_and_braces_stay() {
        assert_eq!(filled("a {name}-{peer.id}").unwrap(), "a NAME-PEER.ID");
        assert_eq!(filled(r#"{{"to": "{name}"}}"#).unwrap(), r#"{"to": "NAME"}"#);
        assert_eq!(filled("").unwrap(), "");
    }

    #[test]
    fn what_is_no_template_says_why() {
        assert_eq!(filled("{name"), Err(BadTemplate::Brace('{')));
        assert_eq!(filled("name}"), Err(BadTemplate::Brace('}')));
        assert_eq!(filled("{nmae}"), Err(BadTemplate::Unknown("nmae".to_owned())));
    }

    #[test]
    fn a_place_without_a_meaning_is_named() {
        let template = Template::parse("{relay.id}", |_| true).unwrap();
        assert_eq!(template.fill(|_| None), Err("relay.id".to_owned()));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_the_same(text in "[a-z{}.]{0,20}") {
            if let Ok(template) = Template::parse(&text, |_| true) {
                prop_assert_eq!(Template::parse(&template.to_string(), |_| true), Ok(template));
            }
        }
    }
}
