//! Which way nodes reach each other, by their own word.

use std::collections::BTreeMap;

use natrig_scenario::Machine;
use serde::Serialize;

use crate::node::NodeEvent;

/// The way of each node to each other one that it was connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths(BTreeMap<(Machine, Machine), Way>);

/// What a node says of the way to another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Way {
    /// `direct` or `relay`; none where there is no way any more.
    pub path: Option<String>,
    /// How it came to be, once it is the one that stays.
    pub kind: Option<String>,
    /// Why it is another one than before, or none.
    pub why: Option<String>,
}

impl Paths {
    /// Takes what a machine's node reports; `of` tells whose machine's node an ID is.
    pub fn take(&mut self, machine: Machine, event: &NodeEvent, of: impl Fn(&str) -> Option<Machine>) {
        if event.is("started") {
            return self.forget(machine);
        }
        let Some(peer) = event.text("peer").and_then(of) else { return };
        let text = |field| event.text(field).map(str::to_owned);
        let way = match event.text("event") {
            Some("connected") => Way { path: text("kind"), ..Way::default() },
            Some("pathChanged") => Way { path: text("to"), kind: None, why: text("reason") },
            Some("settled") => Way { path: text("path"), kind: text("kind"), why: None },
            Some("connectFailed" | "disconnected") => Way { why: text("reason"), ..Way::default() },
            Some("pathFailed") => match self.0.get(&(machine, peer)) {
                Some(way) if way.path == text("path") => Way { why: text("reason"), ..Way::default() },
                _ => return,
            },
            _ => return,
        };
        self.0.insert((machine, peer), way);
    }

    /// A machine's node has lost all that it knew.
    pub fn forget(&mut self, machine: Machine) {
        self.0.retain(|(from, _), _| *from != machine);
    }

    /// Who, to whom, and the way.
    pub fn iter(&self) -> impl Iterator<Item = (Machine, Machine, &Way)> {
        self.0.iter().map(|((from, to), way)| (*from, *to, way))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(paths: &mut Paths, event: Value) -> Option<Way> {
        let of = |id: &str| (id == "bb").then_some(Machine::PEER2);
        paths.take(Machine::PEER1, &NodeEvent(event), of);
        paths.iter().next().map(|(from, to, way)| {
            assert_eq!((from, to), (Machine::PEER1, Machine::PEER2));
            way.clone()
        })
    }

    fn way(path: Option<&str>, kind: Option<&str>, why: Option<&str>) -> Option<Way> {
        let [path, kind, why] = [path, kind, why].map(|text| text.map(str::to_owned));
        Some(Way { path, kind, why })
    }

    #[test]
    fn a_way_is_what_its_node_said_last() {
        let mut paths = Paths::default();
        assert_eq!(told(&mut paths, json!({"event": "connected", "peer": "cc", "kind": "relay"})), None);
        let mut told = |event| told(&mut paths, event);
        assert_eq!(
            told(json!({"event": "connected", "peer": "bb", "kind": "relay"})),
            way(Some("relay"), None, None)
        );
        assert_eq!(
            told(
                json!({"event": "pathChanged", "peer": "bb", "from": "relay", "to": "direct", "reason": "punched"})
            ),
            way(Some("direct"), None, Some("punched"))
        );
        let settled = way(Some("direct"), Some("punch"), None);
        assert_eq!(
            told(json!({"event": "settled", "peer": "bb", "path": "direct", "kind": "punch"})),
            settled
        );
        // Another path than the one it goes.
        assert_eq!(
            told(json!({"event": "pathFailed", "peer": "bb", "path": "relay", "reason": "x"})),
            settled
        );
        assert_eq!(told(json!({"event": "sent", "peer": "bb", "path": "relay"})), settled);
        assert_eq!(
            told(json!({"event": "pathFailed", "peer": "bb", "path": "direct", "reason": "silence"})),
            way(None, None, Some("silence"))
        );
        assert_eq!(
            told(json!({"event": "disconnected", "peer": "bb", "reason": "idle"})),
            way(None, None, Some("idle"))
        );
        assert_eq!(told(json!({"event": "started", "id": "aa"})), None);
    }
}
