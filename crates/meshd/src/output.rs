//! Events on standard output, for people or for programs.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use omerta_mesh_core::{Event, Kind, PathKind, PeerId};
use serde_json::{Map, Value, json};

use crate::cli::Lie;

/// Prints events.
pub struct Output {
    started: Instant,
    json: bool,
    lie: Option<Lie>,
}

impl Output {
    /// Times are printed since `started`.
    pub fn new(started: Instant, json: bool, lie: Option<Lie>) -> Self {
        Self { started, json, lie }
    }

    /// The node runs.
    pub fn started(&self, id: &PeerId, listen: std::net::SocketAddr) -> io::Result<()> {
        let object = json!({"event": "started", "id": id, "listen": listen});
        self.print(object, || format!("started as {id}, listening on {listen}"))
    }

    /// Something the program itself has to complain of.
    pub fn error(&self, message: &str) -> io::Result<()> {
        self.print(json!({"event": "error", "message": message}), || format!("error: {message}"))
    }

    /// An event of the node; `file` is where a received message lies or a sent one came from.
    pub fn event(&self, event: &Event, file: Option<&Path>) -> io::Result<()> {
        let event = &match self.lie {
            Some(Lie::LiePath) => lie(event.clone()),
            None => event.clone(),
        };
        let mut object = serde_json::to_value(event).map_err(io::Error::other)?;
        if let Value::Object(fields) = &mut object {
            if let Event::MessageReceived { data, .. } = event {
                fields.insert("bytes".to_owned(), data.len().into());
            }
            if let Some(file) = file {
                fields.insert("file".to_owned(), file.to_string_lossy().into());
            }
        }
        self.print(object, || describe(event, file))
    }

    fn print(&self, object: Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let ms = self.started.elapsed().as_millis() as u64;
        let mut out = io::stdout().lock();
        if self.json {
            let mut line = Map::new();
            if let Value::Object(fields) = object {
                line.extend(fields);
            }
            line.insert("ms".to_owned(), ms.into());
            writeln!(out, "{}", Value::Object(line))?;
        } else {
            writeln!(out, "{:>8.3} s  {}", ms as f64 / 1000.0, text())?;
        }
        out.flush()
    }
}

/// The same event from a node that claims every path to be direct.
fn lie(mut event: Event) -> Event {
    match &mut event {
        Event::Connected { kind: path, .. }
        | Event::Sent { path, .. }
        | Event::MessageReceived { path, .. } => *path = PathKind::Direct,
        Event::Settled { path, kind, .. } => {
            *path = PathKind::Direct;
            if *kind == Kind::Relay {
                *kind = Kind::Direct;
            }
        }
        _ => {}
    }
    event
}

/// An event in words.
fn describe(event: &Event, file: Option<&Path>) -> String {
    let place = file.map_or(String::new(), |file| format!(" ({})", file.display()));
    match event {
        Event::NatDetected(found) => {
            let observed = found.observed.map_or("unseen".to_owned(), |at| format!("seen as {at}"));
            format!(
                "NAT: {} (mapping {}, filtering {}), {observed}, confidence {}",
                word(&found.name),
                word(&found.mapping),
                word(&found.filtering),
                word(&found.confidence),
            )
        }
        Event::Bootstrapped { peers } => format!("bootstrapped; {peers} other peers are known there"),
        Event::PeerDiscovered { peer } => format!("discovered {}", short(peer)),
        Event::RelaySelected { relay } => format!("relay {} is at hand", short(relay)),
        Event::RelayLost { relay } => format!("relay {} is lost", short(relay)),
        Event::PunchStarted { peer, strategy } => {
            format!("trying to reach {} directly: {}", short(peer), word(strategy))
        }
        Event::PunchResult { peer, success, probes } => {
            let outcome = if *success { "reached" } else { "cannot reach" };
            format!("{outcome} {} directly, after {probes} probes", short(peer))
        }
        Event::Connected { peer, kind, elapsed } => {
            format!("{} connected to {} after {} ms", mark(*kind), short(peer), elapsed.as_millis())
        }
        Event::PathChanged { peer, from, to, reason } => {
            format!("{} path to {} was {}: {reason}", mark(*to), short(peer), word(from))
        }
        Event::Settled { peer, path, kind, elapsed } => format!(
            "{} settled with {} after {} ms: {}",
            mark(*path),
            short(peer),
            elapsed.as_millis(),
            word(kind)
        ),
        Event::ConnectFailed { peer, reason } => format!("cannot connect to {}: {reason}", short(peer)),
        Event::Sent { peer, bytes, path, .. } => {
            format!("{} sent {bytes} bytes to {}{place}", mark(*path), short(peer))
        }
        Event::SendFailed { peer, reason, .. } => {
            format!("message to {} not sent{place}: {reason}", short(peer))
        }
        Event::MessageReceived { peer, data, path } => {
            format!("{} received {} bytes from {}{place}", mark(*path), data.len(), short(peer))
        }
        Event::PathFailed { peer, path, reason } => {
            format!("the {} path to {} failed: {reason}", word(path), short(peer))
        }
        Event::Disconnected { peer, reason } => format!("disconnected from {}: {reason}", short(peer)),
        Event::Rejected { what, why, from } => format!("rejected a {what} from {from}: {why}"),
        Event::Error { message } => format!("error: {message}"),
        other => format!("{other:?}"),
    }
}

fn short(peer: &PeerId) -> String {
    peer.to_string().chars().take(8).collect()
}

fn mark(path: PathKind) -> String {
    format!("[{}]", word(&path))
}

/// A value's name as in JSON.
fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn settled() -> Event {
        Event::Settled {
            peer: PeerId::from_bytes([1; 32]),
            path: PathKind::Relay,
            kind: Kind::Relay,
            elapsed: Duration::from_millis(12),
        }
    }

    #[test]
    fn events_read_as_agreed_with_the_lab() {
        let settled = serde_json::to_value(settled()).expect("JSON");
        assert_eq!(
            settled,
            json!({"event": "settled", "peer": "01".repeat(32), "path": "relay", "kind": "relay", "elapsed": 12})
        );
        let started = Event::PunchStarted {
            peer: PeerId::from_bytes([1; 32]),
            strategy: omerta_mesh_core::Strategy::ResponderFirst,
        };
        let started = serde_json::to_value(started).expect("JSON");
        assert_eq!(started["event"], "punchStarted");
        assert_eq!(started["strategy"], "responderFirst");
    }

    #[test]
    fn messages_are_marked_with_their_path() {
        let received = Event::MessageReceived {
            peer: PeerId::from_bytes([1; 32]),
            data: vec![0; 3],
            path: PathKind::Direct,
        };
        let text = describe(&received, Some(Path::new("/in/1")));
        assert_eq!(text, "[direct] received 3 bytes from 01010101 (/in/1)");
    }

    #[test]
    fn a_liar_says_direct_whatever_the_path() {
        let Event::Settled { path, kind, .. } = lie(settled()) else {
            panic!("another event");
        };
        assert_eq!((path, kind), (PathKind::Direct, Kind::Direct));
    }
}
