//! Reading what jest writes with `--json --outputFile`.

use serde::Deserialize;

use super::TestOutcome;
use super::parsed::{Numbered, ParsedTests, relative};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    num_total_tests: usize,
    num_failed_tests: usize,
    success: bool,
    test_results: Vec<File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    name: String,
    status: String,
    #[serde(default)]
    assertion_results: Vec<Assertion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assertion {
    #[serde(default)]
    ancestor_titles: Vec<String>,
    title: String,
    status: String,
}

/// Reads a report that jest wrote to a file while it ran in `folder`.
///
/// Names: `FILE::SUITE > NAME`; a file that could not be run is a failed test by its own name. Totals must agree with what is
/// listed; where they do not, `doubt` says so.
pub fn parse_jest(report: &str, folder: &str) -> ParsedTests {
    let report: Report = match serde_json::from_str(report) {
        Ok(report) => report,
        Err(error) => return ParsedTests::doubtful(format!("its report is not jest's: {error}")),
    };
    let mut numbered = Numbered::default();
    let (mut tests, mut broken_files) = (Vec::new(), Vec::new());
    for file in &report.test_results {
        let path = relative(&file.name, folder);
        for test in &file.assertion_results {
            let titles: Vec<&str> = test.ancestor_titles.iter().chain([&test.title]).map(String::as_str).collect();
            tests.push((numbered.name(format!("{path}::{}", titles.join(" > "))), outcome(&test.status)));
        }
        let names_a_failure = file.assertion_results.iter().any(|test| test.status == "failed");
        if file.status == "failed" && !names_a_failure {
            broken_files.push((path.to_owned(), TestOutcome::Failed));
        }
    }
    let failed = tests.iter().filter(|(_, outcome)| *outcome == TestOutcome::Failed).count();
    let mut doubts = Vec::new();
    if (report.num_total_tests, report.num_failed_tests) != (tests.len(), failed) {
        doubts.push(format!(
            "its report counts {} tests, {} failed, and shows {} and {failed}",
            report.num_total_tests,
            report.num_failed_tests,
            tests.len()
        ));
    }
    if report.success && failed + broken_files.len() > 0 {
        doubts.push("its report calls a success what failed".to_owned());
    }
    tests.append(&mut broken_files);
    ParsedTests::of(tests, &doubts)
}

fn outcome(status: &str) -> TestOutcome {
    match status {
        "passed" => TestOutcome::Passed,
        "failed" => TestOutcome::Failed,
        _ => TestOutcome::Ignored,
    }
}
