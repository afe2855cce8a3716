//! The file system that a program of somebody else sees in a machine: its files, Debian packages, shared libraries.
//!
//! It is a disk like that of omerta-mesh, with a whole root folder on it: programs and packages find everything at the
//! paths that they were made for, and nothing of the guest's own is in their way.

mod closure;
mod elf;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use natrig_agent_proto::world::{BUSYBOX, MOUNTED};

use crate::{
    AppDisk, Error, Result, Store,
    error::Doing,
    image::{
        packages::{self, Fetched},
        tree::Tree,
    },
    store::{self, Fingerprint},
};
use closure::Source;

/// What the guest's own busybox serves, where no package does. The guest mounts it there.
const SMALL_PROGRAMS: [&str; 28] = [
    "[", "cat", "cp", "cut", "date", "dd", "echo", "env", "expr", "false", "grep", "head", "kill", "ls",
    "mkdir", "mv", "nc", "printf", "ps", "rm", "sed", "seq", "sh", "sleep", "tail", "test", "tr", "true",
];

/// Where programs without a slash are looked for, by `PATH`.
const PATH: [&str; 4] = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin"];

/// The largest file or folder that is brought; a disk has 256 MB.
const MOST_FILES: usize = 20_000;

/// What a program needs.
#[derive(Debug, Clone, Default)]
pub struct WorldSpec {
    /// What goes into `/app`.
    pub files: Vec<WorldFile>,
    /// Debian packages by name, with all that they depend on.
    pub packages: Vec<String>,
    /// Packages as files.
    pub package_files: Vec<PathBuf>,
    /// Shared libraries that no file names.
    pub libraries: Vec<String>,
    /// Where shared libraries come from, if not from this host.
    pub sysroot: Option<PathBuf>,
    /// The programs that are to be started, as they are written in commands.
    pub programs: Vec<String>,
}

/// A file or folder for `/app`.
#[derive(Debug, Clone)]
pub struct WorldFile {
    /// Where it is here.
    pub from: PathBuf,
    /// Its path below `/app`.
    pub to: String,
    /// Its permissions, if not those that it has here.
    pub mode: Option<u16>,
}

/// The file system of a program, on a disk.
#[derive(Debug)]
pub struct World;

impl World {
    /// Puts all of it together; what cannot run in a machine is said here.
    pub fn build(store: &Store, spec: &WorldSpec, progress: &mut dyn FnMut(&str)) -> Result<AppDisk> {
        let mut tree = packaged(store, spec, progress)?;
        let mut brought = Vec::new();
        for file in &spec.files {
            bring(&mut tree, &file.from, &format!("app/{}", file.to), file.mode, &mut brought)?;
        }
        for applet in SMALL_PROGRAMS {
            tree.link(&format!("usr/bin/{applet}"), "busybox");
        }
        if tree.file(BUSYBOX).is_none() {
            tree.insert(BUSYBOX, 0o755, Vec::new());
        }
        for program in &spec.programs {
            brought.push(startable(&tree, program)?);
        }
        closure::complete(&mut tree, &brought, &spec.libraries, &Source::at(spec.sysroot.as_deref())?)?;
        furnish(&mut tree);
        AppDisk::of_tree(store, &tree, &MOUNTED)
    }
}

/// What is in the packages. Unpacking takes a second, so what comes of it is kept.
fn packaged(store: &Store, spec: &WorldSpec, progress: &mut dyn FnMut(&str)) -> Result<Tree> {
    let mut fetched = match spec.packages.as_slice() {
        [] => Vec::new(),
        names => packages::of_app(store, names, progress)?,
    };
    for file in &spec.package_files {
        fetched.push(packages::read_package(file.clone()).map_err(|error| Error::App {
            what: format!("the app's package cannot be had: {}", error.reason()),
            hint: "a `.deb` file of Debian's, from the folder of the app file".to_owned(),
        })?);
    }
    let mut tree = Tree::default();
    if fetched.is_empty() {
        return Ok(tree);
    }
    let key = fetched.iter().fold(Fingerprint::new("world 1"), |key, one| key.with(&one.package.sha256));
    let folder = store.folder(WORLDS)?;
    let kept = folder.join(format!("{}.tar", key.finish()));
    if let Ok(file) = fs::File::open(&kept) {
        tree.read(std::io::BufReader::new(file), of_apps).on("read", &kept)?;
        store::touch(&kept);
        return Ok(tree);
    }
    progress(&format!("unpacking {} packages for the app", fetched.len()));
    fetched.iter().try_for_each(|Fetched { path, .. }| tree.unpack(path, of_apps))?;
    store::write_file(&kept, &tree.tar().on("pack", &kept)?)?;
    store::prune(&folder, KEPT)?;
    Ok(tree)
}

/// Where unpacked packages are kept.
pub(crate) const WORLDS: &str = "worlds";

