use std::{io, path::Path, process::ExitStatus};

/// What can go wrong with images, templates and machines.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("{what}: {source}{}", hint(source))]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
    /// There is no place for the cache.
    #[error("no folder for the cache: neither NATRIG_CACHE, XDG_CACHE_HOME nor HOME is set")]
    NoCacheFolder,
    /// QEMU is not installed.
    #[error(
        "qemu-system-x86_64 is not installed\nhint: sudo apt-get install --no-install-recommends qemu-system-x86"
    )]
    NoQemu,
    /// QEMU is too old, or is none.
    #[error(
        "{path} is not usable: {reason}\nhint: version 7.2 or later is needed; sudo apt-get install qemu-system-x86"
    )]
    BadQemu {
        /// Where it was found.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting has a value that means nothing.
    #[error("{name}={value}: {expected} expected")]
    Setting {
        /// The environment variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Packages for the guest cannot be had.
    #[error("packages for the guest: {reason}\nhint: {hint}")]
    Packages {
        /// What happened.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// A program of somebody else cannot run in a guest as it is.
    #[error("{what}\nhint: {hint}")]
    App {
        /// What is wrong with it.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A distribution's image is not what a machine can be made of.
    #[error("{what}\nhint: {hint}")]
    Cloud {
        /// What is wrong with it.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A package holds something else than expected.
    #[error("guest image: {0}")]
    Image(String),
    /// QEMU did not even begin to run a machine.
    #[error("QEMU did not start a guest: {reason}{}", tail(console))]
    Start {
        /// What happened instead.
        reason: String,
        /// What it complained about.
        console: String,
    },
    /// A machine did not come up.
    #[error("{what}{}", tail(console))]
    Boot {
        /// What happened instead.
        what: String,
        /// The last lines of its console.
        console: String,
    },
    /// QEMU answered a command with an error.
    #[error("QEMU refused {command}: {message}")]
    Qmp {
        /// The command.
        command: String,
        /// QEMU's words.
        message: String,
    },
    /// QEMU ended, or its control channel did.
    #[error("QEMU ended ({0})")]
    QemuEnded(String),
    /// Something took too long.
    #[error("{what} took longer than {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit.
        seconds: u64,
    },
    /// More was asked of a machine than its template has.
    #[error("{0}")]
    Shape(String),
    /// The agent did not do as asked.
    #[error(transparent)]
    Agent(#[from] crate::AgentError),
}

impl Error {
    /// What happened, without a hint.
    pub(crate) fn reason(&self) -> String {
        match self {
            Error::Packages { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }
}

/// A result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names what was tried when the operating system refuses.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;

    fn on(self, verb: &str, path: &Path) -> Result<T>
    where
        Self: Sized,
    {
        self.doing(|| format!("cannot {verb} {}", path.display()))
    }
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Io { what: what(), source: error.into() })
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "\nhint: free some space, or point NATRIG_CACHE at a folder with 1 GB free"
        }
        io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists => {
            "\nhint: NATRIG_CACHE may name another cache folder, one that you can write to"
        }
        _ => "",
    }
}

fn tail(console: &str) -> String {
    if console.trim().is_empty() {
        "; its console is empty".to_owned()
    } else {
        format!("; its console ends with:\n{}", console.trim_end())
    }
}

/// Says how a command failed, with the last line of its complaint.
pub(crate) fn complaint(status: ExitStatus, stderr: &[u8]) -> String {
    let stderr = String::from_utf8_lossy(stderr);
    let said = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    format!("{status}: {}", said.trim())
}
