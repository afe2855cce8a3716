//! What qemu-img knows of disks.

use std::{
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    process::{Command, Output},
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Error, Format, Result,
    error::{Doing, complaint},
    spawn,
};

/// The program that knows how disks are written.
pub const QEMU_IMG: &str = "qemu-img";

/// No system fits into less.
const LEAST: u64 = 16 << 20;

/// Far more than any image for clouds has; a larger one is none.
const MOST: u64 = 1 << 40;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    format: String,
    virtual_size: u64,
    #[serde(default)]
    backing_filename: Option<String>,
    #[serde(default)]
    encrypted: bool,
    #[serde(default)]
    format_specific: Option<Value>,
}

/// The format of a disk, and the size that a machine sees.
pub(super) fn inspect(path: &Path) -> Result<(Format, u64)> {
    let bad = |what: &str| Error::Cloud {
        what: format!("{} is no image that a machine can boot from: {what}", path.display()),
        hint: "a raw or qcow2 image that a distribution publishes for clouds is wanted".to_owned(),
    };
    if !path.is_file() {
        return Err(bad("there is no such file"));
    }
    let path = std::path::absolute(path).on("open", path)?;
    let mut command = Command::new(QEMU_IMG);
    command.args(["info", "--output=json"]).arg(&path);
    let output = run(command, Vec::new())?;
    if !output.status.success() {
        return Err(bad(&complaint(output.status, &output.stderr)));
    }
    let info: Info = serde_json::from_slice(&output.stdout)
        .map_err(|error| bad(&format!("{QEMU_IMG} says what is not understood: {error}")))?;
    judge(&info).map_err(|what| bad(&what))
}

fn judge(info: &Info) -> std::result::Result<(Format, u64), String> {
    let format = match info.format.as_str() {
        "raw" => Format::Raw,
        "qcow2" => Format::Qcow2,
        other => return Err(format!("its format is {other}")),
    };
    if let Some(below) = &info.backing_filename {
        return Err(format!("it is a layer above {below}"));
    }
    if info.encrypted {
        return Err("it is encrypted".to_owned());
    }
    let detail = |name| info.format_specific.as_ref().and_then(|specific| specific.pointer(name));
    if let Some(beside) = detail("/data/data-file") {
        return Err(format!("its data are in another file, {beside}"));
    }
    if detail("/data/corrupt") == Some(&Value::Bool(true)) {
        return Err("it is marked as damaged".to_owned());
    }
    match info.virtual_size {
        LEAST..=MOST => Ok((format, info.virtual_size)),
        size => Err(format!("it has {size} bytes")),
    }
}

/// Makes an empty layer in a file.
pub(super) fn make_layer(file: &File, size: u64) -> Result<()> {
    let file = file.try_clone().doing(|| "cannot make a layer of a disk".to_owned())?;
    let mut command = Command::new(QEMU_IMG);
    command.args(["create", "-q", "-f", "qcow2"]);
    command.arg(format!("/proc/self/fd/{}", file.as_raw_fd())).arg(size.to_string());
    let output = run(command, vec![file.into()])?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::Cloud {
            what: format!("cannot make a layer of a disk: {}", complaint(output.status, &output.stderr)),
            hint: "is there space in the cache folder?".to_owned(),
        }),
    }
}

/// Runs it to its end.
pub(crate) fn run(command: Command, inherited: Vec<OwnedFd>) -> Result<Output> {
    spawn::output_with(command, inherited).map_err(|error| Error::Cloud {
        what: format!("cannot run {QEMU_IMG}: {error}"),
        hint: "sudo apt-get install --no-install-recommends qemu-utils".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> std::result::Result<(Format, u64), String> {
        judge(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn only_whole_disks_are_taken() {
        let size = 2_u64 << 30;
        let disk = |rest: &str| judged(&format!(r#"{{"virtual-size": {size}, {rest}}}"#));
        assert_eq!(disk(r#""format": "raw""#), Ok((Format::Raw, size)));
        let plain = r#""format": "qcow2", "format-specific": {"type": "qcow2", "data": {"corrupt": false}}"#;
        assert_eq!(disk(plain), Ok((Format::Qcow2, size)));
        for (rest, reason) in [
            (r#""format": "vmdk""#, "its format is vmdk"),
            (r#""format": "qcow2", "backing-filename": "/etc/shadow""#, "a layer above /etc/shadow"),
            (r#""format": "qcow2", "encrypted": true"#, "encrypted"),
            (r#""format": "qcow2", "format-specific": {"data": {"data-file": "x"}}"#, "another file"),
            (r#""format": "qcow2", "format-specific": {"data": {"corrupt": true}}"#, "damaged"),
        ] {
            let complaint = disk(rest).unwrap_err();
            assert!(complaint.contains(reason), "{complaint}");
        }
        assert!(judged(r#"{"virtual-size": 512, "format": "raw"}"#).unwrap_err().contains("512 bytes"));
    }
}
