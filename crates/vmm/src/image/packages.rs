//! Debian packages, from apt or from a folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result, Store,
    error::{Doing, complaint},
    spawn,
    store::{self, Fingerprint, sha256},
};

/// What is asked of apt for images. Of what these depend on, libraries and the kernel itself are taken.
const OF_IMAGES: [&str; 12] = [
    "linux-image-cloud-amd64",
    "nftables",
    "iproute2",
    "conntrack",
    "tcpdump",
    "busybox-static",
    "dash",
    "bash",
    "miniupnpd-nftables",
    "miniupnpc",
    "libgcc-s1",
    "zlib1g",
];

const NETWORK: &str = "is there a network, and space? Without a network, natrig image build --packages FOLDER takes .deb files from a folder";

/// Where Debian's packages come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PackageSource {
    /// From apt, with the system's sources, unless they are in the cache already.
    #[default]
    Apt,
    /// From apt, whatever is in the cache.
    AptRefresh,
    /// All `.deb` files in a folder, for hosts without a network.
    Folder(PathBuf),
}

impl PackageSource {
    /// The folder that `NATRIG_PACKAGES` names, or apt.
    pub fn of_environment() -> Self {
        std::env::var_os("NATRIG_PACKAGES")
            .map_or(PackageSource::Apt, |folder| PackageSource::Folder(folder.into()))
    }
}

/// A package that went into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of its file; what came from apt has been held against apt's signed index.
    pub sha256: String,
}

/// A package and its file.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) package: Package,
    pub(crate) path: PathBuf,
}

/// Packages that are asked for together, with a folder of their own in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    names: Vec<String>,
    folder: String,
    /// Whose they are, for messages.
    whose: &'static str,
    /// Whether all that they depend on is taken, and not only what guests need.
    whole: bool,
    /// Whether a kernel must be among them.
    with_kernel: bool,
}

impl Wanted {
    /// Those of images, with this kernel in place of the newest.
    fn of_images(kernel: Option<&str>) -> Self {
        let [newest, rest @ ..] = OF_IMAGES;
        let first = match kernel {
            None => Some(newest),
            // It comes as a file.
            Some(file) if is_file(file) => None,
            Some(name) => Some(name),
        };
        let folder = match kernel {
            None => "packages".to_owned(),
            // What one kernel does not need, another one does.
            Some(kernel) => {
                format!("packages-{}", &Fingerprint::new("kernel").with(kernel).finish()[..16])
            }
        };
        let names = first.into_iter().chain(rest).map(str::to_owned).collect();
        Wanted { names, folder, whose: "the guest", whole: false, with_kernel: first.is_some() }
    }

    /// Those of an app, with all that they depend on.
    pub(crate) fn of_app(names: &[String]) -> Self {
        let key = names.iter().fold(Fingerprint::new("app packages"), Fingerprint::with);
        let folder = format!("app-packages-{}", &key.finish()[..16]);
        Wanted { names: names.to_vec(), folder, whose: "the app", whole: true, with_kernel: false }
    }

    fn remedy(&self) -> &'static str {
        if self.whole {
            "is the name right? `apt-cache policy NAME` says whether your sources have it; an app file may also name .deb files"
        } else {
            "Debian's main archive has them all: see /etc/apt/sources.list*, then sudo apt-get update; natrig image build --packages FOLDER takes .deb files from a folder"
        }
    }

    fn takes(&self, name: &str) -> bool {
        self.whole
            || is_kernel(name)
            || (self.names.iter().any(|asked| asked == name) && !name.starts_with("linux-image"))
            || (name.starts_with("lib") && !name.contains("-modules") && !name.ends_with("-bin"))
    }
}

