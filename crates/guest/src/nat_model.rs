//! The project's own NAT engine between this machine's two interfaces, as a process.
//!
//! Packets come and go by packet sockets; the kernel sees those that come as well, and is told to drop them all. It only
//! answers ARP for the machine's own addresses.

mod cable;
mod neighbours;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    net::Ipv4Addr,
    process::{Command as Program, Stdio},
    time::{Duration, Instant},
};

use natrig_nat::{
    Engine,
    bytes::{
        Gateway, Lost,
        control::{Answer, Command, Config, Interface, State},
    },
    engine::{Addresses, Side},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use cable::Cable;
use neighbours::{Neighbours, Next};

/// Packets that are taken from one side before the other has its turn.
const BATCH: usize = 64;

/// A command longer than this is refused.
const LONGEST_LINE: usize = 1 << 20;

/// Runs the gateway of `CONFIG` ([`Config`] as JSON). Says `ready` once it forwards; then it reads a [`Command`] from each
/// line of its input and prints an [`Answer`]. Ends only on an error.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let [path] = arguments else {
        return Err("usage: nat-model CONFIG.json".to_owned());
    };
    let text = fs::read(path).map_err(|error| format!("nat-model: cannot read {path}: {error}"))?;
    let config: Config =
        serde_json::from_slice(&text).map_err(|error| format!("nat-model: {path}: {error}"))?;
    let told = |error: String| format!("nat-model: {error}");
    let mut model = Model::new(config).map_err(told)?;
    silence_kernel().map_err(told)?;
    println!("ready");
    io::stdout().flush().map_err(|error| told(error.to_string()))?;
    model.serve().map_err(|error| told(error.to_string()))
}

/// The kernel drops every IPv4 packet that comes, and so answers none.
fn silence_kernel() -> Result<(), String> {
    const RULES: &str = "flush ruleset\n\
        table ip natrig {\n\
        \tchain model {\n\
        \t\ttype filter hook prerouting priority -500; policy accept;\n\
        \t\tiifname != \"lo\" drop\n\
        \t}\n\
        }\n";
    let failed = |error: io::Error| format!("cannot run nft: {error}");
    let mut nft = Program::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(RULES.as_bytes()).map_err(failed)?;
    }
    let output = nft.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("nft refused the rule that silences the kernel: {}", said.trim()));
    }
    Ok(())
}

/// One side's cable and who is on it.
#[derive(Debug)]
struct Port {
    name: String,
    cable: Cable,
    neighbours: Neighbours,
    /// The address it asks from.
    own: Ipv4Addr,
}

#[derive(Debug)]
struct Model {
    gateway: Gateway,
    wan: Port,
    lan: Port,
    started: Instant,
    packets: BTreeMap<String, u64>,
    /// What was read of the next command.
    line: Vec<u8>,
    input_ended: bool,
}

