//! The disk from which cloud-init learns what to do (NoCloud), and from which the agent comes.

use std::io::Read;

use cpio::newc;
use natrig_agent_proto::tenant::{APPLET, ARCHIVE, DISK, PROGRAM};

use crate::{
    Error, Result,
    error::Doing,
    fat,
    image::{INIT, archive::Archive},
    store::{Fingerprint, sha256},
};

/// How it is made is part of what a template is made of.
pub(crate) const RECIPE: [&str; 2] = [include_str!("seed.rs"), fat::RECIPE];

/// The label by which cloud-init knows the disk.
const LABEL: [u8; 11] = *b"CIDATA     ";

/// The machine's network is the lab's to set up.
const NO_NETWORK: &str = "config: disabled\n";

/// Whose folders the kernel's modules are in; those of another kernel are of no use.
const FOREIGN: &str = "usr/lib/modules/";

/// Writes the disk; `guests` is the initial file system of natrig's own guests.
pub(crate) fn make(user_data: &str, guests: &[u8]) -> Result<Vec<u8>> {
    let (program, archive) = repack(guests).doing(|| "cannot read the guests' image".to_owned())?;
    let told = told(user_data)?;
    let instance = Fingerprint::new("instance").with(sha256(told.as_bytes())).with(sha256(&program)).finish();
    let about = format!("instance-id: natrig-{instance}\nlocal-hostname: machine\n");
    let files: [(&str, &[u8]); 5] = [
        ("meta-data", about.as_bytes()),
        ("user-data", told.as_bytes()),
        ("network-config", NO_NETWORK.as_bytes()),
        (PROGRAM, &program),
        (ARCHIVE, &archive),
    ];
    fat::volume(LABEL, &files).doing(|| "cannot write the disk with the agent".to_owned())
}

/// The guest program, and the archive without modules.
fn repack(guests: &[u8]) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let mut archive = Archive::default();
    let mut program = Vec::new();
    let mut rest = guests;
    loop {
        let mut reader = newc::Reader::new(rest)?;
        let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
        if reader.entry().is_trailer() {
            return Ok((program, archive.finish()));
        }
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        rest = reader.finish()?;
        if name == INIT {
            program.clone_from(&content);
        }
        if !name.starts_with(FOREIGN) {
            archive.node(&name, mode, content);
        }
    }
}

/// What cloud-init is told: the user's part, then the agent's.
fn told(user_data: &str) -> Result<String> {
    let kind = match user_data {
        text if text.starts_with("#cloud-config") => "text/cloud-config",
        text if text.starts_with("#!") => "text/x-shellscript",
        _ => {
            return Err(Error::Cloud {
                what: "what cloud-init is told begins neither with `#cloud-config` nor with `#!`".to_owned(),
                hint: "see images/cloud-init for examples".to_owned(),
            });
        }
    };
    let boundary = format!("natrig-{}", &sha256(user_data.as_bytes())[..32]);
    Ok(format!(
        "Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n\
         --{boundary}\nContent-Type: {kind}; charset=\"utf-8\"\nContent-Disposition: attachment; filename=\"machine\"\n\n{user_data}\n\
         --{boundary}\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\nContent-Disposition: attachment; filename=\"natrig\"\n\n{}\n\
         --{boundary}--\n",
        script()
    ))
}

/// Starts the agent, which outlives the script and waits for the end of cloud-init.
fn script() -> String {
    format!(
        "#!/bin/sh
set -e
for disk in /sys/block/*; do
    [ \"$(cat \"$disk/serial\" 2>/dev/null)\" = {DISK} ] && seed=/dev/${{disk##*/}}
done
mkdir -p /run/natrig/seed
mount -t vfat -o ro \"$seed\" /run/natrig/seed
setsid /run/natrig/seed/{PROGRAM} {APPLET} /run/natrig/seed </dev/null >/dev/console 2>&1 &
"
    )
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use fatfs::{FileSystem, FsOptions};

    use super::*;
    use crate::image::MODULES;

    fn guests() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.file(INIT, 0o755, b"\x7fELF");
        archive.file("usr/lib/modules/6.1/kernel/x.ko", 0o644, b"module");
        archive.file(MODULES, 0o644, b"/usr/lib/modules/6.1/kernel/x.ko\n");
        archive.link("usr/bin/sh", "dash");
        archive.finish()
    }

    fn read(disk: &[u8], name: &str) -> Vec<u8> {
        let volume = FileSystem::new(Cursor::new(disk.to_vec()), FsOptions::new()).unwrap();
        let mut content = Vec::new();
        volume.root_dir().open_file(name).unwrap().read_to_end(&mut content).unwrap();
        content
    }

    #[test]
    fn the_disk_has_what_cloud_init_and_the_agent_look_for() {
        let disk = make("#cloud-config\nruncmd: []\n", &guests()).unwrap();
        let volume = FileSystem::new(Cursor::new(disk.clone()), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label(), "CIDATA");
        drop(volume);
        assert!(String::from_utf8(read(&disk, "meta-data")).unwrap().starts_with("instance-id: natrig-"));
        assert_eq!(read(&disk, "network-config"), NO_NETWORK.as_bytes());
        assert_eq!(read(&disk, PROGRAM), b"\x7fELF");
        let archive = read(&disk, ARCHIVE);
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains("etc/natrig/modules") && text.contains("dash"));
        assert!(!text.contains("module\0"), "modules of another kernel");
        let told = String::from_utf8(read(&disk, "user-data")).unwrap();
        let parts = told.split("\n--natrig-").count();
        assert_eq!(parts, 4, "{told}");
        assert_eq!(disk, make("#cloud-config\nruncmd: []\n", &guests()).unwrap(), "the same again");
    }

    #[test]
    fn only_what_cloud_init_understands_is_passed_on() {
        assert!(told("#!/bin/sh\ntrue\n").unwrap().contains("text/x-shellscript"));
        for text in ["", "packages: [nftables]", "<html>"] {
            assert!(told(text).is_err(), "{text}");
        }
    }
}
