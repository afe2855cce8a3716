//! Reads what peers say to each other while things are broken, and what must become of it.

use std::{fmt, time::Duration};

use crate::{
    Layout, Machine, Mistake,
    fields::{self, Fields, Mistakes},
    quantity, seen,
    yaml::{Node, Value},
};

const KEYS: [&str; 10] =
    ["from", "to", "every", "bytes", "for", "lost", "silence", "latency", "again", "back"];

/// Bounds, so that no scenario loads a host without end.
const OFTEN: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// Messages of the lab that one node sends to another at a pace, from the moment `settled` until the faults of that moment are
/// over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Talk {
    /// Whose node speaks.
    pub from: Machine,
    /// To whose.
    pub to: Machine,
    /// Time between two messages.
    pub every: Duration,
    /// How long each is.
    pub bytes: usize,
    /// How long it goes on at least.
    pub length: Duration,
    /// How large a share of the messages may not arrive.
    pub lost: f64,
    /// How long it may take at most that nothing arrives.
    pub silence: Option<Duration>,
    /// In how long 99 of 100 messages must arrive.
    pub latency: Option<Duration>,
    /// How long after the last fault messages must arrive again; what is sent after that must all arrive.
    pub again: Option<Duration>,
}

impl fmt::Display for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)
    }
}

impl Talk {
    /// The most that a message may have.
    pub const MOST_BYTES: u64 = 1024;
}

/// Reads `talks:`; one that goes both ways is two.
pub(crate) fn talks(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Vec<Talk> {
    let mut talks: Vec<Talk> = Vec::new();
    for item in fields::list(node, "`talks`", mistakes).unwrap_or_default() {
        let Some((talk, back)) = talk(item, layouts, mistakes) else { continue };
        let answer = Talk { from: talk.to, to: talk.from, ..talk };
        for one in std::iter::once(talk).chain(back.then_some(answer)) {
            if talks.iter().any(|other| (other.from, other.to) == (one.from, one.to)) {
                let mistake = Mistake::new(item.at.clone(), format!("{one} is listed twice"));
                mistakes.0.push(mistake.hint("a message every half of the time says as much"));
            }
            talks.push(one);
        }
    }
    talks
}

fn talk(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<(Talk, bool)> {
    let fields = Fields::open(node, "a talk", &KEYS, mistakes)?;
    let end = |key: &str, mistakes: &mut Mistakes| {
        let node = fields.need(key, "such as `from: peer1, to: peer2`", mistakes)?;
        seen::with_node(node, layouts, mistakes)
    };
    let from = end("from", mistakes);
    let to = end("to", mistakes);
    if from.is_some() && from == to {
        return mistakes.add(Mistake::new(fields.at(), "nobody talks to himself"));
    }
    let time = |key: &str, within: [Duration; 2], otherwise: Option<Duration>, mistakes: &mut Mistakes| {
        let Some(node) = fields.find(key) else { return Some(otherwise) };
        match quantity::time(&node.value) {
            Some(time) if (within[0]..=within[1]).contains(&time) => Some(Some(time)),
            _ => {
                let message =
                    format!("`{key}` must be a time with its unit, from {:?} to {:?}", within[0], within[1]);
                mistakes.add(Mistake::new(node.at.clone(), message).hint("such as `100ms`"))
            }
        }
    };
    let bounds = [OFTEN, LONGEST];
    let every = time("every", bounds, Some(Duration::from_millis(100)), mistakes)?;
    let length = time("for", bounds, Some(Duration::ZERO), mistakes)?;
    let silence = time("silence", bounds, None, mistakes)?;
    let latency = time("latency", bounds, None, mistakes)?;
    let again = time("again", bounds, None, mistakes)?;
    let bytes = match fields.find("bytes") {
        None => 100,
        Some(node) => match node.value {
            Value::Number(bytes)
                if bytes.fract() == 0.0 && (64.0..=Talk::MOST_BYTES as f64).contains(&bytes) =>
            {
                bytes as usize
            }
            _ => {
                let message = format!("`bytes` must be a whole number from 64 to {}", Talk::MOST_BYTES);
                return mistakes.add(Mistake::new(node.at.clone(), message));
            }
        },
    };
    let lost = match fields.find("lost") {
        None => 0.0,
        Some(node) => match quantity::share(&node.value) {
            Some(share) => share,
            None => {
                return mistakes.add(
                    Mistake::new(node.at.clone(), "`lost` must be a share of the messages")
                        .hint("such as `5%`; `100%` where the connection may be gone for good"),
                );
            }
        },
    };
    let back = match fields.find("back") {
        Some(node) => fields::flag(node, "`back`", mistakes)?,
        None => true,
    };
    let (every, length) = (every.unwrap_or_default(), length.unwrap_or_default());
    Some((Talk { from: from?, to: to?, every, bytes, length, lost, silence, latency, again }, back))
}
