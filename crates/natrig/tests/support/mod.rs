//! The program as its users have it: a command line in a folder of its own, and what it leaves behind.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long the kernel may take to end the children of a killed program.
const BURIAL: Duration = Duration::from_secs(10);

/// Names the processes of one place; children inherit it.
const MARK: &str = "NATRIG_TEST_MARK";

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A scenario file of the repository.
pub fn scenario(path: &str) -> PathBuf {
    repository().join("scenarios").join(path)
}

/// A folder to run natrig in, with a folder for temporary files, and a look at the host as it was before.
pub struct Place {
    folder: TempDir,
    mark: String,
    cache: Option<PathBuf>,
    before: Host,
}

/// What of a host natrig might leave something in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    devices: BTreeSet<String>,
    temporary: BTreeSet<String>,
    cache: BTreeSet<String>,
}

impl Place {
    pub fn new() -> Self {
        Self::with_cache(None)
    }

    /// With a cache of its own, in the place of the user's.
    pub fn with_cache(cache: Option<PathBuf>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        for name in ["work", "tmp"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let before = host(cache.as_deref());
        Place { folder, mark, cache, before }
    }

    /// Where natrig runs.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Where natrig, and what else runs here, may leave temporary files.
    pub fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// A name for labs that no other test has.
    pub fn lab(&self) -> String {
        format!("test-{}", self.mark)
    }

    /// natrig with these arguments.
    pub fn natrig<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_natrig"));
        command.args(arguments);
        command
    }

    /// Any program, whose processes count as those of this place.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.work())
            .env(MARK, &self.mark)
            .env("TMPDIR", self.temporary())
            .env_remove("NATRIG_LOG")
            .stdin(Stdio::null());
        if std::env::var_os("NATRIG_PROGRAMS").is_none() {
            // Where `make build` leaves them.
            command.env("NATRIG_PROGRAMS", repository().join("target/release"));
        }
        if let Some(cache) = &self.cache {
            command.env("NATRIG_CACHE", cache);
        }
        command
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.natrig(arguments).output().unwrap()
    }

    /// Starts it and goes on.
    pub fn start<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        Running::start(self.natrig(arguments))
    }

    /// The numbers and command lines of all processes that came from this place.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let mark = format!("{MARK}={}", self.mark);
        let numbers = fs::read_dir("/proc").unwrap().flatten();
        numbers
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                let environment = fs::read(entry.path().join("environ")).ok()?;
                let ours = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
                let command = fs::read(entry.path().join("cmdline")).ok()?;
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                ours.then_some((pid, command))
            })
            .collect()
    }

    /// How many machines run.
    #[cfg(feature = "machines")]
    pub fn machines(&self) -> usize {
        self.processes().iter().filter(|(_, command)| command.starts_with(&qemu())).count()
    }

    /// Fails unless all processes are gone, or soon will be: the kernel ends them after their parent.
    pub fn assert_no_process(&self) {
        until_within(BURIAL, "all processes are gone", || match self.processes() {
            none if none.is_empty() => Ok(()),
            some => Err(format!("{some:?}")),
        });
    }

    /// Fails unless everything is gone: processes, sockets, network devices, temporary files; nothing is in the
    /// cache that was not there before, and nothing is in the working folder but what is named.
    pub fn assert_clean(&self, left: &[&str]) {
        self.assert_no_process();
        let traces = [self.folder.path().display().to_string(), format!("/{}", self.lab())];
        until_within(BURIAL, "all sockets are gone", || {
            let sockets = fs::read_to_string("/proc/net/unix").unwrap();
            let ours = |line: &&str| {
                traces.iter().any(|trace| line.ends_with(trace) || line.contains(&format!("{trace}/")))
            };
            match sockets.lines().filter(ours).collect::<Vec<_>>() {
                none if none.is_empty() => Ok(()),
                some => Err(format!("{some:?}")),
            }
        });
        assert_eq!(names(&self.folder.path().join("tmp")), BTreeSet::new(), "temporary files are left");
        let now = host(self.cache.as_deref());
        assert_eq!(now.devices, self.before.devices, "network devices have changed");
        let new = |now: &BTreeSet<String>, before| now.difference(before).cloned().collect::<Vec<_>>();
        assert_eq!(new(&now.temporary, &self.before.temporary), [""; 0], "files are left in /tmp");
        if self.cache.is_some() {
            assert_eq!(new(&now.cache, &self.before.cache), [""; 0], "files are left in the cache");
        }
        let left = left.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(names(&self.work()), left, "something else is left in the working folder");
    }
}

fn host(cache: Option<&Path>) -> Host {
    let temporary = names(Path::new("/tmp"))
        .into_iter()
        .filter(|name| ["natrig", "qemu", "vl."].iter().any(|ours| name.to_lowercase().contains(ours)))
        .collect();
    Host {
        devices: names(Path::new("/sys/class/net")),
        temporary,
        cache: cache.map(files_below).unwrap_or_default(),
    }
}

/// The names in a folder.
pub fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// All files of a cache but its locks, which stay for the next one who asks.
fn files_below(cache: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![cache.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if folder.file_name().is_none_or(|name| name != "locks") {
                found.insert(entry.path().display().to_string());
            }
        }
    }
    found
}

#[cfg(feature = "machines")]
fn qemu() -> String {
    natrig_vmm::Qemu::find().expect("machines need QEMU").path().display().to_string()
}

/// A program that was started; it is killed when this is dropped.
pub struct Running {
    child: Child,
    /// What it has said on standard error so far.
    said: Arc<Mutex<Vec<String>>>,
    listener: thread::JoinHandle<()>,
}

impl Running {
    /// Starts it; what it says on standard output is lost.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = Arc::clone(&said);
        let listener = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                listening.lock().unwrap().push(line);
            }
        });
        Running { child, said, listener }
    }

    /// What it has said on standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// Waits until something is so, while it runs.
    pub fn until(&mut self, what: &str, mut so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so() {
            let said = self.said();
            assert_eq!(self.child.try_wait().unwrap(), None, "it ended before {what}: {said}");
            assert!(Instant::now() < deadline, "time was up before {what}: {said}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it has said something.
    pub fn until_said(&mut self, phrase: &str) {
        let said = Arc::clone(&self.said);
        self.until(&format!("it said `{phrase}`"), || {
            said.lock().unwrap().iter().any(|line| line.contains(phrase))
        });
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).unwrap();
    }

    /// Signals it and all processes of its group, which it must lead.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(pid(self.child.id()), signal).unwrap();
    }

    /// Waits for its end, and for all that it has said until then.
    pub fn wait(&mut self) -> ExitStatus {
        until("it has ended", || match self.child.try_wait().unwrap() {
            Some(status) if self.listener.is_finished() => Ok(status),
            Some(status) => {
                Err(format!("{status}, and another process may yet speak for it: {}", self.said()))
            }
            None => Err(self.said()),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

/// Waits until something is so and gives what it came to, or says how far it was.
pub fn until<T>(what: &str, so: impl FnMut() -> Result<T, String>) -> T {
    until_within(PATIENCE, what, so)
}

pub fn until_within<T>(within: Duration, what: &str, mut so: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match so() {
            Ok(done) => return done,
            Err(state) if Instant::now() >= deadline => panic!("time was up before {what}: {state}"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// What a program printed.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a program complained of.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Fails, with all that was said, unless a program ended with this code.
pub fn assert_code(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "ended with {:?}, signal {:?}\n{}{}",
        output.status.code(),
        output.status.signal(),
        stdout(output),
        stderr(output)
    );
}
