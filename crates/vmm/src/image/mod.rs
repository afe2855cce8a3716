//! Guest images: a Debian kernel, a few of Debian's programs, and the guest program.

pub(crate) mod archive;
mod modules;
pub(crate) mod packages;
mod programs;
pub(crate) mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
};

use natrig_agent_proto::tenant;
use serde::{Deserialize, Serialize};

pub use packages::{Package, PackageSource};

use crate::{
    Error, Result, Store,
    error::Doing,
    store::{self, Fingerprint, NewFile, sha256},
};
use archive::Archive;
use modules::Modules;
use tree::Tree;

/// How many images are kept: those for the last builds of the guest program.
const KEPT: usize = 8;

/// How images are made is part of what they are made of: a change here makes other images.
const RECIPE: [&str; 5] = [
    include_str!("mod.rs"),
    include_str!("archive.rs"),
    include_str!("modules.rs"),
    include_str!("programs.rs"),
    include_str!("tree.rs"),
];

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct ImageSpec<'a> {
    /// The static program that becomes PID 1.
    pub guest_program: &'a [u8],
    /// Where Debian's packages come from.
    pub packages: PackageSource,
    /// The package of the kernel, by name or as a `.deb` file; the newest cloud kernel, if none is named.
    pub kernel: Option<&'a str>,
}

/// A kernel and an initial file system for guests, in the cache.
#[derive(Debug, Clone)]
pub struct Image {
    id: String,
    manifest: Manifest,
    kernel: PathBuf,
    initrd: PathBuf,
}

/// What is in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The kernel's release, such as `6.1.0-40-cloud-amd64`.
    pub kernel: String,
    /// The packages that went in.
    pub packages: Vec<Package>,
    /// The SHA-256 of the guest program.
    pub guest_program: String,
    /// The kernel modules, in the order in which they are loaded.
    pub modules: Vec<String>,
    /// The SHA-256 of the kernel file.
    pub kernel_sha256: String,
    /// The SHA-256 of the initial file system.
    pub initrd_sha256: String,
    /// The size of both, in bytes.
    pub bytes: u64,
}

impl Image {
    /// Opens the image made of this, or makes it. Packages are fetched only where none are in the cache.
    pub fn build(store: &Store, spec: &ImageSpec<'_>, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let folder = store.folder("images")?;
        let id = |packages: &[Package]| {
            let key = Fingerprint::new("image").with(sha256(spec.guest_program));
            let key = RECIPE.iter().fold(key, Fingerprint::with);
            let hashes = packages.iter().map(|package| &package.sha256);
            hashes.fold(key, Fingerprint::with).finish()
        };
        // Most often there is nothing to do, and no need to look at the packages themselves.
        if let Some(packages) = packages::known(store, &spec.packages, spec.kernel)?
            && let Some(image) = Self::open(&folder, &id(&packages))?
        {
            store::touch(&image.kernel);
            return Ok(image);
        }
        let fetched = packages::obtain(store, &spec.packages, spec.kernel, progress)?;
        let packages: Vec<Package> = fetched.iter().map(|fetched| fetched.package.clone()).collect();
        let id = id(&packages);
        let _lock = store.lock("images")?;
        if let Some(image) = Self::open(&folder, &id)? {
            return Ok(image);
        }
        store::sweep(&folder)?;
        progress("putting the guest's image together");
        make(&folder, &id, &fetched, spec.guest_program)?;
        store::prune(&folder, KEPT)?;
        Self::open(&folder, &id)?
            .ok_or_else(|| Error::Image("an image that was just made cannot be read back".to_owned()))
    }

    /// The images in the cache.
    pub fn list(store: &Store) -> Result<Vec<Self>> {
        let folder = store.folder("images")?;
        let mut images = Vec::new();
        for entry in fs::read_dir(&folder).on("list", &folder)? {
            let path = entry.on("list", &folder)?.path();
            if path.extension().is_some_and(|ending| ending == "json")
                && let Some(id) = path.file_stem().and_then(|stem| stem.to_str())
                && let Some(image) = Self::open(&folder, id)?
            {
                images.push(image);
            }
        }
        images.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(images)
    }

    /// Removes it from the cache. Templates made of it go on working.
    pub fn remove(&self) -> Result<()> {
        let manifest = manifest_path(self.folder(), &self.id);
        [&manifest, &self.kernel, &self.initrd].into_iter().try_for_each(|path| store::remove(path))
    }

