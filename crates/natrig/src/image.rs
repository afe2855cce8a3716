//! `natrig image`.

use natrig_machines::{Programs, build_image, cloud};
use natrig_nat::{engine::Prefix, profile::Named};
use natrig_vmm::{Image, Shelf, Shelved, Store, Trust};

use crate::{
    cli::{ExportArguments, FetchArguments, ImageCommand},
    failure::Failure,
    output::{print, tell},
    prepare,
};

/// Makes, fetches, lists or removes images.
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
            for disk in Shelf::of(&store).list()? {
                print(&shelved(&disk))?;
            }
        }
        ImageCommand::Recipes => {
            for recipe in cloud::recipes()? {
                print(&format!("{}\n  {}", recipe.name, recipe.url))?;
            }
        }
        ImageCommand::Fetch(arguments) => fetch(&store, arguments)?,
        ImageCommand::Export(arguments) => export(&store, &arguments)?,
        ImageCommand::Rm { ids, all } => remove(&store, &ids, all)?,
    }
    Ok(0)
}

fn fetch(store: &Store, arguments: FetchArguments) -> Result<(), Failure> {
    let mut published = cloud::published(&cloud::recipe(&arguments.recipe)?);
    if let Some(told) = arguments.sha256 {
        if told.len() != 64 || !told.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Failure::Usage("--sha256 wants 64 hexadecimal digits".to_owned()));
        }
        published.sha256 = Some(told.to_ascii_lowercase());
        // Whoever has told the hash needs nobody's signature.
        published.signed = None;
    }
    match (arguments.keyring, &mut published.signed) {
        (Some(keyring), Some(signed)) => signed.keyring = keyring,
        (Some(_), None) => {
            return Err(Failure::Usage("--keyring is of no use: no signature is looked for".to_owned()));
        }
        (None, _) => {}
    }
    let trust = if arguments.unsigned { Trust::Transport } else { Trust::Signature };
    let disk = Shelf::of(store).fetch(&published, trust, &mut |line| tell(line))?;
    print(&shelved(&disk))?;
    print(&format!("  sha256 {}, known by {}", disk.sha256, disk.known_by))
}

fn export(store: &Store, arguments: &ExportArguments) -> Result<(), Failure> {
    let ExportArguments { folder, nat, wan, via, lan, netem } = arguments;
    let known =
        Named::find(nat).map_err(|unknown| Failure::Usage(format!("{unknown}\nhint: {}", unknown.hint())))?;
    if known.chain.len() != 1 {
        return Err(Failure::Usage(format!("`{nat}` is a chain of gateways, and this image is one of them")));
    }
    for (option, text) in [("wan", wan), ("lan", lan)] {
        if let Some(wrong) = text.split(',').find(|text| text.parse::<Prefix>().is_err()) {
            return Err(Failure::Usage(format!(
                "--{option} wants an address and a length, as in 192.168.1.1/24, not `{wrong}`"
            )));
        }
    }
    let mut parameters = format!("natrig.nat={} natrig.wan={wan} natrig.lan={lan}", known.name);
    if let Some(via) = via {
        parameters.push_str(&format!(" natrig.via={via}"));
    }
    if let Some(netem) = netem {
        if netem.contains(char::is_whitespace) {
            return Err(Failure::Usage("--netem has no spaces: delay:50ms,loss:1%".to_owned()));
        }
        parameters.push_str(&format!(" natrig.netem={netem}"));
    }
    let programs = Programs::find()?;
    let image = build_image(store, &programs, prepare::source(None), &mut |line| tell(line))?;
    let exported = natrig_machines::export(store, &image, &parameters, folder, &mut |line| tell(line))?;
    for path in [&exported.kernel, &exported.initrd, &exported.disk] {
        print(&path.display().to_string())?;
    }
    print(&format!("the kernel's parameters: {}", natrig_machines::command_line(&parameters)))
}

fn remove(store: &Store, ids: &[String], all: bool) -> Result<(), Failure> {
    let (images, shelf) = (Image::list(store)?, Shelf::of(store));
    let disks = shelf.list()?;
    let is = |image: &Image, id: &String| !id.is_empty() && image.id().starts_with(id.as_str());
    for id in ids {
        if !images.iter().any(|image| is(image, id)) && !disks.iter().any(|disk| disk.name == *id) {
            return Err(Failure::Usage(format!(
                "no image's ID starts with `{id}`, and none is called so\nhint: natrig image ls"
            )));
        }
    }
    if ids.is_empty() && !all {
        return Err(Failure::Usage("name images by the start of their IDs, or --all".to_owned()));
    }
    for image in images.iter().filter(|image| all || ids.iter().any(|id| is(image, id))) {
        image.remove()?;
        print(&format!("removed {}", image.id()))?;
    }
    for disk in disks.iter().filter(|disk| all || ids.contains(&disk.name)) {
        shelf.remove(&disk.name)?;
        print(&format!("removed {}", disk.name))?;
    }
    Ok(())
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

fn shelved(disk: &Shelved) -> String {
    format!("{}  {}  {} MB", disk.name, disk.url, disk.bytes >> 20)
}
