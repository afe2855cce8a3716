//! Machines booted once and saved, and the copies made of them.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    Accelerator, CloneSpec, CloudImage, CloudSpec, DISK_BYTES, Error, Format, Image, Machine, Qemu, Result,
    Store, cloud,
    error::Doing,
    machine::{Launch, PATIENCE, System},
    qemu::{self, Role},
    store::{self, Fingerprint, NewFile},
};

/// How long a guest may take to boot. Emulated on a busy host it has been seen to need 8 s.
const BOOT_PATIENCE: Duration = Duration::from_secs(90);

/// How many templates are kept: of the few sizes and kernels that a lab has, for the last builds of the guest program.
const KEPT: usize = 10;

/// Raised when templates made by an older version of this crate are of no use any more.
const FORMAT: &str = "1";

/// The size of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Its memory, in megabytes.
    pub memory_mb: u32,
    /// How many network interfaces it has, used or not.
    pub nics: u8,
}

impl Default for Shape {
    /// A small gateway.
    fn default() -> Self {
        Self { memory_mb: 160, nics: 2 }
    }
}

/// A machine that has booted, saved for copies to start from.
#[derive(Debug, Clone)]
pub struct Template {
    inner: Arc<Inner>,
}

/// What a machine boots from, to be saved.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// A kernel with an initial file system that is all it has.
    Micro(&'a Image),
    /// The disk of a distribution.
    Cloud(CloudSpec<'a>),
}

#[derive(Debug)]
struct Inner {
    qemu: Qemu,
    accelerator: Accelerator,
    shape: Shape,
    files: Files,
    saved: Saved,
    /// The distribution's disk below that of the template.
    cloud: Option<CloudImage>,
    boot: Option<Duration>,
}

/// A template's files as they were when it was opened, even if they have been replaced since.
#[derive(Debug)]
struct Saved {
    memory: File,
    state: File,
    /// Of a distribution's machine: what it had written to its disk, and its seed.
    system: Option<[File; 2]>,
}

/// What is written beside memory and state, last of all: without it there is no template.
#[derive(Debug, Serialize, Deserialize)]
struct Seal {
    shape: Shape,
    memory_bytes: u64,
    memory_hash: String,
    state_bytes: u64,
    state_hash: String,
    /// Of a distribution's machine: the hashes of its disk and its seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<[String; 2]>,
}

impl Template {
    /// Opens the template for this origin, QEMU, accelerator and shape; boots and saves one where there is none, or where
    /// its files are damaged.
    pub fn build(
        store: &Store,
        qemu: &Qemu,
        origin: Origin<'_>,
        accelerator: Accelerator,
        shape: Shape,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let (cloud, slow) = match origin {
            Origin::Micro(_) => (None, ""),
            Origin::Cloud(spec) => (Some(spec.image), ", which takes minutes where it is emulated"),
        };
        let key = Fingerprint::new("template")
            .with(FORMAT)
            .with(qemu.version())
            .with(accelerator.host_part())
            .with(qemu::layout(accelerator, shape, cloud.is_some()));
        let key = match origin {
            Origin::Micro(image) => key.with(image.id()),
            Origin::Cloud(spec) => spec.fingerprint(key),
        };
        let key = key.finish();
        let files = Files::new(&store.folder("templates")?, &key);
        let opened = |files: Files, boot| -> Result<Option<Self>> {
            let cloud = cloud.cloned();
            Ok(files.open(cloud.is_some())?.map(|saved| Self {
                inner: Arc::new(Inner { qemu: qemu.clone(), accelerator, shape, files, saved, cloud, boot }),
            }))
        };
        if let Some(template) = opened(files.clone(), None)? {
            return Ok(template);
        }

        let _lock = store.lock(&format!("template-{key}"))?;
        // Another process may have been faster.
        if let Some(template) = opened(files.clone(), None)? {
            return Ok(template);
        }
        files.remove()?;
        let megabytes = shape.memory_mb;
        progress(&format!("booting a guest with {megabytes} MB once, to be copied from then on{slow}"));
        let began = Instant::now();
        let boot = files.make(qemu, origin, accelerator, shape)?;
        store::prune(files.folder(), KEPT)?;
        tracing::info!(
            boot_ms = boot.as_millis(),
            all_ms = began.elapsed().as_millis(),
            megabytes,
            "template saved"
        );
        opened(files, Some(boot))?
            .ok_or_else(|| Error::Image("a template that was just saved cannot be read back".to_owned()))
    }

    /// Starts a copy. It runs when this returns; its first request must be
    /// [`Identify`](natrig_agent_proto::Request::Identify).
    pub fn spawn(&self, spec: CloneSpec) -> Result<Machine> {
        let inner = &*self.inner;
        let deadline = Instant::now() + PATIENCE;
        let disk = match &spec.disk {
            Some(path) => File::open(path).on("open", path)?,
            None => empty_disk(inner.files.folder())?,
        };
        let state = reopen(&inner.saved.state)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&state);
        let console = console_tail(&spec.console)?;
        let system = inner.system_of_a_copy()?;
        let machine = Machine::launch(
            &inner.qemu,
            Launch {
                accelerator: inner.accelerator,
                shape: inner.shape,
                role: Role::Clone,
                memory: inner.saved.memory.try_clone().doing(|| "cannot open a template".to_owned())?,
                disk,
                system,
                nics: spec.nics,
                console: spec.console,
                inherited: vec![OwnedFd::from(state)],
            },
        );
        let come_up = |machine: &Machine| -> Result<()> {
            let mut qmp = machine.qmp();
            qmp.execute("migrate-set-capabilities", capabilities(), deadline)?;
            // Nobody has moved: there is nothing to tell the neighbours, and captures stay free of it.
            qmp.execute("migrate-set-parameters", json!({ "announce-rounds": 0 }), deadline)?;
            let from = json!({ "uri": format!("fd:{number}") });
            qmp.execute("migrate-incoming", from, deadline)?;
            await_migration(&mut qmp, deadline)?;
            qmp.execute("cont", json!({}), deadline)?;
            Ok(())
        };
        machine.and_then(|machine| come_up(&machine).map(|()| machine)).map_err(|error| Error::Boot {
            what: format!("a copy of a template did not come up: {error}"),
            console: console(),
        })
    }

    /// Removes its files, so that the next [`build`](Self::build) boots again: for a template whose copies do not work.
    /// Running copies do not notice.
    pub fn discard(&self) -> Result<()> {
        self.inner.files.remove()
    }

    /// The size of its copies.
    pub fn shape(&self) -> Shape {
        self.inner.shape
    }

    /// What its copies run on.
    pub fn accelerator(&self) -> Accelerator {
        self.inner.accelerator
    }

    /// How long the guest took to boot, if that was just now.
    pub fn boot_time(&self) -> Option<Duration> {
        self.inner.boot
    }

    /// Removes all templates that no process is making.
    pub fn remove_all(store: &Store) -> Result<()> {
        store.empty("templates")
    }
}

