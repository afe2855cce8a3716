//! Port mapping: what a gateway offers hosts behind it that ask for a port.

use std::collections::BTreeMap;

use crate::{
    Action, Engine, Fault, Gateway, GatewayFault, Mistake, Nat, Site,
    fields::{self, Fields, Mistakes},
    yaml::Node,
};

/// The server for mappings on a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// What it speaks; at least one.
    pub protocols: Vec<MappingProtocol>,
    /// How it is broken, if it is.
    pub fault: Option<MappingFault>,
}

/// A protocol by which a host asks for a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MappingProtocol {
    /// NAT-PMP (RFC 6886).
    NatPmp,
    /// PCP (RFC 6887).
    Pcp,
    /// UPnP IGD, found by SSDP.
    Upnp,
}

/// A way in which servers for mappings are broken in the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MappingFault {
    /// A mapping is granted and listed, and nothing comes through it.
    Dead,
    /// From its first renewal on a mapping leads to another port of its host, whatever the list says.
    WrongPortAfterRenewal,
    /// Mappings do not outlive a reboot of the gateway.
    LostAtReboot,
}

impl MappingProtocol {
    /// All.
    pub const ALL: [MappingProtocol; 3] =
        [MappingProtocol::NatPmp, MappingProtocol::Pcp, MappingProtocol::Upnp];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            MappingProtocol::NatPmp => "nat-pmp",
            MappingProtocol::Pcp => "pcp",
            MappingProtocol::Upnp => "upnp",
        }
    }
}

impl MappingFault {
    /// All.
    pub const ALL: [MappingFault; 3] =
        [MappingFault::Dead, MappingFault::WrongPortAfterRenewal, MappingFault::LostAtReboot];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            MappingFault::Dead => "dead",
            MappingFault::WrongPortAfterRenewal => "wrong-port-after-renewal",
            MappingFault::LostAtReboot => "lost-at-reboot",
        }
    }
}

impl PortMapping {
    /// Whether it speaks a protocol.
    pub fn speaks(&self, protocol: MappingProtocol) -> bool {
        self.protocols.contains(&protocol)
    }
}

/// Reads `port_mapping:`, for whatever stands before the sites and what becomes of it.
pub(crate) fn read(
    node: &Node,
    nats: &[Vec<Nat>],
    faults: &[Fault],
    mistakes: &mut Mistakes,
) -> BTreeMap<Site, PortMapping> {
    let sites: Vec<Site> = Site::all().take(nats.iter().map(Vec::len).max().unwrap_or(0)).collect();
    let names: Vec<&str> = sites.iter().map(|site| site.gateway().name()).collect();
    let Some(fields) = Fields::open(node, "`port_mapping`", &names, mistakes) else {
        return BTreeMap::new();
    };
    let each = sites.into_iter().filter_map(|site| {
        let node = fields.find(site.gateway().name())?;
        let mapping = server(node, mistakes)?;
        let homes = nats.iter().filter_map(|nats| nats.get(site.index())?.gateways.first());
        let becomes = faults.iter().filter_map(|fault| match &fault.action {
            Action::Gateway(machine, GatewayFault::Become(gateway)) if *machine == site.gateway() => {
                Some(&**gateway)
            }
            _ => None,
        });
        for gateway in homes.chain(becomes) {
            fits(node, gateway, mistakes)?;
        }
        Some((site, mapping))
    });
    each.collect()
}

fn server(node: &Node, mistakes: &mut Mistakes) -> Option<PortMapping> {
    let fields = Fields::open(node, "a gateway's port mapping", &["protocols", "fault"], mistakes)?;
    let node = fields.need("protocols", "such as `protocols: [nat-pmp, pcp, upnp]`", mistakes)?;
    let words = MappingProtocol::ALL.map(|protocol| (protocol.name(), protocol));
    let mut protocols = Vec::new();
    for item in fields::list(node, "`protocols`", mistakes)? {
        let protocol = fields::word(item, "protocol for port mapping", &words, mistakes)?;
        if protocols.contains(&protocol) {
            let message = format!("`{}` is listed twice", protocol.name());
            return mistakes.add(Mistake::new(item.at.clone(), message).hint("once is enough"));
        }
        protocols.push(protocol);
    }
    let fault = match fields.find("fault") {
        None => None,
        Some(node) => {
            let mut words = vec![("none", None)];
            words.extend(MappingFault::ALL.map(|fault| (fault.name(), Some(fault))));
            fields::word(node, "fault of port mapping", &words, mistakes)?
        }
    };
    Some(PortMapping { protocols, fault })
}

