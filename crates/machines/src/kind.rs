//! What a machine is a copy of.

use natrig_agent_proto::tenant::OUTSIDE;
use natrig_scenario::{Base, Machine, Scenario};

/// Memory of a machine whose scenario sets none, in MiB.
pub const DEFAULT_MEMORY: u32 = 160;

/// The same of a distribution's machine; the seed's peers have that much.
const CLOUD_MEMORY: u32 = 512;

/// What templates differ in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) memory_mb: u32,
    /// If it is not the usual image.
    pub(crate) base: Option<Base>,
    /// Of a distribution's machine that is told the usual things: what it is for.
    pub(crate) role: Option<Role>,
}

/// What a distribution's machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    Gateway,
    Peer,
    Relay,
}

impl Kind {
    /// The usual one.
    pub(crate) fn usual() -> Self {
        Kind { memory_mb: DEFAULT_MEMORY, base: None, role: None }
    }

    /// That of a machine.
    pub(crate) fn of(scenario: &Scenario, machine: Machine) -> Self {
        let base = scenario.sizes.base(machine).cloned();
        let (usual, role) = match &base {
            None | Some(Base::Kernel(_)) => (DEFAULT_MEMORY, None),
            Some(Base::Image { cloud_init: Some(_), .. }) => (CLOUD_MEMORY, None),
            Some(Base::Image { cloud_init: None, .. }) => (CLOUD_MEMORY, Some(Role::of(machine))),
        };
        Kind { memory_mb: scenario.sizes.memory(machine).unwrap_or(usual), base, role }
    }

    /// A command as the agent starts it in the machine's own file system; in the usual machine that is the agent's too.
    pub(crate) fn command(&self, argv: Vec<String>) -> Vec<String> {
        let outside = self.is_cloud().then(|| OUTSIDE.to_owned());
        outside.into_iter().chain(argv).collect()
    }

    /// Whether it is a distribution's.
    pub(crate) fn is_cloud(&self) -> bool {
        matches!(self.base, Some(Base::Image { .. }))
    }
}

impl Role {
    fn of(machine: Machine) -> Self {
        match machine {
            Machine::Nat(_) | Machine::Cgn(_) => Role::Gateway,
            Machine::Peer(..) => Role::Peer,
            Machine::Relay(_) => Role::Relay,
        }
    }

    /// What cloud-init is told in such a machine.
    pub(crate) fn cloud_init(self) -> &'static str {
        match self {
            Role::Gateway => include_str!("../../../images/cloud-init/nat-gateway.yaml"),
            Role::Peer => include_str!("../../../images/cloud-init/peer.yaml"),
            Role::Relay => include_str!("../../../images/cloud-init/relay.yaml"),
        }
    }
}
