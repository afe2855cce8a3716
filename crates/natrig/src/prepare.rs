//! What must be there before the first machine.

use std::path::PathBuf;

use natrig_machines::{Programs, Rig};
use natrig_vmm::PackageSource;

use crate::failure::Failure;

/// Makes image, templates and disk where they are missing.
pub fn rig(packages: Option<PathBuf>, seed: u64, progress: &mut dyn FnMut(&str)) -> Result<Rig, Failure> {
    let programs = Programs::find()?;
    Ok(Rig::prepare(&programs, source(packages), seed, progress)?)
}

/// Where Debian's packages come from.
pub fn source(packages: Option<PathBuf>) -> PackageSource {
    packages.map_or_else(PackageSource::of_environment, PackageSource::Folder)
}