    /// The hash of what it was made of.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is in it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the kernel is.
    pub fn kernel(&self) -> &Path {
        &self.kernel
    }

    /// Where the initial file system is.
    pub fn initrd(&self) -> &Path {
        &self.initrd
    }

    pub(crate) fn folder(&self) -> &Path {
        self.kernel.parent().unwrap_or(Path::new("/"))
    }

    fn open(folder: &Path, id: &str) -> Result<Option<Self>> {
        let Ok(manifest) = fs::read(manifest_path(folder, id)) else {
            return Ok(None);
        };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&manifest) else {
            return Ok(None);
        };
        let image = Self {
            id: id.to_owned(),
            kernel: folder.join(format!("{id}.kernel")),
            initrd: folder.join(format!("{id}.initrd")),
            manifest,
        };
        let length = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
        let whole = length(&image.kernel) + length(&image.initrd) == image.manifest.bytes;
        Ok(whole.then_some(image))
    }
}

fn manifest_path(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.json"))
}

/// Writes an image's files, the manifest last.
fn make(folder: &Path, id: &str, packages: &[packages::Fetched], guest_program: &[u8]) -> Result<()> {
    let mut tree = Tree::default();
    for package in packages {
        tree.unpack(&package.path, tree::of_images)?;
    }
    let (release, kernel) = kernel(&tree)?;
    let modules = Modules::of(&tree, &release).select()?;

    let mut archive = Archive::default();
    for name in ["dev", "etc", "proc", "run", "sys", "tmp", "root", "app", "var"] {
        archive.folder(name);
    }
    archive.file(INIT, 0o755, guest_program);
    for applet in GUEST_APPLETS {
        archive.link(&format!("usr/bin/{applet}"), "/init");
    }
    let mut load_order = String::new();
    for module in &modules {
        archive.file(&module.path, 0o644, &module.content);
        load_order.push_str(&format!("/{}\n", module.path));
    }
    archive.file(MODULES, 0o644, load_order.as_bytes());
    for (path, content) in ACCOUNTS {
        archive.file(path, 0o644, content.as_bytes());
    }
    archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n");
    programs::add(&mut archive, &tree)?;
    let initrd = archive.finish();

    let modules = modules.into_iter().map(|module| module.name).collect();
    let manifest = Manifest {
        kernel: release,
        packages: packages.iter().map(|fetched| fetched.package.clone()).collect(),
        guest_program: sha256(guest_program),
        modules,
        kernel_sha256: sha256(kernel),
        initrd_sha256: sha256(&initrd),
        bytes: (kernel.len() + initrd.len()) as u64,
    };
    for (ending, content) in [("kernel", kernel), ("initrd", &initrd)] {
        let path = folder.join(format!("{id}.{ending}"));
        let file = NewFile::create(folder)?;
        std::io::Write::write_all(&mut file.file(), content).on("write", &path)?;
        file.publish(&path)?;
    }
    let path = manifest_path(folder, id);
    let text = serde_json::to_vec_pretty(&manifest).map_err(std::io::Error::from);
    store::write_file(&path, &text.on("write", &path)?)
}

/// The guest program.
pub(crate) const INIT: &str = "init";

/// Which modules are loaded, in their order.
pub(crate) const MODULES: &str = "etc/natrig/modules";

/// Debian's tcpdump becomes the user of its name once it has opened what it listens on.
const ACCOUNTS: [(&str, &str); 2] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ntcpdump:x:100:100::/tmp:/bin/false\n"),
    ("etc/group", "root:x:0:\ntcpdump:x:100:\n"),
];

/// What the guest program is also called, beside `/init`.
const GUEST_APPLETS: [&str; 7] =
    ["stun-server", "prober", "nat-model", "mapping-mirror", "in-world", "carry", tenant::OUTSIDE];

fn kernel(tree: &Tree) -> Result<(String, &[u8])> {
    let mut kernels = tree
        .files_under("boot/")
        .filter_map(|(path, content)| Some((path.strip_prefix("boot/vmlinuz-")?, content)));
    match (kernels.next(), kernels.next()) {
        (Some((release, content)), None) => Ok((release.to_owned(), content)),
        (None, _) => Err(Error::Image("no package has a kernel (boot/vmlinuz-*)".to_owned())),
        (Some((one, _)), Some((other, _))) => Err(Error::Image(format!(
            "two kernels, {one} and {other}: one package linux-image-*-cloud-amd64 is wanted"
        ))),
    }
}
