//! The way back to how a machine was after its boot, so that it can serve another cell.
//!
//! What is put back is looked at again, and what is not as it was is an error: such a machine is not used again. Two
//! things stay of its former life: the time since its boot, and the kernel's `boot_id`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::inotify::WatchFlags;

use crate::{
    ethtool,
    netlink::{Netlink, forget_connections, remove_rules},
    settings::Settings,
    watch::Watch,
};

/// File systems that are empty after the boot.
const SCRATCH: [&str; 3] = ["/run", "/tmp", "/dev/shm"];

/// Where the mounts are listed.
const MOUNTS: &str = "/proc/self/mounts";

/// What a machine mounts once in its life.
const APP: &str = " /app squashfs ";

/// Where the interfaces are listed.
const INTERFACES: &str = "/sys/class/net";

/// Files that an identity sets.
const OWN: [&str; 3] = ["/etc/machine-id", "/etc/hostname", "/etc/hosts"];

/// Lists of sockets, each below a heading.
const SOCKETS: [&str; 9] = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "icmp", "packet", "unix"];

/// Disciplines that the kernel gives an interface of its own accord.
const USUAL_QUEUES: [&[u8]; 5] = [b"noqueue", b"noop", b"mq", b"pfifo_fast", b"fq_codel"];

/// What the kernel lists, and by what number it is asked for; what is listed is removed by the number before that.
const LISTS: [(u16, &str); 3] = [(22, "addresses"), (26, "routes"), (34, "rules")];
const NEIGHBOURS: u16 = 30;
const QUEUES: u16 = 38;
const SET_LINK: u16 = 19;

/// The loopback interface.
const LOOPBACK: u32 = 1;

/// A machine as its boot left it, before it had an identity.
#[derive(Debug)]
pub(crate) struct Pristine {
    files: Files,
    mounts: BTreeSet<String>,
    links: BTreeMap<u32, Link>,
    lists: [BTreeSet<Vec<u8>>; LISTS.len()],
    settings: Settings,
    calls: String,
}

/// The files of the first file system and the devices: their names, and what has happened to them since.
#[derive(Debug)]
struct Files {
    names: BTreeSet<PathBuf>,
    watch: Watch,
}

/// An interface.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    mtu: String,
    receive_offload: bool,
}

impl Pristine {
    /// Looks at a machine whose NICs have not been used.
    pub(crate) fn look() -> Result<Self, String> {
        let route = netlink(Netlink::route())?;
        Ok(Self {
            files: Files::look().map_err(|error| format!("cannot watch files: {error}"))?,
            mounts: mounts()?,
            links: links()?,
            lists: lists(&route)?,
            settings: Settings::look().map_err(|error| format!("cannot read settings: {error}"))?,
            calls: calls()?,
        })
    }

    /// Learns what an interface is called from now on.
    pub(crate) fn named(&mut self, name: &str) -> Result<(), String> {
        self.settings.watch_interface(name).map_err(|error| format!("cannot watch {name}: {error}"))
    }

    /// Puts all back, and shows that it is so. No process but this one may run.
    pub(crate) fn restore(&mut self, nics: &[u32]) -> Result<(), String> {
        self.restore_files()?;
        let filter = netlink(Netlink::filter())?;
        remove_rules(&filter).map_err(|error| format!("the packet filter's rules: {error}"))?;
        forget_connections(&filter).map_err(|error| format!("the connections: {error}"))?;
        let route = netlink(Netlink::route())?;
        for &nic in nics {
            take_down(&route, nic).map_err(|error| format!("NIC {nic}: {error}"))?;
        }
        self.restore_lists(&route)?;
        self.restore_links()?;
        self.settings.restore()?;
        self.show_network(&route)
    }

    fn restore_files(&self) -> Result<(), String> {
        if mounts()? != self.mounts {
            return Err("file systems were mounted or unmounted".to_owned());
        }
        for folder in SCRATCH {
            empty(Path::new(folder)).map_err(|error| format!("cannot empty {folder}: {error}"))?;
        }
        self.files.restore()
    }

    fn restore_links(&self) -> Result<(), String> {
        for (index, name) in interfaces()? {
            if let Some(link) = self.links.get(&index) {
                // What this one cannot mend shows in the comparison.
                let _ = ethtool::set_receive_offload(&name, link.receive_offload);
            }
        }
        Ok(())
    }

    fn restore_lists(&self, route: &Netlink) -> Result<(), String> {
        for ((now, before), (kind, _)) in lists(route)?.iter().zip(&self.lists).zip(LISTS) {
            for body in now.difference(before) {
                // One may go with another; what stays shows in the comparison.
                let _ = route.order(kind - 1, 0, body);
            }
        }
        Ok(())
    }

    fn show_network(&self, route: &Netlink) -> Result<(), String> {
        if let Some(name) = SOCKETS.iter().find(|name| rows(name) > 0) {
            return Err(format!("{name} sockets are open"));
        }
        // What TCP has learnt about an address outlives the connection, and would make the next one start differently.
        if calls()? != self.calls {
            return Err("TCP was used".to_owned());
        }
        let count = read("/proc/sys/net/netfilter/nf_conntrack_count")?;
        if count.trim() != "0" {
            return Err(format!("{} connections are left", count.trim()));
        }
        if !read("/proc/net/nf_conntrack_expect")?.is_empty() {
            return Err("connections are expected".to_owned());
        }
        if links()? != self.links {
            return Err("interfaces were added, removed or changed".to_owned());
        }
        for ((now, before), (_, name)) in lists(route)?.iter().zip(&self.lists).zip(LISTS) {
            if now != before {
                return Err(format!("{name} are left, or missing"));
            }
        }
        // Long enough for the header of either.
        let asked = |kind| route.list(kind, &[0; 20]).map_err(|error| format!("netlink: {error}"));
        // The loopback interface has neighbours of its own that are none.
        if asked(NEIGHBOURS)?.iter().any(|(_, body)| index(body) != Some(LOOPBACK)) {
            return Err("neighbours are left".to_owned());
        }
        let usual = |body: &[u8]| kind_of(body.get(20..)?).map(|kind| USUAL_QUEUES.contains(&kind));
        if asked(QUEUES)?.iter().any(|(_, body)| usual(body) != Some(true)) {
            return Err("queueing disciplines are left".to_owned());
        }
        Ok(())
    }
}

