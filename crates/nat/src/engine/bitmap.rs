//! Which of 65,536 ports are in use.

use crate::profile::PortRange;

const WORDS: usize = 1024;
const EVEN: u64 = 0x5555_5555_5555_5555;

/// A bit for each port, made when the first is set.
#[derive(Debug, Default)]
pub(super) struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    pub fn has(&self, port: u16) -> bool {
        self.words.get(usize::from(port / 64)).is_some_and(|word| word >> (port % 64) & 1 == 1)
    }

    pub fn set(&mut self, port: u16) {
        if self.words.is_empty() {
            self.words = vec![0; WORDS];
        }
        self.words[usize::from(port / 64)] |= 1 << (port % 64);
    }

    pub fn clear(&mut self, port: u16) {
        if let Some(word) = self.words.get_mut(usize::from(port / 64)) {
            *word &= !(1 << (port % 64));
        }
    }

    /// The first free port of a range at or after `from`, and from the range's start again; with a parity if one is
    /// wanted.
    pub fn next_free(&self, from: u16, range: PortRange, parity: Option<u16>) -> Option<u16> {
        let from = from.clamp(range.first(), range.last());
        self.free_between(from, range.last(), parity)
            .or_else(|| self.free_between(range.first(), from, parity))
    }

    fn free_between(&self, first: u16, last: u16, parity: Option<u16>) -> Option<u16> {
        let wanted = match parity {
            None => u64::MAX,
            Some(0) => EVEN,
            Some(_) => !EVEN,
        };
        (first / 64..=last / 64).find_map(|index| {
            let used = self.words.get(usize::from(index)).copied().unwrap_or(0);
            let mut free = !used & wanted;
            if index == first / 64 {
                free &= u64::MAX << (first % 64);
            }
            if index == last / 64 {
                free &= u64::MAX >> (63 - last % 64);
            }
            (free != 0).then(|| index * 64 + free.trailing_zeros() as u16)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_next_free_port_is_the_one_a_slow_search_finds(
            used in proptest::collection::vec(1u16..400, 0..600),
            ends in (1u16..400, 1u16..400),
            from: u16,
            parity in proptest::option::of(0u16..2),
        ) {
            let range = PortRange::new(ends.0.min(ends.1), ends.0.max(ends.1)).unwrap();
            let mut bitmap = Bitmap::default();
            used.iter().for_each(|port| bitmap.set(*port));
            let start = from.clamp(range.first(), range.last());
            let slow = (start..=range.last()).chain(range.first()..start)
                .find(|port| !used.contains(port) && parity.is_none_or(|parity| port % 2 == parity));
            prop_assert_eq!(bitmap.next_free(from, range, parity), slow);
        }

        #[test]
        fn what_is_cleared_is_free(port: u16) {
            let mut bitmap = Bitmap::default();
            bitmap.set(port);
            prop_assert!(bitmap.has(port));
            bitmap.clear(port);
            prop_assert!(!bitmap.has(port));
        }
    }
}
