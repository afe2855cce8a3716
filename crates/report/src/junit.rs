//! JUnit XML, as CI systems read it.

use std::time::Duration;

use natrig_record::{Cell, Outcome, Results};
use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use crate::{
    failures::{details, hint},
    rows::{Row, share},
    wording::{claims, evidence, nats, reason, wire},
};

/// The results as JUnit XML.
///
/// A path that is not as expected, or not as the node says, is a failure; a lab error is an error, as it says nothing
/// about the node.
pub fn junit(results: &Results) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new("natrig");
    let run = &results.run;
    for (name, value) in [
        ("backend", &run.backend),
        ("accelerator", &run.accelerator),
        ("host", &run.host),
        ("qemu", &run.qemu),
        ("guest_kernel", &run.guest_kernel),
        ("folder", &run.folder),
    ] {
        if !value.is_empty() {
            suite.add_property((name, value.as_str()));
        }
    }
    suite.add_property(("seed", run.seed.to_string().as_str()));
    if results.interrupted {
        suite.add_property(("interrupted", "true"));
    }
    suite.add_test_cases(Row::all(results).into_iter().map(|row| test_case(row, &run.folder)));
    suite.set_time(duration(run.elapsed_ms));
    let mut report = Report::new("natrig");
    report.set_time(duration(run.elapsed_ms));
    report.add_test_suite(suite);
    report.to_string()
}

fn test_case(row: Row<'_>, run_folder: &str) -> TestCase {
    let cell = row.cell;
    let status = match cell.outcome {
        Outcome::AsExpected => TestCaseStatus::success(),
        Outcome::NotAsExpected => failed(cell, NonSuccessKind::Failure, "not-as-expected"),
        Outcome::Disagree => failed(cell, NonSuccessKind::Failure, "disagree"),
        Outcome::LabError => failed(cell, NonSuccessKind::Error, "lab-error"),
    };
    let mut case = TestCase::new(format!("{} {}: {}", cell.id, cell.name, nats(cell)), status);
    case.set_classname(cell.file.as_deref().unwrap_or("natrig"));
    if let Some(total) = cell.figures.get("total") {
        case.set_time(duration(*total));
    }
    for (name, value) in [
        ("expected", cell.expected.clone()),
        ("wire", wire(cell)),
        ("claim", claims(cell)),
        ("evidence", format!("{run_folder}/{}", cell.evidence.folder)),
    ] {
        case.add_property((name, value.as_str()));
    }
    if let Some(repeats) = row.repeats {
        case.add_property(("as_expected", share(repeats).as_str()));
    }
    if let Some(priority) = &cell.priority {
        case.add_property(("priority", priority.as_str()));
    }
    case
}

fn failed(cell: &Cell, kind: NonSuccessKind, name: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    let mut text = details(cell);
    text.extend(evidence(cell).map(|path| format!("evidence: {path}")));
    text.extend(hint(cell).map(|hint| format!("hint: {hint}")));
    status.set_type(name).set_message(reason(cell).unwrap_or_default()).set_description(text.join("\n"));
    status
}

fn duration(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_lab_error_is_an_error_and_a_wrong_path_a_failure() {
        insta::assert_snapshot!(junit(&sample::four_outcomes()).unwrap());
    }
}