impl Files {
    fn look() -> io::Result<Self> {
        let mut files = Self { names: BTreeSet::new(), watch: Watch::new()? };
        let changes = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ATTRIB;
        // What is written to a device is not in its file.
        for (root, what) in [("/", changes | WatchFlags::MODIFY), ("/dev", changes)] {
            files.walk(Path::new(root), fs::symlink_metadata(root)?.dev(), what)?;
        }
        Ok(files)
    }

    fn walk(&mut self, folder: &Path, device: u64, what: WatchFlags) -> io::Result<()> {
        self.watch.add(folder, what)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // What is mounted here is another file system.
            if metadata.dev() == device && metadata.is_dir() {
                self.walk(&entry.path(), device, what)?;
            }
            self.names.insert(entry.path());
        }
        Ok(())
    }

    /// Removes what was added; nothing else may have happened.
    fn restore(&self) -> Result<(), String> {
        let seen = || self.watch.seen().map_err(|error| format!("cannot tell which files changed: {error}"));
        for path in seen()? {
            if OWN.iter().any(|own| Path::new(own) == path) {
                continue;
            }
            if self.names.contains(&path) {
                return Err(format!("{} was changed", path.display()));
            }
            match remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("cannot remove {}: {error}", path.display()));
                }
                // It may have gone by itself.
                _ => {}
            }
        }
        // What was removed just now.
        seen().map(drop)
    }
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        remove(&entry?.path())?;
    }
    match fs::read_dir(folder)?.next() {
        None => Ok(()),
        Some(_) => Err(io::Error::other("something is left")),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

fn mounts() -> Result<BTreeSet<String>, String> {
    Ok(read(MOUNTS)?.lines().filter(|line| !line.contains(APP)).map(str::to_owned).collect())
}

fn links() -> Result<BTreeMap<u32, Link>, String> {
    let described = |(index, name): (u32, String)| {
        let mtu = read(Path::new(INTERFACES).join(&name).join("mtu"))?;
        let receive_offload = ethtool::receive_offload(&name).map_err(|error| format!("{name}: {error}"))?;
        Ok((index, Link { mtu, receive_offload }))
    };
    interfaces()?.into_iter().map(described).collect()
}

/// The interfaces by their indices; names change in a machine's life.
fn interfaces() -> Result<Vec<(u32, String)>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot list {INTERFACES}: {error}");
    let mut found = Vec::new();
    for entry in fs::read_dir(INTERFACES).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let index = read(entry.path().join("ifindex"))?;
        let index = index.trim().parse().map_err(|error| failed(&error))?;
        found.push((index, entry.file_name().to_string_lossy().into_owned()));
    }
    Ok(found)
}

fn lists(route: &Netlink) -> Result<[BTreeSet<Vec<u8>>; LISTS.len()], String> {
    let mut found = <[BTreeSet<Vec<u8>>; LISTS.len()]>::default();
    for (place, (kind, name)) in found.iter_mut().zip(LISTS) {
        let listed = route.list(kind, &[0; 12]).map_err(|error| format!("{name}: {error}"))?;
        *place = listed.into_iter().map(|(_, body)| body).collect();
    }
    Ok(found)
}

/// How many TCP connections were asked for and taken.
fn calls() -> Result<String, String> {
    let text = read("/proc/net/snmp")?;
    let fields = text.lines().filter_map(|line| line.strip_prefix("Tcp: ")).nth(1).unwrap_or_default();
    Ok(fields.split(' ').skip(4).take(2).collect::<Vec<_>>().join(" "))
}

/// Takes an interface down, which forgets its neighbours and routes.
fn take_down(route: &Netlink, nic: u32) -> io::Result<()> {
    const UP: u32 = 1;
    let mut down = [0; 16];
    down[4..8].copy_from_slice(&nic.to_ne_bytes());
    down[12..16].copy_from_slice(&UP.to_ne_bytes());
    route.order(SET_LINK, 0, &down)
}

/// The interface that an address, a neighbour or a queue belongs to.
fn index(body: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*body.get(4..)?.first_chunk()?))
}

/// The first attribute of kind 1, without the zero that ends it.
fn kind_of(mut attributes: &[u8]) -> Option<&[u8]> {
    const KIND: u16 = 1;
    loop {
        let [a, b, c, d] = *attributes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        if u16::from_ne_bytes([c, d]) == KIND {
            let name = attributes.get(4..length)?;
            return Some(name.strip_suffix(&[0]).unwrap_or(name));
        }
        attributes = attributes.get(length.next_multiple_of(4).max(4)..)?;
    }
}

/// Rows below the heading of a list of sockets; a list that the kernel does not have is empty.
fn rows(name: &str) -> usize {
    let text = fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default();
    text.lines().count().saturating_sub(1)
}

fn read(path: impl AsRef<Path>) -> Result<String, String> {
    let path = path.as_ref();
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn netlink(opened: io::Result<Netlink>) -> Result<Netlink, String> {
    opened.map_err(|error| format!("netlink: {error}"))
}