pub(super) fn obtain(
    store: &Store,
    source: &PackageSource,
    kernel: Option<&str>,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Fetched>> {
    let wanted = Wanted::of_images(kernel);
    let mut fetched = match source {
        PackageSource::Folder(folder) => read_folder(folder)?,
        PackageSource::Apt => Cache::open(store, &wanted)?.obtain(false, progress)?,
        PackageSource::AptRefresh => Cache::open(store, &wanted)?.obtain(true, progress)?,
    };
    let Some(kernel) = kernel else { return Ok(fetched) };
    if is_file(kernel) {
        fetched.retain(|one| !is_kernel(&one.package.name));
        fetched.push(read_package(kernel.into())?);
    } else if matches!(source, PackageSource::Folder(_)) {
        fetched.retain(|one| !is_kernel(&one.package.name) || one.package.name == kernel);
    }
    match fetched.iter().any(|one| is_kernel(&one.package.name)) {
        true => Ok(fetched),
        false => Err(Error::Packages {
            reason: format!("no kernel is in {kernel}"),
            hint: "kernels are packages such as linux-image-6.1.0-47-cloud-amd64; `apt-cache search linux-image` lists them".to_owned(),
        }),
    }
}

/// Whether a kernel is named as a file.
fn is_file(kernel: &str) -> bool {
    kernel.ends_with(".deb")
}

/// Packages of an app, from apt unless they are in the cache.
pub(crate) fn of_app(
    store: &Store,
    names: &[String],
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Fetched>> {
    Cache::open(store, &Wanted::of_app(names))?.obtain(false, progress)
}

/// Packages of tools that are started here, with all that they depend on.
pub(crate) fn of_tools(
    store: &Store,
    names: &[&str],
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Fetched>> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let wanted = Wanted { whose: "the boot loader", ..Wanted::of_app(&names) };
    Cache::open(store, &wanted)?.obtain(false, progress)
}

/// What [`obtain`] would give, if that is known without looking at the packages.
pub(super) fn known(
    store: &Store,
    source: &PackageSource,
    kernel: Option<&str>,
) -> Result<Option<Vec<Package>>> {
    if *source != PackageSource::Apt || kernel.is_some_and(is_file) {
        return Ok(None);
    }
    let wanted = Wanted::of_images(kernel);
    let listed = listed(&store.folder(&wanted.folder)?, &wanted);
    Ok(listed.map(|listed| listed.into_iter().map(|listed| listed.package).collect()))
}

fn list_path(folder: &Path, wanted: &Wanted) -> PathBuf {
    // Another version of this crate may want others.
    let names = wanted.names.iter().fold(Fingerprint::new("packages"), Fingerprint::with);
    folder.join(format!("{}.json", names.finish()))
}

fn listed(folder: &Path, wanted: &Wanted) -> Option<Vec<Listed>> {
    let list = fs::read(list_path(folder, wanted)).ok()?;
    serde_json::from_slice(&list).ok()
}

/// The packages that were fetched before.
struct Cache<'a> {
    wanted: &'a Wanted,
    folder: PathBuf,
    _lock: store::Lock,
}

/// A package as the cache and apt know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    #[serde(flatten)]
    package: Package,
    file: String,
}

impl<'a> Cache<'a> {
    fn open(store: &Store, wanted: &'a Wanted) -> Result<Self> {
        let lock = store.lock(&wanted.folder)?;
        let folder = store.folder(&wanted.folder)?;
        store::sweep(&folder)?;
        Ok(Self { wanted, folder, _lock: lock })
    }

    fn obtain(&self, refresh: bool, progress: &mut dyn FnMut(&str)) -> Result<Vec<Fetched>> {
        if let Some(listed) = listed(&self.folder, self.wanted).filter(|_| !refresh)
            && let Some(fetched) = self.look_up(&listed)?
        {
            return Ok(fetched);
        }
        progress(&format!("asking apt for the packages of {}", self.wanted.whose));
        // The system's lists first; where they are missing or name what is gone, lists of our own.
        let listed = self.fetch(&Apt::system(), progress).or_else(|first| {
            progress("fetching apt's lists into the cache");
            let apt = Apt::private(&self.folder)?;
            let trouble = apt.update()?;
            self.fetch(&apt, progress).map_err(|second| match trouble {
                None => second,
                Some(said) => Error::Packages {
                    reason: format!("{}; apt-get update said: {said}", first.reason()),
                    hint: NETWORK.to_owned(),
                },
            })
        })?;
        let text = serde_json::to_vec_pretty(&listed).map_err(std::io::Error::from);
        let list = list_path(&self.folder, self.wanted);
        store::write_file(&list, &text.on("write", &list)?)?;
        self.drop_others(&listed)?;
        self.look_up(&listed)?.ok_or_else(|| Error::Packages {
            reason: "what apt fetched is not what its index says".to_owned(),
            hint: format!("remove {} and try again", self.folder.display()),
        })
    }

    /// The files of a list, if all are there and sound.
    fn look_up(&self, listed: &[Listed]) -> Result<Option<Vec<Fetched>>> {
        let mut fetched = Vec::with_capacity(listed.len());
        for Listed { package, file } in listed {
            let path = self.folder.join(file);
            match fs::read(&path) {
                Ok(content) if sha256(&content) == package.sha256 => {
                    fetched.push(Fetched { package: package.clone(), path })
                }
                _ => return Ok(None),
            }
        }
        Ok((!fetched.is_empty()).then_some(fetched))
    }

