//! The agent: serves the host's requests, one loop for all.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use natrig_agent_proto::{APP_DISK, Exit, Hello, ProcessId, Reply, Request, Start, ToGuest, ToHost, VERSION};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    mount::{MountFlags, mount},
    process::{WaitOptions, wait},
};

use crate::{
    group, identity, init, network,
    port::Port,
    pristine::Pristine,
    process::{Channel, Process, boottime_ns},
};

/// Where the disk with the program under test is mounted.
pub(crate) const APP: &str = "/app";

const BLKFLSBUF: libc::Ioctl = 0x1261;

/// How long processes that were killed may take to end.
const LAST_BREATH: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Agent {
    port: Port,
    /// The indices of the machine's NICs.
    nics: Vec<u32>,
    processes: BTreeMap<ProcessId, Process>,
    last_process: ProcessId,
    /// How the machine was before anything was done to it, where all of it is the agent's.
    pristine: Option<Pristine>,
    /// Becomes readable when a child has ended.
    children: OwnedFd,
}

impl Agent {
    pub(crate) fn new(port: Port, nics: Vec<u32>, pristine: Option<Pristine>) -> Result<Self, String> {
        let children = watch_children().map_err(|error| format!("cannot watch children: {error}"))?;
        Ok(Self { port, nics, processes: BTreeMap::new(), last_process: 0, pristine, children })
    }

    /// Serves until the host goes away.
    pub(crate) fn serve(mut self) -> Result<(), String> {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        self.port.send(&ToHost::Ready(Hello { version: VERSION, kernel }));
        loop {
            let trouble = |error: std::io::Error| format!("the host's port: {error}");
            self.port.flush().map_err(trouble)?;
            let ready = self.wait().map_err(|error| format!("poll: {error}"))?;
            if ready.host_gone {
                return Ok(());
            }
            if ready.host {
                self.port.receive().map_err(trouble)?;
                while let Some(message) = self.port.message()? {
                    self.take(message);
                }
            }
            for (id, channel) in ready.channels {
                if let Some(process) = self.processes.get_mut(&id) {
                    process.serve(channel, &mut self.port);
                }
            }
            if ready.children {
                self.reap();
            }
            let port = &mut self.port;
            self.processes.retain(|_, process| !process.finish(port));
        }
    }

    fn wait(&self) -> rustix::io::Result<Ready> {
        let room = !self.port.is_full();
        let (mut fds, channels): (Vec<_>, Vec<_>) = self
            .processes
            .values()
            .flat_map(|process| {
                process.interests(room).map(|(fd, channel)| {
                    let wanted = match channel {
                        Channel::Input => PollFlags::OUT,
                        Channel::Output(_) => PollFlags::IN,
                    };
                    (PollFd::from_borrowed_fd(fd, wanted), (process.id(), channel))
                })
            })
            .unzip();
        fds.push(PollFd::from_borrowed_fd(self.children.as_fd(), PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(self.port.fd(), self.port.interest()));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let mut happened = fds.iter().map(PollFd::revents);
        let channels = channels
            .into_iter()
            .filter(|_| happened.next().is_some_and(|events| !events.is_empty()))
            .collect();
        let children = happened.next().unwrap_or(PollFlags::empty());
        let host = happened.next().unwrap_or(PollFlags::empty());
        Ok(Ready {
            channels,
            children: !children.is_empty(),
            host: host.contains(PollFlags::IN),
            host_gone: host.intersects(PollFlags::HUP | PollFlags::ERR),
        })
    }

    fn take(&mut self, message: ToGuest) {
        match message {
            ToGuest::Request { id, body } => {
                let body = self.answer(body);
                self.port.send(&ToHost::Reply { id, body });
            }
            // It may have ended while this was on its way.
            ToGuest::Input { process, data } => {
                if let Some(process) = self.processes.get_mut(&process) {
                    process.input(&data);
                }
            }
        }
    }

    fn answer(&mut self, request: Request) -> Result<Reply, String> {
        match request {
            Request::Ping => {
                return Ok(Reply::Pong { boottime_ns: boottime_ns() });
            }
            Request::Identify(identity) => identity::take(&identity)?,
            Request::Network(network) => {
                network::set_up(&network, &self.nics)?;
                if let Some(pristine) = &mut self.pristine {
                    network.nics.iter().try_for_each(|nic| pristine.named(&nic.name))?;
                }
            }
            Request::MountApp => mount_app()?,
            Request::Start(start) => return self.start(&start),
            Request::Signal { process, signal } => self.process(process)?.signal(signal)?,
            Request::Resize { process, size } => self.process(process)?.resize(size)?,
            Request::WriteFile { path, mode, data } => write_file(&path, mode, &data)?,
            Request::ReadFile { path, limit } => return read_file(&path, limit),
            Request::Reset => self.reset()?,
            Request::PowerOff => init::power_off(),
        }
        Ok(Reply::Done)
    }

    fn start(&mut self, start: &Start) -> Result<Reply, String> {
        let id = self.last_process.checked_add(1).ok_or("too many processes have been started")?;
        let process = Process::start(id, start)?;
        self.last_process = id;
        self.processes.insert(id, process);
        Ok(Reply::Started { process: id })
    }

    fn process(&self, id: ProcessId) -> Result<&Process, String> {
        self.processes.get(&id).ok_or_else(|| format!("process {id} has ended, or never was"))
    }

    /// Ends every other process and makes the machine what it was after its boot.
    fn reset(&mut self) -> Result<(), String> {
        if self.pristine.is_none() {
            return Err("a machine with services of its own serves one cell only".to_owned());
        }
        let deadline = Instant::now() + LAST_BREATH;
        let late = |deadline| Instant::now() > deadline;
        loop {
            kill_others()?;
            // A process whose parent has ended is a child of PID 1: without children there is no other process.
            if !self.reap() {
                break;
            }
            if late(deadline) {
                return Err("processes that were killed do not end".to_owned());
            }
            let mut ended = [PollFd::new(&self.children, PollFlags::IN)];
            let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let _ = poll(&mut ended, Some(&moment));
        }
        // Their ends are told before this request is answered.
        while !self.processes.is_empty() {
            self.port.flush().map_err(|error| format!("the host's port: {error}"))?;
            let port = &mut self.port;
            self.processes.retain(|_, process| !process.finish(port));
            if late(deadline) {
                return Err("the last output of processes does not end".to_owned());
            }
        }
        group::remove_all().map_err(|error| format!("control groups: {error}"))?;
        self.pristine.as_mut().map_or(Ok(()), |pristine| pristine.restore(&self.nics))
    }

    /// Takes note of children that have ended; as PID 1, also of those whose parents have. Says whether there are more.
    fn reap(&mut self) -> bool {
        let mut record = [0; size_of::<libc::signalfd_siginfo>()];
        while rustix::io::read(&self.children, &mut record).is_ok_and(|count| count > 0) {}
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Ok(None) => return true,
                Err(_) => return false,
            };
            let how = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => continue,
            };
            let pid = pid.as_raw_nonzero().get();
            let process = self.processes.values_mut().find(|process| process.pid() == pid);
            if let Some(process) = process {
                process.end(how);
            }
        }
    }
}

