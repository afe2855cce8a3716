//! Images for whoever boots them by hand: kernel and initial file system, and a disk that boots by itself.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error, Image, Result, Store,
    cloud::inspect,
    error::{Doing, complaint},
    fat,
    image::{archive::Archive, packages, tree::Tree},
    spawn,
    store::{self, Fingerprint, NewFile},
};

/// Where the disk's one partition begins, in bytes: where every tool expects the first one.
const BEGIN: u64 = 1 << 20;

const SECTOR: u64 = 512;

/// What puts the boot loader on the disk.
const LOADER: [&str; 3] = ["syslinux", "syslinux-common", "mtools"];

/// The code before the partition table.
const MASTER_BOOT_RECORD: &str = "usr/lib/syslinux/mbr/mbr.bin";

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initial file system.
    pub initrd: PathBuf,
    /// A qcow2 disk that boots them, on any PC with a BIOS.
    pub disk: PathBuf,
}

/// Writes an image into a folder, with further files in it, for this command line.
pub fn export(
    store: &Store,
    image: &Image,
    more: &[(&str, Vec<u8>)],
    command_line: &str,
    folder: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Exported> {
    fs::create_dir_all(folder).on("make the folder", folder)?;
    let path = |ending: &str| folder.join(format!("gateway.{ending}"));
    let exported = Exported { kernel: path("kernel"), initrd: path("initrd"), disk: path("qcow2") };
    let kernel = fs::read(image.kernel()).on("read", image.kernel())?;
    let mut initrd = fs::read(image.initrd()).on("read", image.initrd())?;
    let mut archive = Archive::default();
    for (path, content) in more {
        archive.file(path, 0o644, content);
    }
    // The kernel unpacks one archive after the other.
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    initrd.extend(archive.finish());
    store::write_file(&exported.kernel, &kernel)?;
    store::write_file(&exported.initrd, &initrd)?;
    let disk = NewFile::create(folder)?;
    let volume = volume(&kernel, &initrd, command_line).doing(|| "cannot write a disk".to_owned())?;
    let mut file = disk.file();
    file.seek(SeekFrom::Start(BEGIN)).and_then(|_| file.write_all(&volume)).on("write", folder)?;
    let loader = Loader::fetch(store, progress)?;
    progress("making a disk that boots");
    loader.install(disk.file(), volume.len() as u64)?;
    let qcow2 = NewFile::create(folder)?;
    convert(disk.file(), qcow2.file())?;
    qcow2.publish(&exported.disk)?;
    Ok(exported)
}

/// A FAT volume with what is booted, and the file that says how.
fn volume(kernel: &[u8], initrd: &[u8], command_line: &str) -> std::io::Result<Vec<u8>> {
    let settings = format!(
        "SERIAL 0 115200\nDEFAULT gateway\nLABEL gateway\n  LINUX /kernel\n  INITRD /initrd\n  APPEND {command_line}\n"
    );
    let files = [("kernel", kernel), ("initrd", initrd), ("syslinux.cfg", settings.as_bytes())];
    let mut bytes = fat::volume(*b"NATRIG     ", &files)?;
    // How many sectors are before the volume; a loader without a partition table could not know.
    if let Some(hidden) = bytes.get_mut(0x1c..0x20) {
        hidden.copy_from_slice(&sectors(BEGIN).to_le_bytes());
    }
    Ok(bytes)
}

fn sectors(bytes: u64) -> u32 {
    u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX)
}

/// Debian's syslinux, unpacked.
struct Loader {
    programs: PathBuf,
    record: Vec<u8>,
}

impl Loader {
    fn fetch(store: &Store, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let fetched = packages::of_tools(store, &LOADER, progress)?;
        let mut tree = Tree::default();
        fetched.iter().try_for_each(|one| tree.unpack(&one.path, |_| true))?;
        let lacks = |path: &str| Error::Image(format!("no package has {path}"));
        let record = tree.file(MASTER_BOOT_RECORD).ok_or_else(|| lacks(MASTER_BOOT_RECORD))?.to_vec();
        let key = fetched.iter().fold(Fingerprint::new("loader"), |key, one| key.with(&one.package.sha256));
        let programs = store.folder(&format!("loader-{}", &key.finish()[..16]))?;
        // mtools is one program under many names.
        for (name, path) in
            [("syslinux", "usr/bin/syslinux"), ("mcopy", "usr/bin/mtools"), ("mattrib", "usr/bin/mtools")]
        {
            let place = programs.join(name);
            let program = NewFile::create(&programs)?;
            program.file().write_all(tree.file(path).ok_or_else(|| lacks(path))?).on("write", &place)?;
            program.file().set_permissions(fs::Permissions::from_mode(0o755)).on("write", &place)?;
            program.publish(&place)?;
        }
        Ok(Self { programs, record })
    }

    fn install(&self, disk: &fs::File, length: u64) -> Result<()> {
        let opened = disk.try_clone().doing(|| "cannot open a disk".to_owned())?;
        let mut command = Command::new(self.programs.join("syslinux"));
        command.env("PATH", &self.programs).env("TMPDIR", &self.programs);
        command.args(["--offset", &BEGIN.to_string(), "--install"]);
        command.arg(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        let output =
            spawn::output_with(command, vec![opened.into()]).doing(|| "cannot run syslinux".to_owned())?;
        if !output.status.success() {
            return Err(Error::Image(format!(
                "no boot loader on the disk: {}",
                complaint(output.status, &output.stderr)
            )));
        }
        let mut first = self.record.clone();
        first.resize(446, 0);
        // Active, FAT by sectors' numbers; the old way to name sectors is out of use.
        first.extend([0x80, 0xfe, 0xff, 0xff, 0x0c, 0xfe, 0xff, 0xff]);
        first.extend(sectors(BEGIN).to_le_bytes());
        first.extend(sectors(length).to_le_bytes());
        first.resize(510, 0);
        first.extend([0x55, 0xaa]);
        std::os::unix::fs::FileExt::write_all_at(disk, &first, 0).doing(|| "cannot write a disk".to_owned())
    }
}

fn convert(raw: &fs::File, qcow2: &fs::File) -> Result<()> {
    let opened = |file: &fs::File| file.try_clone().doing(|| "cannot open a disk".to_owned());
    let files = [opened(raw)?, opened(qcow2)?];
    let mut command = Command::new(inspect::QEMU_IMG);
    command.args(["convert", "-f", "raw", "-O", "qcow2"]);
    command.args(files.iter().map(|file| format!("/proc/self/fd/{}", file.as_raw_fd())));
    let output = inspect::run(command, files.map(OwnedFd::from).into())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Image(format!("no qcow2: {}", complaint(output.status, &output.stderr)))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use fatfs::{FileSystem, FsOptions};

    use super::*;

    #[test]
    fn the_volume_says_what_is_booted() {
        let bytes = volume(b"kernel", b"initrd", "natrig.nat=symmetric").unwrap();
        assert_eq!(bytes[0x1c..0x20], 2048_u32.to_le_bytes());
        let volume = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        let mut settings = String::new();
        volume.root_dir().open_file("syslinux.cfg").unwrap().read_to_string(&mut settings).unwrap();
        assert!(settings.contains("APPEND natrig.nat=symmetric\n"), "{settings}");
    }
}
