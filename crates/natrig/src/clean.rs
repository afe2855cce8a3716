//! `natrig clean`.

use natrig_vmm::{AppDisk, Store, Template};

use crate::{failure::Failure, output::print};

/// Empties the cache: what is made again by itself, or `all`, also what must be fetched again.
pub fn clean(all: bool) -> Result<u8, Failure> {
    let store = Store::open_default()?;
    let what = if all {
        store.clear()?;
        "packages, images, templates and disks"
    } else {
        Template::remove_all(&store)?;
        AppDisk::remove_all(&store)?;
        "templates and disks"
    };
    print(&format!("removed {what} from {}", store.root().display()))?;
    Ok(0)
}
