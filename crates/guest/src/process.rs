//! Processes that the host started.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    process::Command,
};

use natrig_agent_proto::{Exit, ProcessId, Start, Stream, ToHost};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    pipe::{PipeFlags, pipe_with},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
    time::{ClockId, clock_gettime},
};

use crate::{group, port::Port};

/// More than this waiting for a process that does not read its input is an error of the host's.
const MOST_INPUT: usize = 16 << 20;

/// How much is read at once.
const CHUNK: usize = 32 << 10;

pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin:/app/bin:/app";

/// Ends the input of a terminal.
const END_OF_TRANSMISSION: u8 = 4;

/// A process, from its start until its end has been told.
#[derive(Debug)]
pub(crate) struct Process {
    id: ProcessId,
    /// Its number in the kernel, and that of its group.
    pid: i32,
    /// The other ends of its standard input, output and error; with a terminal, the first two are its other side.
    input: Option<File>,
    output: Option<File>,
    error: Option<File>,
    terminal: bool,
    /// What it has not read yet.
    unread: VecDeque<u8>,
    input_ended: bool,
    /// How and when it ended, once it has.
    ended: Option<(Exit, u64)>,
}

/// One of a process's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Input,
    Output(Stream),
}

impl Process {
    pub(crate) fn start(id: ProcessId, start: &Start) -> Result<Self, String> {
        let Some((program, arguments)) = start.argv.split_first() else {
            return Err("a program without a name".to_owned());
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .env("TERM", "xterm-256color")
            .envs(start.env.iter().map(|(name, value)| (name, value)))
            .current_dir(if start.cwd.is_empty() { "/" } else { &start.cwd });
        let failed = |error: io::Error| format!("cannot start {program}: {error}");
        let mut process = match start.terminal {
            None => Self::with_pipes(id, &mut command),
            Some(size) => Self::with_terminal(id, &mut command, size),
        }
        .map_err(failed)?;
        let child = command.spawn().map_err(failed)?;
        process.pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
        if !start.group.is_empty() {
            group::join(&start.group, process.pid)
                .map_err(|error| format!("cannot put {program} into the group {}: {error}", start.group))?;
        }
        Ok(process)
    }

    fn with_pipes(id: ProcessId, command: &mut Command) -> io::Result<Self> {
        let (theirs_in, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (output, theirs_out) = pipe_with(PipeFlags::CLOEXEC)?;
        let (error, theirs_err) = pipe_with(PipeFlags::CLOEXEC)?;
        for ours in [&input, &output, &error] {
            do_not_wait(ours)?;
        }
        command.stdin(theirs_in).stdout(theirs_out).stderr(theirs_err).process_group(0);
        Ok(Self::connected(id, input, output, Some(error)))
    }

    fn with_terminal(id: ProcessId, command: &mut Command, size: (u16, u16)) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let name = name.to_str().map_err(io::Error::other)?;
        let theirs = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name)?;
        tcsetwinsize(&ours, window(size))?;
        do_not_wait(&ours)?;
        command.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
        let lead_session = || {
            rustix::process::setsid()?;
            // The terminal is standard input by now.
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        };
        // SAFETY: the closure makes two system calls; it neither allocates nor takes a lock.
        unsafe { command.pre_exec(lead_session) };
        let input = ours.try_clone()?;
        let mut process = Self::connected(id, input, ours, None);
        process.terminal = true;
        Ok(process)
    }

    fn connected(id: ProcessId, input: OwnedFd, output: OwnedFd, error: Option<OwnedFd>) -> Self {
        Self {
            id,
            pid: 0,
            input: Some(input.into()),
            output: Some(output.into()),
            error: error.map(File::from),
            terminal: false,
            unread: VecDeque::new(),
            input_ended: false,
            ended: None,
        }
    }

    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// What to wait for. Without `room` for output it is left where it is, and its writer waits.
    pub(crate) fn interests(&self, room: bool) -> impl Iterator<Item = (BorrowedFd<'_>, Channel)> {
        let input = self.input.as_ref().filter(|_| !self.unread.is_empty());
        let output = self.output.as_ref().filter(|_| room);
        let error = self.error.as_ref().filter(|_| room);
        [
            (input, Channel::Input),
            (output, Channel::Output(Stream::Out)),
            (error, Channel::Output(Stream::Err)),
        ]
        .into_iter()
        .filter_map(|(file, channel)| Some((file?.as_fd(), channel)))
    }

