//! Disks of distributions in the cache, each with the hash that was locked when it first came.

use std::{
    fs::{self, File},
    io::{BufReader, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};

use super::{CloudImage, download};
use crate::{
    Error, Result, Store,
    error::{Doing, complaint},
    spawn,
    store::{self, NewFile},
};

/// Where a publisher has a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What it is called here.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Where the list of hashes is.
    pub sums: Option<String>,
    /// What was signed.
    pub signed: Option<Signed>,
    /// The SHA-256 that it must have.
    pub sha256: Option<String>,
}

/// A publisher's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Where it is.
    pub url: String,
    /// Whether the disk itself was signed, and not the list of hashes.
    pub image: bool,
    /// The keys that it may be of.
    pub keyring: PathBuf,
}

/// What is enough to take a disk for what was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// A signature, or a hash that is told.
    Signature,
    /// TLS alone.
    Transport,
}

/// The disks of a cache.
#[derive(Debug)]
pub struct Shelf<'a> {
    store: &'a Store,
}

/// A disk that has come, and what it is held against from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelved {
    /// What it is called.
    pub name: String,
    /// Where it came from.
    pub url: String,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// Its length, in bytes.
    pub bytes: u64,
    /// How it was known to be what was published.
    pub known_by: String,
}

impl<'a> Shelf<'a> {
    /// Those of a cache.
    pub fn of(store: &'a Store) -> Self {
        Self { store }
    }

    /// All of them, by name.
    pub fn list(&self) -> Result<Vec<Shelved>> {
        let folder = self.folder()?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).on("list", &folder)? {
            let path = entry.on("list", &folder)?.path();
            if path.extension().is_some_and(|ending| ending == "json")
                && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names.into_iter().filter_map(|name| self.locked(&name)).collect())
    }

    /// The disk of that name, if it has come and is whole.
    pub fn find(&self, name: &str) -> Result<Option<CloudImage>> {
        let Some(lock) = self.locked(name) else { return Ok(None) };
        let path = self.disk(name)?;
        match path.metadata() {
            Ok(there) if there.len() == lock.bytes => Ok(Some(CloudImage::open(&path)?)),
            _ => Ok(None),
        }
    }

    /// Fetches a disk, unless it is there, and locks its hash. One whose hash was locked before must have that again.
    pub fn fetch(
        &self,
        published: &Published,
        trust: Trust,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Shelved> {
        let name = &published.name;
        let _lock = self.store.lock(&format!("cloud-{name}"))?;
        let disk = self.disk(name)?;
        let before = self.locked(name);
        if let Some(lock) = &before
            && disk.metadata().is_ok_and(|there| there.len() == lock.bytes)
            && digests(&disk)?.0 == lock.sha256
        {
            return Ok(lock.clone());
        }
        let expected = Expected::of(published, trust, before.as_ref())?;
        progress(&format!("fetching {}", published.url));
        let part = disk.with_extension("part");
        download::file(&published.url, &part, progress)?;
        let (sha256, sha512) = digests(&part)?;
        if let Err(error) = expected.hold(published, &part, &sha256, &sha512) {
            // Going on with it would only come to the same end.
            store::remove(&part)?;
            return Err(error);
        }
        CloudImage::open(&part)?;
        let bytes = part.metadata().on("read", &part)?.len();
        fs::rename(&part, &disk).on("write", &disk)?;
        let known_by = expected.known_by;
        let lock = Shelved { name: name.clone(), url: published.url.clone(), sha256, bytes, known_by };
        let text = serde_json::to_vec_pretty(&lock).map_err(std::io::Error::from);
        let path = disk.with_extension("json");
        store::write_file(&path, &text.on("write", &path)?)?;
        Ok(lock)
    }

    /// Removes the disk of that name and forgets its hash; says whether there was one.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let disk = self.disk(name)?;
        let there = disk.exists() || self.locked(name).is_some();
        for ending in ["json", "part", "disk"] {
            store::remove(&disk.with_extension(ending))?;
        }
        Ok(there)
    }

    fn locked(&self, name: &str) -> Option<Shelved> {
        let text = fs::read(self.disk(name).ok()?.with_extension("json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn disk(&self, name: &str) -> Result<PathBuf> {
        // A dot in a name is no ending.
        Ok(self.folder()?.join(format!("{name}.disk")))
    }

    fn folder(&self) -> Result<PathBuf> {
        self.store.folder("cloud")
    }
}

/// What a disk must be.
struct Expected {
    /// Its SHA-256 or SHA-512, by their length.
    hashes: Vec<(String, &'static str)>,
    /// A signature of the disk itself.
    signature: Option<(Vec<u8>, PathBuf)>,
    known_by: String,
}

impl Expected {
    fn of(published: &Published, trust: Trust, before: Option<&Shelved>) -> Result<Self> {
        let mut expected = Expected { hashes: Vec::new(), signature: None, known_by: String::new() };
        let mut known = Vec::new();
        if let Some(told) = &published.sha256 {
            expected.hashes.push((told.clone(), "the one that was told"));
            known.push("the SHA-256 that was told".to_owned());
        }
        let sums = published.sums.as_deref().map(download::note).transpose()?;
        if let Some(signed) = &published.signed {
            let signature = download::note(&signed.url)?;
            let keyring = signed.keyring.display();
            match (&sums, signed.image) {
                (Some(sums), false) => {
                    let message = NewFile::create(&std::env::temp_dir())?;
                    message.file().write_all(sums).doing(|| "cannot keep a list of hashes".to_owned())?;
                    verify(&signature, message.file(), &signed.keyring)?;
                    known.push(format!("sums that are signed by a key of {keyring}"));
                }
                _ => {
                    expected.signature = Some((signature, signed.keyring.clone()));
                    known.push(format!("a signature by a key of {keyring}"));
                }
            }
        }
        if known.is_empty() {
            let all_tls = [Some(&published.url), published.sums.as_ref()];
            let all_tls = all_tls.into_iter().flatten().all(|url| url.starts_with("https://"));
            if trust != Trust::Transport || !all_tls {
                return Err(Error::Cloud {
                    what: format!("nothing that is signed says what {} must be", published.url),
                    hint: match all_tls {
                        true => {
                            "tell its hash with --sha256, or take what TLS brings with --unsigned".to_owned()
                        }
                        false => {
                            "tell its hash with --sha256: what comes by http could be anybody's".to_owned()
                        }
                    },
                });
            }
            known.push("sums that came by TLS, unsigned".to_owned());
        }
        if let Some(sums) = &sums {
            expected.hashes.push((listed(sums, &published.url)?, "the publisher's"));
        }
        if let Some(before) = before {
            expected.hashes.push((before.sha256.clone(), "the one that was locked when it first came"));
        }
        expected.known_by = known.join(", ");
        Ok(expected)
    }

    fn hold(&self, published: &Published, disk: &Path, sha256: &str, sha512: &str) -> Result<()> {
        for (hash, whose) in &self.hashes {
            let own = if hash.len() == sha512.len() { sha512 } else { sha256 };
            if own != hash {
                return Err(Error::Cloud {
                    what: format!(
                        "{} is not what it must be: its hash is {own}, {whose} is {hash}",
                        published.url
                    ),
                    hint: format!(
                        "it was removed. If the publisher has a new one, `natrig image rm {}` forgets the old one",
                        published.name
                    ),
                });
            }
        }
        match &self.signature {
            None => Ok(()),
            Some((signature, keyring)) => verify(signature, &File::open(disk).on("open", disk)?, keyring),
        }
    }
}

/// The SHA-256 and the SHA-512 of a file.
fn digests(path: &Path) -> Result<(String, String)> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).on("open", path)?);
    let (mut short, mut long) = (Sha256::new(), Sha512::new());
    let mut chunk = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut chunk).on("read", path)?;
        let read = chunk.get(..count).unwrap_or_default();
        if read.is_empty() {
            return Ok((hex::encode(short.finalize()), hex::encode(long.finalize())));
        }
        short.update(read);
        long.update(read);
    }
}

