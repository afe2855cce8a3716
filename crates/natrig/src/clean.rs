//! `natrig clean`.

use natrig_vmm::{Image, Store, Template};

use crate::failure::Failure;

/// Empties the cache: what is made again by itself, and with `images` what must be fetched again.
pub fn clean(images: bool) -> Result<u8, Failure> {
    let store = Store::open_default()?;
    Template::remove_all(&store)?;
    natrig_vmm::AppDisk::remove_all(&store)?;
    println!("removed templates and disks from {}", store.root().display());
    if images {
        for image in Image::list(&store)? {
            image.remove()?;
            println!("removed image {}", image.id());
        }
    }
    Ok(0)
}
