//! Debian's programs and the shared libraries that they need.

use goblin::elf::Elf;

use super::{archive::Archive, tree::Tree};
use crate::{Error, Result};

/// Programs that every image has; names under `/usr`.
const PROGRAMS: [&str; 10] = [
    "sbin/nft",
    "bin/ip",
    "sbin/tc",
    "bin/ss",
    "sbin/conntrack",
    "bin/tcpdump",
    "bin/dash",
    "bin/bash",
    "sbin/miniupnpd",
    "bin/upnpc",
];

/// Small programs for scripts and for those who look around in a guest. Its shell is not the guest's: within that,
/// `ip` and others would be its own and not Debian's.
const BUSYBOX: &str = "bin/busybox";

const APPLETS: &[&str] = &[
    "[",
    "arp",
    "arping",
    "ash",
    "awk",
    "base64",
    "basename",
    "cat",
    "chmod",
    "clear",
    "cmp",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "diff",
    "dirname",
    "dmesg",
    "du",
    "echo",
    "egrep",
    "env",
    "expr",
    "false",
    "fgrep",
    "find",
    "fold",
    "free",
    "grep",
    "gunzip",
    "gzip",
    "head",
    "hexdump",
    "hostname",
    "id",
    "ifconfig",
    "ipcalc",
    "kill",
    "killall",
    "less",
    "ln",
    "ls",
    "lsmod",
    "md5sum",
    "mkdir",
    "mktemp",
    "more",
    "mount",
    "mv",
    "nc",
    "netstat",
    "nproc",
    "nslookup",
    "od",
    "paste",
    "pidof",
    "ping",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "reset",
    "rev",
    "rm",
    "rmdir",
    "route",
    "sed",
    "seq",
    "setsid",
    "sha1sum",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "strings",
    "stty",
    "sync",
    "sysctl",
    "tac",
    "tail",
    "tar",
    "tee",
    "telnet",
    "test",
    "time",
    "timeout",
    "top",
    "touch",
    "tr",
    "traceroute",
    "true",
    "tty",
    "umount",
    "uname",
    "uniq",
    "uptime",
    "usleep",
    "vi",
    "watch",
    "wc",
    "wget",
    "which",
    "whoami",
    "xargs",
    "xxd",
    "yes",
];

/// Where a library is looked for.
const LIBRARY_FOLDERS: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib"];

/// Libraries that programs under test commonly ask for, beside those that the programs here need.
const LIBRARIES: [&str; 7] = [
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libresolv.so.2",
];

const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";

pub(super) fn add(archive: &mut Archive, tree: &Tree) -> Result<()> {
    for merged in ["bin", "sbin", "lib", "lib64"] {
        archive.folder(&format!("usr/{merged}"));
        archive.link(merged, &format!("usr/{merged}"));
    }
    let busybox = program(tree, BUSYBOX)?;
    archive.file(&format!("usr/{BUSYBOX}"), 0o755, busybox);
    let mut needed: Vec<String> = LIBRARIES.iter().map(|&name| name.to_owned()).collect();
    for name in PROGRAMS {
        let content = program(tree, name)?;
        archive.file(&format!("usr/{name}"), 0o755, content);
        needed.extend(libraries(name, content)?);
    }
    while let Some(name) = needed.pop() {
        let path = format!("{}/{name}", LIBRARY_FOLDERS[0]);
        if archive.contains(&path) || LOADER.ends_with(&name) {
            continue;
        }
        let content = LIBRARY_FOLDERS
            .iter()
            .find_map(|folder| tree.file(&format!("{folder}/{name}")))
            .ok_or_else(|| Error::Image(format!("no package has the library {name}")))?;
        archive.file(&path, 0o755, content);
        needed.extend(libraries(&name, content)?);
    }
    let loader = tree
        .file(LOADER)
        .ok_or_else(|| Error::Image(format!("no package has the program loader {LOADER}")))?;
    archive.file(LOADER, 0o755, loader);
    // Tables for the jitter of `tc netem`.
    for folder in LIBRARY_FOLDERS {
        for (path, content) in tree.files_under(&format!("{folder}/tc/")) {
            archive.file(path, 0o644, content);
        }
    }
    archive.link("usr/bin/sh", "dash");
    for applet in APPLETS {
        let path = format!("usr/bin/{applet}");
        if !archive.contains(&path) {
            archive.link(&path, "busybox");
        }
    }
    Ok(())
}

fn program<'a>(tree: &'a Tree, name: &str) -> Result<&'a [u8]> {
    let file = name.rsplit('/').next().unwrap_or(name);
    ["bin", "sbin"]
        .iter()
        .find_map(|folder| tree.file(&format!("usr/{folder}/{file}")))
        .ok_or_else(|| Error::Image(format!("no package has the program {file}")))
}

/// The libraries that a program or library names.
fn libraries(name: &str, content: &[u8]) -> Result<Vec<String>> {
    let elf = Elf::parse(content)
        .map_err(|error| Error::Image(format!("{name} is no program that runs here: {error}")))?;
    Ok(elf.libraries.into_iter().map(str::to_owned).collect())
}