impl Inner {
    /// The disks of a copy: its own layer above that of the template.
    fn system_of_a_copy(&self) -> Result<Option<System>> {
        let (Some(cloud), Some([disk, seed])) = (&self.cloud, &self.saved.system) else { return Ok(None) };
        let opened = |file: &File| file.try_clone().doing(|| "cannot open a template".to_owned());
        let lowest = File::open(cloud.path()).on("open", cloud.path())?;
        let own = opened(cloud.layer(self.files.folder())?.file())?;
        let layers = vec![(cloud.format(), lowest), (Format::Qcow2, opened(disk)?), (Format::Qcow2, own)];
        Ok(Some(System { layers, seed: opened(seed)? }))
    }
}

#[derive(Debug, Clone)]
struct Files {
    seal: PathBuf,
    memory: PathBuf,
    state: PathBuf,
    disk: PathBuf,
    seed: PathBuf,
}

impl Files {
    fn new(folder: &Path, key: &str) -> Self {
        let file = |ending| folder.join(format!("{key}.{ending}"));
        Self {
            seal: file("json"),
            memory: file("memory"),
            state: file("state"),
            disk: file("disk"),
            seed: file("seed"),
        }
    }

    fn folder(&self) -> &Path {
        self.seal.parent().unwrap_or(Path::new("/"))
    }

