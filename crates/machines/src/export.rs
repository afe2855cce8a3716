//! The gateway's image for whoever boots it by hand.

use std::{collections::BTreeMap, path::Path};

use natrig_agent_proto::standalone::PROFILES;
use natrig_nat::{Profile, profile::Named};
use natrig_vmm::{Exported, Image, Store};

use crate::RigError;

/// How every such machine is booted; the rest says what it is.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=10 rdinit=/init";

/// Writes kernel, initial file system and a disk that boots them, with these parameters for the gateway.
pub fn export(
    store: &Store,
    image: &Image,
    parameters: &str,
    folder: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Exported, RigError> {
    let more = [(PROFILES, profiles()?)];
    Ok(natrig_vmm::export(store, image, &more, &command_line(parameters), folder, progress)?)
}

/// The kernel's parameters of such a machine.
pub fn command_line(parameters: &str) -> String {
    format!("{COMMAND_LINE} {parameters}").trim_end().to_owned()
}

/// All that one gateway can be, by name.
fn profiles() -> Result<Vec<u8>, RigError> {
    let single = Named::all().into_iter().filter_map(|named| match named.chain.as_slice() {
        [profile] => Some((named.name.clone(), profile.clone())),
        _ => None,
    });
    let all: BTreeMap<String, Profile> = single.collect();
    serde_json::to_vec(&all).map_err(|error| RigError::Machines(natrig_vmm::Error::Image(error.to_string())))
}
