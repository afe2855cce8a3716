//! Kernel modules and what they depend on.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
};

use goblin::elf::Elf;

use super::tree::Tree;
use crate::{Error, Result, error::complaint};

/// Modules that every guest needs, unless they are built into its kernel.
const REQUIRED: &[&str] = &[
    // The machine's devices.
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "squashfs",
    // Captures, tunnels of programs under test, and conditions inside a guest.
    "af_packet",
    "tun",
    "sch_netem",
    "sch_tbf",
    "sch_htb",
    "sch_ingress",
    "sch_prio",
    "ifb",
    "cls_u32",
    "cls_fw",
    "act_mirred",
    // Filtering and translation.
    "nf_tables",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_hash",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_quota",
    "nft_redir",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_connlimit",
    "nft_objref",
    "nft_dup_ipv4",
    "nft_fwd_netdev",
    "nft_dup_netdev",
    "nft_flow_offload",
    "nf_flow_table",
    "nft_tproxy",
    "nft_socket",
    "nft_queue",
    "nfnetlink_queue",
    "nf_log_syslog",
    // Helpers of protocols, for gateways that offer them.
    "nf_nat_ftp",
    "nf_nat_sip",
    "nf_nat_tftp",
];

/// Modules that some kernels do without.
const OPTIONAL: &[&str] = &[
    "virtio_mmio",
    "wireguard",
    "nft_synproxy",
    "nft_osf",
    "nft_xfrm",
    "nft_tunnel",
    "nft_counter",
    "nft_set_pipapo_avx2",
    "sch_fq",
    "sch_fq_codel",
    "crc32c_generic",
    "sha256_generic",
];

/// A module to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) name: String,
    /// Where it goes, without a leading slash.
    pub(super) path: String,
    pub(super) content: Vec<u8>,
}

/// The modules that a kernel comes with.
pub(super) struct Modules<'a> {
    files: BTreeMap<String, (&'a str, &'a [u8])>,
    builtin: BTreeSet<String>,
}

impl<'a> Modules<'a> {
    pub(super) fn of(tree: &'a Tree, release: &str) -> Self {
        let root = format!("usr/lib/modules/{release}/");
        let builtin = tree
            .file(&format!("{root}modules.builtin"))
            .map(|list| String::from_utf8_lossy(list).into_owned())
            .unwrap_or_default();
        // The prefix lives as long as the iterator only, so the root is sought in what all modules have in common.
        let files = tree
            .files_under("usr/lib/modules/")
            .filter(|(path, _)| path.starts_with(&root))
            .filter_map(|(path, content)| Some((name(path)?, (path, content))))
            .collect();
        Self { files, builtin: builtin.lines().filter_map(name).collect() }
    }

    /// What guests need, each after what it depends on.
    pub(super) fn select(&self) -> Result<Vec<Module>> {
        let mut order = Vec::new();
        let mut placed = BTreeSet::new();
        for name in REQUIRED {
            if !self.builtin.contains(*name) && !self.files.contains_key(*name) {
                // Debian has folded some into others over the years.
                if folded(name) {
                    continue;
                }
                return Err(Error::Image(format!("the kernel has no module {name}")));
            }
            self.place(name, &mut placed, &mut order)?;
        }
        for name in OPTIONAL {
            self.place(name, &mut placed, &mut order)?;
        }
        Ok(order)
    }

    fn place(&self, name: &str, placed: &mut BTreeSet<String>, order: &mut Vec<Module>) -> Result<()> {
        let Some((path, content)) = self.files.get(name) else {
            return Ok(());
        };
        if !placed.insert(name.to_owned()) {
            return Ok(());
        }
        let content = unpacked(path, content)?;
        for dependency in dependencies(name, &content)? {
            let there = self.files.contains_key(&dependency.name) || self.builtin.contains(&dependency.name);
            if there || !dependency.hard {
                self.place(&dependency.name, placed, order)?;
            } else {
                return Err(Error::Image(format!(
                    "the kernel's module {name} depends on {}, which is not there",
                    dependency.name
                )));
            }
        }
        let path = path.split_once(".ko").map_or(*path, |(stem, _)| stem);
        order.push(Module { name: name.to_owned(), path: format!("{path}.ko"), content });
        Ok(())
    }
}

