//! Which relays to hold: the near ones with room, and no other as long as no other is clearly better.

use std::time::Duration;

use crate::identity::PeerId;

/// Round trips shorter than this are all the same.
const FLOOR: Duration = Duration::from_millis(5);
/// Another relay is better only if it is better by this much, and its cost at most so many per cent of the old one's.
const MARGIN: Duration = Duration::from_millis(10);
const MARGIN_PERCENT: u32 = 70;

/// A relay that could be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rated {
    pub relay: PeerId,
    pub cost: Duration,
    /// Decides between equals, differently for each node: else all would take the same.
    pub lot: u64,
}

/// What a relay costs us: its round trip time, up to twice that if it is loaded (in per cent). Small differences are none.
pub(crate) fn cost(round_trip: Duration, load: u8) -> Duration {
    let cost = round_trip.max(FLOOR) * (100 + u32::from(load.min(100))) / 100;
    FLOOR * cost.div_duration_f64(FLOOR).round() as u32
}

/// The lot of a relay, drawn by somebody.
pub(crate) fn lot(by: &PeerId, relay: &PeerId) -> u64 {
    let bytes = by.as_bytes().iter().zip(relay.as_bytes()).map(|(a, b)| a ^ b);
    bytes.take(8).fold(0, |lot, byte| lot << 8 | u64::from(byte))
}

/// Whether it is worth leaving a relay for another.
pub(crate) fn is_clearly_better(new: Duration, old: Duration) -> bool {
    new + MARGIN <= old && new <= old * MARGIN_PERCENT / 100
}

/// The relays to hold of `rated`, the cheapest first, given those that are held already: these stay, free places are
/// taken by the cheapest others.
pub(crate) fn choose(held: &[PeerId], rated: &[Rated], places: usize) -> Vec<PeerId> {
    let mut chosen: Vec<Rated> = rated.to_vec();
    chosen.sort_by_key(|rated| (!held.contains(&rated.relay), rated.cost, rated.lot));
    chosen.truncate(places.max(1));
    chosen.sort_by_key(|rated| (rated.cost, rated.lot));
    chosen.into_iter().map(|rated| rated.relay).collect()
}

/// A relay that is clearly better than the worst of those held: (the worst, the better one).
pub(crate) fn challenge(held: &[PeerId], rated: &[Rated]) -> Option<(PeerId, PeerId)> {
    let is_held = |rated: &&Rated| held.contains(&rated.relay);
    let worst = rated.iter().filter(is_held).max_by_key(|rated| rated.cost)?;
    let best = rated.iter().filter(|rated| !is_held(rated)).min_by_key(|rated| rated.cost)?;
    is_clearly_better(best.cost, worst.cost).then_some((worst.relay, best.relay))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rated(n: u8, millis: u64) -> Rated {
        Rated { relay: PeerId::from_bytes([n; 32]), cost: Duration::from_millis(millis), lot: n.into() }
    }

    fn ids(rated: &[Rated]) -> Vec<PeerId> {
        rated.iter().map(|rated| rated.relay).collect()
    }

    #[test]
    fn the_nearest_are_taken_and_of_equals_the_one_with_room() {
        let all = [rated(1, 50), rated(2, 10), rated(3, 30)];
        assert_eq!(choose(&[], &all, 2), ids(&[rated(2, 0), rated(3, 0)]));
        let way = Duration::from_millis(20);
        assert!(cost(way, 80) > cost(way, 10));
        assert!(cost(way, 100) < cost(3 * way, 0), "a far one is not better than a full one");
    }

    #[test]
    fn what_is_held_stays_until_another_is_clearly_better() {
        let all = [rated(1, 50), rated(2, 40), rated(3, 30)];
        let held = [rated(1, 0).relay];
        assert_eq!(choose(&held, &all, 1), held);
        assert_eq!(challenge(&held, &all[..2]), None, "40 against 50 is not clear");
        assert_eq!(challenge(&held, &all), Some((held[0], rated(3, 0).relay)));
    }

    proptest! {
        #[test]
        fn there_is_always_one_and_never_too_many(
            costs in proptest::collection::vec(1u64..500, 1..12),
            held in proptest::collection::vec(any::<bool>(), 12),
            places in 0usize..5,
        ) {
            let all: Vec<Rated> = costs.iter().enumerate().map(|(n, cost)| rated(n as u8, *cost)).collect();
            let held: Vec<PeerId> =
                all.iter().zip(&held).filter(|(_, held)| **held).map(|(rated, _)| rated.relay).collect();
            let chosen = choose(&held, &all, places);
            prop_assert_eq!(chosen.len(), all.len().min(places.max(1)));
            let stayed = chosen.iter().filter(|relay| held.contains(relay)).count();
            prop_assert_eq!(stayed, held.len().min(places.max(1)));
        }

        /// After a change there is no reason to change back, were all costs off by a tenth.
        #[test]
        fn choices_do_not_flap(costs in proptest::collection::vec(20u64..500, 2..8), noise in proptest::collection::vec(95u32..=105, 8)) {
            let all: Vec<Rated> = costs.iter().enumerate().map(|(n, cost)| rated(n as u8, *cost)).collect();
            let held = vec![all[0].relay];
            if let Some((_, better)) = challenge(&held, &all) {
                let noisy: Vec<Rated> = all
                    .iter()
                    .zip(&noise)
                    .map(|(rated, noise)| Rated { cost: rated.cost * *noise / 100, ..*rated })
                    .collect();
                let again = challenge(&[better], &noisy);
                prop_assert!(again.is_none_or(|(_, next)| next != held[0]));
            }
        }
    }
}
