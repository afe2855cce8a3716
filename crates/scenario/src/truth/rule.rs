//! The truth for gateways that the table does not have, from what mappings and filters let pass.
//!
//! Both peers send to each other's endpoint as a server knows it. A packet gets in where the filter is EIF; otherwise it
//! gets in only by the mapping that has sent to its sender, which is the known one with EIM alone, and then with ADF, or
//! with APDF if the sender's own mapping is the known one. The 25 cells of the table follow from this; a test holds both
//! against each other.

use natrig_nat::{
    Filtering, Mapping, Profile,
    profile::{Allocation, Pooling, Unsolicited},
};
use natrig_record::Kind;

use crate::Nat;

/// Mappings that a birthday search keeps alive on the side that maps by destination, and some for other use.
const SEARCHED: u32 = 300;

/// Flows that it makes on the other side.
const PROBES: u32 = 4_200;

/// Why nothing is known of a pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no truth is known of {initiator} to {responder}: {why}")]
pub struct Unknown {
    initiator: String,
    responder: String,
    why: &'static str,
}

/// The kind of path when one dials the other.
pub(super) fn kind(initiator: &Nat, responder: &Nat, birthday: bool) -> Result<Kind, Unknown> {
    let unknown = |why| Unknown { initiator: initiator.name.clone(), responder: responder.name.clone(), why };
    let both = [initiator, responder];
    if both.into_iter().any(|nat| any(nat, |profile| profile.udp_blocked)) {
        return Err(unknown("one of them passes no UDP"));
    }
    if responder.filtering() == Filtering::EndpointIndependent {
        return Ok(Kind::Direct);
    }
    if initiator.filtering() == Filtering::EndpointIndependent {
        return Ok(Kind::Reversal);
    }
    if both.into_iter().any(wanders) {
        return Err(unknown("its outside address may be another one for each destination"));
    }
    // A gateway that takes early packets for its own is as good as any other until one comes.
    match [false, true]
        .map(|early| gets_in(initiator, responder, early) || gets_in(responder, initiator, early))
    {
        [true, true] => Ok(Kind::Punch),
        [true, false] => Err(unknown("it depends on whose packet comes first")),
        [false, _] => search(both, birthday).map_err(unknown),
    }
}

/// Whether what one sends to the other's known endpoint gets in, once both have sent.
fn gets_in(sender: &Nat, receiver: &Nat, early: bool) -> bool {
    let is_known = |nat: &Nat| maps_eim(nat) && !(early && poisons(nat));
    is_known(receiver)
        && match receiver.filtering() {
            Filtering::EndpointIndependent | Filtering::AddressDependent => true,
            Filtering::AddressAndPortDependent => is_known(sender),
        }
}

/// One side that maps EIM looks for a port of one that does not.
fn search([one, two]: [&Nat; 2], birthday: bool) -> Result<Kind, &'static str> {
    let (easy, hard) = match (maps_eim(one), maps_eim(two)) {
        (true, false) => (one, two),
        (false, true) => (two, one),
        _ => return Ok(Kind::Relay),
    };
    if is_foreseeable(hard) {
        // Its next port can be told to the other side, which has to try a few at most.
        return match poisons(easy) {
            true => Err("it depends on whose packet comes first"),
            false => Ok(Kind::Punch),
        };
    }
    if poisons(easy) {
        return Ok(Kind::Relay);
    }
    if !birthday {
        return Ok(Kind::Relay);
    }
    if room(hard) < SEARCHED || room(easy) < PROBES {
        return Err("a table may be too small for the birthday search");
    }
    Ok(Kind::Birthday)
}

fn any(nat: &Nat, is: impl Fn(&Profile) -> bool) -> bool {
    nat.gateways.iter().any(|gateway| is(&gateway.profile))
}

fn maps_eim(nat: &Nat) -> bool {
    nat.mapping().is_none_or(|mapping| mapping == Mapping::EndpointIndependent)
}

/// Whether all that map by destination give ports in a row.
fn is_foreseeable(nat: &Nat) -> bool {
    let dependent =
        |profile: &&Profile| profile.mapping.is_some_and(|mapping| mapping != Mapping::EndpointIndependent);
    let mut dependent = nat.gateways.iter().map(|gateway| &gateway.profile).filter(dependent);
    dependent.all(|profile| matches!(profile.ports.allocation, Allocation::Sequential { .. }))
}

fn wanders(nat: &Nat) -> bool {
    any(nat, |profile| {
        profile.mapping.is_some_and(|mapping| mapping != Mapping::EndpointIndependent)
            && profile.pool.addresses > 1
            && profile.pool.pooling == Pooling::Arbitrary
    })
}

/// Whether an early packet gets to a gateway that takes it for its own.
fn poisons(nat: &Nat) -> bool {
    nat.gateways
        .iter()
        .rev()
        .scan(true, |open, gateway| {
            let reached = *open;
            *open &= gateway.profile.filtering == Filtering::EndpointIndependent;
            Some(reached && gateway.profile.unsolicited == Unsolicited::Poison)
        })
        .any(|poisons| poisons)
}

/// How many flows one peer may have.
fn room(nat: &Nat) -> u32 {
    let limits = nat.gateways.iter().map(|gateway| gateway.profile.limits);
    limits
        .map(|limits| limits.flows.min(limits.mappings).min(limits.per_host.unwrap_or(u32::MAX)))
        .min()
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use natrig_nat::{Preset, profile::Named};

    use super::*;
    use crate::Truth;

    fn nat(name: &str) -> Nat {
        Nat::of(&Named::find(name).unwrap())
    }

    fn check(initiator: &str, responder: &str, wanted: Result<Kind, &str>) {
        let found = kind(&nat(initiator), &nat(responder), true);
        assert_eq!(found.as_ref().map_err(|unknown| unknown.why), wanted.as_ref().map_err(|why| *why));
    }

    #[test]
    fn the_table_follows_from_the_rule() {
        for initiator in Preset::ALL {
            for responder in Preset::ALL {
                for birthday in [true, false] {
                    let wanted = Truth::standard().lookup(initiator, responder, birthday);
                    let found = kind(&initiator.into(), &responder.into(), birthday);
                    assert_eq!(found, Ok(wanted), "{initiator} to {responder}, birthday {birthday}");
                }
            }
        }
    }

    #[test]
    fn gateways_beyond_the_table() {
        check("cgn", "cgn", Ok(Kind::Punch));
        check("cgn", "full-cone", Ok(Kind::Direct));
        check("symmetric-sequential", "port-restrict", Ok(Kind::Punch));
        check("symmetric-sequential", "poison", Err("it depends on whose packet comes first"));
        check("symmetric-sequential", "symmetric", Ok(Kind::Relay));
        check("reject", "short-timer", Ok(Kind::Punch));
        check("udp-blocked", "public", Err("one of them passes no UDP"));
        check("small-table", "symmetric", Err("a table may be too small for the birthday search"));
    }

    /// An early packet makes an easy gateway a hard one.
    #[test]
    fn a_poisoned_gateway() {
        check("poison", "public", Ok(Kind::Direct));
        check("full-cone", "poison", Ok(Kind::Reversal));
        check("addr-restrict", "poison", Ok(Kind::Punch));
        check("poison", "symmetric", Ok(Kind::Relay));
        check("poison", "port-restrict", Err("it depends on whose packet comes first"));
    }
}
