//! Running machines.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde_json::json;

use crate::{
    Accelerator, AgentClient, Error, Qemu, Result, Shape,
    error::Doing,
    qemu::{self, Format, Role, SystemWiring, Wiring},
    qmp::Qmp,
    spawn,
};

/// How long QEMU may take to answer a command, on a host that has a lot else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a copy of a template is connected to.
#[derive(Debug)]
pub struct CloneSpec {
    /// The machine's ends of its cables, in the order of its NICs: stream sockets that carry Ethernet frames, each
    /// behind a 4-byte big-endian length. NICs of the template beyond these are connected to nothing.
    pub nics: Vec<OwnedFd>,
    /// The disk with the program under test (see [`AppDisk`](crate::AppDisk)); without one it is empty.
    pub disk: Option<PathBuf>,
    /// Takes what the kernel and the agent say, and QEMU's complaints.
    pub console: File,
}

/// A running machine; dropping it ends it.
#[derive(Debug)]
pub struct Machine {
    child: Mutex<Child>,
    pid: Pid,
    pidfd: OwnedFd,
    qmp: Mutex<Qmp>,
    agent: AgentClient,
    /// The far ends of cables that lead nowhere.
    _loose: Vec<UnixStream>,
}

/// What a QEMU is started with.
pub(crate) struct Launch<'a> {
    pub(crate) accelerator: Accelerator,
    pub(crate) shape: Shape,
    pub(crate) role: Role<'a>,
    pub(crate) memory: File,
    pub(crate) disk: File,
    pub(crate) system: Option<System>,
    pub(crate) nics: Vec<OwnedFd>,
    pub(crate) console: File,
    /// Further descriptors that it is told of over QMP.
    pub(crate) inherited: Vec<OwnedFd>,
}

/// The disks of a machine that boots a distribution.
#[derive(Debug)]
pub(crate) struct System {
    /// The layers of its root disk, the lowest first; the machine writes to the last.
    pub(crate) layers: Vec<(Format, File)>,
    /// What cloud-init and the agent come from.
    pub(crate) seed: File,
}

