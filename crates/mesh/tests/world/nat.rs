//! Toy gateways for the nodes' tests: RFC 4787's classes and nothing else.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use rand::Rng;
use rand::rngs::StdRng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Independent,
    Address,
    AddressAndPort,
}

impl Rule {
    /// Whether `a` and `b` are the same to this rule.
    fn same(self, a: SocketAddr, b: SocketAddr) -> bool {
        match self {
            Rule::Independent => true,
            Rule::Address => a.ip() == b.ip(),
            Rule::AddressAndPort => a == b,
        }
    }
}

/// A gateway's profile. `None` for the mapping: it filters, but does not translate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: &'static str,
    pub mapping: Rule,
    pub filtering: Rule,
    pub preserves_ports: bool,
    /// No gateway at all.
    pub is_public: bool,
}

const fn profile(name: &'static str, mapping: Rule, filtering: Rule) -> Profile {
    Profile {
        name,
        mapping,
        filtering,
        preserves_ports: matches!(mapping, Rule::Independent),
        is_public: false,
    }
}

pub const PUBLIC: Profile =
    Profile { is_public: true, ..profile("public", Rule::Independent, Rule::Independent) };
pub const FULL: Profile = profile("full", Rule::Independent, Rule::Independent);
pub const ADDR: Profile = profile("addr", Rule::Independent, Rule::Address);
pub const PORT: Profile = profile("port", Rule::Independent, Rule::AddressAndPort);
pub const SYMMETRIC: Profile = profile("symmetric", Rule::AddressAndPort, Rule::AddressAndPort);
pub const PRESETS: [Profile; 5] = [PUBLIC, FULL, ADDR, PORT, SYMMETRIC];

struct Mapping {
    inside: SocketAddr,
    first_remote: SocketAddr,
    outside_port: u16,
    contacted: HashSet<SocketAddr>,
}

pub struct Gateway {
    pub address: IpAddr,
    pub profile: Profile,
    mappings: Vec<Mapping>,
    used: HashSet<u16>,
    /// Ports that are opened for good, as by port mapping protocols.
    pub opened: Vec<(u16, SocketAddr)>,
}

impl Gateway {
    pub fn new(address: IpAddr, profile: Profile) -> Self {
        Self { address, profile, mappings: Vec::new(), used: HashSet::new(), opened: Vec::new() }
    }

    /// The outside source of a datagram from `inside` to `remote`.
    pub fn outbound(&mut self, inside: SocketAddr, remote: SocketAddr, rng: &mut StdRng) -> SocketAddr {
        let rule = self.profile.mapping;
        let known = self
            .mappings
            .iter_mut()
            .find(|mapping| mapping.inside == inside && rule.same(mapping.first_remote, remote));
        let mapping = match known {
            Some(mapping) => mapping,
            None => {
                let mut port = match self.profile.preserves_ports {
                    true => inside.port(),
                    false => rng.random_range(1024..=u16::MAX),
                };
                while !self.used.insert(port) {
                    port = rng.random_range(1024..=u16::MAX);
                }
                self.mappings.push(Mapping {
                    inside,
                    first_remote: remote,
                    outside_port: port,
                    contacted: HashSet::new(),
                });
                self.mappings.last_mut().expect("just pushed")
            }
        };
        mapping.contacted.insert(remote);
        SocketAddr::new(self.address, mapping.outside_port)
    }

    /// To whom a datagram from `remote` to an outside port goes; `None`: dropped.
    pub fn inbound(&mut self, port: u16, remote: SocketAddr) -> Option<SocketAddr> {
        let is_known =
            |mapping: &Mapping| mapping.outside_port == port && mapping.contacted.contains(&remote);
        let opened = self.opened.iter().find(|(opened, _)| *opened == port);
        if let Some(&(_, inside)) = opened.filter(|_| !self.mappings.iter().any(is_known)) {
            // What answers goes out by the same port, whatever the mapping would be otherwise.
            let contacted = HashSet::from([remote]);
            self.mappings.retain(|mapping| (mapping.inside, mapping.first_remote) != (inside, remote));
            self.mappings.push(Mapping { inside, first_remote: remote, outside_port: port, contacted });
        }
        let rule = self.profile.filtering;
        let allows = |mapping: &&Mapping| {
            mapping.outside_port == port
                && mapping.contacted.iter().any(|&contacted| rule.same(contacted, remote))
        };
        self.mappings.iter().find(allows).map(|mapping| mapping.inside)
    }

    /// All ports change, as after a reboot.
    pub fn rebind(&mut self) {
        self.mappings.clear();
        self.profile.preserves_ports = false;
    }
}