    /// What was saved, if it is there as it was.
    fn open(&self, with_system: bool) -> Result<Option<Saved>> {
        let Ok(seal) = fs::read(&self.seal) else {
            return Ok(None);
        };
        let Ok(seal) = serde_json::from_slice::<Seal>(&seal) else {
            tracing::warn!(file = %self.seal.display(), "a damaged template is made anew");
            return Ok(None);
        };
        let whole = |path: &Path, bytes: Option<u64>, hash: &str| -> Option<File> {
            let file = File::open(path).ok()?;
            let length = file.metadata().ok()?.len();
            let sound = bytes.is_none_or(|bytes| bytes == length) && content_hash(&file).ok()? == hash;
            if !sound {
                tracing::warn!(file = %path.display(), "a damaged template is made anew");
            }
            sound.then_some(file)
        };
        let memory = whole(&self.memory, Some(seal.memory_bytes), &seal.memory_hash);
        let state = whole(&self.state, Some(seal.state_bytes), &seal.state_hash);
        let system = seal.system.and_then(|[disk, seed]| {
            Some([whole(&self.disk, None, &disk)?, whole(&self.seed, None, &seed)?])
        });
        store::touch(&self.seal);
        let whole = system.is_some() == with_system;
        Ok(memory.zip(state).filter(|_| whole).map(|(memory, state)| Saved { memory, state, system }))
    }

    fn remove(&self) -> Result<()> {
        [&self.seal, &self.memory, &self.state, &self.disk, &self.seed]
            .into_iter()
            .try_for_each(|path| store::remove(path))
    }

    /// Boots a guest and saves it; says how long it took to boot.
    fn make(
        &self,
        qemu: &Qemu,
        origin: Origin<'_>,
        accelerator: Accelerator,
        shape: Shape,
    ) -> Result<Duration> {
        store::sweep(self.folder())?;
        let memory = NewFile::create(self.folder())?;
        let bytes = u64::from(shape.memory_mb) << 20;
        memory.file().set_len(bytes).on("make room in", self.folder())?;
        let state = NewFile::create(self.folder())?;
        // A guest's memory grows into its file; where that finds no room, QEMU only dies.
        let space = rustix::fs::fstatvfs(memory.file()).on("ask for the space in", self.folder())?;
        if space.f_bavail.saturating_mul(space.f_frsize) < bytes {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            let megabytes = shape.memory_mb;
            return Err(full).doing(|| {
                format!("no room for a template of {megabytes} MB in {}", self.folder().display())
            });
        }

        let began = Instant::now();
        let (machine, system) = match origin {
            Origin::Micro(image) => {
                (boot(qemu, image, accelerator, shape, memory.file(), BOOT_PATIENCE)?, None)
            }
            Origin::Cloud(spec) => {
                let layer = spec.image.layer(self.folder())?;
                let seed = self.seed(&spec)?;
                let machine =
                    boot_cloud(qemu, &spec, accelerator, shape, memory.file(), [layer.file(), seed.file()])?;
                (machine, Some([layer, seed]))
            }
        };
        let boot = began.elapsed();
        save(&machine, state.file())?;
        machine.kill()?;

        let seal = Seal {
            shape,
            memory_bytes: bytes,
            memory_hash: content_hash(memory.file()).on("read", &self.memory)?,
            state_bytes: state.file().metadata().on("read", &self.state)?.len(),
            state_hash: content_hash(state.file()).on("read", &self.state)?,
            system: match &system {
                None => None,
                Some([disk, seed]) => Some([
                    content_hash(disk.file()).on("read", &self.disk)?,
                    content_hash(seed.file()).on("read", &self.seed)?,
                ]),
            },
        };
        memory.publish(&self.memory)?;
        state.publish(&self.state)?;
        if let Some([disk, seed]) = system {
            disk.publish(&self.disk)?;
            seed.publish(&self.seed)?;
        }
        let seal = serde_json::to_vec_pretty(&seal).map_err(std::io::Error::from);
        store::write_file(&self.seal, &seal.on("write", &self.seal)?)?;
        Ok(boot)
    }

