//! The shared libraries that programs need, and theirs in turn.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::elf::{self, Needs};
use crate::{
    Error, Result,
    image::tree::{Tree, normal},
};

/// Where a loader looks of itself: Debian's, and others'.
const FOLDERS: [&str; 3] = ["usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib"];

/// Where it looks on a system that is set up.
const CONFIGURED: [&str; 3] = ["usr/local/lib/x86_64-linux-gnu", "usr/local/lib64", "usr/local/lib"];

/// Where libraries come from that no package brings.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// This host's `/`, or a sysroot.
    root: PathBuf,
    /// Where its loader looks as well.
    configured: Vec<String>,
    /// Where its libc is, and so where its loader looks of itself.
    home: &'static str,
}

impl Source {
    /// A sysroot, or this host.
    pub fn at(sysroot: Option<&Path>) -> Result<Self> {
        let root = sysroot.unwrap_or(Path::new("/")).to_owned();
        if !root.is_dir() {
            return Err(Error::App {
                what: format!("the sysroot {} is no folder", root.display()),
                hint: "it is the folder in which usr/lib is".to_owned(),
            });
        }
        let mut configured: Vec<String> = CONFIGURED.map(str::to_owned).into();
        let folder = root.join("etc/ld.so.conf.d");
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // One that cannot be read names nothing.
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let folders = text.lines().map(str::trim).filter(|line| line.starts_with('/'));
            configured.extend(folders.map(|line| line.trim_start_matches('/').to_owned()));
        }
        let is_home = |folder: &&str| root.join(folder).join("libc.so.6").exists();
        let home = FOLDERS.into_iter().find(is_home).unwrap_or(FOLDERS[0]);
        Ok(Source { root, configured, home })
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.root.join(path.trim_start_matches('/'))).ok()
    }

    /// A library by its name, if it is for these machines, and the folder that it belongs in.
    fn find(&self, name: &str) -> Option<(&str, Vec<u8>)> {
        let folders = FOLDERS.into_iter().map(|folder| (folder, folder));
        // What is only configured here is not configured there.
        let configured = self.configured.iter().map(|folder| (folder.as_str(), self.home));
        // Hosts may have those of other processors beside them.
        let fits = |content: &Vec<u8>| elf::needs(name, content).is_ok();
        folders
            .chain(configured)
            .find_map(|(from, to)| Some((to, self.read(&format!("{from}/{name}")).filter(fits)?)))
    }

    fn told(&self) -> String {
        if self.root == Path::new("/") { "this host".to_owned() } else { self.root.display().to_string() }
    }
}

/// Puts into a tree all libraries that some of its files need, and those that are named.
///
/// What is in the tree counts before what the source has, so that a package's library is not mixed with another one.
pub(super) fn complete(tree: &mut Tree, files: &[String], named: &[String], source: &Source) -> Result<()> {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut queue: Vec<String> = files.iter().map(|path| normal(path)).collect();
    for name in named {
        queue.push(place(tree, "the app file", name, &[], source)?);
    }
    let mut all = Vec::new();
    while let Some(path) = queue.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let Some(content) = tree.file(&path).filter(|content| elf::is_elf(content)) else { continue };
        let needs = elf::needs(&path, content)?;
        let folders = folders(&path, &needs);
        if let Some(loader) = &needs.interpreter
            && tree.file(loader).is_none()
        {
            let content = source.read(loader).ok_or_else(|| missing(&path, loader, source))?;
            tree.insert(loader, 0o755, content);
        }
        let mut found = Vec::new();
        for name in &needs.libraries {
            let at = place(tree, &path, name, &folders, source)?;
            found.push((name.clone(), at.clone()));
            queue.push(at);
        }
        all.push((path, needs, found));
    }
    all.iter().try_for_each(|(path, needs, found)| versions(tree, path, needs, found, source))
}

/// Where a file wants its libraries looked for.
fn folders(path: &str, needs: &Needs) -> Vec<String> {
    let own = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let absolute = |folder: &String| {
        normal(&folder.replace("${ORIGIN}", &format!("/{own}")).replace("$ORIGIN", &format!("/{own}")))
    };
    needs.paths.iter().map(absolute).collect()
}

