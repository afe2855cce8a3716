//! Why the path between two sites is what it is, in sentences.

use natrig_nat::{Filtering, Mapping};
use natrig_record::Kind;

use super::{Truth, Unknown};
use crate::Nat;

impl Truth {
    /// Why the first reaches the second as it does: a sentence for what stands before each, then what follows.
    pub fn because(&self, initiator: &Nat, responder: &Nat, birthday: bool) -> Result<Vec<String>, Unknown> {
        let kind = self.of(initiator, responder, birthday)?;
        Ok(vec![
            format!("the initiator is behind {}", described(initiator)),
            format!("the responder is behind {}", described(responder)),
            follows(kind, [initiator, responder], birthday),
        ])
    }
}

fn described(nat: &Nat) -> String {
    let maps = match nat.mapping() {
        None => "it translates nothing",
        Some(Mapping::EndpointIndependent) => "it gives a socket one outside port for all destinations (EIM)",
        Some(Mapping::AddressDependent) => {
            "it gives a socket another outside port for each address it sends to (ADM)"
        }
        Some(Mapping::AddressAndPortDependent) => {
            "it gives a socket another outside port for each address and port it sends to (APDM)"
        }
    };
    let lets_in = match nat.filtering() {
        Filtering::EndpointIndependent => "lets in whoever sends to that port (EIF)",
        Filtering::AddressDependent => "lets in only addresses that were sent to (ADF)",
        Filtering::AddressAndPortDependent => "lets in only addresses and ports that were sent to (APDF)",
    };
    let lets_in = match (nat.mapping(), nat.filtering()) {
        (None, Filtering::EndpointIndependent) => "lets in everybody",
        _ => lets_in,
    };
    format!("`{}`: {maps}, and {lets_in}", nat.name)
}

fn follows(kind: Kind, [initiator, responder]: [&Nat; 2], birthday: bool) -> String {
    let depends = |nat: &Nat| nat.mapping().is_some_and(|mapping| mapping != Mapping::EndpointIndependent);
    let (one, other) = if depends(initiator) { (initiator, responder) } else { (responder, initiator) };
    match kind {
        Kind::Direct => format!(
            "the responder can be called at the endpoint that is known of it, since `{}` lets in whoever calls: the path is direct",
            responder.name
        ),
        Kind::Reversal => format!(
            "the responder cannot be called, but the initiator can, since `{}` lets in whoever calls: the responder is asked over the \
             relay to call back",
            initiator.name
        ),
        Kind::Punch if depends(one) => format!(
            "`{}` sends from a port that nobody knows before, but `{}` lets it in all the same, or a few tries find it: both send at \
             once, and the side that hears first answers to where it was called from",
            one.name, other.name
        ),
        Kind::Punch => "both endpoints are known and stay the same for each other: both send at once, each lets the other in by \
                        what it has sent itself"
            .to_owned(),
        Kind::Birthday => format!(
            "`{}` sends from a port that nobody knows before, and `{}` lets in only ports that it has sent to: the one opens 256 \
             sockets, the other tries up to 4,096 ports at random, and by the birthday paradox they meet",
            one.name, other.name
        ),
        Kind::Relay if depends(initiator) && depends(responder) => "neither knows from which port the other sends, and about 54,000 \
             probes would be needed for an even chance: the relay carries everything"
            .to_owned(),
        Kind::Relay if !birthday => format!(
            "`{}` sends from a port that nobody knows before, `{}` lets in only ports that it has sent to, and no search by birthday \
             is allowed: the relay carries everything",
            one.name, other.name
        ),
        Kind::Relay => format!(
            "`{}` sends from a port that nobody knows before, and a search spoils the mapping of `{}`, which takes early packets for \
             its own: the relay carries everything",
            one.name, other.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use natrig_nat::profile::Named;

    use super::*;

    fn check(initiator: &str, responder: &str, birthday: bool, why: &str) {
        let [initiator, responder] = [initiator, responder].map(|name| Nat::of(&Named::find(name).unwrap()));
        let because = Truth::standard().because(&initiator, &responder, birthday).unwrap();
        assert!(because[2].contains(why), "{because:?}");
    }

    #[test]
    fn each_kind_of_path_has_its_reason() {
        check("symmetric", "public", true, "can be called at the endpoint");
        check("full-cone", "port-restrict", true, "call back");
        check("port-restrict", "addr-restrict", true, "both endpoints are known");
        check("symmetric", "addr-restrict", true, "`symmetric` sends from a port that nobody knows");
        check("port-restrict", "symmetric", true, "birthday paradox");
        check("port-restrict", "symmetric", false, "no search by birthday");
        check("symmetric", "symmetric", true, "neither knows");
        check("poison", "symmetric", true, "takes early packets for its own");
    }
}