    /// The disk with what a distribution's machine is told, and the agent.
    fn seed(&self, spec: &CloudSpec<'_>) -> Result<NewFile> {
        let initrd = spec.guests.initrd();
        let content = cloud::seed::make(spec.user_data, &fs::read(initrd).on("read", initrd)?)?;
        let seed = NewFile::create(self.folder())?;
        seed.file().write_all(&content).on("write", &self.seed)?;
        Ok(seed)
    }
}

/// Boots a guest until its agent is up.
pub(crate) fn boot(
    qemu: &Qemu,
    image: &Image,
    accelerator: Accelerator,
    shape: Shape,
    memory: &File,
    within: Duration,
) -> Result<Machine> {
    let role = Role::Original { kernel: image.kernel(), initrd: image.initrd() };
    boot_with(qemu, image.folder(), accelerator, shape, memory, (role, None), within)
}

/// Boots a distribution until it is through with cloud-init and the agent has moved in.
fn boot_cloud(
    qemu: &Qemu,
    spec: &CloudSpec<'_>,
    accelerator: Accelerator,
    shape: Shape,
    memory: &File,
    [layer, seed]: [&File; 2],
) -> Result<Machine> {
    let opened = |file: &File| file.try_clone().doing(|| "cannot open a disk".to_owned());
    let image = spec.image;
    let lowest = File::open(image.path()).on("open", image.path())?;
    let layers = vec![(image.format(), lowest), (Format::Qcow2, opened(layer)?)];
    let disks = (Role::FromDisk, Some(System { layers, seed: opened(seed)? }));
    let within = cloud::BOOT_PATIENCE;
    let machine = boot_with(qemu, spec.guests.folder(), accelerator, shape, memory, disks, within)?;
    cloud::hold_boot(&machine)?;
    Ok(machine)
}

fn boot_with(
    qemu: &Qemu,
    folder: &Path,
    accelerator: Accelerator,
    shape: Shape,
    memory: &File,
    (role, system): (Role<'_>, Option<System>),
    within: Duration,
) -> Result<Machine> {
    let console = NewFile::create(folder)?;
    let reader = console.file().try_clone().doing(|| "cannot read a console".to_owned())?;
    let tail = console_tail(&reader)?;
    let machine = Machine::launch(
        qemu,
        Launch {
            accelerator,
            shape,
            role,
            memory: memory.try_clone().doing(|| "cannot keep a guest's memory".to_owned())?,
            disk: empty_disk(folder)?,
            system,
            nics: Vec::new(),
            console: reader.try_clone().doing(|| "cannot keep a console".to_owned())?,
            inherited: Vec::new(),
        },
    )
    .map_err(|error| Error::Start { reason: error.to_string(), console: tail() })?;
    machine.agent().wait_ready(within).map_err(|error| {
        // Where QEMU has ended, how it did says more.
        let ended = match machine.wait(Duration::from_millis(200)) {
            Ok(Some(status)) => format!("; QEMU ended with {status}"),
            _ => String::new(),
        };
        Error::Boot { what: format!("a guest did not boot ({accelerator}): {error}{ended}"), console: tail() }
    })?;
    Ok(machine)
}

/// Stops a machine and writes the state of its devices; its memory is in its file already.
fn save(machine: &Machine, state: &File) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut qmp = machine.qmp();
    qmp.execute("stop", json!({}), deadline)?;
    qmp.execute("migrate-set-capabilities", capabilities(), deadline)?;
    qmp.give("state", state.as_fd(), deadline)?;
    qmp.execute("migrate", json!({ "uri": "fd:state" }), deadline)?;
    await_migration(&mut qmp, deadline)
}