    fn fetch(&self, apt: &Apt, progress: &mut dyn FnMut(&str)) -> Result<Vec<Listed>> {
        let listed = apt.resolve(&self.folder, self.wanted)?;
        let missing: Vec<String> = listed
            .iter()
            .filter(|listed| !self.folder.join(&listed.file).exists())
            .map(|listed| format!("{}={}", listed.package.name, listed.package.version))
            .collect();
        if !missing.is_empty() {
            progress(&format!("fetching {} packages for {}", missing.len(), self.wanted.whose));
            apt.download(&self.folder, &missing)?;
        }
        // A file that was there under the right name may be damaged: away with it, so that the next try fetches it.
        for listed in &listed {
            let path = self.folder.join(&listed.file);
            if fs::read(&path).is_ok_and(|content| sha256(&content) != listed.package.sha256) {
                store::remove(&path)?;
                let wanted = format!("{}={}", listed.package.name, listed.package.version);
                apt.download(&self.folder, &[wanted])?;
            }
        }
        Ok(listed)
    }

    /// Removes packages that are in no list any more.
    fn drop_others(&self, listed: &[Listed]) -> Result<()> {
        for entry in fs::read_dir(&self.folder).on("list", &self.folder)? {
            let name = entry.on("list", &self.folder)?.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".deb") && !listed.iter().any(|listed| listed.file == name) {
                store::remove(&self.folder.join(&*name))?;
            }
        }
        Ok(())
    }
}

/// A way to call apt.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// With the lists that the system has.
    fn system() -> Self {
        Self {
            // Everybody may read what is fetched; apt need not become another user for it.
            options: vec!["APT::Sandbox::User=root".to_owned()],
        }
    }

    /// With lists of our own, from the system's sources.
    fn private(folder: &Path) -> Result<Self> {
        let state = folder.join("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = state.join(part);
            fs::create_dir_all(&path).on("make the folder", &path)?;
        }
        let state = state.display();
        let mut apt = Self::system();
        apt.options.extend([
            format!("Dir::State={state}"),
            format!("Dir::State::Lists={state}/lists"),
            format!("Dir::Cache={state}/cache"),
        ]);
        Ok(apt)
    }

    /// Fetches lists; says what went wrong with some of them, which may be those that matter or others.
    fn update(&self) -> Result<Option<String>> {
        let output = self.run(Path::new("/"), &["update"])?;
        let said = String::from_utf8_lossy(&output.stderr);
        let trouble = said.lines().find(|line| line.starts_with("E: ") || line.starts_with("W: "));
        Ok(trouble.map(str::to_owned))
    }

    /// Which packages are wanted, as apt would choose them for an empty system.
    fn resolve(&self, folder: &Path, wanted: &Wanted) -> Result<Vec<Listed>> {
        let mut words = vec![
            "-o",
            "Dir::State::status=/dev/null",
            "-o",
            "Acquire::ForceHash=SHA256",
            "--print-uris",
            "-qq",
            "--no-install-recommends",
            "install",
        ];
        words.extend(wanted.names.iter().map(String::as_str));
        let output = self.run(folder, &words)?;
        if !output.status.success() {
            return Err(Error::Packages {
                reason: format!(
                    "apt cannot install {}: {}",
                    wanted.names.join(", "),
                    complaint(output.status, &output.stderr)
                ),
                hint: wanted.remedy().to_owned(),
            });
        }
        let listed: Vec<Listed> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(parse_uri)
            .filter(|listed| wanted.takes(&listed.package.name))
            .collect();
        if !wanted.with_kernel || listed.iter().any(|listed| is_kernel(&listed.package.name)) {
            return Ok(listed);
        }
        Err(Error::Packages {
            reason: format!("apt offers no kernel for {}", wanted.names[0]),
            hint: "only hosts with Debian's own archive for amd64 have it; natrig image build --packages FOLDER takes .deb files from a folder".to_owned(),
        })
    }

    fn download(&self, folder: &Path, packages: &[String]) -> Result<()> {
        let mut words = vec!["-qq", "download"];
        words.extend(packages.iter().map(String::as_str));
        let output = self.run(folder, &words)?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Packages {
            reason: format!("apt-get download failed: {}", complaint(output.status, &output.stderr)),
            hint: NETWORK.to_owned(),
        })
    }

    fn run(&self, folder: &Path, words: &[&str]) -> Result<Output> {
        let options = self.options.iter().flat_map(|option| ["-o", option]);
        let mut command = Command::new("apt-get");
        command
            .args(options)
            .args(words)
            .current_dir(folder)
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        spawn::output(command)
            .map_err(|error| Error::Packages {
                reason: format!("cannot run apt-get: {error}"),
                hint: "on a host without apt, natrig image build --packages FOLDER takes Debian's .deb files from a folder".to_owned(),
            })
    }
}