impl Model {
    fn new(config: Config) -> Result<Self, String> {
        let port = |interface: &Interface, own| {
            let cable = Cable::open(&interface.name)
                .map_err(|error| format!("cannot use the interface `{}`: {error}", interface.name))?;
            let neighbours = Neighbours::new(interface);
            Ok::<_, String>(Port { name: interface.name.clone(), cable, neighbours, own })
        };
        let first = *config.outside.first().ok_or("it needs an outside address")?;
        let addresses = Addresses { outside: config.outside, inside: config.inside };
        let engine =
            Engine::new(config.profile, addresses, config.seed).map_err(|error| error.to_string())?;
        Ok(Model {
            gateway: Gateway::new(engine, config.address),
            wan: port(&config.wan, first)?,
            lan: port(&config.lan, config.address)?,
            started: Instant::now(),
            packets: BTreeMap::new(),
            line: Vec::new(),
            input_ended: false,
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            self.wait()?;
            for side in [Side::Inside, Side::Outside] {
                self.meet(side);
                self.pass(side);
            }
            let now = self.started.elapsed();
            self.gateway.handle_timeout(now);
            self.transmit();
            for side in [Side::Inside, Side::Outside] {
                let port = self.port(side);
                for wanted in port.neighbours.handle_timeout(now) {
                    port.ask(wanted);
                }
            }
            self.read_commands()?;
        }
    }

    /// Waits until something comes or is due.
    fn wait(&self) -> io::Result<()> {
        let due = [
            self.gateway.poll_timeout(),
            self.wan.neighbours.poll_timeout(),
            self.lan.neighbours.poll_timeout(),
        ];
        let now = self.started.elapsed();
        let wait = due.into_iter().flatten().min().map(|at| {
            // A moment too early would only mean another turn.
            let wait = at.saturating_sub(now) + Duration::from_micros(100);
            Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(wait.subsec_nanos()),
            }
        });
        let mut ready: Vec<PollFd<'_>> = [&self.wan, &self.lan]
            .into_iter()
            .flat_map(|port| port.cable.sources())
            .chain((!self.input_ended).then(rustix::stdio::stdin))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut ready, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn port(&mut self, side: Side) -> &mut Port {
        match side {
            Side::Inside => &mut self.lan,
            Side::Outside => &mut self.wan,
        }
    }

    /// Takes what neighbours say of themselves, and sends them what waited for it.
    fn meet(&mut self, side: Side) {
        let now = self.started.elapsed();
        let port = self.port(side);
        let mut lost = 0;
        while let Some((address, mac)) = port.cable.heard() {
            for packet in port.neighbours.learn(now, address, mac) {
                lost += u64::from(port.cable.send(mac, &packet).is_err());
            }
        }
        self.count("not sent", lost);
    }

    /// Takes a batch of packets from a side.
    fn pass(&mut self, from: Side) {
        let port = self.port(from);
        let batch: Vec<Vec<u8>> = std::iter::from_fn(|| port.cable.receive()).take(BATCH).collect();
        let now = self.started.elapsed();
        for packet in batch {
            if let Err(lost) = self.gateway.handle(now, from, packet) {
                self.count_lost(&lost);
            }
            self.transmit();
        }
    }

    fn transmit(&mut self) {
        while let Some(transmit) = self.gateway.poll_transmit() {
            let now = self.started.elapsed();
            let Some(destination) = transmit.destination() else { continue };
            let port = self.port(transmit.to);
            let (word, ask) = match port.neighbours.send(now, destination, transmit.packet) {
                Next::Send { mac, packet, ask } => match port.cable.send(mac, &packet) {
                    Ok(()) => ("sent", ask),
                    Err(_) => ("not sent", ask),
                },
                Next::Wait { ask } => ("waited for its neighbour", ask),
                Next::NoRoute => ("no route", None),
            };
            if let Some(wanted) = ask {
                port.ask(wanted);
            }
            self.count(word, 1);
        }
    }

    fn count_lost(&mut self, lost: &Lost) {
        self.count(&lost.to_string(), 1);
    }

    fn count(&mut self, what: &str, more: u64) {
        if more == 0 {
            return;
        }
        match self.packets.get_mut(what) {
            Some(count) => *count += more,
            None => {
                self.packets.insert(what.to_owned(), more);
            }
        }
    }

    fn read_commands(&mut self) -> io::Result<()> {
        let input = rustix::stdio::stdin();
        let mut ready = [PollFd::from_borrowed_fd(input, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if self.input_ended || !matches!(poll(&mut ready, Some(&now)), Ok(1..)) {
            return Ok(());
        }
        let mut chunk = [0; 1 << 14];
        let count = rustix::io::read(input, &mut chunk)?;
        // A gateway goes on without anybody who commands it.
        self.input_ended = count == 0;
        self.line.extend(chunk.get(..count).unwrap_or_default());
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let rest = self.line.split_off(end + 1);
            let line = std::mem::replace(&mut self.line, rest);
            let answer = match serde_json::from_slice(&line) {
                Ok(command) => self.obey(command),
                Err(error) => Answer::Failed(format!("no command: {error}")),
            };
            let mut output = io::stdout().lock();
            serde_json::to_writer(&mut output, &answer)?;
            output.write_all(b"\n")?;
            output.flush()?;
        }
        if self.line.len() > LONGEST_LINE {
            return Err(io::Error::other("a command without end"));
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Answer {
        let now = self.started.elapsed();
        let own = match &command {
            Command::Renumber { outside } => outside.first().copied(),
            _ => None,
        };
        let with_table = command == Command::Table;
        match self.gateway.obey(now, command) {
            Ok(()) => {}
            Err(error) => return Answer::Failed(error.to_string()),
        }
        if let Some(own) = own {
            self.wan.own = own;
        }
        let packets = self.packets.clone();
        Answer::Done(Box::new(State { packets, ..self.gateway.state(now, with_table) }))
    }
}

impl Port {
    /// Asks who has an address. Should that not be sent, it is asked again later.
    fn ask(&self, wanted: Ipv4Addr) {
        if let Err(error) = self.cable.ask(self.own, wanted) {
            eprintln!("nat-model: {}: cannot ask for {wanted}: {error}", self.name);
        }
    }
}