fn await_migration(qmp: &mut crate::qmp::Qmp, deadline: Instant) -> Result<()> {
    let failed =
        qmp.wait_for("MIGRATION", deadline, |data| match data.get("status").and_then(Value::as_str) {
            Some("completed") => Some(None),
            Some(status @ ("failed" | "cancelled")) => Some(Some(status.to_owned())),
            _ => None,
        })?;
    match failed {
        None => Ok(()),
        Some(status) => Err(Error::Qmp { command: "migrate".to_owned(), message: status }),
    }
}

/// Memory stays in its file; progress comes as events.
fn capabilities() -> Value {
    let on = |name| json!({ "capability": name, "state": true });
    json!({ "capabilities": [on("x-ignore-shared"), on("events")] })
}

fn empty_disk(folder: &Path) -> Result<File> {
    let disk = NewFile::create(folder)?;
    disk.file().set_len(DISK_BYTES).on("make room in", folder)?;
    disk.file().try_clone().on("open a file in", folder)
}

/// A second, independent position in the same file.
fn reopen(file: &File) -> Result<File> {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
    let path = Path::new(&path);
    File::open(path).on("open", path)
}

/// Later gives the last lines that were written to a console, if it is a file.
fn console_tail(console: &File) -> Result<impl Fn() -> String + use<>> {
    let console = console.try_clone().doing(|| "cannot read a console".to_owned())?;
    Ok(move || {
        // A console that can only be written to is read by its name.
        let Ok(mut reader) = reopen(&console) else {
            return String::new();
        };
        let length = reader.metadata().map_or(0, |metadata| metadata.len());
        let mut text = Vec::new();
        let _ = reader.seek(SeekFrom::Start(length.saturating_sub(4096)));
        let _ = reader.take(4096).read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).replace('\r', "");
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    })
}

/// A hash that tells damage, not malice. Holes of a sparse file are skipped, not read.
pub(crate) fn content_hash(file: &File) -> std::io::Result<String> {
    let mut file = file.try_clone()?;
    let length = file.metadata()?.len();
    let mut hash = Xxh3::new();
    let mut chunk = vec![0; 1 << 18];
    let mut position = 0;
    while position < length {
        let data = match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(position)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data))?;
        file.seek(SeekFrom::Start(data))?;
        position = data;
        while position < end {
            let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(chunk.len());
            let count = file.read(&mut chunk[..wanted])?;
            if count == 0 {
                break;
            }
            hash_data(&mut hash, position, &chunk[..count]);
            position += count as u64;
        }
        position = end;
    }
    Ok(format!("{:032x}", hash.digest128()))
}

/// Adds data to a hash as if each page of zeros were a hole, since a copied file may have its holes filled.
fn hash_data(hash: &mut Xxh3, mut position: u64, data: &[u8]) {
    for page in data.chunks(4096) {
        if page.iter().any(|&byte| byte != 0) {
            hash.update(&position.to_le_bytes());
            hash.update(page);
        }
        position += page.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_hole_and_zeros_hash_alike_and_a_flipped_bit_does_not() {
        let file = |pages: &[Option<u8>]| {
            let mut file = tempfile::tempfile().unwrap();
            for (index, page) in pages.iter().enumerate() {
                if let Some(byte) = page {
                    file.seek(SeekFrom::Start(index as u64 * 4096)).unwrap();
                    file.write_all(&[*byte; 4096]).unwrap();
                }
            }
            file.set_len(pages.len() as u64 * 4096).unwrap();
            content_hash(&file).unwrap()
        };
        let one = file(&[Some(1), None, Some(2), None]);
        assert_eq!(one, file(&[Some(1), Some(0), Some(2), None]));
        assert_ne!(one, file(&[Some(1), None, Some(3), None]));
        assert_ne!(one, file(&[Some(1), Some(2), None, None]));
    }
}
