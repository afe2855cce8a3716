//! Reads gateway profiles that stand in files of their own.

use natrig_nat::profile::{Named, WrongProfile};

use crate::{Nat, Problem, fields::Mistakes, site, yaml};

/// Reads the profile of a text that goes by a file's name; mistakes are shown where they stand.
pub fn profile(file: &str, text: &str) -> Result<Named, Problem> {
    let root = yaml::parse(text).map_err(|mistake| Problem::invalid(file, text, vec![mistake]))?;
    Named::from_value(site::json(&root, 0)).map_err(|WrongProfile { mistakes }| {
        Problem::invalid(file, text, mistakes.into_iter().map(|wrong| site::placed(wrong, &root)).collect())
    })
}

/// Reads what may stand before a site, with the engines that make it so, of a text that goes by a file's name.
pub fn gateways(file: &str, text: &str) -> Result<Nat, Problem> {
    let root = yaml::parse(text).map_err(|mistake| Problem::invalid(file, text, vec![mistake]))?;
    let mut mistakes = Mistakes::default();
    site::nat(&root, &mut mistakes)
        .filter(|_| mistakes.0.is_empty())
        .ok_or_else(|| Problem::invalid(file, text, mistakes.0))
}
