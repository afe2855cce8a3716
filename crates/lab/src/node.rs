//! The node under test, as both backends see it: its events, and how its datagrams look.

use natrig_record::{Claim, Path};
use natrig_scenario::{Machine, Seen, Talk};
use serde_json::Value;

use crate::Trouble;

/// First payload bytes of omerta-mesh's datagrams to and from a coordinator.
pub const COORDINATION: &[u8] = &[7];

/// First payload bytes of the node's datagrams that probe a path.
pub const PROBES: &[u8] = &[4, 5, 6];

/// First payload bytes of what the node has a relay pass on, or is passed by it.
pub const RELAYED: &[u8] = &[8];

/// What a node is told to send to all members.
pub const BROADCAST: &str = "natrig tells everybody";

/// A node did not report what a scenario expects, or did what it must not, so many times.
pub fn missed(seen: &Seen, times: usize) -> Trouble {
    let within = seen.within.as_secs_f64();
    Trouble::node(format!("expected within {within} s: {seen}; it did so {times} times"))
}

/// Fields of events that are sentences for people.
const SENTENCES: [&str; 4] = ["message", "reason", "what", "why"];

/// What a node reported: an event as the node wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeEvent(pub Value);

impl NodeEvent {
    /// A field that is a string.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    /// Whether it is an event of this name.
    pub fn is(&self, name: &str) -> bool {
        self.text("event") == Some(name)
    }

    /// Whether it is an event of this name about this peer.
    pub fn about(&self, name: &str, peer: &str) -> bool {
        self.is(name) && self.text("peer") == Some(peer)
    }

    /// Whether it says that a message of a peer has come that is longer than those of a talk, or of a length that it does not
    /// tell: the lab's bytes.
    pub fn brings_bytes_of(&self, peer: &str) -> bool {
        let bytes = self.0.get("bytes").and_then(Value::as_u64);
        self.about("messageReceived", peer) && bytes.is_none_or(|bytes| bytes > Talk::MOST_BYTES)
    }

    /// Whether it says of the way to a peer that there is one, or that there is none.
    pub fn tells_of_connection(&self, peer: &str) -> bool {
        ["connected", "settled", "connectFailed"].iter().any(|name| self.about(name, peer))
    }

    /// Whether it says that the node will try no further for a way to a peer.
    pub fn is_final(&self, peer: &str) -> bool {
        self.about("settled", peer) || self.about("connectFailed", peer)
    }

    /// Whether it is what a scenario expects to be reported; `id` tells what a machine's node is called.
    pub fn shows(&self, seen: &Seen, id: impl Fn(Machine) -> Option<String>) -> bool {
        self.is(&seen.event)
            && seen.with.iter().all(|(field, wanted)| match self.0.get(field) {
                Some(Value::Array(items)) => items.iter().any(|item| holds(field, item, wanted, &id)),
                Some(found) => holds(field, found, wanted, &id),
                None => false,
            })
            && seen
                .at_least
                .iter()
                .all(|(field, least)| self.number(field).is_some_and(|found| found >= *least))
            && seen.at_most.iter().all(|(field, most)| self.number(field).is_some_and(|found| found <= *most))
    }

    /// A field that is a number.
    fn number(&self, field: &str) -> Option<f64> {
        self.0.get(field)?.as_f64()
    }

    /// What a machine's node says of its path in it.
    pub fn claim(&self, machine: &str) -> Claim {
        let path = match self.text("path") {
            Some("direct") => Path::Direct,
            Some("relay") => Path::Relay,
            _ => Path::None,
        };
        Claim { machine: machine.to_owned(), path, kind: self.text("kind").map(str::to_owned) }
    }
}

/// Whether a field, or an item of it, holds what is wanted.
fn holds(field: &str, found: &Value, wanted: &Value, id: impl Fn(Machine) -> Option<String>) -> bool {
    match (found, wanted) {
        (Value::String(found), Value::String(wanted)) => {
            // A path may be called as a machine is.
            let node = wanted.parse().ok().and_then(id);
            found == wanted
                || node.as_ref() == Some(found)
                || SENTENCES.contains(&field) && found.contains(wanted)
        }
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use natrig_scenario::{Action, Scenario};
    use serde_json::json;

    use super::*;

    fn seen(with: &str) -> Seen {
        let text = format!(
            "name: x\nnat1: public\nnat2: public\nexpected: direct\nfaults:\n  \
             - {{after: settled, expect: relayLost, at: peer1, {with}}}\n"
        );
        match Scenario::parse("x.yaml", &text).unwrap().remove(0).faults.remove(0).action {
            Action::Expect(seen) => seen,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn an_event_shows_what_is_expected_of_its_fields() {
        let event = json!({
            "event": "relayLost", "relay": "aa", "message": "none of 3 answers", "probes": 3, "success": true,
            "via": ["aa", "bb"]
        });
        let event = NodeEvent(event);
        let shows = |with: &str| {
            event.shows(&seen(with), |machine| (machine == Machine::RELAY).then(|| "aa".to_owned()))
        };
        for with in [
            "with: {}",
            "with: {relay: relay}",
            "with: {relay: aa}",
            "with: {message: none}",
            "with: {probes: 3}",
            "with: {success: true}",
            "with: {via: relay}",
            "with: {via: bb}",
            "at_least: {probes: 3}, at_most: {probes: 3}",
            "with: {relay: aa}, at_least: {probes: 2.5}",
        ] {
            assert!(shows(with), "{with}");
        }
        for with in [
            "with: {relay: relay2}",
            "with: {relay: a}",
            "with: {message: all}",
            "with: {probes: 4}",
            "with: {success: false}",
            "with: {kind: relay}",
            "with: {via: cc}",
            "at_least: {probes: 4}",
            "at_most: {probes: 2}",
            "with: {relay: bb}, at_most: {probes: 9}",
            "at_least: {bytes: 0}",
            "at_most: {relay: 9}",
        ] {
            assert!(!shows(with), "{with}");
        }
        assert!(!NodeEvent(json!({"event": "relaySelected"})).shows(&seen("with: {}"), |_| None));
    }
}
