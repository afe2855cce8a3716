//! Consumers of the record: terminal, JSON, JUnit, Markdown, a page.
//!
//! [`Progress`] shows a run while it goes on; [`table()`], [`grid()`] and [`failures()`] show what came of it, and
//! [`write_all`] leaves it in the run's folder. None of them judges: that has been done in the record.

#![forbid(unsafe_code)]

mod annotations;
mod board;
mod comparison;
mod diff;
mod experiment;
mod failures;
mod files;
mod junit;
mod markdown;
mod metrics;
mod page;
mod progress;
mod rows;
#[cfg(test)]
mod sample;
mod style;
mod table;
mod wording;

pub use annotations::annotations;
pub use comparison::comparison;
pub use diff::Diff;
pub use failures::failures;
pub use files::{ReadError, WriteError, read, write_all, write_page};
pub use junit::junit;
pub use markdown::markdown;
pub use metrics::{metrics, open_metrics};
pub use page::live;
pub use progress::{Progress, Told};
pub use style::Style;
pub use table::{columns, grid, table};
pub use wording::{summary, totals};