/// The hash of a file in a list as `sha256sum` or `sha512sum` writes it: in plain or with `--tag`.
fn listed(sums: &[u8], url: &str) -> Result<String> {
    let name = url.rsplit('/').next().unwrap_or_default();
    let text = String::from_utf8_lossy(sums);
    let is_hash =
        |word: &str| matches!(word.len(), 64 | 128) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = text.lines().find_map(|line| {
        if let Some((tag, hash)) = line.split_once(" = ") {
            return (tag.contains(&format!("({name})")) && is_hash(hash.trim())).then(|| hash.trim());
        }
        let mut words = line.split_whitespace();
        let hash = words.next().filter(|word| is_hash(word))?;
        match words.next() {
            Some(named) => (named.trim_start_matches(['*', '.', '/']) == name).then_some(hash),
            // A list of one file may not name it.
            None => (text.lines().count() == 1).then_some(hash),
        }
    });
    found.map(str::to_ascii_lowercase).ok_or_else(|| Error::Cloud {
        what: format!("the publisher's list of hashes has no {name}"),
        hint: "publishers move old images away: see the recipe".to_owned(),
    })
}

/// Holds a signature against what was signed, with `gpgv`.
fn verify(signature: &[u8], message: &File, keyring: &Path) -> Result<()> {
    let bad = |what: String, hint: &str| Error::Cloud { what, hint: hint.to_owned() };
    if !keyring.is_file() {
        return Err(bad(
            format!("there are no keys in {}", keyring.display()),
            "keys come from the publisher, not from natrig: `gpg --export` writes such a file, --keyring names it",
        ));
    }
    let kept = NewFile::create(&std::env::temp_dir())?;
    kept.file().write_all(signature).doing(|| "cannot keep a signature".to_owned())?;
    let opened = |file: &File| file.try_clone().doing(|| "cannot open a signature".to_owned());
    let files = [opened(kept.file())?, opened(message)?];
    let mut command = Command::new("gpgv");
    command.arg("--keyring").arg(std::path::absolute(keyring).on("open", keyring)?);
    command.args(files.iter().map(|file| format!("/proc/self/fd/{}", file.as_raw_fd())));
    let output = spawn::output_with(command, files.map(OwnedFd::from).into()).map_err(|error| {
        bad(format!("cannot run gpgv: {error}"), "sudo apt-get install --no-install-recommends gpgv")
    })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(bad(
            format!("the publisher's signature does not hold: {}", complaint(output.status, &output.stderr)),
            "nothing was taken over; are these the publisher's keys?",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_found_in_any_list() {
        let (short, long) = ("a".repeat(64), "B".repeat(128));
        let url = "https://a.example/x/disk.qcow2";
        for (list, wanted) in [
            (format!("{short}  other\n{short} *disk.qcow2\n"), Some(&short)),
            (format!("{long}  ./disk.qcow2\n"), Some(&long)),
            (format!("SHA256 (disk.qcow2) = {short}\n"), Some(&short)),
            (format!("{short}\n"), Some(&short)),
            (format!("{short}  other.qcow2\n"), None),
            (format!("{short}  a-disk.qcow2\n"), None),
            ("<html>404</html>".to_owned(), None),
            ("abc  disk.qcow2".to_owned(), None),
        ] {
            let found = listed(list.as_bytes(), url).ok();
            assert_eq!(found, wanted.map(|hash| hash.to_ascii_lowercase()), "{list}");
        }
    }
}
