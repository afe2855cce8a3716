//! The initial file system as the kernel unpacks it (cpio, "newc"), not compressed: an emulated guest would pay dearly
//! for unpacking it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use cpio::newc;

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Files to be, by their path without a leading slash.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    folders: BTreeSet<String>,
    entries: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Archive {
    pub(crate) fn folder(&mut self, path: &str) {
        self.parents(path);
        self.folders.insert(path.to_owned());
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, FILE | mode, content);
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK | 0o777, target.as_bytes());
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    /// Puts there what an archive has.
    pub(crate) fn node(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        match mode & 0o170_000 {
            FOLDER => self.folder(path),
            _ => self.entry(path, mode, &content),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parents(path);
        self.entries.insert(path.to_owned(), (mode, content.to_vec()));
    }

    fn parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            self.folders.insert(path[..end].to_owned());
        }
    }

    /// The whole archive, the same bytes for the same content.
    pub(crate) fn finish(self) -> Vec<u8> {
        let folders = self.folders.into_iter().map(|path| (path, (FOLDER | 0o755, Vec::new())));
        let mut output = Vec::new();
        for (number, (path, (mode, content))) in folders.chain(self.entries).enumerate() {
            let inode = u32::try_from(number).unwrap_or(u32::MAX);
            let mut entry = newc::Builder::new(&path)
                .ino(inode)
                .mode(mode)
                .nlink(1)
                .write(&mut output, u32::try_from(content.len()).unwrap_or(u32::MAX));
            // Writing to memory cannot fail, and no file here comes near 4 GB.
            let _ = entry.write_all(&content);
            let _ = entry.finish();
        }
        let _ = newc::trailer(&mut output);
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.link("usr/bin/sh", "busybox");
        archive.file("a/b/c", 0o644, b"deep");
        let mut bytes = &archive.finish()[..];
        let mut seen = Vec::new();
        loop {
            let mut entry = newc::Reader::new(bytes).unwrap();
            if entry.entry().is_trailer() {
                break;
            }
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            seen.push((entry.entry().name().to_owned(), entry.entry().mode(), content));
            bytes = entry.finish().unwrap();
        }
        let names: Vec<&str> = seen.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["a", "a/b", "usr", "usr/bin", "a/b/c", "usr/bin/sh"]);
        assert_eq!(seen[4], ("a/b/c".to_owned(), FILE | 0o644, b"deep".to_vec()));
        assert_eq!(seen[5], ("usr/bin/sh".to_owned(), LINK | 0o777, b"busybox".to_vec()));
    }
}
