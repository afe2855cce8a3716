//! Events on standard output, for people or for programs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use omerta_mesh_core::options::Lie;
use omerta_mesh_core::{Event, Line, PathKind, PeerId};
use serde_json::Value;

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
    pub fn started(&self, id: PeerId, listen: SocketAddr) -> io::Result<()> {
        let elapsed = self.started.elapsed();
        let line = Line::started(id, listen, elapsed);
        self.print(elapsed, &line, || format!("started as {id}, listening on {listen}"))
    }

    /// Something the program itself has to complain of.
    pub fn error(&self, message: &str) -> io::Result<()> {
        self.event(&Event::Error { message: message.to_owned() }, None, None)
    }

    /// An event of the node; `file` is where a received message lies or a sent one came from, `tag` what a sent one is called.
    pub fn event(&self, event: &Event, file: Option<&Path>, tag: Option<u64>) -> io::Result<()> {
        let event = &match self.lie {
            Some(Lie::LiePath) => event.clone().claiming_direct(),
            _ => event.clone(),
        };
        let elapsed = self.started.elapsed();
        let line = Line::event(event, elapsed).with_file(file).with_tag(tag);
        self.print(elapsed, &line, || describe(event, file))
    }

    fn print(&self, elapsed: Duration, line: &Line<'_>, text: impl FnOnce() -> String) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            let line = serde_json::to_string(line).map_err(io::Error::other)?;
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{:>8.3} s  {}", elapsed.as_millis() as f64 / 1000.0, text())?;
        }
        out.flush()
    }
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
        Event::Announced { peer, endpoints, via } => {
            let places = endpoints.iter().map(ToString::to_string);
            let relays = via.iter().map(|relay| format!("by relay {}", short(relay)));
            let places: Vec<String> = places.chain(relays).collect();
            let at = if places.is_empty() { "nowhere yet".to_owned() } else { places.join(", ") };
            format!("{} says that it is reached at: {at}", short(peer))
        }
        Event::Forgotten { peer, reason } => format!("{} is forgotten: {reason}", short(peer)),
        Event::FailureReported { peer, by, relay, confirmed } => {
            let way = relay.map_or("directly".to_owned(), |relay| format!("by relay {}", short(&relay)));
            let found = if *confirmed { "so it is" } else { "but it does" };
            format!("{} says that {} is not reached {way} any more, {found}", short(by), short(peer))
        }
        Event::LookedUp { peer, found, asked } => {
            let outcome = if *found { "found" } else { "did not find" };
            format!("{outcome} {}, {asked} nodes were asked", short(peer))
        }
        Event::RecentContact { peer, age: Some(age), by: Some(by) } => {
            format!("{} was heard {:.1} s ago by {}", short(peer), age.as_secs_f64(), short(by))
        }
        Event::RecentContact { peer, .. } => format!("nobody has heard {} lately", short(peer)),
        Event::RoutedReceived { peer, data, hops, .. } => {
            format!("received {} bytes from {} over {hops} other members", data.len(), short(peer))
        }
        Event::RelayFull { relay, peer } => {
            format!("relay {} has no room for a session with {}", short(relay), short(peer))
        }
        Event::SessionOpened { requester, peer, sessions } => {
            format!("relaying between {} and {}, {sessions} sessions", short(requester), short(peer))
        }
        Event::SessionEnded { requester, peer, reason, frames, bytes, sessions } => format!(
            "no more relaying between {} and {} after {frames} frames with {bytes} bytes, {sessions} sessions: {reason}",
            short(requester),
            short(peer)
        ),
        Event::SessionRefused { requester, peer, reason } => {
            format!("not relaying between {} and {}: {reason}", short(requester), short(peer))
        }
        Event::PunchReported { initiator, responder, success, probes } => {
            let outcome = if *success { "reached" } else { "could not reach" };
            format!("{} {outcome} {} directly, after {probes} probes", short(initiator), short(responder))
        }
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
        Event::DatagramReceived { peer, data, path } => {
            format!("{} received a datagram of {} bytes from {}", mark(*path), data.len(), short(peer))
        }
        Event::PingAnswered { peer, took, path } => {
            format!("{} {} answered in {:.1} ms", mark(*path), short(peer), took.as_secs_f64() * 1000.0)
        }
        Event::PathFailed { peer, path, reason } => {
            format!("the {} path to {} failed: {reason}", word(path), short(peer))
        }
        Event::Disconnected { peer, reason } => format!("disconnected from {}: {reason}", short(peer)),
        Event::Rejected { what, why, from } => format!("rejected a {what} from {from}: {why}"),
        Event::Warning { message } => format!("warning: {message}"),
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
}
