//! The emulator: where it is, and how a machine looks to it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{Accelerator, Error, Result, Shape};

/// The program looked for in `PATH`.
const PROGRAM: &str = "qemu-system-x86_64";

/// The oldest version with `-netdev stream`.
const OLDEST: (u32, u32) = (7, 2);

/// The QEMU that machines run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    path: PathBuf,
    version: String,
}

impl Qemu {
    /// Looks for it in `$NATRIG_QEMU`, or else in `PATH`, and asks for its version.
    pub fn find() -> Result<Self> {
        if let Some(path) = std::env::var_os("NATRIG_QEMU").filter(|path| !path.is_empty()) {
            return Self::at(Path::new(&path));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|folder| folder.join(PROGRAM))
            .find(|candidate| candidate.is_file())
            .ok_or(Error::NoQemu)?;
        Self::at(&found)
    }

    /// Takes the program at `path`.
    pub fn at(path: &Path) -> Result<Self> {
        let bad = |reason: String| Error::BadQemu { path: path.display().to_string(), reason };
        let output = Command::new(path)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| bad(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let version = said
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("QEMU emulator version "))
            .ok_or_else(|| bad("it does not tell its version".to_owned()))?;
        if numbers(version) < Some(OLDEST) {
            return Err(bad(format!("it is version {version}")));
        }
        Ok(Self { path: path.to_owned(), version: version.trim().to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of its version, such as `7.2.22 (Debian 1:7.2+dfsg-7)`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', ' ']);
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((major, minor))
}

/// The descriptors that a QEMU inherits, by the numbers it has to name.
#[derive(Debug)]
pub(crate) struct Wiring<'a> {
    pub(crate) memory: i32,
    pub(crate) disk: i32,
    pub(crate) system: Option<SystemWiring<'a>>,
    pub(crate) qmp: i32,
    pub(crate) agent: i32,
    pub(crate) console: i32,
    pub(crate) nics: &'a [i32],
}

/// The disks of a machine that boots a distribution.
#[derive(Debug)]
pub(crate) struct SystemWiring<'a> {
    /// The layers of its root disk, the lowest first; the machine writes to the last.
    pub(crate) layers: &'a [(Format, i32)],
    pub(crate) seed: i32,
}

/// How a disk is written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As it is.
    Raw,
    /// In clusters, as QEMU does it.
    Qcow2,
}

impl Format {
    /// What QEMU calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
        }
    }
}

/// What a machine is for: its devices are the same either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role<'a> {
    /// Boots, to be saved: its memory file is what it writes to.
    Original { kernel: &'a Path, initrd: &'a Path },
    /// Boots from its disk, to be saved.
    FromDisk,
    /// Comes from a saved machine: it writes to pages of its own.
    Clone,
}

