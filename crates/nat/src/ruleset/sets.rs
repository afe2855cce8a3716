//! Maps and sets that traffic fills.

use super::plan::{Index, Peers, Plan, seconds};

/// A map or set that traffic fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// `map` or `set`.
    pub kind: &'static str,
    /// Its name in [`TABLE`](super::TABLE).
    pub name: &'static str,
}

/// A declaration.
pub(super) struct Set {
    pub state: State,
    pub comment: &'static str,
    pub kind: String,
    pub size: u32,
    /// Elements end after this many seconds if the rule that makes them does not say otherwise.
    pub timeout: Option<u64>,
}

const ROOM: u32 = 65_536;

/// All that a plan needs, in the order in which they are declared.
pub(super) fn all(plan: &Plan<'_>) -> Vec<Set> {
    let profile = plan.profile;
    let timers = &profile.timers;
    let stream = seconds(timers.stream);
    let longer = stream - seconds(timers.unreplied).min(stream);
    let mappings = profile.limits.mappings;
    let flows = profile.limits.flows.max(ROOM);
    let endpoint = "ipv4_addr . inet_service";
    let outside = format!("inet_proto . {endpoint}");
    let port = if plan.peers == Some(Peers::Endpoint) { " . inet_service" } else { "" };
    let mut sets = Vec::new();
    let mut declare = |wanted, kind, name, comment, types: String, size, timeout| {
        if wanted {
            sets.push(Set { state: State { kind, name }, comment, kind: types, size, timeout });
        }
    };
    let remote = if plan.by_address { " . ipv4_addr" } else { "" };
    declare(
        plan.rev,
        "map",
        "rev",
        if plan.by_address {
            "inside endpoint and remote address to outside endpoint"
        } else {
            "inside endpoint to outside endpoint"
        },
        format!("{outside}{remote} : {endpoint}"),
        mappings.max(ROOM),
        Some(stream),
    );
    declare(
        plan.fc,
        "map",
        "fc",
        "outside endpoint to inside endpoint",
        format!("{outside} : {endpoint}"),
        mappings.max(ROOM),
        Some(stream),
    );
    let (used, comment) = match plan.index {
        Index::One => ("inet_proto . inet_service", "outside ports in use"),
        Index::Address => ("inet_proto . inet_service . mark", "outside ports in use, by address"),
        Index::Block => ("inet_proto . inet_service . mark", "outside ports in use, by block"),
    };
    let most = if plan.counts_used() { mappings } else { mappings.max(ROOM) };
    declare(plan.used, "set", "used", comment, used.to_owned(), most, Some(stream));
    declare(
        plan.endpoints || plan.poisoned,
        "set",
        "endpoints",
        "inside endpoints in use",
        format!("{outside}{remote}"),
        if plan.endpoints { mappings } else { mappings.max(ROOM) },
        Some(stream),
    );
    let peers = plan.peers.is_some();
    let near = if profile.mapping.is_some() { "outside endpoint" } else { "inside endpoint" };
    declare(
        peers,
        "set",
        "peers",
        match (near, plan.peers) {
            ("inside endpoint", _) => "inside endpoint and the addresses it was used for",
            (_, Some(Peers::Endpoint)) => "outside endpoint and the endpoints it was used for",
            _ => "outside endpoint and the addresses it was used for",
        },
        format!("{outside} . ipv4_addr{port}"),
        flows,
        Some(stream),
    );
    declare(
        longer > 0 && (plan.endpoints || (profile.mapping.is_some() && plan.keeps())),
        "set",
        "streams",
        if profile.mapping.is_some() {
            "outside UDP endpoints that an answered flow keeps"
        } else {
            "inside UDP endpoints that an answered flow keeps"
        },
        endpoint.to_owned(),
        flows,
        Some(longer),
    );
    declare(
        longer > 0 && peers,
        "set",
        "peer_streams",
        "the same, each with its remote",
        format!("{endpoint} . ipv4_addr{port}"),
        flows,
        Some(longer),
    );
    let block = plan.index == Index::Block;
    let held = stream.max(seconds(timers.tcp_established));
    declare(block, "map", "blocks", "host to its block", "ipv4_addr : mark".to_owned(), ROOM, Some(held));
    declare(block, "set", "held", "blocks that hosts have", "mark".to_owned(), ROOM, Some(held));
    declare(
        plan.poisoned,
        "set",
        "poisoned",
        "outside port and the remote whose early packet took it",
        format!("inet_proto . inet_service . {endpoint}"),
        flows,
        Some(seconds(timers.unreplied)),
    );
    declare(
        plan.per_host().is_some(),
        "set",
        "hosts",
        "flows of each host",
        "ipv4_addr".to_owned(),
        ROOM,
        None,
    );
    sets
}
