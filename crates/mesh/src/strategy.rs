//! How to get from one kind of NAT to another.

use serde::Serialize;

use crate::nat::NatClass;

/// What the two sides of a punch do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Strategy {
    /// The initiator's own packets get through, without anybody's help.
    Dial,
    /// The initiator can be reached: the responder calls.
    ResponderFirst,
    /// The responder can be reached: the initiator calls.
    InitiatorFirst,
    /// Both send to the other's known endpoint.
    Simultaneous,
    /// One side's next port follows a rule: the other is told which it will be.
    PortPrediction,
    /// One side opens many ports, the other searches for one of them.
    Birthday,
    /// Nothing is known to help: a short attempt, to be sure.
    Impossible,
}

/// What both sides are ready for where one maps by destination and the other filters by port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Means {
    /// The next port of the side that maps by destination is known.
    pub prediction: bool,
    /// Both take part in a birthday search.
    pub birthday: bool,
}

impl Strategy {
    /// The strategy for an initiator and a responder of these classes, before anybody is asked for help.
    ///
    /// It orders attempts and forbids none: whatever it says, all that arrives is answered.
    pub(crate) fn between(initiator: NatClass, responder: NatClass, means: Means) -> Self {
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
            match means {
                Means { prediction: true, .. } => Self::PortPrediction,
                Means { birthday: true, .. } => Self::Birthday,
                _ => Self::Impossible,
            }
        } else {
            Self::Simultaneous
        }
    }

    /// The same once a coordinator has been asked, which is after a dial in vain.
    pub(crate) fn coordinated(self) -> Self {
        match self {
            Self::Dial => Self::InitiatorFirst,
            other => other,
        }
    }

    /// Whether both shall begin at the same moment.
    pub(crate) fn is_timed(self) -> bool {
        matches!(self, Self::Simultaneous | Self::Impossible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NatClass::*;

    const CLASSES: [NatClass; 6] = [Public, FullCone, AddrRestrict, PortRestrict, Unknown, Symmetric];

    /// One letter for each pair, rows initiator: dial, responderFirst, simultaneous, prediction, birthday, impossible.
    fn table(means: Means) -> String {
        let letter = |initiator, responder| match Strategy::between(initiator, responder, means) {
            Strategy::Dial => 'd',
            Strategy::ResponderFirst => 'r',
            Strategy::InitiatorFirst => 'i',
            Strategy::Simultaneous => 's',
            Strategy::PortPrediction => 'p',
            Strategy::Birthday => 'b',
            Strategy::Impossible => 'x',
        };
        let row =
            |initiator| CLASSES.map(|responder| letter(initiator, responder)).iter().collect::<String>();
        CLASSES.map(row).join(" ")
    }

    #[test]
    fn every_pair_of_classes_has_its_strategy() {
        let (birthday, prediction) = (true, true);
        let with = |prediction, birthday| table(Means { prediction, birthday });
        assert_eq!(with(false, birthday), "ddrrrr ddrrrr ddssss ddsssb ddsssb ddsbbx");
        assert_eq!(with(prediction, birthday), "ddrrrr ddrrrr ddssss ddsssp ddsssp ddsppx");
        assert_eq!(with(prediction, false), with(prediction, birthday));
        assert_eq!(with(false, false), "ddrrrr ddrrrr ddssss ddsssx ddsssx ddsxxx");
    }

    #[test]
    fn a_reachable_responder_is_called_again_after_a_dial_in_vain() {
        assert_eq!(Strategy::Dial.coordinated(), Strategy::InitiatorFirst);
        assert_eq!(Strategy::Simultaneous.coordinated(), Strategy::Simultaneous);
    }
}
