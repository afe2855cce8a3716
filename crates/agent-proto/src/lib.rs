//! Frames between the host and the agent in a guest.
//!
//! One virtio-serial port carries them. A frame is a 4-byte big-endian length and a [postcard] body: [`ToGuest`] in
//! one direction, [`ToHost`] in the other. Requests carry a number that the reply repeats; output of processes comes
//! as it is produced. The agent knows identities, interfaces, files and processes; STUN servers, probers and nodes
//! under test are processes to it.

#![forbid(unsafe_code)]

mod frame;
pub mod standalone;
pub mod tenant;
pub mod world;

use serde::{Deserialize, Serialize};

pub use frame::{Decoder, FrameError, MAX_FRAME, encode};

/// The version of this protocol; both ends refuse another one.
pub const VERSION: u32 = 3;

/// The name of the virtio-serial port.
pub const PORT: &str = "natrig.agent";

/// The serial number of the disk with the program under test.
pub const APP_DISK: &str = "natrig-app";

/// Numbers a request and its reply.
pub type RequestId = u64;

/// Names a process that the agent started; never used twice in a guest's life.
pub type ProcessId = u32;

/// What the host sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGuest {
    /// Asks for something; answered by one [`ToHost::Reply`].
    Request {
        /// Repeated in the reply.
        id: RequestId,
        /// What is asked for.
        body: Request,
    },
    /// Bytes for a process's standard input; no reply. An empty `data` closes it.
    Input {
        /// The process.
        process: ProcessId,
        /// The bytes.
        data: Vec<u8>,
    },
}

/// What the agent sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHost {
    /// The agent is up; sent once after boot, before a template is saved.
    Ready(Hello),
    /// Answers a request.
    Reply {
        /// The request's number.
        id: RequestId,
        /// The answer, or why there is none, as a sentence.
        body: Result<Reply, String>,
    },
    /// A process wrote something.
    Output {
        /// The process.
        process: ProcessId,
        /// Where it wrote.
        stream: Stream,
        /// The guest's `CLOCK_BOOTTIME` when it was read, in nanoseconds.
        boottime_ns: u64,
        /// The bytes, as they came (not lines).
        data: Vec<u8>,
    },
    /// A process ended; its output has been sent before this.
    Exited {
        /// The process.
        process: ProcessId,
        /// How it ended.
        status: Exit,
        /// The guest's `CLOCK_BOOTTIME`, in nanoseconds.
        boottime_ns: u64,
    },
}

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the agent.
    pub version: u32,
    /// `uname -r`.
    pub kernel: String,
}

/// What can be asked of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Answers [`Reply::Pong`].
    Ping,
    /// Makes a clone its own machine: entropy first, then clock, host name and machine ID. Answers [`Reply::Done`].
    Identify(Identity),
    /// Sets MAC, addresses and routes of the interfaces, and brings them up. Answers [`Reply::Done`].
    Network(Network),
    /// Mounts the read-only disk with the node under test at `/app`. Answers [`Reply::Done`].
    MountApp,
    /// Starts a process. Answers [`Reply::Started`].
    Start(Start),
    /// Sends a signal to a process. Answers [`Reply::Done`].
    Signal {
        /// The process.
        process: ProcessId,
        /// The number, as in `kill -l`.
        signal: i32,
    },
    /// Sets the size of the terminal of a process started with one. Answers [`Reply::Done`].
    Resize {
        /// The process.
        process: ProcessId,
        /// Rows, then columns.
        size: (u16, u16),
    },
    /// Writes a file, making its folders. Answers [`Reply::Done`].
    WriteFile {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
        /// The whole content.
        data: Vec<u8>,
    },
    /// Reads a whole file of at most `limit` bytes. Answers [`Reply::File`].
    ReadFile {
        /// Where.
        path: String,
        /// More than this is an error.
        limit: u64,
    },
    /// Powers the machine off; no reply.
    PowerOff,
    /// Ends every process, removes what was written, forgets rules, connections, addresses and routes, and takes the
    /// NICs down, so that the machine is as it was after its boot but for the mounted app; the ends of processes are
    /// told before the answer. Answers [`Reply::Done`], or what could not be shown to be as it was.
    Reset,
}

/// What an agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// Answers [`Request::Ping`].
    Pong {
        /// `CLOCK_BOOTTIME`, in nanoseconds.
        boottime_ns: u64,
    },
    /// The process runs.
    Started {
        /// Its name in later requests.
        process: ProcessId,
    },
    /// A file's content.
    File {
        /// All of it.
        data: Vec<u8>,
    },
}

/// What makes a clone another machine than its twins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Fresh random bytes from the host, credited to the kernel's pool; at least 32.
    pub entropy: Vec<u8>,
    /// The host name.
    pub hostname: String,
    /// The machine ID, 32 hexadecimal digits.
    pub machine_id: String,
    /// The time of day, in nanoseconds since 1970.
    pub realtime_ns: u64,
}

/// The interfaces of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// One entry per used NIC, in the machine's order; NICs beyond stay down.
    pub nics: Vec<Nic>,
    /// Static routes.
    pub routes: Vec<Route>,
    /// Whether the machine forwards IPv4.
    pub forward: bool,
    /// Names to numbers under `/proc/sys`, written last, such as `net/netfilter/nf_conntrack_max` to `65536`.
    pub sysctls: Vec<(String, String)>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// What it is called from now on, such as `wan`, `lan` or `eth0`.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its addresses with prefix lengths; the first is the primary one.
    pub addresses: Vec<(std::net::Ipv4Addr, u8)>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination and prefix length; `0.0.0.0/0` is the default route.
    pub to: (std::net::Ipv4Addr, u8),
    /// The next hop.
    pub via: std::net::Ipv4Addr,
}

/// A process to start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The program and its arguments; looked up in `PATH` when it has no slash. Programs of the guest's multi-call
    /// binary (`stun-server`, `prober`) are in `PATH` by name.
    pub argv: Vec<String>,
    /// Added to the agent's environment.
    pub env: Vec<(String, String)>,
    /// The working folder; empty for `/`.
    pub cwd: String,
    /// A terminal of this many rows and columns instead of pipes; all output is then [`Stream::Out`].
    pub terminal: Option<(u16, u16)>,
    /// The control group that it belongs to, below `/sys/fs/cgroup`; empty for none of its own.
    pub group: String,
}

/// Where a process wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output, or the terminal.
    Out,
    /// Standard error.
    Err,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it is code 0.
    pub fn success(self) -> bool {
        self == Exit::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}