/// A mapping needs a translation, in the kernel, by the gateway next to the host that asks.
fn fits(node: &Node, gateway: &Gateway, mistakes: &mut Mistakes) -> Option<()> {
    let name = &gateway.profile.name;
    if gateway.profile.mapping.is_none() {
        return mistakes.add(
            Mistake::new(node.at.clone(), format!("{name} does not translate: there is no port to map"))
                .hint("leave `port_mapping` out, or give the site a NAT"),
        );
    }
    if gateway.engine == Engine::Model {
        return mistakes.add(
            Mistake::new(
                node.at.clone(),
                format!("{name} is the model's, and miniupnpd needs the kernel's NAT"),
            )
            .hint("choose a gateway that the kernel can be; `natrig nat explain` tells"),
        );
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;

    fn scenario(nat1: &str, port_mapping: &str) -> Result<Scenario, String> {
        let text = format!(
            "name: Mapped\nnat1: {nat1}\nnat2: symmetric\nexpected: relay\nport_mapping: {port_mapping}\n"
        );
        match Scenario::parse("mapped.yaml", &text) {
            Ok(mut scenarios) => Ok(scenarios.remove(0)),
            Err(problem) => Err(problem.render(false)),
        }
    }

    #[test]
    fn a_gateway_may_offer_mappings_and_be_broken_at_it() {
        let read = scenario("port-restrict", "{nat1: {protocols: [upnp, pcp], fault: dead}}").unwrap();
        let expected = PortMapping {
            protocols: vec![MappingProtocol::Upnp, MappingProtocol::Pcp],
            fault: Some(MappingFault::Dead),
        };
        assert_eq!(read.port_mapping, [(Site::ONE, expected)].into());
        let read = scenario("cgn", "{nat1: {protocols: [nat-pmp], fault: none}}").unwrap();
        assert_eq!(read.port_mapping[&Site::ONE].fault, None);
    }

    #[test]
    fn it_is_off_where_nothing_is_said() {
        let text = "name: Plain\nnat1: full-cone\nnat2: symmetric\nexpected: relay\n";
        assert_eq!(Scenario::parse("plain.yaml", text).unwrap()[0].port_mapping, BTreeMap::new());
    }

    #[test]
    fn what_cannot_be_is_told_with_a_remedy() {
        for (nat1, port_mapping, said, remedy) in [
            ("public", "{nat1: {protocols: [pcp]}}", "does not translate", "leave `port_mapping` out"),
            ("full-cone", "{nat1: {protocols: []}}", "empty list", ""),
            ("full-cone", "{nat1: {protocols: [pcp, pcp]}}", "listed twice", "once is enough"),
            ("full-cone", "{nat1: {protocols: [natpmp]}}", "is no protocol", "did you mean `nat-pmp`?"),
            ("full-cone", "{nat1: {protocols: [pcp], fault: ded}}", "is no fault", "did you mean `dead`?"),
            ("full-cone", "{nat1: {}}", "lacks `protocols`", "such as"),
            ("cgn", "{cgn1: {protocols: [pcp]}}", "has no key `cgn1`", "nat1"),
            ("{like: full-cone, engine: model}", "{nat1: {protocols: [pcp]}}", "the model's", "kernel"),
        ] {
            let told = scenario(nat1, port_mapping).unwrap_err();
            assert!(told.contains(said) && told.contains(remedy), "{nat1} {port_mapping}:\n{told}");
        }
        let becomes = "{nat1: {protocols: [pcp]}}\nfaults: [{after: settled, become: nat1, nat: public}]";
        let told = scenario("full-cone", becomes).unwrap_err();
        assert!(told.contains("public does not translate"), "{told}");
        assert!(scenario("full-cone", &becomes.replace("public", "symmetric")).is_ok());
    }
}