/// How many unpacked sets of packages are kept.
const KEPT: usize = 4;

/// Nobody reads manuals in a machine, and translations take more room than programs.
fn of_apps(path: &str) -> bool {
    let unread = ["doc/", "man/", "info/", "locale/", "lintian/", "bug/", "i18n/", "menu/"];
    match path.strip_prefix("usr/share/") {
        Some(rest) => !unread.iter().any(|folder| rest.starts_with(folder)),
        None => !path.starts_with("boot/") && !path.starts_with("usr/lib/modules/"),
    }
}

/// Puts a file, or a folder with all that is in it, into the tree.
fn bring(tree: &mut Tree, from: &Path, to: &str, mode: Option<u16>, brought: &mut Vec<String>) -> Result<()> {
    let absent = |source: std::io::Error| Error::App {
        what: format!("the app's file {} cannot be read: {source}", from.display()),
        hint: "paths start at the folder of the app file; has the program been built?".to_owned(),
    };
    let metadata = fs::metadata(from).map_err(absent)?;
    if metadata.is_dir() {
        let mut names: Vec<_> = fs::read_dir(from)
            .map_err(absent)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_, _>>()
            .map_err(absent)?;
        names.sort();
        for name in names {
            let name = name.to_str().ok_or_else(|| Error::App {
                what: format!("{} has a file whose name is no text", from.display()),
                hint: "rename it, or bring single files".to_owned(),
            })?;
            bring(tree, &from.join(name), &format!("{to}/{name}"), None, brought)?;
        }
        return Ok(());
    }
    if !metadata.is_file() {
        return Err(absent(std::io::Error::other("it is neither a file nor a folder")));
    }
    if metadata.len() > crate::DISK_BYTES || brought.len() >= MOST_FILES {
        return Err(Error::App {
            what: format!(
                "{} is more than the app's disk can hold: {} MB and {MOST_FILES} files",
                from.display(),
                crate::DISK_BYTES >> 20
            ),
            hint: "strip the program, or bring less of the folder".to_owned(),
        });
    }
    let mode = mode.unwrap_or((metadata.permissions().mode() & 0o777) as u16);
    tree.insert(to, mode, fs::read(from).map_err(absent)?);
    brought.push(to.to_owned());
    Ok(())
}

/// The path of a program that is there and can be started.
fn startable(tree: &Tree, program: &str) -> Result<String> {
    let path = if program.contains('/') {
        program.trim_start_matches('/').to_owned()
    } else {
        let mut places = PATH.iter().map(|folder| format!("{folder}/{program}"));
        places.find(|path| tree.file(path).is_some()).ok_or_else(|| Error::App {
            what: format!("the app starts `{program}`, and no package has such a program"),
            hint: "name its package in `packages`, or a file of the app as `/app/NAME`".to_owned(),
        })?
    };
    let Some((mode, content)) = tree.file_and_mode(&path) else {
        return Err(Error::App {
            what: format!("the app starts {program}, which is not there"),
            hint: "files of the app are in /app, by their `to` or the name that they have here".to_owned(),
        });
    };
    if mode & 0o111 == 0 {
        return Err(Error::App {
            what: format!("the app starts {program}, which cannot be executed"),
            hint: "chmod +x, or `mode: 755` with the file".to_owned(),
        });
    }
    if elf::is_elf(content) || path == BUSYBOX || content.is_empty() && tree.leads(&path, BUSYBOX) {
        return Ok(path);
    }
    let Some(script) = content.strip_prefix(b"#!") else {
        return Err(Error::App {
            what: format!("{program} is no program for Linux: neither ELF nor a script with `#!`"),
            hint: "was it built for another system?".to_owned(),
        });
    };
    let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let mut interpreter = words.next().unwrap_or_default().to_owned();
    // `/usr/bin/env python3` looks for it.
    if interpreter.ends_with("/env") {
        interpreter = words.next().unwrap_or_default().to_owned();
    }
    let there = match interpreter.contains('/') {
        true => tree.file(&interpreter).is_some(),
        false => PATH.iter().any(|folder| tree.file(&format!("{folder}/{interpreter}")).is_some()),
    };
    there.then_some(path).ok_or_else(|| Error::App {
        what: format!("{program} is a script for `{interpreter}`, which no package has"),
        hint: "name the interpreter's package in `packages`, such as python3 or nodejs".to_owned(),
    })
}

/// What programs expect to find on any system.
fn furnish(tree: &mut Tree) {
    for merged in ["bin", "sbin", "lib", "lib64"] {
        tree.root_link(merged, &format!("usr/{merged}"));
    }
    for (path, text) in [
        ("etc/passwd", "root:x:0:0:root:/run:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
        ("etc/resolv.conf", ""),
    ] {
        if tree.file(path).is_none() {
            tree.insert(path, 0o644, text.into());
        }
    }
}

#[cfg(test)]
mod tests;
