//! A part of a run's cells, for several hosts to share.

use std::str::FromStr;

/// Every `of`-th from the `number`-th on, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    /// Those of some cells that are in it.
    pub fn of<T>(self, cells: Vec<T>) -> Vec<T> {
        let mine = |(at, cell)| (at % self.of == self.number - 1).then_some(cell);
        cells.into_iter().enumerate().filter_map(mine).collect()
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Shard { number, of }),
            _ => Err("give which of how many, from 1/1, such as 2/4".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_in_one_part() {
        let cells: Vec<u32> = (0..10).collect();
        let mut all: Vec<u32> = ["1/3", "2/3", "3/3"]
            .iter()
            .flat_map(|part| part.parse::<Shard>().unwrap().of(cells.clone()))
            .collect();
        all.sort_unstable();
        assert_eq!(all, cells);
        assert_eq!("2/3".parse::<Shard>().unwrap().of(cells), [1, 4, 7]);
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for wrong in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/2/3"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
