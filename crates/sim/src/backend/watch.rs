//! A look into a run: what one machine does, and where time is to stop.

use std::{
    fmt,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    str::FromStr,
    time::Duration,
};

use natrig_capture::{Icmp, Transport, decode_ipv4};
use natrig_lab::Trouble;
use natrig_scenario::Machine;
use serde_json::{Value, json};

use crate::{
    agenda::MachineId,
    shard::{Deed, Seen},
    world::World,
};

/// Where time stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// So long after the start of a cell's world.
    At(Duration),
    /// When the node on a machine first reports an event of this name.
    Event(Machine, String),
}

/// A text names no place to stop at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no moment: {why}\nhint: such as `3.2s`, `800ms`, or `peer1:punchStarted`")]
pub struct UnknownStop {
    text: String,
    why: String,
}

impl FromStr for Stop {
    type Err = UnknownStop;

    fn from_str(text: &str) -> Result<Self, UnknownStop> {
        let wrong = |why: &str| UnknownStop { text: text.to_owned(), why: why.to_owned() };
        if let Some((machine, event)) = text.split_once(':') {
            let machine =
                Machine::nodes().into_iter().find(|known| known.name() == machine).ok_or_else(|| {
                    wrong(&format!("no node runs on `{machine}`; there are peer1, peer2 and relay"))
                })?;
            if event.is_empty() || !event.chars().all(|letter| letter.is_ascii_alphanumeric()) {
                return Err(wrong("an event's name are letters, as in the node's log"));
            }
            return Ok(Stop::Event(machine, event.to_owned()));
        }
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "" => return Err(wrong("a time needs its unit: ms, s or m")),
            _ => return Err(wrong("it is neither a time nor a node's event")),
        };
        let number: f64 = digits.parse().map_err(|_| wrong("its number cannot be read"))?;
        Duration::try_from_secs_f64(number * unit).map(Stop::At).map_err(|_| wrong("there is no such time"))
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::At(time) => write!(f, "{time:?}"),
            Stop::Event(machine, event) => write!(f, "{machine}:{event}"),
        }
    }
}

/// Files with all that machines do.
#[derive(Debug, Default)]
pub struct Traces(Vec<(MachineId, BufWriter<File>)>);

impl Traces {
    /// Begins one, in the folder of a cell.
    pub fn begin(
        &mut self,
        world: &mut World,
        machine: MachineId,
        name: Machine,
        folder: &Path,
    ) -> Result<(), Trouble> {
        let logs = folder.join("logs");
        fs::create_dir_all(&logs)?;
        let file = File::create(logs.join(format!("{name}.trace.jsonl")))?;
        world.watch(machine);
        self.0.push((machine, BufWriter::new(file)));
        Ok(())
    }

    /// Writes what was done since this was last called.
    pub fn write(&mut self, world: &mut World) -> Result<(), Trouble> {
        if self.0.is_empty() {
            return Ok(());
        }
        for Seen { at, machine, what } in world.seen() {
            let Some((_, file)) = self.0.iter_mut().find(|(traced, _)| *traced == machine) else { continue };
            let mut line = match what {
                Deed::Received(packet) => json!({ "received": packet_value(&packet) }),
                Deed::Sent(packet) => json!({ "sent": packet_value(&packet) }),
                Deed::Woken => json!({ "woken": true }),
                Deed::Noted(note) => json!({ "noted": note }),
            };
            line["at_ms"] = millis(at).into();
            writeln!(file, "{line}")?;
        }
        Ok(self.0.iter_mut().try_for_each(|(_, file)| file.flush())?)
    }
}

/// A packet as one looks at it: its ends, and the bytes they exchange.
fn packet_value(packet: &[u8]) -> Value {
    match decode_ipv4(packet).map(|ipv4| ipv4.transport) {
        Some(Transport::Udp(udp)) => {
            json!({ "from": udp.source, "to": udp.destination, "bytes": udp.payload.len(), "payload": hex(udp.payload) })
        }
        Some(Transport::Icmp(Icmp::Error(error))) => {
            json!({ "icmp": [error.kind, error.code], "packet": hex(packet) })
        }
        _ => json!({ "packet": hex(packet) }),
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Nothing keeps a String from growing.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub fn millis(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_a_time_or_a_nodes_event() {
        for (text, stop) in [
            ("3.2s", Stop::At(Duration::from_millis(3200))),
            ("800ms", Stop::At(Duration::from_millis(800))),
            ("1m", Stop::At(Duration::from_secs(60))),
            ("peer1:punchStarted", Stop::Event(Machine::PEER1, "punchStarted".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(stop), "{text}");
        }
        for (text, why) in [
            ("", "needs its unit"),
            ("3", "needs its unit"),
            ("-1s", "no such time"),
            ("1e300s", "no such time"),
            ("soon", "neither"),
            ("nat1:settled", "no node runs on `nat1`"),
            ("peer1:", "letters"),
            ("peer1:a b", "letters"),
        ] {
            let told = text.parse::<Stop>().unwrap_err().to_string();
            assert!(told.contains(why) && told.contains("hint: "), "{text}: {told}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = String::from_utf8_lossy(bytes).parse::<Stop>();
            let _ = packet_value(bytes);
        });
    }
}
