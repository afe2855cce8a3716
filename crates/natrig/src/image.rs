//! `natrig image`.

use natrig_machines::{Programs, build_image};
use natrig_vmm::{Image, Store};

use crate::{
    cli::ImageCommand,
    failure::Failure,
    output::{print, tell},
    prepare,
};

/// Makes, lists or removes images.
pub fn image(what: ImageCommand) -> Result<u8, Failure> {
    let store = Store::open_default()?;
    match what {
        ImageCommand::Build { packages } => {
            let programs = Programs::find()?;
            let image = build_image(&store, &programs, prepare::source(packages), &mut |line| tell(line))?;
            print(&line(&image))?;
            for package in &image.manifest().packages {
                print(&format!("  {} {} {}", package.name, package.version, package.sha256))?;
            }
        }
        ImageCommand::Ls => {
            for image in Image::list(&store)? {
                print(&line(&image))?;
            }
        }
        ImageCommand::Rm { ids, all } => {
            let images = Image::list(&store)?;
            for id in &ids {
                if id.is_empty() || !images.iter().any(|image| image.id().starts_with(id.as_str())) {
                    return Err(Failure::Usage(format!(
                        "no image's ID starts with `{id}`\nhint: natrig image ls"
                    )));
                }
            }
            if ids.is_empty() && !all {
                return Err(Failure::Usage("name images by the start of their IDs, or --all".to_owned()));
            }
            for image in &images {
                if all || ids.iter().any(|id| image.id().starts_with(id.as_str())) {
                    image.remove()?;
                    print(&format!("removed {}", image.id()))?;
                }
            }
        }
    }
    Ok(0)
}

fn line(image: &Image) -> String {
    let manifest = image.manifest();
    let short: String = image.id().chars().take(12).collect();
    format!(
        "{short}  kernel {}  {} packages  {} MB",
        manifest.kernel,
        manifest.packages.len(),
        manifest.bytes >> 20
    )
}
