//! The commands that start a lab and use one.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    process::{Command, Stdio},
};

use natrig_agent_proto::{Exit, Stream};
use natrig_scenario::Machine;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::{
    daemon::READY,
    protocol::{Answer, Ask, Channel, Inquiry, address},
};
use crate::{
    cli::{Attach, UpArguments},
    failure::Failure,
    output::{print, tell},
    web,
};

const SIGPIPE: u8 = 13;

/// Starts a lab in a process of its own and waits until it stands.
pub fn up(arguments: UpArguments) -> Result<u8, Failure> {
    let wrong = |error: io::Error| Failure::Lab(format!("cannot start the lab's process: {error}"));
    // The errors of the first moments belong on this terminal; they are read from the same pipe.
    let mut command = Command::new(std::env::current_exe().map_err(wrong)?);
    command.arg("keep").arg(&arguments.file).args(["--lab", &arguments.lab.name]);
    if let Some(only) = &arguments.only {
        command.args(["--only", only]);
    }
    if let Some(out) = &arguments.out {
        command.arg("--out").arg(out);
    }
    if let Some(ring) = arguments.ring {
        command.arg("--ring").arg(ring.to_string());
    }
    if let Some(address) = &arguments.web.web {
        command.arg(format!("--web={address}"));
    }
    if let Some(token) = &arguments.web.web_token {
        // Not as an argument, which other users can read for as long as there is a lab.
        command.env(web::TOKEN, token);
    }
    if let Some(app) = &arguments.app {
        command.arg("--app").arg(app);
    }
    for Attach { segment, device } in &arguments.attach {
        command.arg("--attach").arg(format!("{segment}={device}"));
    }
    if arguments.web_faults {
        command.arg("--web-faults");
    }
    let errors = tempfile()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors.try_clone().map_err(wrong)?)
        .process_group(0)
        .spawn()
        .map_err(wrong)?;
    let lines = child.stdout.take().map(BufReader::new);
    for line in lines.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        if line == READY {
            return Ok(0);
        }
        print(&line)?;
    }
    let status = child.wait().map_err(wrong)?;
    let mut said = String::new();
    let _ = io::Seek::rewind(&mut &errors).and_then(|()| (&errors).read_to_string(&mut said));
    tell(said.trim_end());
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}

/// A file without a name.
fn tempfile() -> Result<File, Failure> {
    let made = rustix::fs::memfd_create("natrig-up", rustix::fs::MemfdFlags::CLOEXEC);
    made.map(File::from).map_err(|error| Failure::Lab(format!("no memory for messages: {error}")))
}

/// Takes a lab down and waits until its machines and its process are gone.
pub fn down(name: &str) -> Result<u8, Failure> {
    let (mut channel, answer) = ask(name, &Ask::Down)?;
    match answer {
        Answer::Done => {
            while let Ok(Some(_)) = channel.receive::<Answer>() {}
            Ok(0)
        }
        other => Err(unexpected(&other)),
    }
}

/// Prints what a lab is made of, and what is broken in it.
pub fn status(name: &str, json: bool) -> Result<u8, Failure> {
    match ask(name, &Ask::Status { json })?.1 {
        Answer::Text(text) => {
            print(&text)?;
            Ok(0)
        }
        other => Err(unexpected(&other)),
    }
}

/// Breaks or mends something and prints what was done; 1 is the exit code where a node did not report what was expected.
pub fn fault(name: &str, words: Vec<String>, json: bool) -> Result<u8, Failure> {
    match ask(name, &Ask::Fault { words, json })?.1 {
        Answer::Text(text) => {
            print(&text)?;
            Ok(0)
        }
        Answer::Unmet(text) => {
            tell(&text);
            Ok(1)
        }
        other => Err(unexpected(&other)),
    }
}

/// Prints which NAT a machine is behind; 2 is the exit code where it is not the one that should stand there.
pub fn probe(name: &str, inquiry: Inquiry) -> Result<u8, Failure> {
    match ask(name, &Ask::Probe(inquiry))?.1 {
        Answer::Measured(text, holds) => {
            print(&text)?;
            Ok(if holds { 0 } else { 2 })
        }
        other => Err(unexpected(&other)),
    }
}

/// Runs a program in a machine; its exit code becomes this one's.
pub fn exec(name: &str, machine: &str, argv: Vec<String>) -> Result<u8, Failure> {
    program(name, machine, argv, None)
}

/// Opens a shell on this terminal.
pub fn shell(name: &str, machine: &str) -> Result<u8, Failure> {
    let terminal = io::stdin().is_terminal().then(size);
    program(name, machine, vec!["sh".to_owned(), "-i".to_owned()], terminal)
}

