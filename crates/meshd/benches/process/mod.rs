//! What processes take of the machine, as the system says.

#![allow(dead_code, reason = "each bench uses its part")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that we may use.
pub fn cores() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("Linux");
    (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()
}

/// Keeps this thread, and what it starts, on one core.
pub fn pin(core: Option<usize>) {
    let Some(core) = core else {
        return;
    };
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("a core that we may use");
}

/// Puts this process, and what it starts, before all others; whether that is allowed.
pub fn prefer() -> bool {
    let own = std::process::id().to_string();
    Command::new("chrt").args(["--fifo", "--pid", "1", &own]).status().is_ok_and(|status| status.success())
}

/// Time that all threads of a process have been on the processor.
pub fn time(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let nanoseconds = threads.map(|thread| {
        let stat = fs::read_to_string(thread.expect("read").path().join("schedstat"));
        // Nanoseconds on the processor are the first number; a thread may have ended.
        let stat = stat.unwrap_or_default();
        stat.split_whitespace().next().map_or(0, |first| first.parse::<u64>().expect("a number"))
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Resident memory of a process in bytes.
pub fn memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("told");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Descriptors that a process has open.
pub fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count()
}
