//! Names of cells.

use natrig_nat::Preset;

pub(crate) const LONGEST: usize = 64;

/// A text as a file name: lower-case words joined by hyphens.
pub(crate) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= LONGEST {
            break;
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// Whether a text can be an ID as it stands: a file name without surprises.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() <= LONGEST
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// A cell's number in the 5x5 matrix, counted by rows from the most open gateway.
pub(crate) fn matrix(nats: [Preset; 2]) -> String {
    let place = |nat: Preset| Preset::ALL.iter().take_while(|preset| **preset != nat).count();
    format!("T2.M.{}", 5 * place(nats[0]) + place(nats[1]) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_counted_by_rows() {
        assert_eq!(matrix([Preset::Public, Preset::Public]), "T2.M.1");
        assert_eq!(matrix([Preset::Public, Preset::Symmetric]), "T2.M.5");
        assert_eq!(matrix([Preset::PortRestrict, Preset::Symmetric]), "T2.M.20");
        assert_eq!(matrix([Preset::Symmetric, Preset::Symmetric]), "T2.M.25");
    }

    #[test]
    fn a_slug_is_an_id() {
        assert_eq!(slug("Hole punch (cone + symmetric)"), "hole-punch-cone-symmetric");
        assert_eq!(slug("  "), "");
        assert!(is_id(&slug(&"Ünïcode ".repeat(40))));
        assert!(is_id("T2.M.20") && !is_id("../x") && !is_id("") && !is_id(".x") && !is_id("a/b"));
    }
}
