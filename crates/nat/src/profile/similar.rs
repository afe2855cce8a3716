//! What was probably meant.

/// The known word that is most like a text, or else all that are known.
pub fn meant<'a>(text: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    // Beyond this length nothing is a slip of the pen, and the comparison would cost.
    let close = (text.len() <= 40)
        .then(|| {
            let lower = text.to_lowercase().replace('_', "-");
            known
                .clone()
                .map(|word| {
                    let likeness = strsim::normalized_damerau_levenshtein(&lower, &word.replace('_', "-"));
                    (likeness, word)
                })
                .filter(|(likeness, _)| *likeness >= 0.55)
                .max_by(|a, b| a.0.total_cmp(&b.0))
        })
        .flatten();
    match close {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None => format!("known are: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// A text short enough for a message, without what would disturb a terminal.
pub fn shorten(text: &str) -> String {
    const LONGEST: usize = 40;
    let clean: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match text.chars().nth(LONGEST) {
        Some(_) => clean + "…",
        None => clean,
    }
}
