//! The agent as a tenant of a distribution's machine.
//!
//! The machine has booted its own kernel, PID 1 and services. The agent brings the file system of natrig's own guests with it and lives
//! in that, so that what the lab starts finds the same programs everywhere; what differs is the kernel below and the machine's services
//! beside it. A node under test starts in the machine's own file system ([`outside`]).

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use cpio::newc;
use natrig_agent_proto::tenant::{ARCHIVE, BOOTED, MACHINE};
use rustix::{
    mount::{MountFlags, mount, mount_bind, mount_bind_recursive},
    process::{chdir, chroot},
};

use crate::{
    agent::{APP, Agent},
    group, init, network,
    port::Port,
};

/// Where the agent's file system is.
const HOME: &str = "/run/natrig/root";

/// Folders of the machine that are the agent's too, with all that is mounted in them.
const SHARED: [&str; 3] = ["dev", "proc", "sys"];

/// Folders of the machine in which the lab and the machine's programs find each other's files. Of these, only what lies in them itself: the
/// agent's own file system is mounted in one.
const EXCHANGED: [&str; 2] = ["run", "tmp"];

const FORMAT: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// Moves in from the folder with the archive, as soon as the machine has booted, and serves the host until that goes away.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let [from] = arguments else {
        return Err("usage: tenant FOLDER".to_owned());
    };
    await_boot();
    let moved = move_in(&Path::new(from).join(ARCHIVE)).and_then(|()| serve());
    if let Err(error) = moved {
        eprintln!("natrig-guest: {error}");
    }
    init::power_off()
}

/// Becomes a program in the machine's own file system; an error is all that it can return with.
pub fn outside(arguments: &[String]) -> Result<(), String> {
    let [program, rest @ ..] = arguments else {
        return Err("usage: outside PROGRAM [ARGUMENT]...".to_owned());
    };
    enter(MACHINE).map_err(|error| format!("outside: {error}"))?;
    let error = Command::new(program).args(rest).exec();
    Err(format!("{program}: {error}"))
}

/// Waits until cloud-init is through. The host knows how long that may take.
fn await_boot() {
    while !Path::new(BOOTED).exists() {
        // It is a link in some versions, into a folder that is not there yet: there is nothing to watch.
        thread::sleep(Duration::from_millis(100));
    }
}

fn move_in(archive: &Path) -> Result<(), String> {
    // A file system of its own, so that what is mounted in it can be kept from the rest.
    fs::create_dir_all(HOME).map_err(|error| format!("cannot make {HOME}: {error}"))?;
    mount("tmpfs", HOME, "tmpfs", MountFlags::empty(), Some(c"mode=0755"))
        .map_err(|error| format!("cannot mount {HOME}: {error}"))?;
    let failed = |error: io::Error| format!("cannot unpack {}: {error}", archive.display());
    File::open(archive).and_then(|file| unpack(BufReader::new(file), Path::new(HOME))).map_err(failed)?;
    load_modules().map_err(|error| format!("cannot load modules: {error}"))?;
    for folder in SHARED {
        mount_bind_recursive(format!("/{folder}"), format!("{HOME}/{folder}"))
            .map_err(|error| format!("cannot share /{folder}: {error}"))?;
    }
    for folder in EXCHANGED {
        mount_bind(format!("/{folder}"), format!("{HOME}/{folder}"))
            .map_err(|error| format!("cannot share /{folder}: {error}"))?;
    }
    symlink(format!("{HOME}{APP}"), APP)
        .map_err(|error| format!("cannot show {APP} to the machine: {error}"))?;
    enter(HOME)
}

fn serve() -> Result<(), String> {
    if !Path::new(group::ROOT).join("cgroup.controllers").exists() {
        mount("cgroup2", group::ROOT, "cgroup2", MountFlags::empty(), None)
            .map_err(|error| format!("cannot mount {}: {error}", group::ROOT))?;
    }
    group::count_memory().map_err(|error| format!("cannot have memory counted: {error}"))?;
    init::settle();
    let nics = network::nics().map_err(|error| format!("cannot list the NICs: {error}"))?;
    let port = Port::open().map_err(|error| format!("cannot open the host's port: {error}"))?;
    Agent::new(port, nics, None)?.serve()
}

/// Those that natrig's guests load; the machine's kernel may have them built in, or not at all.
fn load_modules() -> io::Result<()> {
    let listed = fs::read_to_string(Path::new(HOME).join(init::MODULES.trim_start_matches('/')))?;
    let names = listed.lines().filter_map(|path| Path::new(path).file_stem());
    let mut modprobe = Command::new("modprobe");
    modprobe.arg("-a").arg("-q").args(names).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // What is missing shows where it is used.
    modprobe.status().map(drop)
}

fn enter(root: &str) -> Result<(), String> {
    chroot(root).and_then(|()| chdir("/")).map_err(|error| format!("cannot enter {root}: {error}"))
}

/// Writes what is in an archive ("newc") below a folder.
fn unpack(archive: impl Read, root: &Path) -> io::Result<()> {
    let mut archive = archive;
    loop {
        let mut reader = newc::Reader::new(archive)?;
        let entry = reader.entry();
        if entry.is_trailer() {
            return Ok(());
        }
        let path: PathBuf = root.join(entry.name().trim_start_matches('/'));
        let mode = entry.mode();
        match mode & FORMAT {
            FOLDER => fs::create_dir_all(&path)?,
            LINK => {
                let mut target = String::new();
                reader.read_to_string(&mut target)?;
                symlink(target, &path)?;
            }
            _ => {
                let mut file = File::create(&path)?;
                io::copy(&mut reader, &mut file)?;
                file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
            }
        }
        archive = reader.finish()?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn an_archive_is_unpacked_whole() {
        let mut bytes = Vec::new();
        for (name, mode, content) in
            [("a", FOLDER | 0o755, ""), ("a/run", 0o100_755, "#!"), ("a/link", LINK | 0o777, "run")]
        {
            let length = u32::try_from(content.len()).unwrap();
            let mut entry = newc::Builder::new(name).mode(mode).write(&mut bytes, length);
            entry.write_all(content.as_bytes()).unwrap();
            entry.finish().unwrap();
        }
        newc::trailer(&mut bytes).unwrap();
        let home = tempfile::tempdir().unwrap();
        unpack(&bytes[..], home.path()).unwrap();
        assert_eq!(fs::read_to_string(home.path().join("a/link")).unwrap(), "#!");
        let mode = fs::metadata(home.path().join("a/run")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        bytes.truncate(bytes.len() / 2);
        assert!(unpack(&bytes[..], tempfile::tempdir().unwrap().path()).is_err());
    }
}
