//! What is in a number of packages, as one file tree in memory.

use std::{
    collections::BTreeMap,
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Error, Result,
    error::{Doing, complaint},
};

/// How many links may lead from a name to its file.
const MAX_LINKS: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Its permissions and its content.
    File(u16, Vec<u8>),
    /// Where it leads.
    Link(String),
}

/// Files and symbolic links by their path, without a leading slash. What lies in `/bin`, `/sbin` and `/lib*` lies in `/usr`
/// here, as it does on an installed system.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Adds what is in a package; only `dpkg-deb` knows how it is packed.
    pub(crate) fn unpack(&mut self, package: &Path, wanted: fn(&str) -> bool) -> Result<()> {
        let tool = "dpkg-deb";
        let mut child = Command::new(tool)
            .arg("--fsys-tarfile")
            .arg(package)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Error::Packages {
                reason: format!("cannot run {tool}: {error}"),
                hint: "packages are unpacked on Debian and its relatives, where dpkg is installed".to_owned(),
            })?;
        let read = match child.stdout.take() {
            Some(output) => self.read(output, wanted),
            None => Ok(()),
        };
        let output = child.wait_with_output().on("unpack", package)?;
        if !output.status.success() {
            return Err(Error::Packages {
                reason: format!(
                    "cannot unpack {}: {}",
                    package.display(),
                    complaint(output.status, &output.stderr)
                ),
                hint: "remove the file; the next run fetches it again".to_owned(),
            });
        }
        read.on("unpack", package)
    }

    pub(crate) fn read(&mut self, tar: impl Read, wanted: fn(&str) -> bool) -> std::io::Result<()> {
        let mut tar = tar::Archive::new(tar);
        for entry in tar.entries()? {
            let mut entry = entry?;
            let path = normal(&entry.path()?.to_string_lossy());
            if !wanted(&path) {
                continue;
            }
            let node = match entry.header().entry_type() {
                tar::EntryType::Regular => {
                    let mode = (entry.header().mode()? & 0o777) as u16;
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content)?;
                    Node::File(mode, content)
                }
                tar::EntryType::Symlink => match entry.link_name()? {
                    Some(target) => Node::Link(target.to_string_lossy().into_owned()),
                    None => continue,
                },
                tar::EntryType::Link => {
                    let original = entry.link_name()?;
                    let original = original.map(|path| normal(&path.to_string_lossy()));
                    match original.and_then(|path| self.nodes.get(&path)) {
                        Some(node) => node.clone(),
                        None => continue,
                    }
                }
                _ => continue,
            };
            self.nodes.insert(path, node);
        }
        // Else the unpacking program ends by a broken pipe.
        std::io::copy(&mut tar.into_inner(), &mut std::io::sink())?;
        Ok(())
    }

    /// Puts a file there.
    pub(crate) fn insert(&mut self, path: &str, mode: u16, content: Vec<u8>) {
        self.nodes.insert(normal(path), Node::File(mode, content));
    }

    /// Puts a link there, unless something is there.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.nodes.entry(normal(path)).or_insert_with(|| Node::Link(target.to_owned()));
    }

    /// All that is in it.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Puts a link into the root folder, under a name that is [`normal`] for no path.
    pub(crate) fn root_link(&mut self, name: &str, target: &str) {
        self.nodes.insert(name.to_owned(), Node::Link(target.to_owned()));
    }

    /// All of it as a tar archive, which [reads](Self::read) the same.
    pub(crate) fn tar(&self) -> std::io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, node) in &self.nodes {
            let mut header = tar::Header::new_gnu();
            match node {
                Node::File(mode, content) => {
                    header.set_size(content.len() as u64);
                    header.set_mode(u32::from(*mode));
                    tar.append_data(&mut header, path, content.as_slice())?;
                }
                Node::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    header.set_mode(0o777);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        tar.into_inner()
    }

    /// A file's content; links are followed.
    pub(crate) fn file(&self, path: &str) -> Option<&[u8]> {
        self.file_and_mode(path).map(|(_, content)| content)
    }

    /// Whether a path is that of another file, or a link to it.
    pub(crate) fn leads(&self, path: &str, to: &str) -> bool {
        self.resolve(path).is_some_and(|found| found == normal(to))
    }

    /// A file's permissions and content; links are followed.
    pub(crate) fn file_and_mode(&self, path: &str) -> Option<(u16, &[u8])> {
        match self.nodes.get(&self.resolve(path)?)? {
            Node::File(mode, content) => Some((*mode, content)),
            Node::Link(_) => None,
        }
    }

    /// The path of a file, once all links are followed.
    fn resolve(&self, path: &str) -> Option<String> {
        let mut path = normal(path);
        for _ in 0..MAX_LINKS {
            match self.nodes.get(&path)? {
                Node::File(..) => return Some(path),
                Node::Link(target) if target.starts_with('/') => path = normal(target),
                Node::Link(target) => {
                    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    path = normal(&format!("{folder}/{target}"));
                }
            }
        }
        None
    }

    /// The files (not links) whose path begins so, in order.
    pub(crate) fn files_under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.nodes
            .range(prefix.to_owned()..)
            .take_while(move |(path, _)| path.starts_with(prefix))
            .filter_map(|(path, node)| match node {
                Node::File(_, content) => Some((path.as_str(), content.as_slice())),
                Node::Link(_) => None,
            })
    }
}

/// Documentation, drivers of real hardware and the like stay out of memory.
pub(crate) fn of_images(path: &str) -> bool {
    let Some(module) = path.strip_prefix("usr/lib/modules/").and_then(|rest| rest.split_once('/')) else {
        return !path.starts_with("usr/share/");
    };
    let (_, module) = module;
    !module.starts_with("kernel/drivers/")
        || ["net/", "char/", "block/", "virtio/"]
            .iter()
            .any(|group| module.starts_with(&format!("kernel/drivers/{group}")))
}

pub(crate) fn normal(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    if matches!(names.first(), Some(&("bin" | "sbin" | "lib" | "lib64"))) {
        names.insert(0, "usr");
    }
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(nodes: &[(&str, Node)]) -> Tree {
        let nodes = nodes.iter().map(|(path, node)| (normal(path), node.clone()));
        Tree { nodes: nodes.collect() }
    }

    #[test]
    fn links_are_followed_across_the_merged_usr() {
        let tree = tree(&[
            ("./lib/x/libc.so.6", Node::File(0o644, b"c".to_vec())),
            ("./usr/lib/x/a.so", Node::Link("b.so".to_owned())),
            ("./usr/lib/x/b.so", Node::Link("/lib/x/libc.so.6".to_owned())),
            ("./usr/lib/x/c.so", Node::Link("../../../lib/x/libc.so.6".to_owned())),
            ("./usr/loop", Node::Link("loop".to_owned())),
        ]);
        for path in ["lib/x/libc.so.6", "/usr/lib/x/a.so", "usr/lib/x/c.so"] {
            assert_eq!(tree.file(path), Some(&b"c"[..]), "{path}");
        }
        assert_eq!(tree.file("usr/loop"), None);
        assert_eq!(tree.file("usr/none"), None);
    }

    #[test]
    fn a_tar_is_read_whole() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o755);
        tar.append_data(&mut header, "bin/program", &b"hi"[..]).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "usr/bin/alias", "program").unwrap();
        let mut tree = Tree::default();
        tree.read(&tar.into_inner().unwrap()[..], of_images).unwrap();
        assert_eq!(tree.file("usr/bin/alias"), Some(&b"hi"[..]));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000)) {
            let _ = Tree::default().read(&bytes[..], of_images);
        }
    }
}