/// Prints what a machine's node and kernel wrote.
pub fn logs(name: &str, machine: &str, follow: bool) -> Result<u8, Failure> {
    let folder = folder_of(name)?;
    // Each machine of the lab has a console.
    let there = |name: &&str| folder.join(format!("logs/{name}.console.log")).exists();
    let names: Vec<&str> = Machine::all().map(Machine::name).filter(there).collect();
    if !names.contains(&machine) {
        return Err(Failure::Usage(format!(
            "no machine is called `{machine}`\nhint: there are {}",
            names.join(", ")
        )));
    }
    let mut files: Vec<File> = ["console.log", "log"]
        .into_iter()
        .filter_map(|kind| File::open(folder.join(format!("logs/{machine}.{kind}"))).ok())
        .collect();
    if files.is_empty() {
        return Err(Failure::Usage(format!("{machine} has not written anything in {}", folder.display())));
    }
    let mut out = io::stdout();
    loop {
        for file in &mut files {
            if io::copy(file, &mut out).and_then(|_| out.flush()).is_err() {
                return Ok(0);
            }
        }
        // The lab's end is the logs' end.
        if !follow || !is_up(name) {
            return Ok(0);
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// Where a lab's captures and logs are.
pub(super) fn folder_of(name: &str) -> Result<std::path::PathBuf, Failure> {
    match ask(name, &Ask::Folder)?.1 {
        Answer::Text(folder) => Ok(folder.into()),
        other => Err(unexpected(&other)),
    }
}

/// Whether there is such a lab.
pub(super) fn is_up(name: &str) -> bool {
    connect(name).is_ok()
}

fn connect(name: &str) -> Result<Channel, Failure> {
    let stream = address(name).and_then(|address| UnixStream::connect_addr(&address));
    stream.map(Channel::new).map_err(|_| {
        Failure::Usage(format!("no lab called `{name}` is up\nhint: natrig up FILE --lab {name}"))
    })
}

/// Asks one question with one answer.
fn ask(name: &str, question: &Ask) -> Result<(Channel, Answer), Failure> {
    let mut channel = connect(name)?;
    let answer = channel.send(question).and_then(|()| channel.receive());
    match answer {
        Ok(Some(Answer::Refused(reason))) => Err(Failure::Lab(reason)),
        Ok(Some(answer)) => Ok((channel, answer)),
        Ok(None) => Err(Failure::Lab("the lab ended".to_owned())),
        Err(error) => Err(Failure::Lab(format!("the lab does not answer: {error}"))),
    }
}

fn program(
    name: &str,
    machine: &str,
    argv: Vec<String>,
    terminal: Option<(u16, u16)>,
) -> Result<u8, Failure> {
    let mut channel = connect(name)?;
    let wrong = |error: io::Error| Failure::Lab(format!("the lab does not answer: {error}"));
    channel.send(&Ask::Exec { machine: machine.to_owned(), argv, terminal }).map_err(wrong)?;
    let raw = terminal.and_then(|_| Raw::set());
    let mut input = channel.try_clone().map_err(wrong)?;
    // Dies with this process; a read of the terminal cannot be called off.
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        let mut last = terminal;
        while let Ok(length) = io::stdin().read(&mut chunk) {
            if last.is_some() && last != Some(size()) {
                last = Some(size());
                let _ = input.send(&Ask::Resize(size()));
            }
            if input.send(&Ask::Input(chunk[..length].to_vec())).is_err() || length == 0 {
                return;
            }
        }
    });
    let code = loop {
        match channel.receive::<Answer>().map_err(wrong)? {
            Some(Answer::Output(Stream::Out, data)) if write(&mut io::stdout(), &data).is_err() => {
                // As a program here that writes into a closed pipe; the one in the machine is ended by the lab.
                break 128 + SIGPIPE;
            }
            Some(Answer::Output(Stream::Err, data)) => {
                let _ = write(&mut io::stderr(), &data);
            }
            Some(Answer::Exited(Exit::Code(code))) => break u8::try_from(code).unwrap_or(255),
            // As a shell says it.
            Some(Answer::Exited(Exit::Signal(signal))) => break u8::try_from(128 + signal).unwrap_or(255),
            Some(Answer::Refused(reason)) => return Err(Failure::Lab(reason)),
            Some(_) => {}
            None => return Err(Failure::Lab("the lab ended".to_owned())),
        }
    };
    drop(raw);
    Ok(code)
}

fn write(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    out.write_all(data).and_then(|()| out.flush())
}

fn size() -> (u16, u16) {
    tcgetwinsize(io::stdout()).map_or((24, 80), |size| (size.ws_row, size.ws_col))
}

/// The terminal, passing keys on as they are, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn set() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn unexpected(answer: &Answer) -> Failure {
    Failure::Lab(format!("the lab answered something else: {answer:?}"))
}
