//! What a node tells, a line at a time: the JSON that `omerta-mesh run --json` prints and that a simulated node is read by.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::event::{Event, Kind, PathKind};
use crate::identity::PeerId;

/// A line. Serialized, it is one flat object: `event`, what belongs to it, and `ms`.
#[derive(Clone, Debug, Serialize)]
pub struct Line<'a> {
    #[serde(flatten)]
    told: Told<'a>,
    /// The length of a received message.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    /// Where a received message lies, or a sent one came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<Cow<'a, str>>,
    /// A received message that is a short text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// What whoever had a message sent calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<u64>,
    /// Milliseconds since the node was started.
    ms: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Told<'a> {
    Started { event: &'static str, id: PeerId, listen: SocketAddr },
    Event(&'a Event),
}

impl<'a> Line<'a> {
    /// The node runs: the first line of all.
    pub fn started(id: PeerId, listen: SocketAddr, elapsed: Duration) -> Self {
        Self::new(Told::Started { event: "started", id, listen }, elapsed)
    }

    /// Something happened, `elapsed` after the start.
    pub fn event(event: &'a Event, elapsed: Duration) -> Self {
        let bytes = match event {
            Event::MessageReceived { data, .. } | Event::DatagramReceived { data, .. } => Some(data.len()),
            _ => None,
        };
        let text = match event {
            Event::MessageReceived { data, .. } => short_text(data),
            _ => None,
        };
        Self { bytes, text, ..Self::new(Told::Event(event), elapsed) }
    }

    /// The same with the file of its message.
    pub fn with_file(mut self, file: Option<&'a Path>) -> Self {
        self.file = file.map(Path::to_string_lossy);
        self
    }

    /// The same with what its message is called.
    pub fn with_tag(self, tag: Option<u64>) -> Self {
        Self { tag, ..self }
    }

    fn new(told: Told<'a>, elapsed: Duration) -> Self {
        Self { told, bytes: None, file: None, text: None, tag: None, ms: elapsed.as_millis() as u64 }
    }
}

/// The longest text that stands in a line.
const LONGEST_TEXT: usize = 1024;

/// A message as text, if it is printable and short.
fn short_text(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok().filter(|text| text.len() <= LONGEST_TEXT)?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

impl Event {
    /// The same event from a node that claims every path to be direct: for tests of a lab that must not be taken in.
    pub fn claiming_direct(mut self) -> Self {
        match &mut self {
            Self::Connected { kind: path, .. }
            | Self::Sent { path, .. }
            | Self::MessageReceived { path, .. }
            | Self::DatagramReceived { path, .. } => *path = PathKind::Direct,
            Self::Settled { path, kind, .. } => {
                *path = PathKind::Direct;
                if *kind == Kind::Relay {
                    *kind = Kind::Direct;
                }
            }
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PEER: PeerId = PeerId::from_bytes([1; 32]);

    fn line(line: Line<'_>) -> serde_json::Value {
        serde_json::to_value(line).expect("JSON")
    }

    #[test]
    fn lines_read_as_agreed_with_the_lab() {
        let (id, ms) = ("01".repeat(32), Duration::from_micros(7999));
        let listen = "10.0.0.1:4400".parse().expect("an address");
        assert_eq!(
            line(Line::started(PEER, listen, ms)),
            json!({"event": "started", "id": id, "listen": "10.0.0.1:4400", "ms": 7})
        );
        let elapsed = Duration::from_millis(12);
        let settled = Event::Settled { peer: PEER, path: PathKind::Relay, kind: Kind::Relay, elapsed };
        assert_eq!(
            line(Line::event(&settled, ms)),
            json!({"event": "settled", "peer": id, "path": "relay", "kind": "relay", "elapsed": 12, "ms": 7})
        );
        let received = Event::MessageReceived { peer: PEER, data: vec![0; 3], path: PathKind::Direct };
        assert_eq!(
            line(Line::event(&received, ms).with_file(Some(Path::new("/in/1")))),
            json!({
                "event": "messageReceived", "peer": id, "path": "direct", "bytes": 3, "file": "/in/1", "ms": 7
            })
        );
        let received = Event::MessageReceived { peer: PEER, data: b"hello".into(), path: PathKind::Direct };
        assert_eq!(line(Line::event(&received, ms).with_tag(Some(4)))["text"], "hello");
        assert_eq!(line(Line::event(&received, ms).with_tag(Some(4)))["tag"], 4);
        let strategy = crate::Strategy::ResponderFirst;
        let started = line(Line::event(&Event::PunchStarted { peer: PEER, strategy }, ms));
        assert_eq!(started["event"], "punchStarted");
        assert_eq!(started["strategy"], "responderFirst");
    }

    #[test]
    fn a_liar_says_direct_whatever_the_path() {
        let elapsed = Duration::ZERO;
        let settled = Event::Settled { peer: PEER, path: PathKind::Relay, kind: Kind::Relay, elapsed };
        let told = settled.claiming_direct();
        assert_eq!(told, Event::Settled { peer: PEER, path: PathKind::Direct, kind: Kind::Direct, elapsed });
    }
}
