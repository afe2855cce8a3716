//! `natrig clean`.

use natrig_vmm::{Image, Store, Template};

use crate::{failure::Failure, output::print};

/// Empties the cache: what is made again by itself, and with `images` what must be fetched again.
pub fn clean(images: bool) -> Result<u8, Failure> {
    let store = Store::open_default()?;
    Template::remove_all(&store)?;
    natrig_vmm::AppDisk::remove_all(&store)?;
    print(&format!("removed templates and disks from {}", store.root().display()))?;
    if images {
        for image in Image::list(&store)? {
            image.remove()?;
            print(&format!("removed image {}", image.id()))?;
        }
    }
    Ok(0)
}
