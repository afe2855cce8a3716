//! How to get from one kind of NAT to another.

use serde::Serialize;

use crate::nat::NatClass;

/// What the two sides of a punch do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Strategy {
    /// The initiator's own packets get through.
    Dial,
    /// The initiator can be reached: the responder calls.
    ResponderFirst,
    /// The responder can be reached: the initiator calls.
    InitiatorFirst,
    /// Both send to the other's known endpoint.
    Simultaneous,
    /// One side opens many ports, the other searches for one of them.
    Birthday,
    /// Nothing is known to help: a short attempt, to be sure.
    Impossible,
}

impl Strategy {
    /// The strategy for an initiator and a responder of these classes.
    ///
    /// It orders attempts and forbids none: whatever it says, all that arrives is answered. `birthday` is false where
    /// one of the two does not take part in a birthday search.
    pub fn between(initiator: NatClass, responder: NatClass, birthday: bool) -> Self {
        let hard = |class| class == NatClass::Symmetric;
        // What was not found out counts as the strictest filter of a plain home NAT.
        let strict = |class| matches!(class, NatClass::PortRestrict | NatClass::Unknown);
        if responder.is_reachable() {
            Self::Dial
        } else if initiator.is_reachable() {
            Self::ResponderFirst
        } else if hard(initiator) && hard(responder) {
            Self::Impossible
        } else if hard(initiator) && strict(responder) || strict(initiator) && hard(responder) {
            match birthday {
                true => Self::Birthday,
                false => Self::Impossible,
            }
        } else {
            Self::Simultaneous
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NatClass::*;

    #[test]
    fn reachable_sides_are_called_and_others_meet_half_way() {
        assert_eq!(Strategy::between(Symmetric, FullCone, true), Strategy::Dial);
        assert_eq!(Strategy::between(Public, Symmetric, true), Strategy::ResponderFirst);
        assert_eq!(Strategy::between(AddrRestrict, Symmetric, true), Strategy::Simultaneous);
    }

    #[test]
    fn a_symmetric_side_needs_luck_with_a_strict_one_and_finds_none_with_its_like() {
        for strict in [PortRestrict, Unknown] {
            assert_eq!(Strategy::between(strict, Symmetric, true), Strategy::Birthday);
            assert_eq!(Strategy::between(Symmetric, strict, true), Strategy::Birthday);
            assert_eq!(Strategy::between(Symmetric, strict, false), Strategy::Impossible);
        }
        assert_eq!(Strategy::between(Symmetric, Symmetric, true), Strategy::Impossible);
    }
}