fn is_kernel(name: &str) -> bool {
    name.strip_prefix("linux-image-")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// Reads a line of `--print-uris`: `'URI' NAME_VERSION_ARCH.deb SIZE SHA256:HEX`.
fn parse_uri(line: &str) -> Option<Listed> {
    let mut words = line.rsplit(' ');
    let sha256 = words.next()?.strip_prefix("SHA256:")?;
    let _size = words.next()?;
    let file = words.next()?;
    let sound = file.ends_with(".deb") && !file.contains('/');
    let mut parts = file.split('_');
    let name = parts.next()?.to_owned();
    let version = parts.next()?.replace("%3a", ":");
    sound.then(|| Listed {
        package: Package { name, version, sha256: sha256.to_owned() },
        file: file.to_owned(),
    })
}

fn read_folder(folder: &Path) -> Result<Vec<Fetched>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).on("list", folder)? {
        let path = entry.on("list", folder)?.path();
        if path.extension().is_some_and(|ending| ending == "deb") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::Packages {
            reason: format!("{} holds no .deb files", folder.display()),
            hint: format!(
                "on a host with a network: apt-get download {} and the libraries they depend on",
                OF_IMAGES.join(" ")
            ),
        });
    }
    files.into_iter().map(read_package).collect()
}

pub(crate) fn read_package(path: PathBuf) -> Result<Fetched> {
    let content = fs::read(&path).on("read", &path)?;
    let output = Command::new("dpkg-deb")
        .args(["--show", "--showformat=${Package} ${Version}"])
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .doing(|| "cannot run dpkg-deb".to_owned())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let Some((name, version)) = said.split_once(' ').filter(|_| output.status.success()) else {
        return Err(Error::Packages {
            reason: format!("{} is no package: {}", path.display(), complaint(output.status, &output.stderr)),
            hint: "remove it from the folder".to_owned(),
        });
    };
    Ok(Fetched {
        package: Package { name: name.to_owned(), version: version.to_owned(), sha256: sha256(&content) },
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apts_answer_is_read() {
        let line = "'http://deb.debian.org/debian/pool/main/t/tcpdump/tcpdump_4.99.3-1_amd64.deb' tcpdump_4.99.3-1_amd64.deb 466880 SHA256:43ce";
        let listed = parse_uri(line).unwrap();
        assert_eq!(listed.package.name, "tcpdump");
        assert_eq!(listed.package.version, "4.99.3-1");
        assert_eq!(listed.file, "tcpdump_4.99.3-1_amd64.deb");
        let line = "'http://x' conntrack_1%3a1.4.7-1+b2_amd64.deb 35240 SHA256:98";
        assert_eq!(parse_uri(line).unwrap().package.version, "1:1.4.7-1+b2");
    }

    #[test]
    fn nonsense_is_not_read_as_a_package() {
        for line in ["", "E: no", "'x' ../../etc/passwd_1_all.deb 1 SHA256:00", "'x' a 1 MD5Sum:00"] {
            assert_eq!(parse_uri(line), None, "{line}");
        }
    }

    #[test]
    fn of_the_dependencies_only_libraries_and_the_kernel_are_wanted() {
        for name in ["linux-image-6.1.0-56-cloud-amd64", "nftables", "libc6", "libnftables1"] {
            assert!(Wanted::of_images(None).takes(name), "{name}");
        }
        for name in ["linux-image-cloud-amd64", "udev", "coreutils", "libpam-modules-bin", "initramfs-tools"]
        {
            assert!(!Wanted::of_images(None).takes(name), "{name}");
            assert!(Wanted::of_app(&[]).takes(name), "{name}");
        }
    }

    #[test]
    fn an_empty_folder_says_what_it_should_hold() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("no .deb files") && error.contains("nftables"), "{error}");
    }

    #[test]
    fn a_folder_with_something_else_says_so() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.deb"), b"not a package").unwrap();
        let error = read_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is no package"), "{error}");
    }
}