    /// Does what can be done on a channel without waiting.
    pub(crate) fn serve(&mut self, channel: Channel, port: &mut Port) {
        match channel {
            Channel::Input => self.feed(),
            Channel::Output(stream) => {
                self.read(stream, port);
            }
        }
    }

    /// Takes bytes for its standard input; none ends it.
    pub(crate) fn input(&mut self, data: &[u8]) {
        match data {
            [] if self.terminal => self.unread.push_back(END_OF_TRANSMISSION),
            [] => self.input_ended = true,
            data if self.unread.len() + data.len() > MOST_INPUT => {
                eprintln!("natrig-guest: process {} does not read its input; it ends here", self.id);
                self.unread.clear();
                self.input = None;
            }
            data => self.unread.extend(data),
        }
        self.feed();
    }

    pub(crate) fn resize(&self, size: (u16, u16)) -> Result<(), String> {
        match &self.output {
            Some(terminal) if self.terminal => {
                tcsetwinsize(terminal, window(size)).map_err(|error| error.to_string())
            }
            _ => Err(format!("process {} has no terminal", self.id)),
        }
    }

    /// Signals it and what it started.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), String> {
        if self.ended.is_some() {
            return Err(format!("process {} has ended", self.id));
        }
        // SAFETY: no memory is involved. Its number is not another's: it has not been waited for.
        match unsafe { libc::kill(-self.pid, signal) } {
            0 => Ok(()),
            _ => Err(format!(
                "cannot send signal {signal} to process {}: {}",
                self.id,
                io::Error::last_os_error()
            )),
        }
    }

    /// Notes that it has ended.
    pub(crate) fn end(&mut self, status: Exit) {
        self.ended = Some((status, boottime_ns()));
    }

    /// Tells the end of a process that has ended, after all its output. Says whether there is nothing more to do.
    ///
    /// Output of processes that it left behind is lost from then on.
    pub(crate) fn finish(&mut self, port: &mut Port) -> bool {
        let Some((status, boottime_ns)) = self.ended else {
            return false;
        };
        for stream in [Stream::Out, Stream::Err] {
            while !port.is_full() && self.read(stream, port) {}
        }
        // A terminal is told of its last output a little later than of its session's end, but then hangs up.
        let expected = self.terminal && self.output.is_some();
        if port.is_full() || expected {
            return false;
        }
        port.send(&ToHost::Exited { process: self.id, status, boottime_ns });
        true
    }

    fn feed(&mut self) {
        while let Some(input) = &mut self.input {
            let (next, _) = self.unread.as_slices();
            if next.is_empty() {
                if self.input_ended {
                    self.input = None;
                }
                return;
            }
            match input.write(next) {
                Ok(count) => {
                    self.unread.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // It has closed its input.
                Err(_) => self.input = None,
            }
        }
        self.unread.clear();
    }

    /// Passes on what it wrote; says whether there may be more.
    fn read(&mut self, stream: Stream, port: &mut Port) -> bool {
        let place = match stream {
            Stream::Out => &mut self.output,
            Stream::Err => &mut self.error,
        };
        let Some(file) = place else {
            return false;
        };
        let mut data = vec![0; CHUNK];
        match file.read(&mut data) {
            Ok(count @ 1..) => {
                data.truncate(count);
                port.send(&ToHost::Output { process: self.id, stream, boottime_ns: boottime_ns(), data });
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            // Its end; a terminal that hangs up says so by an error.
            Ok(_) | Err(_) => {
                *place = None;
                false
            }
        }
    }
}

impl Drop for Process {
    /// A process whose connections end here has no place to write to.
    fn drop(&mut self) {
        if self.ended.is_none() && self.pid > 0 {
            let _ = self.signal(libc::SIGKILL);
        }
    }
}

/// The clock that events are told by.
pub(crate) fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

fn window((rows, columns): (u16, u16)) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn do_not_wait(fd: &OwnedFd) -> io::Result<()> {
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
    Ok(())
}
