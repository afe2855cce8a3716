//! Answers of a node in words.

use std::fmt::Write;

use serde_json::Value;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("?")
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// Bytes as digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn milliseconds(microseconds: u64) -> String {
    format!("{:.1} ms", microseconds as f64 / 1000.0)
}

/// How a node does.
pub fn status(status: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{name:<12} {value}");
    };
    line("id", text(status, "id").to_owned());
    line("listening", text(status, "listen").to_owned());
    line("home", text(status, "home").to_owned());
    line("up", format!("{} s", number(status, "uptime")));
    line("network", text(status, "network").to_owned());
    line("serves", service(&status["service"]));
    line(
        "mesh",
        if status["bootstrapped"] == true { "found" } else { "no bootstrap node is connected" }.into(),
    );
    line("nat", nat_words(&status["nat"]));
    line(
        "peers",
        format!("{} connected, {} of them for messages", number(status, "peers"), number(status, "contacts")),
    );
    line("sessions", format!("{} relayed for others", number(status, "sessions")));
    let messages = &status["messages"];
    line(
        "messages",
        format!("{} waiting, {} dropped", number(messages, "waiting"), number(messages, "dropped")),
    );
    for direction in ["sent", "received"] {
        let traffic = &status[direction];
        line(
            direction,
            format!("{} datagrams, {} bytes", number(traffic, "datagrams"), number(traffic, "bytes")),
        );
    }
    out
}

fn service(service: &Value) -> String {
    match service {
        Value::String(name) if name == "none" => "nobody".to_owned(),
        Value::String(name) => name.clone(),
        other => format!("as a relay, {} sessions", number(&other["relay"], "sessions")),
    }
}

/// A NAT.
pub fn nat(nat: &Value) -> String {
    format!("{}\n", nat_words(nat))
}

fn nat_words(nat: &Value) -> String {
    if nat.is_null() {
        return "not known (yet)".to_owned();
    }
    format!(
        "{} (mapping {}, filtering {}), seen as {}, confidence {}",
        text(nat, "name"),
        text(nat, "mapping"),
        text(nat, "filtering"),
        text(nat, "observed"),
        text(nat, "confidence"),
    )
}

/// Connected peers, one a line.
pub fn peers(peers: &Value) -> String {
    let peers = peers.as_array().map_or(&[][..], |peers| peers);
    if peers.is_empty() {
        return "no peer is connected\n".to_owned();
    }
    let mut out = String::new();
    for peer in peers {
        let way = match text(peer, "path") {
            "relay" => format!("by {}", text(peer, "relay")),
            _ => format!("at {}", text(peer, "address")),
        };
        let mark = format!("[{}]", text(peer, "path"));
        let role = if peer["bootstrap"] == true { ", bootstrap" } else { "" };
        let _ = writeln!(
            out,
            "{mark:<8} {} {way}, {}{role}",
            text(peer, "peer"),
            milliseconds(number(peer, "roundTrip"))
        );
    }
    out
}

/// An answer to a ping, or none.
pub fn ping(answer: &Value) -> String {
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => format!("no answer: {error}\n"),
        None => {
            let took = milliseconds(number(answer, "microseconds"));
            format!("[{}] {} answered in {took}\n", text(answer, "path"), text(answer, "peer"))
        }
    }
}

/// A message that was sent.
pub fn sent(answer: &Value) -> String {
    format!("[{}] {} bytes arrived\n", text(answer, "path"), number(answer, "bytes"))
}

/// A link.
pub fn invite(answer: &Value) -> String {
    format!("{}\n", text(answer, "link"))
}
