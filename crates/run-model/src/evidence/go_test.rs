//! Reading `go test -json`: one event a line.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::TestOutcome;
use super::parsed::{ParsedTests, worse};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    #[serde(default)]
    package: String,
    test: Option<String>,
    #[serde(default)]
    output: String,
}

/// Whatever happened to a package.
#[derive(Default)]
struct Package {
    ended: Option<TestOutcome>,
    /// By test; `None` until it ends.
    tests: BTreeMap<String, Option<TestOutcome>>,
}

/// Reads what `go test -json` wrote to its standard output; with it the text that a person reads.
///
/// Names: `PACKAGE::TEST`, and `PACKAGE` for one that failed without a failed test (it could not be built, or ended itself).
/// A test can print what looks like the end of a test, so one that ends twice, or a package that passes with a failed test,
/// is a `doubt`.
pub fn parse_go_test(stdout: &str) -> (ParsedTests, String) {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    let (mut text, mut doubts) = (String::new(), Vec::new());
    for line in stdout.lines() {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            // What could not be built is not told as an event by older versions.
            if let Some((package, _)) = line.strip_prefix("FAIL\t").and_then(|rest| rest.split_once(" [")) {
                packages.entry(package.to_owned()).or_default().ended = Some(TestOutcome::Failed);
            }
            text += line;
            text.push('\n');
            continue;
        };
        text += &event.output;
        if event.action.starts_with("build-") {
            continue;
        }
        let package = packages.entry(event.package.clone()).or_default();
        doubts.extend(package.read(&event));
    }
    let mut tests = Vec::new();
    for (name, package) in packages {
        package.tell(&name, &mut tests, &mut doubts);
    }
    (ParsedTests::of(tests, &doubts), text)
}

impl Package {
    fn read(&mut self, event: &Event) -> Option<String> {
        let outcome = match event.action.as_str() {
            "run" => None,
            "pass" => Some(TestOutcome::Passed),
            "fail" => Some(TestOutcome::Failed),
            "skip" => Some(TestOutcome::Ignored),
            _ => return None,
        };
        let Some(test) = &event.test else {
            self.ended = outcome;
            return None;
        };
        let known = self.tests.entry(test.clone()).or_default();
        let twice = known.is_some() && outcome.is_some();
        *known = match (*known, outcome) {
            (Some(one), Some(other)) => Some(worse(one, other)),
            (one, other) => one.or(other),
        };
        twice.then(|| format!("{test} of {} ended twice", event.package))
    }

    fn tell(self, name: &str, tests: &mut Vec<(String, TestOutcome)>, doubts: &mut Vec<String>) {
        // What began and did not end took its package down.
        let all =
            self.tests.into_iter().map(|(test, end)| (format!("{name}::{test}"), end.unwrap_or(TestOutcome::Failed)));
        let all: Vec<_> = all.collect();
        let failed = all.iter().any(|(_, outcome)| *outcome == TestOutcome::Failed);
        tests.extend(all);
        match self.ended {
            Some(TestOutcome::Failed) if !failed => tests.push((name.to_owned(), TestOutcome::Failed)),
            Some(TestOutcome::Failed) => {}
            Some(_) if failed => doubts.push(format!("{name} passed, and tests in it failed")),
            Some(_) => {}
            None => doubts.push(format!("{name} did not end")),
        }
    }
}
