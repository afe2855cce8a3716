//! Reads gateway profiles that stand in files of their own.

use natrig_nat::profile::{Named, WrongProfile};

use crate::{Problem, site, yaml};

/// Reads the profile of a text that goes by a file's name; mistakes are shown where they stand.
pub fn profile(file: &str, text: &str) -> Result<Named, Problem> {
    let root = yaml::parse(text).map_err(|mistake| Problem::invalid(file, text, vec![mistake]))?;
    Named::from_value(site::json(&root, 0)).map_err(|WrongProfile { mistakes }| {
        Problem::invalid(file, text, mistakes.into_iter().map(|wrong| site::placed(wrong, &root)).collect())
    })
}
