//! A node's lines, as events.

use natrig_scenario::{Part, Sign};
use serde_json::{Map, Value, json};

/// The event that says who a node is.
const STARTED: &str = "started";

/// Events that mean something to the lab; a node's own ones of that name only do where its app file says so.
const RESERVED: [&str; 7] =
    [STARTED, "bootstrapped", "connected", "connectFailed", "settled", "messageReceived", "delivered"];

/// Events that are about another node.
const ABOUT_ONE: [&str; 5] = ["connected", "connectFailed", "settled", "messageReceived", "delivered"];

/// What a program's lines mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Speech {
    signs: Vec<(&'static str, Sign)>,
    /// It never says that it has settled, and nobody waits for anything better.
    connected_is_settled: bool,
}

impl Speech {
    /// Of a program in a role.
    pub fn of(part: &Part) -> Self {
        let started = part.started.iter().map(|sign| (STARTED, sign.clone()));
        Speech {
            signs: started.chain(part.signs.iter().cloned()).collect(),
            connected_is_settled: part.sign("settled").is_none() && part.settles_after.is_none(),
        }
    }

    /// What a line says. What is about another node is about `other`, unless the line names one.
    pub fn hear(&self, line: &str, other: &str) -> Vec<Value> {
        let object = serde_json::from_str::<Value>(line).ok();
        let named = object.as_ref().and_then(|object| object.get("event")?.as_str());
        let mut heard: Vec<Value> = self
            .signs
            .iter()
            .filter_map(|(event, sign)| {
                let fields = match sign {
                    Sign::Line(pattern) => {
                        let groups = pattern.groups(line)?;
                        groups.map(|(name, text)| (name.to_owned(), json!(text))).collect()
                    }
                    Sign::Event(name) => {
                        object.as_ref().filter(|_| named == Some(name))?.as_object()?.clone()
                    }
                    Sign::Port { .. } | Sign::Exit(_) => return None,
                };
                Some(told(event, fields, other))
            })
            .collect();
        self.settle(&mut heard);
        if heard.is_empty()
            && let (Some(object), Some(named)) = (&object, named)
            && !RESERVED.contains(&named)
        {
            heard.push(object.clone());
        }
        heard
    }

    /// What it says that a program which it was told to run has ended.
    pub fn ended(&self, code: Option<i32>, other: &str) -> Vec<Value> {
        let ends = |sign: &Sign| matches!(sign, Sign::Exit(wanted) if code == Some(*wanted));
        let shown = self.signs.iter().filter(|(_, sign)| ends(sign));
        let mut heard: Vec<Value> = shown.map(|(event, _)| told(event, Map::new(), other)).collect();
        self.settle(&mut heard);
        heard
    }

    /// Whether it says of something that it happens.
    pub fn says(&self, event: &str) -> bool {
        self.signs.iter().any(|(known, _)| *known == event)
    }

    fn settle(&self, heard: &mut Vec<Value>) {
        if !self.connected_is_settled {
            return;
        }
        let settled = heard.iter().filter(|event| event["event"] == "connected").cloned();
        let settled: Vec<Value> = settled
            .map(|mut event| {
                event["event"] = json!("settled");
                event
            })
            .collect();
        heard.extend(settled);
    }
}

fn told(event: &str, mut fields: Map<String, Value>, other: &str) -> Value {
    fields.insert("event".to_owned(), json!(event));
    if ABOUT_ONE.contains(&event) {
        fields.entry("peer").or_insert_with(|| json!(other));
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use natrig_scenario::App;
    use proptest::prelude::*;

    use super::*;

    fn speech(signs: &str) -> Speech {
        let text = format!("{{name: x, peer: {{command: [x], connect: {{run: [go]}}, {signs}}}}}");
        Speech::of(&App::parse("app.yaml", &text).unwrap().peer)
    }

    const OURS: &str = r"started: {line: 'ready as (?P<id>\S+)'}, connected: {line: '^up via (?P<path>\w+)'},
        failed: {exit: 1}, delivered: {event: got}";

    #[test]
    fn lines_are_events_with_what_they_name() {
        let speech = speech(OURS);
        assert_eq!(speech.hear("ready as bb", "p2"), [json!({"event": "started", "id": "bb"})]);
        let up = |event| json!({"event": event, "path": "relay", "peer": "p2"});
        assert_eq!(speech.hear("up via relay", "p2"), [up("connected"), up("settled")]);
        assert_eq!(
            speech.hear(r#"{"event": "got", "peer": "p3"}"#, "p2"),
            [json!({"event": "delivered", "peer": "p3"})]
        );
        assert_eq!(speech.hear("not up via relay", "p2"), [json!(null); 0]);
    }

    #[test]
    fn events_of_its_own_are_passed_on_and_those_of_our_names_are_not() {
        let speech = speech(OURS);
        assert_eq!(speech.hear(r#"{"event": "tick", "n": 1}"#, "p2"), [json!({"event": "tick", "n": 1})]);
        assert_eq!(speech.hear(r#"{"event": "connected"}"#, "p2"), [json!(null); 0]);
    }

    #[test]
    fn an_end_is_a_sign_by_its_code() {
        let speech = speech(OURS);
        assert_eq!(speech.ended(Some(1), "p2"), [json!({"event": "connectFailed", "peer": "p2"})]);
        assert_eq!(speech.ended(Some(2), "p2"), [json!(null); 0]);
        assert_eq!(speech.ended(None, "p2"), [json!(null); 0]);
    }

    #[test]
    fn who_settles_later_is_not_settled_when_it_is_connected() {
        let later = |settled: &str| {
            let text = format!("connected: {{line: up}}, delivered: {{line: got}}, settled: {settled}");
            speech(&text).hear("up", "p2").len()
        };
        assert_eq!(later("{line: better}"), 1);
        assert_eq!(later("{after: 3s}"), 1);
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in ".{0,200}") {
            speech(OURS).hear(&line, "p2");
        }
    }
}