/// The command line of a machine.
pub(crate) fn arguments(
    accelerator: Accelerator,
    shape: Shape,
    role: Role<'_>,
    wiring: &Wiring<'_>,
) -> Vec<OsString> {
    let memory = shape.memory_mb;
    let share = match role {
        Role::Original { .. } | Role::FromDisk => "on",
        Role::Clone => "off",
    };
    let mut line = Arguments::default();
    line.words("-nodefaults -no-user-config -no-reboot -display none -name natrig");
    line.words("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    line.words(MACHINE);
    line.words(match accelerator {
        Accelerator::Kvm => "-accel kvm -cpu host",
        Accelerator::Tcg => TCG,
    });
    line.words(&format!("-smp 1 -m {memory}M"));
    line.words(&format!(
        "-object memory-backend-file,id=m0,size={memory}M,mem-path=/proc/self/fd/{},share={share}",
        wiring.memory
    ));
    for (chardev, fd) in [("qmp", wiring.qmp), ("agent", wiring.agent)] {
        line.words(&format!("-chardev socket,id={chardev},fd={fd}"));
    }
    line.words("-mon chardev=qmp,mode=control");
    line.words(&format!("-add-fd fd={},set=1", wiring.console));
    line.words("-chardev file,id=console,path=/dev/fdset/1,append=on -serial chardev:console");
    line.words(&format!(
        "-device virtio-serial-pci -device virtserialport,chardev=agent,name={}",
        natrig_agent_proto::PORT
    ));
    line.words("-object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng");
    line.words(&format!(
        "-drive if=none,id=disk,format=raw,read-only=on,file.locking=off,file=/proc/self/fd/{} -device virtio-blk-pci,drive=disk,serial={}",
        wiring.disk,
        natrig_agent_proto::APP_DISK
    ));
    for (index, fd) in wiring.nics.iter().enumerate() {
        line.words(&format!("-netdev stream,id=n{index},server=off,addr.type=fd,addr.str={fd}"));
        line.words(&format!(
            "-device virtio-net-pci,netdev=n{index},romfile=,mac=52:54:00:00:00:{index:02x}"
        ));
    }
    match role {
        Role::Original { kernel, initrd } => {
            line.pair("-kernel", kernel);
            line.pair("-initrd", initrd);
            line.pair("-append", KERNEL_COMMAND_LINE);
        }
        Role::FromDisk => {}
        Role::Clone => line.words("-incoming defer"),
    }
    // Last, so that the devices of other machines stay where they are.
    if let Some(system) = &wiring.system {
        line.words(&format!("-blockdev {}", layered(system.layers)));
        line.words("-device virtio-blk-pci,drive=root,bootindex=0");
        line.words(&format!(
            "-drive if=none,id=seed,format=raw,read-only=on,file.locking=off,file=/proc/self/fd/{} -device virtio-blk-pci,drive=seed,serial={}",
            system.seed,
            natrig_agent_proto::tenant::DISK
        ));
    }
    line.0
}

/// A disk in layers: the last one, that below it, and so on.
fn layered(layers: &[(Format, i32)]) -> serde_json::Value {
    let mut below = serde_json::Value::Null;
    for (number, (format, fd)) in layers.iter().enumerate() {
        let file = json!({ "driver": "file", "filename": format!("/proc/self/fd/{fd}"), "locking": "off" });
        let mut node = json!({ "driver": format.word(), "file": file });
        // A layer says nothing of what is below it: whatever a file may name there is not looked for.
        if *format == Format::Qcow2 {
            node["backing"] = below;
        }
        if number + 1 == layers.len() {
            node["node-name"] = json!("root");
        } else {
            node["read-only"] = json!(true);
        }
        below = node;
    }
    below
}

/// The board, without what no guest of ours uses.
const MACHINE: &str = "-M q35,memory-backend=m0,usb=off,vmport=off,smbus=off,sata=off,i8042=off";

/// Translated code is kept in at most this many megabytes, since every machine of a lab has its own. When they are full all
/// of it is thrown away: a kernel and a node do not fit into 32, and a cell then costs twice the processor time.
const TCG: &str = "-accel tcg,tb-size=64 -cpu max";

/// A panic ends QEMU (`panic=-1` with `-no-reboot`), so that a machine that cannot work is seen at once.
const KERNEL_COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off nokaslr no_timer_check random.trust_cpu=on";

/// Everything about a machine that does not show in its shape; a template made with another one is of no use.
pub(crate) fn layout(accelerator: Accelerator, shape: Shape, with_system: bool) -> String {
    let nics: Vec<i32> = (0..i32::from(shape.nics)).collect();
    let layers = [(Format::Raw, 0), (Format::Qcow2, 0)];
    let system = with_system.then_some(SystemWiring { layers: &layers, seed: 0 });
    let wiring = Wiring { memory: 0, disk: 0, system, qmp: 0, agent: 0, console: 0, nics: &nics };
    let role = Role::Original { kernel: Path::new(""), initrd: Path::new("") };
    format!("{:?}", arguments(accelerator, shape, role, &wiring))
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    /// Arguments that have no spaces in them.
    fn words(&mut self, words: &str) {
        self.0.extend(words.split_whitespace().map(OsString::from));
    }

    fn pair(&mut self, option: &str, value: impl AsRef<std::ffi::OsStr>) {
        self.0.push(option.into());
        self.0.push(value.as_ref().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(numbers("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"), Some((7, 2)));
        assert!(numbers("10.0.2") > Some(OLDEST));
        assert!(numbers("6.2.0") < Some(OLDEST));
        assert!(numbers("from git") < Some(OLDEST));
    }

    #[test]
    fn a_disk_lies_on_those_below_it() {
        let disk = layered(&[(Format::Raw, 3), (Format::Qcow2, 4), (Format::Qcow2, 5)]);
        assert_eq!(disk["file"]["filename"], "/proc/self/fd/5");
        assert_eq!((&disk["node-name"], &disk["read-only"]), (&json!("root"), &json!(null)));
        assert_eq!(disk["backing"]["file"]["filename"], "/proc/self/fd/4");
        let lowest = &disk["backing"]["backing"];
        assert_eq!((&lowest["driver"], &lowest["read-only"]), (&json!("raw"), &json!(true)));
        assert!(!disk.to_string().contains(' '));
        assert_eq!(layered(&[(Format::Qcow2, 3)])["backing"], json!(null));
    }

    #[test]
    fn another_shape_is_another_layout() {
        let shape = Shape::default();
        let larger = Shape { memory_mb: shape.memory_mb + 1, ..shape };
        let layout = |shape| super::layout(Accelerator::Tcg, shape, false);
        assert_eq!(layout(shape), layout(shape));
        assert_ne!(layout(shape), layout(larger));
        assert_ne!(layout(shape), super::layout(Accelerator::Kvm, shape, false));
        assert_ne!(layout(shape), super::layout(Accelerator::Tcg, shape, true));
    }
}
