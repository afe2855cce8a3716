//! Disks that distributions publish for clouds: as machines that boot their own kernel and services.
//!
//! Nothing is written to such a disk. A machine boots once from a layer above it, with cloud-init and a disk (`seed`) that brings the
//! agent, and is saved; copies start from there, each with a layer of its own that goes with it.

mod download;
pub(crate) mod inspect;
pub(crate) mod seed;
mod shelf;

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use natrig_agent_proto::tenant;
use serde::Deserialize;

use crate::{
    Error, Format, Image, Machine, Result,
    error::Doing,
    store::{Fingerprint, NewFile, sha256},
    template::content_hash,
};

pub use inspect::QEMU_IMG;
pub use shelf::{Published, Shelf, Shelved, Signed, Trust};

/// How long a distribution may take to boot and to be through with cloud-init. Emulated, Debian needs a little more than a minute.
pub(crate) const BOOT_PATIENCE: Duration = Duration::from_secs(900);

/// The largest that a note of cloud-init may be.
const MOST_SAID: u64 = 64 << 10;

/// A disk of a distribution, which has been looked at.
#[derive(Debug, Clone)]
pub struct CloudImage {
    path: PathBuf,
    format: Format,
    /// The size that a machine sees, in bytes.
    size: u64,
    /// The hash of its content.
    id: String,
}

/// A distribution's machine.
#[derive(Debug, Clone, Copy)]
pub struct CloudSpec<'a> {
    /// Its disk.
    pub image: &'a CloudImage,
    /// What cloud-init is told: `#cloud-config`, or a script.
    pub user_data: &'a str,
    /// The guests' image, from which the agent and its programs come.
    pub guests: &'a Image,
}

impl CloudImage {
    /// Looks at a disk: raw or qcow2, whole, with nothing below it and nothing beside it.
    pub fn open(path: &Path) -> Result<Self> {
        let (format, size) = inspect::inspect(path)?;
        let file = File::open(path).on("open", path)?;
        let id = content_hash(&file).on("read", path)?;
        Ok(Self { path: path.to_owned(), format, size, id })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// A layer to be written to, above this disk or above another such layer.
    pub(crate) fn layer(&self, folder: &Path) -> Result<NewFile> {
        let layer = NewFile::create(folder)?;
        inspect::make_layer(layer.file(), self.size)?;
        Ok(layer)
    }
}

impl CloudSpec<'_> {
    /// Of all that it is made of.
    pub(crate) fn fingerprint(&self, key: Fingerprint) -> Fingerprint {
        let key = key.with("cloud").with(&self.image.id).with(self.guests.id());
        seed::RECIPE.iter().fold(key.with(sha256(self.user_data.as_bytes())), Fingerprint::with)
    }
}

/// What cloud-init says of a boot.
#[derive(Debug, Deserialize)]
struct Told {
    v1: First,
}

#[derive(Debug, Deserialize)]
struct First {
    #[serde(default)]
    datasource: Option<String>,
    #[serde(default)]
    errors: Vec<String>,
}

/// Holds that cloud-init was told what it was to be told, and did it.
pub(crate) fn hold_boot(machine: &Machine) -> Result<()> {
    let path = format!("{}{}", tenant::MACHINE, tenant::BOOTED);
    hold(&machine.agent().read_file(&path, MOST_SAID)?)
}

fn hold(said: &[u8]) -> Result<()> {
    let told: Told = serde_json::from_slice(said).map_err(|error| Error::Cloud {
        what: format!("what cloud-init says of its boot cannot be read: {error}"),
        hint: "version 22.4 writes what is read here".to_owned(),
    })?;
    if !told.v1.errors.is_empty() {
        return Err(Error::Cloud {
            what: format!("cloud-init failed in the machine: {}", told.v1.errors.join("; ")),
            hint: "see the template that `cloud_init` names, and that the image needs no network for it"
                .to_owned(),
        });
    }
    match told.v1.datasource {
        Some(source) if source.contains("NoCloud") => Ok(()),
        other => Err(Error::Cloud {
            what: format!(
                "cloud-init took what it was told from {}, not from the disk that it was given",
                other.as_deref().unwrap_or("nowhere")
            ),
            hint: "an image with the datasource NoCloud is wanted".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(said: &str) -> String {
        hold(said.as_bytes()).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_cloud_init_says_is_held() {
        let good = r#"{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vdc][dsmode=net]", "errors": []}}"#;
        assert_eq!(complaint(good), "");
        let failed = r#"{"v1": {"datasource": "DataSourceNoCloud", "errors": ["runcmd: exit 1"]}}"#;
        assert!(complaint(failed).contains("runcmd: exit 1"));
        assert!(
            complaint(r#"{"v1": {"datasource": "DataSourceEc2", "errors": []}}"#).contains("DataSourceEc2")
        );
        assert!(complaint(r#"{"v1": {"datasource": null}}"#).contains("nowhere"));
        assert!(complaint("not JSON").contains("cannot be read"));
    }
}
