//! QEMU's control channel: JSON, a line each.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    mem::MaybeUninit,
    os::{fd::BorrowedFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::{Value, json};

use crate::{Error, Result, error::Doing};

/// The most that is read for one line.
const MAX_LINE: usize = 1 << 20;

/// A client of one QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Events that came between replies, by name, with their data.
    events: Vec<(String, Value)>,
}

impl Qmp {
    /// Takes QEMU's greeting and leaves negotiation mode.
    pub(crate) fn connect(stream: UnixStream, deadline: Instant) -> Result<Self> {
        let mut qmp = Self { stream, buffer: Vec::new(), events: Vec::new() };
        let greeting = qmp.line(deadline)?;
        if greeting.get("QMP").is_none() {
            return Err(Error::Qmp {
                command: "the connection".to_owned(),
                message: format!("no greeting but {greeting}"),
            });
        }
        qmp.execute("qmp_capabilities", json!({}), deadline)?;
        Ok(qmp)
    }

    /// Runs a command and waits for its answer.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value, deadline: Instant) -> Result<Value> {
        self.send(command, &arguments, None)?;
        self.answer(command, deadline)
    }

    /// Hands QEMU a descriptor under a name.
    pub(crate) fn give(&mut self, name: &str, fd: BorrowedFd<'_>, deadline: Instant) -> Result<()> {
        self.send("getfd", &json!({ "fdname": name }), Some(fd))?;
        self.answer("getfd", deadline)?;
        Ok(())
    }

    /// Waits for an event for whose data `wanted` gives an answer.
    pub(crate) fn wait_for<T>(
        &mut self,
        event: &str,
        deadline: Instant,
        mut wanted: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        loop {
            for (name, data) in self.events.drain(..) {
                if name == event
                    && let Some(answer) = wanted(&data)
                {
                    return Ok(answer);
                }
            }
            let line = self.line(deadline)?;
            self.note_event(line);
        }
    }

    fn send(&mut self, command: &str, arguments: &Value, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        let mut rest = line.as_bytes();
        let mut sent = || -> io::Result<()> {
            if let Some(fd) = fd {
                let fds = [fd];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                ancillary.push(SendAncillaryMessage::ScmRights(&fds));
                let sent = rustix::net::sendmsg(
                    &self.stream,
                    &[IoSlice::new(rest)],
                    &mut ancillary,
                    SendFlags::NOSIGNAL,
                )?;
                rest = rest.get(sent..).unwrap_or_default();
            }
            (&self.stream).write_all(rest)
        };
        sent().map_err(|error| ended(&error))
    }

    fn answer(&mut self, command: &str, deadline: Instant) -> Result<Value> {
        loop {
            let mut line = self.line(deadline)?;
            if let Some(answer) = line.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = line.get("error") {
                let message = error.get("desc").and_then(Value::as_str);
                return Err(Error::Qmp {
                    command: command.to_owned(),
                    message: message.unwrap_or("no reason given").to_owned(),
                });
            }
            self.note_event(line);
        }
    }

    fn note_event(&mut self, mut line: Value) {
        if let Some(name) = line.get("event").and_then(Value::as_str) {
            let name = name.to_owned();
            let data = line.get_mut("data").map(Value::take).unwrap_or_default();
            self.events.push((name, data));
            // Nobody may be waiting for events of a machine that runs for days.
            if self.events.len() > 1000 {
                self.events.drain(..500);
            }
        }
    }

    fn line(&mut self, deadline: Instant) -> Result<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| Error::Qmp {
                    command: "the connection".to_owned(),
                    message: format!("a line that is no JSON: {error}"),
                });
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Error::QemuEnded("an endless line on QMP".to_owned()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .doing(|| "cannot set a deadline for QEMU".to_owned())?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Error::QemuEnded("it closed its control channel".to_owned())),
                Ok(count) => self.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        return Err(Error::Timeout { what: "an answer of QEMU".to_owned(), seconds: 0 });
                    }
                }
                Err(error) => return Err(ended(&error)),
            }
        }
    }
}

fn ended(error: &io::Error) -> Error {
    Error::QemuEnded(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    /// A QEMU that says `script` whatever it is asked.
    fn qemu(script: &str) -> Result<Qmp> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(script.as_bytes()).unwrap();
        std::mem::forget(theirs);
        Qmp::connect(ours, soon())
    }

    const HELLO: &str = "{\"QMP\": {}}\r\n{\"return\": {}}\r\n";

    #[test]
    fn events_between_replies_are_kept() {
        let script = "{\"event\": \"STOP\"}\n{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\n{\"return\": 7}\n";
        let mut qmp = qemu(&format!("{HELLO}{script}")).unwrap();
        assert_eq!(qmp.execute("anything", json!({}), soon()).unwrap(), 7);
        let status =
            qmp.wait_for("MIGRATION", soon(), |data| data["status"].as_str().map(str::to_owned)).unwrap();
        assert_eq!(status, "completed");
    }

    #[test]
    fn a_refusal_is_told_in_qemus_words() {
        let mut qmp = qemu(&format!("{HELLO}{{\"error\": {{\"desc\": \"no such thing\"}}}}\n")).unwrap();
        let error = qmp.execute("frobnicate", json!({}), soon()).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused frobnicate: no such thing");
    }

    #[test]
    fn a_stranger_is_refused() {
        assert!(matches!(qemu("{\"hello\": 1}\n"), Err(Error::Qmp { .. })));
        assert!(matches!(qemu("SSH-2.0\n"), Err(Error::Qmp { .. })));
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Qmp::connect(ours, Instant::now() + Duration::from_millis(30)).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }));
    }
}
