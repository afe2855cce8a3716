//! Control groups, so that the host can limit what a process holds.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

/// Where they are.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// Has the memory of each group counted.
pub(crate) fn count_memory() -> io::Result<()> {
    fs::write(Path::new(ROOT).join("cgroup.subtree_control"), "+memory")
}

/// Puts a process into a group, which begins without limits unless others are in it.
pub(crate) fn join(name: &str, pid: i32) -> io::Result<()> {
    let group = Path::new(ROOT).join(name);
    // Of one that is empty, what limited it goes with it.
    match fs::remove_dir(&group) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ResourceBusy) => {
            return Err(error);
        }
        _ => fs::create_dir_all(&group)?,
    }
    fs::write(group.join("cgroup.procs"), pid.to_string())
}

/// Removes all groups, which must be empty.
pub(crate) fn remove_all() -> io::Result<()> {
    for entry in fs::read_dir(ROOT)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir(entry.path())?;
        }
    }
    Ok(())
}
