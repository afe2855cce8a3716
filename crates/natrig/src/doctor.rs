//! `natrig doctor`.

use std::path::Path;

use natrig_machines::Programs;
use natrig_vmm::{Accelerator, Image, Qemu, Slots, Store};

use crate::{failure::Failure, host, output::print};

/// The seed's outer machine.
const SEED_MEMORY_MIB: u64 = 4096;
const SEED_CORES: usize = 4;

/// What a finding means for running scenarios.
#[derive(Clone, Copy, PartialEq)]
enum Grade {
    Good,
    /// Works, but slower or with something missing.
    Fair,
    /// Nothing runs without it.
    Bad,
}

struct Finding {
    grade: Grade,
    what: String,
    mend: Option<String>,
}

/// Looks at everything a run needs. Exit code 0 if scenarios can be run, 2 if not.
pub fn doctor() -> Result<u8, Failure> {
    let findings = examine();
    let mut text = String::new();
    for finding in &findings {
        let mark = match finding.grade {
            Grade::Good => "ok  ",
            Grade::Fair => "note",
            Grade::Bad => "LACK",
        };
        text.push_str(&format!("{mark}  {}\n", finding.what));
        if let Some(mend) = &finding.mend {
            text.push_str(&format!("      hint: {mend}\n"));
        }
    }
    let bad = findings.iter().filter(|finding| finding.grade == Grade::Bad).count();
    text.push_str(&match bad {
        0 => "scenarios can be run here".to_owned(),
        _ => format!("{bad} of these must be mended before a scenario can run"),
    });
    print(&text)?;
    Ok(if bad == 0 { 0 } else { 2 })
}

fn examine() -> Vec<Finding> {
    let mut findings = vec![size()];
    let store = Store::open_default();
    findings.push(match &store {
        Ok(store) => good(format!("cache in {}", store.root().display())),
        Err(error) => bad(error, "set NATRIG_CACHE to a folder that can be written"),
    });
    let qemu = Qemu::find();
    findings.push(match &qemu {
        Ok(qemu) => good(format!("QEMU {} ({})", qemu.version(), qemu.path().display())),
        Err(error) => bad(error, "sudo apt-get install qemu-system-x86"),
    });
    if let (Ok(store), Ok(qemu)) = (&store, &qemu) {
        findings.push(accelerator(store, qemu));
        findings.push(image(store));
    }
    findings.push(match Programs::find() {
        Ok(programs) => good(format!("programs for guests in {}", parent(&programs.guest))),
        Err(error) => bad(error, "make build"),
    });
    findings.push(packages());
    findings.push(match Slots::of_host() {
        Ok(slots) => good(format!("room for {slots} machines at once; a cell has 5")),
        Err(error) => bad(error, "unset NATRIG_SLOTS"),
    });
    findings
}

/// The seed asks for 4 GB and 4 processors; fewer are enough for its scenarios, only slower.
fn size() -> Finding {
    let (memory, cores) = (host::memory_mib(), host::cores());
    let what = format!(
        "{}; the seed's outer machine has {SEED_CORES} cores and {} GiB",
        host::describe(),
        SEED_MEMORY_MIB / 1024
    );
    let enough = memory >= SEED_MEMORY_MIB && cores >= SEED_CORES;
    Finding {
        grade: if enough { Grade::Good } else { Grade::Fair },
        what,
        mend: (!enough).then(|| "it works with less, with fewer cells side by side (--jobs 1)".to_owned()),
    }
}

fn accelerator(store: &Store, qemu: &Qemu) -> Finding {
    match Accelerator::known(store, qemu) {
        Ok(Some(choice)) => Finding {
            grade: if choice.accelerator == Accelerator::Kvm { Grade::Good } else { Grade::Fair },
            what: format!("guests run on {}: {}", choice.accelerator, choice.reason),
            mend: None,
        },
        Ok(None) => Finding {
            grade: Grade::Fair,
            what: "whether guests run on KVM here was not tried yet".to_owned(),
            mend: Some("the first run tries it; a /dev/kvm that opens proves nothing".to_owned()),
        },
        Err(error) => bad(error, "unset NATRIG_ACCEL"),
    }
}

fn image(store: &Store) -> Finding {
    match Image::list(store) {
        Ok(images) if images.is_empty() => Finding {
            grade: Grade::Fair,
            what: "no guest image yet".to_owned(),
            mend: Some("natrig image build (the first run does it, too)".to_owned()),
        },
        Ok(images) => good(format!("{} guest image(s)", images.len())),
        Err(error) => bad(error, "natrig clean --images"),
    }
}

/// Packages are only needed where no image is there.
fn packages() -> Finding {
    let missing: Vec<&str> =
        ["apt-get", "dpkg-deb"].into_iter().filter(|program| !in_path(program)).collect();
    if missing.is_empty() {
        return good("apt-get and dpkg-deb, for the guests' packages".to_owned());
    }
    Finding {
        grade: Grade::Fair,
        what: format!("no {} here", missing.join(" and no ")),
        mend: Some("natrig image build --packages DIR takes .deb files from a folder".to_owned()),
    }
}

fn in_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn parent(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

fn good(what: String) -> Finding {
    Finding { grade: Grade::Good, what, mend: None }
}

fn bad(error: impl std::fmt::Display, mend: &str) -> Finding {
    let text = error.to_string();
    // Some errors bring their own hint.
    let what = text.lines().next().unwrap_or_default().to_owned();
    let own = text.lines().find_map(|line| line.trim().strip_prefix("hint: ")).map(str::to_owned);
    Finding { grade: Grade::Bad, what, mend: Some(own.unwrap_or_else(|| mend.to_owned())) }
}
