//! Children that die with this process.
//!
//! The kernel's "signal at the parent's death" is bound to the thread that forked. So every child is forked by one
//! thread that lives as long as the process.

#![expect(unsafe_code, reason = "what a child does between fork and exec")]

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Output, Stdio},
    sync::{LazyLock, mpsc},
};

use rustix::{
    io::FdFlags,
    process::{Signal, getppid, set_parent_process_death_signal},
};

type Job = Box<dyn FnOnce() + Send>;

static FORKING_THREAD: LazyLock<io::Result<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    std::thread::Builder::new()
        .name("natrig-fork".to_owned())
        .spawn(move || jobs.into_iter().for_each(|job| job()))?;
    Ok(sender)
});

/// Runs a program to its end and takes what it writes; it is killed when this process ends.
pub(crate) fn output(command: Command) -> io::Result<Output> {
    output_with(command, Vec::new())
}

/// The same, with files that it finds under the numbers they have here.
pub(crate) fn output_with(mut command: Command, inherited: Vec<OwnedFd>) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command, inherited)?.wait_with_output()
}

/// Starts a child that keeps `inherited` open under the numbers they have here, and is killed when this process ends.
pub(crate) fn spawn(mut command: Command, inherited: Vec<OwnedFd>) -> io::Result<Child> {
    let parent = rustix::process::getpid();
    let numbers: Vec<i32> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before that took hold.
        if getppid() != Some(parent) {
            return Err(rustix::io::Errno::CHILD.into());
        }
        for &number in &numbers {
            // SAFETY: `inherited` keeps these open until the child has been forked.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        Ok(())
    };
    // Ctrl-C in a terminal is for this process, which then ends its children in order.
    command.process_group(0);
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(prepare) };

    let (done, child) = mpsc::channel();
    let job = Box::new(move || {
        let _ = done.send(command.spawn());
        drop(inherited);
    });
    let thread = FORKING_THREAD.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let gone = || io::Error::other("the forking thread has ended");
    thread.send(job).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}
