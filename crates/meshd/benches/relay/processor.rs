//! Cores, and time on them.

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
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let nanoseconds = threads.map(|thread| {
        let stat = std::fs::read_to_string(thread.expect("read").path().join("schedstat"));
        // Nanoseconds on the processor are the first number; a thread may have ended.
        let stat = stat.unwrap_or_default();
        stat.split_whitespace().next().map_or(0, |first| first.parse::<u64>().expect("a number"))
    });
    Duration::from_nanos(nanoseconds.sum())
}
