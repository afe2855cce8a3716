//! What a machine of a distribution is given, and the agent that moves into it must agree on.

/// The archive with the agent's file system, on the disk that it comes from.
pub const ARCHIVE: &str = "guest.cpio";

/// The agent's program, on the same disk.
pub const PROGRAM: &str = "natrig-guest";

/// The serial number of that disk.
pub const DISK: &str = "natrig";

/// What cloud-init leaves when it is through: what it found and what went wrong, as JSON.
pub const BOOTED: &str = "/run/cloud-init/result.json";

/// The applet that moves in.
pub const APPLET: &str = "tenant";

/// The applet that starts a program in the machine's own file system.
pub const OUTSIDE: &str = "outside";

/// The machine's own root folder, as the agent sees it.
pub const MACHINE: &str = "/proc/1/root";