/// Parts of `nf_tables` or of other modules in most kernels.
fn folded(name: &str) -> bool {
    matches!(name, "nft_objref" | "nft_fib_ipv6" | "virtio_rng" | "nf_log_syslog")
}

/// A module's name, from its path.
fn name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, _) = file.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}

/// The kernel would rather not unpack them itself.
fn unpacked(path: &str, content: &[u8]) -> Result<Vec<u8>> {
    let tool = match path.rsplit_once(".ko") {
        Some((_, ".xz")) => "xz",
        Some((_, ".zst")) => "zstd",
        Some((_, ".gz")) => "gzip",
        _ => return Ok(content.to_vec()),
    };
    let failed = |reason: String| Error::Packages {
        reason: format!("cannot unpack {path}: {reason}"),
        hint: format!("the program {tool} is needed; sudo apt-get install xz-utils zstd gzip"),
    };
    let mut child = Command::new(tool)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let input = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || input.map(|mut input| input.write_all(content)));
        child.wait_with_output()
    })
    .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(complaint(output.status, &output.stderr)));
    }
    Ok(output.stdout)
}

#[derive(Debug, PartialEq, Eq)]
struct Dependency {
    name: String,
    /// Whether the module cannot be loaded without it.
    hard: bool,
}

/// What a module says that it needs: `depends=a,b` and `softdep=pre: c` in its section `.modinfo`.
fn dependencies(module: &str, content: &[u8]) -> Result<Vec<Dependency>> {
    let damaged = || Error::Image(format!("the kernel module {module} is damaged"));
    let elf = Elf::parse(content).map_err(|_| damaged())?;
    let info = elf
        .section_headers
        .iter()
        .find(|section| elf.shdr_strtab.get_at(section.sh_name) == Some(".modinfo"))
        .and_then(|section| content.get(section.file_range()?))
        .ok_or_else(damaged)?;
    Ok(parse_info(info))
}

fn parse_info(info: &[u8]) -> Vec<Dependency> {
    let mut dependencies = Vec::new();
    let mut add = |name: &str, hard| {
        let name = name.replace('-', "_");
        dependencies.push(Dependency { name, hard });
    };
    for line in info.split(|&byte| byte == 0) {
        let line = String::from_utf8_lossy(line);
        if let Some(names) = line.strip_prefix("depends=") {
            names.split(',').filter(|name| !name.is_empty()).for_each(|name| add(name, true));
        } else if let Some(soft) = line.strip_prefix("softdep=") {
            let mut before = false;
            for word in soft.split_whitespace() {
                match word {
                    "pre:" => before = true,
                    "post:" => before = false,
                    name if before => add(name, false),
                    _ => {}
                }
            }
        }
    }
    dependencies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_a_modules_own_words() {
        let info =
            b"license=GPL\0softdep=pre: crc32c post: late\0depends=nf-tables,x_tables\0name=a\0depends=\0";
        let names: Vec<_> =
            parse_info(info).into_iter().map(|dependency| (dependency.name, dependency.hard)).collect();
        let expected = [("crc32c", false), ("nf_tables", true), ("x_tables", true)];
        assert_eq!(names, expected.map(|(name, hard)| (name.to_owned(), hard)));
    }

    #[test]
    fn names_are_those_of_lsmod() {
        assert_eq!(name("usr/lib/modules/6.1/kernel/a/nft-fib.ko.xz").unwrap(), "nft_fib");
        assert_eq!(name("kernel/drivers/char/virtio_console.ko").unwrap(), "virtio_console");
        assert_eq!(name("usr/lib/modules/6.1/modules.order"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_module_makes_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..500)) {
            let _ = dependencies("any", &bytes);
            parse_info(&bytes);
        }
    }
}
