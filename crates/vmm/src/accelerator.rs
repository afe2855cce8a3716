//! KVM or emulation.

use std::{
    fs::{self, File},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Image, Qemu, Result, Shape, Store,
    error::Doing,
    store::{self, Fingerprint, NewFile},
    template,
};

/// How long a guest on KVM may take to boot; where KVM works, a second is enough.
const KVM_PATIENCE: Duration = Duration::from_secs(10);

/// What guests run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor's own virtualisation.
    Kvm,
    /// QEMU's emulation, which works everywhere.
    Tcg,
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        })
    }
}

/// An accelerator, and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What guests run on.
    pub accelerator: Accelerator,
    /// Why, as a sentence.
    pub reason: String,
}

impl Accelerator {
    /// Takes KVM where a guest has been seen to boot on it, emulation elsewhere. The first time on a host and with a QEMU,
    /// that means to boot one under a deadline; the answer is kept. `NATRIG_ACCEL=kvm` or `tcg` overrides it.
    pub fn choose(
        store: &Store,
        qemu: &Qemu,
        image: &Image,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Choice> {
        if let Some(choice) = Self::known(store, qemu)? {
            return Ok(choice);
        }
        let _lock = store.lock("kvm")?;
        if let Some(choice) = Self::known(store, qemu)? {
            return Ok(choice);
        }
        progress("trying whether a guest boots on KVM here");
        let tcg = |why: &str| Choice {
            accelerator: Accelerator::Tcg,
            reason: format!("/dev/kvm opens, but no guest booted on it: {why}"),
        };
        let (choice, host) = match try_kvm(qemu, image) {
            Ok(()) => {
                let reason = "a guest was seen to boot on KVM".to_owned();
                (Choice { accelerator: Accelerator::Kvm, reason }, host(qemu))
            }
            Err(Error::Boot { what, .. }) => (tcg(&what), host(qemu)),
            // This may have another cause than KVM, and costs little to try again.
            Err(Error::Start { reason, console }) => {
                (tcg(console.lines().last().unwrap_or(&reason)), host_until_reboot(qemu))
            }
            Err(error) => return Err(error),
        };
        let path = store.folder("kvm")?.join(host);
        let text = serde_json::to_vec_pretty(&choice).map_err(std::io::Error::from);
        store::write_file(&path, &text.on("write", &path)?)?;
        Ok(choice)
    }

    /// The choice, if it needs no trial: as [`choose`](Self::choose), but boots nothing.
    pub fn known(store: &Store, qemu: &Qemu) -> Result<Option<Choice>> {
        let set = std::env::var("NATRIG_ACCEL").unwrap_or_default();
        let forced = match set.as_str() {
            "" | "auto" => None,
            "kvm" => Some(Accelerator::Kvm),
            "tcg" => Some(Accelerator::Tcg),
            _ => {
                return Err(Error::Setting {
                    name: "NATRIG_ACCEL",
                    value: set,
                    expected: "kvm, tcg or auto",
                });
            }
        };
        if let Some(accelerator) = forced {
            return Ok(Some(Choice { accelerator, reason: format!("NATRIG_ACCEL={accelerator} says so") }));
        }
        if let Err(error) = File::options().read(true).write(true).open("/dev/kvm") {
            return Ok(Some(Choice {
                accelerator: Accelerator::Tcg,
                reason: match error.kind() {
                    std::io::ErrorKind::NotFound => "there is no /dev/kvm".to_owned(),
                    std::io::ErrorKind::PermissionDenied => {
                        "/dev/kvm may not be opened; sudo adduser $USER kvm, then a new login, allows it"
                            .to_owned()
                    }
                    _ => format!("/dev/kvm does not open: {error}"),
                },
            }));
        }
        let folder = store.folder("kvm")?;
        let kept = [host(qemu), host_until_reboot(qemu)].into_iter().find_map(|host| {
            let kept = fs::read(folder.join(host)).ok()?;
            serde_json::from_slice(&kept).ok()
        });
        Ok(kept)
    }

    /// What templates made with it depend on beside the QEMU: on KVM the guest sees the host's processor.
    pub(crate) fn host_part(self) -> String {
        match self {
            Accelerator::Tcg => "tcg".to_owned(),
            Accelerator::Kvm => format!("kvm on {}", processor()),
        }
    }
}

fn try_kvm(qemu: &Qemu, image: &Image) -> Result<()> {
    let shape = Shape::default();
    let memory = NewFile::create(image.folder())?;
    let bytes = u64::from(shape.memory_mb) << 20;
    memory.file().set_len(bytes).on("make room in", image.folder())?;
    template::boot(qemu, image, Accelerator::Kvm, shape, memory.file(), KVM_PATIENCE).map(drop)
}

/// Names this host, its kernel and this QEMU.
fn host(qemu: &Qemu) -> String {
    let uname = rustix::system::uname();
    Fingerprint::new("kvm")
        .with(fs::read("/etc/machine-id").unwrap_or_default())
        .with(uname.release().to_bytes())
        .with(uname.version().to_bytes())
        .with(processor())
        .with(qemu.version())
        .finish()
}

/// As [`host`], but another name after a reboot.
fn host_until_reboot(qemu: &Qemu) -> String {
    let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Fingerprint::new("kvm until reboot").with(host(qemu)).with(boot).finish()
}

fn processor() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let interesting = ["model name", "stepping", "microcode", "flags"];
    cpus.lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| interesting.iter().any(|name| line.starts_with(name)))
        .collect::<Vec<_>>()
        .join("\n")
}
