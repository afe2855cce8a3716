//! What a node must report.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    Layout, Machine, Mistake,
    fields::{self, Fields, Mistakes},
    lab, quantity,
    yaml::{Node, Value},
};

/// How long a node has where nothing is said, and the longest that can be said.
const WITHIN: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// An event that a node must report, since something was last done in the scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The event's name.
    pub event: String,
    /// Whose node reports it.
    pub at: Machine,
    /// What its fields hold: a number or truth as it is; a text, or a part of it where it is a sentence. The name of a
    /// machine stands for its node's ID.
    pub with: BTreeMap<String, serde_json::Value>,
    /// What fields that are numbers are not below.
    pub at_least: BTreeMap<String, f64>,
    /// What fields that are numbers are not above.
    pub at_most: BTreeMap<String, f64>,
    /// How often at least; 0 is never.
    pub times: usize,
    /// How long it may take; what must never come is waited for as long.
    pub within: Duration,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reports {}", self.at, self.event)?;
        for (field, value) in &self.with {
            write!(f, ", {field} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))?;
        }
        for (field, number) in &self.at_least {
            write!(f, ", {field} {number} or more")?;
        }
        for (field, number) in &self.at_most {
            write!(f, ", {field} {number} or less")?;
        }
        match self.times {
            0 => write!(f, ", never"),
            1 => Ok(()),
            times => write!(f, ", {times} times"),
        }
    }
}

/// Reads `expect: EVENT` and what stands beside it.
pub(crate) fn seen(
    node: &Node,
    fields: &Fields<'_>,
    layouts: &[Layout],
    mistakes: &mut Mistakes,
) -> Option<Seen> {
    let event = fields::text(node, "`expect`", mistakes)?;
    if !event.chars().all(|letter| letter.is_ascii_alphabetic()) {
        return mistakes.add(
            Mistake::new(node.at.clone(), format!("`{}` is no event", fields::shorten(event)))
                .hint("an event as a node's log has it, such as `relaySelected`"),
        );
    }
    let at = fields
        .need("at", "whose node reports it, such as `at: peer1`", mistakes)
        .and_then(|node| with_node(node, layouts, mistakes));
    let with = match fields.find("with") {
        Some(node) => with(node, mistakes),
        None => Some(BTreeMap::new()),
    };
    let mut bound = |name: &str| match fields.find(name) {
        Some(node) => bounds(name, node, mistakes),
        None => Some(BTreeMap::new()),
    };
    let (at_least, at_most) = (bound("at_least"), bound("at_most"));
    let times = match fields.find("times") {
        Some(node) => times(node, mistakes),
        None => Some(1),
    };
    let within = match fields.find("within") {
        Some(node) => within(node, mistakes),
        None => Some(WITHIN),
    };
    Some(Seen {
        event: event.to_owned(),
        at: at?,
        with: with?,
        at_least: at_least?,
        at_most: at_most?,
        times: times?,
        within: within?,
    })
}

/// Reads the name of a machine that there is and that has a node.
pub(crate) fn with_node(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Machine> {
    lab::machine(node, "machine with a node", |machine| !machine.is_gateway(), layouts, mistakes)
}

fn with(node: &Node, mistakes: &mut Mistakes) -> Option<BTreeMap<String, serde_json::Value>> {
    let Value::Map(entries) = &node.value else {
        return mistakes.wanted(node, "`with`", "a mapping of an event's fields to what they hold");
    };
    let mut with = BTreeMap::new();
    for (key, node) in entries {
        let value = match &node.value {
            Value::Text(text) => text.as_str().into(),
            Value::Bool(flag) => (*flag).into(),
            Value::Number(number) => (*number).into(),
            _ => return mistakes.wanted(node, "what a field holds", "text, a number or a truth"),
        };
        with.insert(key.text.clone(), value);
    }
    Some(with)
}

fn bounds(name: &str, node: &Node, mistakes: &mut Mistakes) -> Option<BTreeMap<String, f64>> {
    let name = format!("`{name}`");
    let Value::Map(entries) = &node.value else {
        return mistakes.wanted(node, &name, "a mapping of an event's fields to numbers");
    };
    let mut bounds = BTreeMap::new();
    for (key, node) in entries {
        let Value::Number(number) = node.value else {
            return mistakes.wanted(node, "the bound of a field", "a number");
        };
        bounds.insert(key.text.clone(), number);
    }
    Some(bounds)
}

fn times(node: &Node, mistakes: &mut Mistakes) -> Option<usize> {
    match node.value {
        Value::Number(number) if number.fract() == 0.0 && (0.0..=1000.0).contains(&number) => {
            Some(number as usize)
        }
        Value::Number(_) => {
            mistakes.add(Mistake::new(node.at.clone(), "`times` must be a whole number from 0 to 1000"))
        }
        _ => mistakes.wanted(node, "`times`", "a whole number from 0 to 1000"),
    }
}

fn within(node: &Node, mistakes: &mut Mistakes) -> Option<Duration> {
    match quantity::time(&node.value) {
        Some(time) if !time.is_zero() && time <= LONGEST => Some(time),
        _ => mistakes.add(
            Mistake::new(node.at.clone(), "`within` must be a time with its unit, up to ten minutes")
                .hint("such as `within: 10s`"),
        ),
    }
}
