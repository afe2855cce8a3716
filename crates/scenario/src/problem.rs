//! What is wrong with a scenario file, shown where it stands.

use std::{ops::Range, path::PathBuf, sync::Arc};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, NamedSource, Report, SourceSpan};

/// Why scenarios could not be loaded.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum Problem {
    /// The file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    #[diagnostic(help("name a scenario file, such as scenarios/seed/scenario-direct.yaml"))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The text has mistakes.
    #[error("{file} is not a valid {what}: {}", count(mistakes.len()))]
    Invalid {
        /// What it should be.
        what: &'static str,
        /// Which file.
        file: String,
        /// Its text.
        #[source_code]
        text: Arc<NamedSource<Arc<str>>>,
        /// All mistakes that were found, in the order of the text.
        #[related]
        mistakes: Vec<Mistake>,
    },
    /// Two scenarios of a run have the same ID.
    #[error("two scenarios have the ID `{id}`: one of {first}, one of {second}")]
    #[diagnostic(help("give one of them another `id:`"))]
    SameId {
        /// The ID.
        id: String,
        /// The file of the first.
        first: String,
        /// The file of the second.
        second: String,
    },
}

fn count(mistakes: usize) -> String {
    match mistakes {
        1 => "1 mistake".to_owned(),
        n => format!("{n} mistakes"),
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct Mistake {
    message: String,
    #[label("here")]
    at: SourceSpan,
    #[help]
    hint: Option<String>,
}

impl Mistake {
    pub(crate) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Mistake { message: message.into(), at: at.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Mistake { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn start(&self) -> usize {
        self.at.offset()
    }
}

impl Problem {
    pub(crate) fn invalid(file: &str, text: &str, mistakes: Vec<Mistake>) -> Self {
        Problem::invalid_as("scenario", file, text, mistakes)
    }

    pub(crate) fn invalid_as(what: &'static str, file: &str, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(Mistake::start);
        // What stands in the file's head is read again for each of its rows.
        mistakes.dedup();
        let text: Arc<str> = text.into();
        Problem::Invalid {
            what,
            text: Arc::new(NamedSource::new(file, text)),
            file: file.to_owned(),
            mistakes,
        }
    }

    /// As text for a terminal: every mistake with its lines, place and hint.
    pub fn render(&self, color: bool) -> String {
        const MOST: usize = 20;
        let Problem::Invalid { text, mistakes, .. } = self else {
            return render(self, color);
        };
        let mut shown: Vec<String> = mistakes
            .iter()
            .take(MOST)
            .map(|mistake| {
                let report = Report::new(mistake.clone()).with_source_code(text.clone());
                render(report.as_ref(), color)
            })
            .collect();
        if mistakes.len() > MOST {
            shown.push(format!("  … and {} more\n", mistakes.len() - MOST));
        }
        shown.join("\n")
    }
}

fn render(diagnostic: &dyn Diagnostic, color: bool) -> String {
    let theme = match color {
        true => GraphicalTheme::unicode(),
        false => GraphicalTheme::unicode_nocolor(),
    };
    let mut text = String::new();
    match GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_width(110)
        .render_report(&mut text, diagnostic)
    {
        Ok(()) => text,
        Err(_) => diagnostic.to_string(),
    }
}