impl Machine {
    /// Starts QEMU and connects to it.
    pub(crate) fn launch(qemu: &Qemu, launch: Launch<'_>) -> Result<Self> {
        let shape = launch.shape;
        let mut nics = launch.nics;
        if nics.len() > usize::from(shape.nics) {
            return Err(Error::Shape(format!(
                "a machine with {} NICs, where its template has {}",
                nics.len(),
                shape.nics
            )));
        }
        let mut loose = Vec::new();
        while nics.len() < usize::from(shape.nics) {
            let (theirs, ours) = pair()?;
            nics.push(theirs.into());
            loose.push(ours);
        }
        let (qmp_theirs, qmp_ours) = pair()?;
        let (agent_theirs, agent_ours) = pair()?;
        let console = for_appending(&launch.console)?;
        let stderr = console.try_clone().doing(started)?;

        let numbers: Vec<i32> = nics.iter().map(AsRawFd::as_raw_fd).collect();
        let layers: Vec<(Format, i32)> = (launch.system.iter())
            .flat_map(|system| system.layers.iter().map(|(format, file)| (*format, file.as_raw_fd())))
            .collect();
        let system = launch.system.as_ref();
        let system = system.map(|system| SystemWiring { layers: &layers, seed: system.seed.as_raw_fd() });
        let wiring = Wiring {
            memory: launch.memory.as_raw_fd(),
            disk: launch.disk.as_raw_fd(),
            system,
            qmp: qmp_theirs.as_raw_fd(),
            agent: agent_theirs.as_raw_fd(),
            console: console.as_raw_fd(),
            nics: &numbers,
        };
        let mut command = Command::new(qemu.path());
        command
            .args(qemu::arguments(launch.accelerator, shape, launch.role, &wiring))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let mut inherited = nics;
        inherited.extend(launch.inherited);
        inherited.extend([launch.memory, launch.disk, console].map(OwnedFd::from));
        if let Some(System { layers, seed }) = launch.system {
            inherited.extend(layers.into_iter().map(|(_, file)| file).chain([seed]).map(OwnedFd::from));
        }
        inherited.extend([qmp_theirs, agent_theirs].map(OwnedFd::from));
        let child = spawn::spawn(command, inherited).doing(started)?;

        // From here on the child must not outlive an error.
        let mut child = Reaper(Some(child));
        let pid = child.pid().ok_or_else(|| Error::QemuEnded("it has no number".to_owned()))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).doing(started)?;
        let qmp = Qmp::connect(qmp_ours, Instant::now() + PATIENCE)?;
        let agent = AgentClient::new(agent_ours).doing(started)?;
        let child = child.0.take().ok_or_else(|| Error::QemuEnded("it is gone".to_owned()))?;
        Ok(Self { child: Mutex::new(child), pid, pidfd, qmp: Mutex::new(qmp), agent, _loose: loose })
    }

    /// The agent in it.
    pub fn agent(&self) -> &AgentClient {
        &self.agent
    }

    /// QEMU's process number.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Stops its processor; its clocks stand still too.
    pub fn pause(&self) -> Result<()> {
        self.execute("stop")
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.execute("cont")
    }

    /// Ends it at once, as a power failure would, and waits until it is gone.
    pub fn kill(&self) -> Result<ExitStatus> {
        let mut child = self.child();
        // It may have ended by itself; then there is nothing to kill.
        let _ = child.kill();
        child.wait().doing(|| "cannot wait for QEMU".to_owned())
    }

    /// Waits until it has ended; `None` if it has not within that time.
    pub fn wait(&self, within: Duration) -> Result<Option<ExitStatus>> {
        let timeout =
            Timespec::try_from(within).unwrap_or(Timespec { tv_sec: i64::from(u32::MAX), tv_nsec: 0 });
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        match poll(&mut ended, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).doing(|| "cannot wait for QEMU".to_owned()),
        }
        self.child().try_wait().doing(|| "cannot wait for QEMU".to_owned())
    }

    /// Becomes readable when it has ended.
    pub fn pidfd(&self) -> impl AsFd + '_ {
        &self.pidfd
    }

    /// The memory that is its own and no other machine's, in bytes.
    pub fn own_memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.pid());
        let path = Path::new(&path);
        let rollup = fs::read_to_string(path).on("read", path)?;
        let kilobytes = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Private_Dirty:"))
            .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(kilobytes.unwrap_or(0) * 1024)
    }

    /// The processor time that it has had so far, on the host.
    pub fn processor_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.pid());
        let path = Path::new(&path);
        let text = fs::read_to_string(path).on("read", path)?;
        // The second field is the program's name, in brackets, and may hold anything.
        let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks =
            |place| fields.split(' ').nth(place).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_millis((ticks(11) + ticks(12)) * 1000 / per_second.max(1)))
    }

    /// How long its threads have waited so far for a processor of the host while they could have run; none where the host's kernel
    /// does not count that (`CONFIG_SCHED_INFO`).
    pub fn processor_wait(&self) -> Option<Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).ok()?;
        let counts = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("schedstat")));
        // A thread may have ended meanwhile.
        counts.flatten().map(|count| waited(&count)).sum()
    }

    pub(crate) fn qmp(&self) -> MutexGuard<'_, Qmp> {
        self.qmp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn execute(&self, command: &str) -> Result<()> {
        self.qmp().execute(command, json!({}), Instant::now() + PATIENCE)?;
        Ok(())
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Kills a child that nobody has taken.
struct Reaper(Option<Child>);

impl Reaper {
    fn pid(&self) -> Option<Pid> {
        let id = self.0.as_ref()?.id();
        Pid::from_raw(i32::try_from(id).ok()?)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pair() -> Result<(UnixStream, UnixStream)> {
    UnixStream::pair().doing(|| "cannot make a pair of sockets".to_owned())
}

/// The same file in the only mode in which QEMU writes to a descriptor that it inherits.
fn for_appending(file: &File) -> Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().append(true).open(path).doing(|| "cannot write to a console".to_owned())
}

fn started() -> String {
    "cannot start QEMU".to_owned()
}

/// The time that a thread has waited for a processor, by its `schedstat`: nanoseconds on one, nanoseconds waiting for one, and how
/// often it got one.
fn waited(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_wait_is_read() {
        assert_eq!(waited("897348 7614311 8\n"), Some(Duration::from_nanos(7_614_311)));
        for nonsense in ["", "1", "1 x 2"] {
            assert_eq!(waited(nonsense), None, "{nonsense}");
        }
        let own = fs::read_to_string("/proc/self/schedstat").unwrap();
        assert!(waited(&own).is_some(), "{own}");
    }
}
