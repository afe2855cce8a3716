//! What a program needs beside itself, as it stands in its file.

use goblin::elf::{Elf, header};

use crate::{Error, Result};

/// What machines run.
const MACHINE: u16 = header::EM_X86_64;

/// What a program or library names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// The program loader.
    pub interpreter: Option<String>,
    /// Libraries, by name.
    pub libraries: Vec<String>,
    /// Where it wants them looked for; `$ORIGIN` is its own folder.
    pub paths: Vec<String>,
    /// Versions of libraries' symbols, by library.
    pub versions: Vec<(String, Vec<String>)>,
}

/// Whether it is such a file at all.
pub(super) fn is_elf(content: &[u8]) -> bool {
    content.starts_with(b"\x7fELF")
}

/// What a program or library needs.
pub(super) fn needs(name: &str, content: &[u8]) -> Result<Needs> {
    let elf = parse(name, content)?;
    if elf.header.e_machine != MACHINE || !elf.is_64 {
        return Err(Error::App {
            what: format!("{name} is for {}; the machines are x86_64", machine(elf.header.e_machine)),
            hint: "build it for x86_64-unknown-linux-gnu, or -musl".to_owned(),
        });
    }
    let text = |at: usize| elf.dynstrtab.get_at(at).map(str::to_owned);
    let versions = elf.verneed.iter().flat_map(|section| section.iter()).filter_map(|need| {
        let versions = need.iter().filter_map(|version| text(version.vna_name)).collect();
        Some((text(need.vn_file)?, versions))
    });
    // A RUNPATH has an RPATH be ignored (ld.so(8)).
    let paths = if elf.runpaths.is_empty() { &elf.rpaths } else { &elf.runpaths };
    Ok(Needs {
        interpreter: elf.interpreter.map(str::to_owned),
        libraries: elf.libraries.iter().map(|&name| name.to_owned()).collect(),
        paths: paths.iter().flat_map(|paths| paths.split(':')).map(str::to_owned).collect(),
        versions: versions.collect(),
    })
}

/// The versions of symbols that a library has.
pub(super) fn versions(name: &str, content: &[u8]) -> Result<Vec<String>> {
    let elf = parse(name, content)?;
    let defined = elf.verdef.iter().flat_map(|section| section.iter());
    let names = defined.filter_map(|one| one.iter().next().map(|first| first.vda_name));
    Ok(names.filter_map(|at| elf.dynstrtab.get_at(at).map(str::to_owned)).collect())
}

fn parse<'a>(name: &str, content: &'a [u8]) -> Result<Elf<'a>> {
    Elf::parse(content).map_err(|error| Error::App {
        what: format!("{name} begins like a program and is none: {error}"),
        hint: "is the file whole?".to_owned(),
    })
}

fn machine(number: u16) -> &'static str {
    match number {
        header::EM_X86_64 => "x86_64 with addresses of 32 bits",
        header::EM_386 => "i386",
        header::EM_AARCH64 => "aarch64",
        header::EM_ARM => "arm",
        header::EM_RISCV => "riscv",
        _ => "another processor",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_program_names_its_loader_its_libraries_and_their_versions() {
        let needs = needs("this test", &own()).unwrap();
        assert!(needs.interpreter.unwrap().contains("ld-linux"));
        assert!(needs.libraries.iter().any(|name| name == "libc.so.6"));
        let (_, of_libc) = needs.versions.iter().find(|(library, _)| library == "libc.so.6").unwrap();
        assert!(of_libc.iter().all(|version| version.starts_with("GLIBC_")), "{of_libc:?}");
    }

    #[test]
    fn a_program_of_another_processor_is_told() {
        let mut foreign = own();
        foreign[18..20].copy_from_slice(&header::EM_AARCH64.to_le_bytes());
        let error = needs("node", &foreign).unwrap_err().to_string();
        assert!(error.starts_with("node is for aarch64; the machines are x86_64\nhint:"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            let damaged = [b"\x7fELF\x02\x01\x01".as_slice(), &bytes].concat();
            let _ = (needs("x", &damaged), versions("x", &damaged));
        }
    }
}