/// What can be done without waiting.
struct Ready {
    channels: Vec<(ProcessId, Channel)>,
    children: bool,
    host: bool,
    host_gone: bool,
}

fn watch_children() -> std::io::Result<OwnedFd> {
    // SAFETY: the set is initialised by `sigemptyset`; the descriptor is fresh and nobody else's. The program has one
    // thread, so that no other can take the signal.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) {
            -1 => Err(std::io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Kills every process but this one, which must be PID 1: elsewhere these are not its own.
fn kill_others() -> Result<(), String> {
    if std::process::id() != 1 {
        return Err("only PID 1 ends all others".to_owned());
    }
    // SAFETY: no memory is involved.
    match unsafe { libc::kill(-1, libc::SIGKILL) } {
        0 => Ok(()),
        _ => match std::io::Error::last_os_error() {
            // There is none.
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(format!("cannot kill processes: {error}")),
        },
    }
}

fn mount_app() -> Result<(), String> {
    let path = app_disk().map_err(|error| format!("cannot find the app's disk: {error}"))?;
    let path = path.display();
    let disk = File::open(path.to_string()).map_err(|error| format!("cannot open {path}: {error}"))?;
    // The template's kernel has read another disk here.
    // SAFETY: this request takes no argument.
    let flushed = unsafe { libc::ioctl(disk.as_raw_fd(), BLKFLSBUF, 0) };
    if flushed != 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!("cannot flush what is cached of {path}: {error}"));
    }
    mount(path.to_string(), APP, "squashfs", MountFlags::RDONLY, None)
        .map_err(|error| format!("cannot mount {path} at {APP}: {error}"))
}

/// The disk with the program under test, by its serial number: a distribution's machine has others.
fn app_disk() -> std::io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        let serial = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
        if serial.trim_end() == APP_DISK {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(std::io::Error::other(format!("none has the serial number {APP_DISK}")))
}

fn write_file(path: &str, mode: u32, data: &[u8]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot write {path}: {error}");
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    file.write_all(data).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)
}

fn read_file(path: &str, limit: u64) -> Result<Reply, String> {
    let failed = |error: std::io::Error| format!("cannot read {path}: {error}");
    // A frame has some bytes beside the file's.
    let limit = limit.min(natrig_agent_proto::MAX_FRAME as u64 - 64);
    let mut data = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(limit + 1).read_to_end(&mut data).map_err(failed)?;
    if data.len() as u64 > limit {
        return Err(format!("{path} has more than {limit} bytes"));
    }
    Ok(Reply::File { data })
}
