//! Starts a program in a file system of its own: that on the app's disk, with what every system has mounted in it.
//!
//! The mounts are seen by that program alone and are gone with it, so that a machine is as it was.

use std::{fs, os::unix::process::CommandExt, process::Command};

use natrig_agent_proto::world::{BUSYBOX, MOUNTED};
use rustix::{
    mount::{MountPropagationFlags, mount_bind_recursive, mount_change},
    process::{chdir, chroot},
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::agent::APP;

/// Becomes the program; an error is all that it can return with.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let [program, rest @ ..] = arguments else {
        return Err("usage: in-world PROGRAM [ARGUMENT]...".to_owned());
    };
    enter().map_err(|error| format!("in-world: {error}"))?;
    let error = Command::new(program).args(rest).exec();
    Err(format!("{program}: {error}"))
}

fn enter() -> Result<(), String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: rustix::io::Errno| format!("cannot {what}: {error}")
    };
    // SAFETY: no other thread shares this process's view of mounts, as there is none.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(failed("have mounts of its own"))?;
    let alone = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", alone).map_err(failed("keep mounts to itself"))?;
    for folder in MOUNTED {
        mount_bind_recursive(format!("/{folder}"), format!("{APP}/{folder}"))
            .map_err(failed(&format!("mount /{folder} there")))?;
    }
    let place = format!("{APP}/{BUSYBOX}");
    if fs::metadata(&place).is_ok_and(|there| there.len() == 0) {
        mount_bind_recursive(format!("/{BUSYBOX}"), place).map_err(failed("lend busybox"))?;
    }
    chroot(APP).map_err(failed("enter"))?;
    chdir("/").map_err(failed("enter"))
}