/// The path of a library in the tree, where it is put if it is not there.
fn place(tree: &mut Tree, whose: &str, name: &str, folders: &[String], source: &Source) -> Result<String> {
    if name.contains('/') {
        return match tree.file(name) {
            Some(_) => Ok(normal(name)),
            None => Err(missing(whose, name, source)),
        };
    }
    let places = folders.iter().map(String::as_str).chain(FOLDERS);
    for folder in places {
        let path = format!("{folder}/{name}");
        if tree.file(&path).is_some() {
            return Ok(path);
        }
    }
    let (folder, content) = source.find(name).ok_or_else(|| missing(whose, name, source))?;
    let path = format!("{folder}/{name}");
    tree.insert(&path, 0o755, content);
    Ok(path)
}

fn missing(whose: &str, name: &str, source: &Source) -> Error {
    Error::App {
        what: format!(
            "{whose} needs {name}, and neither the app's files, nor its packages, nor {} have it",
            source.told()
        ),
        hint: format!(
            "a package that has it (`dpkg -S {name}` where it is installed), a `sysroot`, or a static build"
        ),
    }
}

/// Fails if a library that was found is older than what was linked against.
fn versions(
    tree: &Tree,
    path: &str,
    needs: &Needs,
    found: &[(String, String)],
    source: &Source,
) -> Result<()> {
    for (library, wanted) in &needs.versions {
        let Some((_, at)) = found.iter().find(|(name, _)| name == library) else { continue };
        let Some(content) = tree.file(at) else { continue };
        let has = elf::versions(at, content)?;
        // One without versions is taken by loaders for any.
        let Some(lacking) = wanted.iter().find(|version| !has.is_empty() && !has.contains(version)) else {
            continue;
        };
        let newest =
            has.iter().filter(|version| family(version) == family(lacking)).max_by_key(|v| number(v));
        return Err(Error::App {
            what: format!(
                "{path} needs {lacking} of {library}, and the one for the machines has at most {}",
                newest.map_or("another", String::as_str)
            ),
            hint: format!(
                "build it where {library} is older, or static (x86_64-unknown-linux-musl); or take libraries from a `sysroot` or packages that are as new: now they come from the app's packages and {}",
                source.told()
            ),
        });
    }
    Ok(())
}

/// `GLIBC` of `GLIBC_2.36`.
fn family(version: &str) -> &str {
    version.rsplit_once('_').map_or(version, |(family, _)| family)
}

fn number(version: &str) -> Vec<u32> {
    let number = version.rsplit_once('_').map_or("", |(_, number)| number);
    number.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    fn with_own() -> (Tree, Vec<String>) {
        let mut tree = Tree::default();
        tree.insert("app/node", 0o755, own());
        (tree, vec!["app/node".to_owned()])
    }

    #[test]
    fn a_program_comes_with_its_loader_and_all_libraries() {
        let (mut tree, files) = with_own();
        complete(&mut tree, &files, &["libresolv.so.2".to_owned()], &Source::at(None).unwrap()).unwrap();
        for path in ["lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/libc.so.6"] {
            assert!(tree.file(path).is_some(), "{path}");
        }
        assert!(tree.file("usr/lib/x86_64-linux-gnu/libresolv.so.2").is_some());
    }

    #[test]
    fn a_library_that_nobody_has_is_named() {
        let (mut tree, files) = with_own();
        let home = tempfile::tempdir().unwrap();
        let source = Source::at(Some(home.path())).unwrap();
        let error = complete(&mut tree, &files, &[], &source).unwrap_err().to_string();
        assert!(
            error.contains("app/node needs ") && error.contains(&home.path().display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn a_library_that_is_too_old_is_told() {
        let (mut tree, files) = with_own();
        // Any library that has versions, and not those of libc.
        let source = Source::at(None).unwrap();
        let (_, other) = source.find("libgcc_s.so.1").unwrap();
        tree.insert("usr/lib/x86_64-linux-gnu/libc.so.6", 0o755, other);
        let error = complete(&mut tree, &files, &[], &source).unwrap_err().to_string();
        assert!(error.contains(" of libc.so.6, and the one for the machines has at most"), "{error}");
    }

    #[test]
    fn a_library_beside_the_program_counts_first() {
        let needs =
            Needs { paths: vec!["$ORIGIN/../lib".to_owned(), "/opt/x".to_owned()], ..Needs::default() };
        assert_eq!(folders("app/bin/node", &needs), ["app/lib", "opt/x"]);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(number("GLIBC_2.36") > number("GLIBC_2.4"));
        assert_eq!(family("GLIBC_2.36"), "GLIBC");
    }
}
