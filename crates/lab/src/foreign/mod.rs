//! Nodes that are not omerta-mesh: what they are told, and what their lines mean.

mod speech;

use std::collections::BTreeMap;

use natrig_scenario::{App, AppProof, Machine, Role, Scenario, Template};

use crate::{NODE_PORT, Topology, Trouble};

pub use speech::Speech;

/// What is known in a lab that an app file leaves open.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// Who is where.
    pub topology: &'a Topology,
    /// Which machines there are.
    pub scenario: &'a Scenario,
    /// Which one is told something.
    pub machine: Machine,
    /// What those on the first public machine said they are called.
    pub ids: &'a BTreeMap<Role, String>,
    /// The one that it is to reach, and what that is called.
    pub other: Option<(Machine, &'a str)>,
    /// Where the lab's bytes are.
    pub file: Option<&'a str>,
}

impl Known<'_> {
    /// Words of a command, filled in.
    pub fn words(&self, templates: &[Template]) -> Result<Vec<String>, Trouble> {
        templates.iter().map(|template| self.fill(template)).collect()
    }

    /// A text, filled in.
    pub fn fill(&self, template: &Template) -> Result<String, Trouble> {
        template.fill(|place| self.means(place)).map_err(|place| {
            Trouble::node(format!("`{{{place}}}` stands for nothing on {}", self.machine))
                .hint("docs/apps.md lists what is known, and when")
        })
    }

    fn means(&self, place: &str) -> Option<String> {
        let number = |machine| self.scenario.layout().peers().position(|peer| peer == machine);
        let number = |machine| number(machine).map(|at| (at + 1).to_string());
        let address = |machine| self.topology.node(machine).ip().to_string();
        Some(match place {
            "name" => self.machine.to_string(),
            "address" => address(self.machine),
            "number" => number(self.machine)?,
            "port" => NODE_PORT.to_string(),
            "stun" => self.topology.stun()[0].to_string(),
            "file" => self.file?.to_owned(),
            "peer.id" => self.other?.1.to_owned(),
            "peer.name" => self.other?.0.to_string(),
            "peer.address" => address(self.other?.0),
            "peer.number" => number(self.other?.0)?,
            _ => match place.strip_suffix(".id") {
                Some(role) => {
                    let role = Role::PUBLIC.into_iter().find(|known| known.name() == role)?;
                    self.ids.get(&role)?.clone()
                }
                None => address(place.strip_suffix(".address").unwrap_or(place).parse().ok()?),
            },
        })
    }
}

/// Whether both peers must say that they are connected before the lab goes on: each is then told to send.
pub fn both_report(app: &App) -> bool {
    matches!(app.proof, AppProof::Send(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, other: bool) -> Result<String, String> {
        let text_of = "{name: x, nat1: full-cone, nat2: symmetric, expected: any, relays: 2}";
        let scenario = Scenario::parse("x.yaml", text_of).unwrap().remove(0);
        let topology = Topology::of(&scenario);
        let ids = BTreeMap::from([(Role::Relay, "aa".to_owned())]);
        let known = Known {
            topology: &topology,
            scenario: &scenario,
            machine: Machine::PEER1,
            ids: &ids,
            other: other.then_some((Machine::PEER2, "bb")),
            file: None,
        };
        known.fill(&Template::parse(text, |_| true).unwrap()).map_err(|trouble| trouble.message)
    }

    #[test]
    fn what_is_known_is_filled_in() {
        assert_eq!(filled("{name} {number} {port}", false).unwrap(), "peer1 1 4400");
        assert_eq!(filled("{peer.name}={peer.id}#{peer.number}", true).unwrap(), "peer2=bb#2");
        assert_eq!(filled("{relay.id}", false).unwrap(), "aa");
        assert_eq!(filled("{relay}", false).unwrap(), filled("{relay.address}", false).unwrap());
        assert_ne!(filled("{relay}", false).unwrap(), filled("{relay2}", false).unwrap());
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (text, place) in
            [("{peer.id}", "peer.id"), ("{bootstrap.id}", "bootstrap.id"), ("{file}", "file")]
        {
            assert!(filled(text, false).unwrap_err().contains(place), "{text}");
        }
    }
}
