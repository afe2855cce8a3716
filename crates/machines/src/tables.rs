//! What gateways' kernels say of their connection tables as these change.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use natrig_agent_proto::{Start, Stream};
use natrig_lab::story::{Change, Entry, Tables};
use natrig_scenario::{Engine, Machine};
use natrig_vmm::{Process, ProcessEvent};

use crate::{Lab, Trouble, gateway::at_once, lab::lock};

/// Most changes that are kept of one gateway.
const MOST: usize = 50_000;

/// How long a program that was told to end may take to do so.
const GRACE: Duration = Duration::from_secs(5);

const SIGTERM: i32 = 15;

/// The gateways of a lab that the kernel makes, watched until this is dropped.
#[derive(Debug, Default)]
pub struct Watching(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    gateway: Machine,
    process: Process,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    changes: Vec<(Instant, Change, Entry)>,
    partial: Vec<u8>,
    ended: bool,
}

impl Watching {
    /// Begins to watch.
    pub fn begin(lab: &Lab) -> Result<Self, Trouble> {
        let places = lab.topology().gateways().iter();
        let kernels = places.filter(|place| place.gateway.engine == Engine::Kernel);
        let watched = at_once(kernels.map(|place| place.machine), |gateway| {
            let shared = Arc::<Shared>::default();
            let sink = Arc::clone(&shared);
            let argv = ["conntrack", "-E", "-p", "udp", "-e", "NEW,DESTROY"].map(str::to_owned).to_vec();
            let process = lab
                .agent(gateway)?
                .start_with(Start { argv, ..Start::default() }, move |event| sink.take(event))?;
            Ok(Watched { gateway, process, shared })
        })?;
        Ok(Watching(watched))
    }

    /// What they have said so far, when it was heard of here.
    pub fn tables(&self, lab: &Lab) -> Tables {
        let mut tables = Tables::default();
        for one in &self.0 {
            let state = lock(&one.shared.state);
            let changes = state.changes.iter();
            tables.add(
                one.gateway.name(),
                changes.map(|(at, change, entry)| (lab.switch().time_of(*at), *change, *entry)),
            );
        }
        tables
    }
}

impl Drop for Watching {
    /// Waits until the gateways run nothing of it any more.
    fn drop(&mut self) {
        for one in &self.0 {
            // A machine that is off runs nothing.
            let _ = one.process.signal(SIGTERM);
        }
        for one in &self.0 {
            let state = lock(&one.shared.state);
            let _ = one.shared.ended.wait_timeout_while(state, GRACE, |state| !state.ended);
        }
    }
}

impl Shared {
    fn take(&self, event: ProcessEvent) {
        lock(&self.state).take(event);
        self.ended.notify_all();
    }
}

impl State {
    fn take(&mut self, event: ProcessEvent) {
        match event {
            ProcessEvent::Output { at, stream: Stream::Out, data, .. } => {
                self.partial.extend(data);
                let whole = self.partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let lines: Vec<u8> = self.partial.drain(..whole).collect();
                let read = String::from_utf8_lossy(&lines);
                let room = MOST.saturating_sub(self.changes.len());
                let read = read.lines().filter_map(change).map(|(change, entry)| (at, change, entry));
                self.changes.extend(read.take(room));
            }
            ProcessEvent::Output { .. } => {}
            ProcessEvent::Exited { .. } | ProcessEvent::Lost { .. } => self.ended = true,
        }
    }
}

/// A line of `conntrack -E` on a UDP flow:
/// `[NEW] udp 17 30 src=A dst=B sport=a dport=b [UNREPLIED] src=B dst=C sport=b dport=c`.
fn change(line: &str) -> Option<(Change, Entry)> {
    let change = match line.trim_start().split(']').next()? {
        "[NEW" => Change::Made,
        "[DESTROY" => Change::Ended,
        _ => return None,
    };
    let values = |name: &str| -> Vec<&str> {
        line.split_whitespace().filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).collect()
    };
    let address = |name: &str, at: usize| values(name).get(at)?.parse::<Ipv4Addr>().ok();
    let port = |name: &str, at: usize| values(name).get(at)?.parse::<u16>().ok();
    Some((
        change,
        Entry {
            inside: SocketAddrV4::new(address("src", 0)?, port("sport", 0)?),
            destination: SocketAddrV4::new(address("dst", 0)?, port("dport", 0)?),
            // Answers come to it.
            outside: SocketAddrV4::new(address("dst", 1)?, port("dport", 1)?),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: &str = "    [NEW] udp      17 30 src=10.0.1.2 dst=192.168.100.2 sport=4400 dport=4401 [UNREPLIED] \
                        src=192.168.100.2 dst=192.168.100.1 sport=4401 dport=41000";

    #[test]
    fn entries_are_read() {
        let entry = Entry {
            inside: "10.0.1.2:4400".parse().unwrap(),
            destination: "192.168.100.2:4401".parse().unwrap(),
            outside: "192.168.100.1:41000".parse().unwrap(),
        };
        assert_eq!(change(MADE), Some((Change::Made, entry)));
        let ended = MADE.replace("[NEW] udp      17 30", "[DESTROY] udp      17").replace(" [UNREPLIED]", "");
        assert_eq!(change(&ended), Some((Change::Ended, entry)));
        for other in [
            "",
            "[NEW]",
            "[UPDATE] udp 17 30 src=10.0.1.2",
            "conntrack v1.4.7",
            &MADE.replace("10.0.1.2", "x"),
        ] {
            assert_eq!(change(other), None, "{other}");
        }
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        let mut state = State::default();
        let text = format!("{MADE}\n{MADE}\n");
        for part in text.as_bytes().chunks(50) {
            state.take(ProcessEvent::Output {
                at: Instant::now(),
                stream: Stream::Out,
                data: part.to_vec(),
                boottime_ns: 0,
            });
        }
        assert_eq!(state.changes.len(), 2);
    }
}
