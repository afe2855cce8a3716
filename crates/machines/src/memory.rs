//! How much memory a node holds, and may hold.

use natrig_record::{About, Assertion};
use natrig_vmm::AgentClient;

use crate::{Trouble, gateway::expect};

/// The control group of a machine's node.
pub(crate) const GROUP: &str = "node";

/// Who is in it.
const MEMBERS: &str = "/sys/fs/cgroup/node/cgroup.procs";

/// More than the kernel tells of a process.
const LONGEST: u64 = 64 * 1024;

/// Sets the limit of that group, and says what it is.
const LIMIT: &str = "echo $0 > /sys/fs/cgroup/node/memory.max && cat /sys/fs/cgroup/node/memory.max";

const MIB: u64 = 1 << 20;

/// Lets a machine's node hold so much memory from now on. If it holds more already, its kernel frees what it can, and kills
/// it if that is too little.
pub(crate) fn limit(agent: &AgentClient, mebibytes: u32) -> Result<(), Trouble> {
    let bytes = u64::from(mebibytes) * MIB;
    let output = expect(agent, &["sh", "-c", LIMIT, &bytes.to_string()])?;
    let said = String::from_utf8_lossy(&output.stdout);
    if said.trim() == bytes.to_string() {
        return Ok(());
    }
    Err(Trouble::lab(format!("its limit is not {bytes} bytes")).lines([said.into_owned()]))
}

/// What a machine's node held in memory at its most, in bytes; none if it does not run. Every cell asks, so no program is started
/// for it.
pub(crate) fn peak(agent: &AgentClient) -> Result<Option<u64>, Trouble> {
    let members = agent.read_file(MEMBERS, LONGEST)?;
    let Some(node) = String::from_utf8_lossy(&members).lines().next().map(str::to_owned) else {
        return Ok(None);
    };
    let status = agent.read_file(&format!("/proc/{node}/status"), LONGEST)?;
    Ok(resident(&String::from_utf8_lossy(&status)))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Whether a node held no more than it may.
pub(crate) fn shown(machine: &str, peak: u64, at_most: u32) -> Assertion {
    Assertion {
        about: About::Node,
        what: format!("the node of {machine} holds {at_most} MiB of memory at most"),
        holds: peak <= u64::from(at_most) * MIB,
        detail: format!("{:.1} MiB at its most", peak as f64 / MIB as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_read_from_the_kernels_table() {
        assert_eq!(resident("VmPeak:\t  9000 kB\nVmHWM:\t    6144 kB\n"), Some(6 * MIB));
        assert_eq!(resident(""), None);
    }

    #[test]
    fn a_node_that_holds_more_is_told() {
        assert!(shown("peer1", 6 * MIB, 6).holds);
        assert!(!shown("peer1", 6 * MIB + 1, 6).holds);
    }
}
