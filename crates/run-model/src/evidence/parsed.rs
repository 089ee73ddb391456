//! What any reader of tests finds, whatever the tool.

use std::collections::BTreeMap;

use super::{TestOutcome, TestResult};

/// The tests that a command named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedTests {
    /// The tests, sorted by name, each once: `src/lib.rs::tests::adds`, `tests/test_parse.py::TestEmpty::test_input[x]`,
    /// `doc demo::src/lib.rs - add`.
    pub tests: Vec<TestResult>,
    /// Why they cannot be trusted, if so: what the lines say is not what the summaries say, or there is no report.
    pub doubt: Option<String>,
}

impl ParsedTests {
    /// Nothing but a doubt.
    pub fn doubtful(why: impl Into<String>) -> Self {
        Self { tests: Vec::new(), doubt: Some(why.into()) }
    }

    /// A test that occurs twice counts as it did worst.
    pub(super) fn of(outcomes: impl IntoIterator<Item = (String, TestOutcome)>, doubts: &[String]) -> Self {
        let mut by_name: BTreeMap<String, TestOutcome> = BTreeMap::new();
        for (name, outcome) in outcomes {
            let known = by_name.entry(printable(&name)).or_insert(outcome);
            *known = worse(*known, outcome);
        }
        let tests = by_name.into_iter().map(|(name, outcome)| TestResult { name, outcome }).collect();
        Self { tests, doubt: (!doubts.is_empty()).then(|| doubts.join("; ")) }
    }

    /// The same, not to be trusted for this reason if for no earlier one.
    #[must_use]
    pub fn doubting(self, why: impl Into<String>) -> Self {
        let doubt = self.doubt.unwrap_or_else(|| why.into());
        Self { doubt: Some(doubt), ..self }
    }
}

/// Tells tests of one name apart: the second becomes `NAME #2`.
#[derive(Default)]
pub(super) struct Numbered(BTreeMap<String, u32>);

impl Numbered {
    pub(super) fn name(&mut self, name: String) -> String {
        let times = self.0.entry(name.clone()).or_default();
        *times += 1;
        if *times > 1 { format!("{name} #{times}") } else { name }
    }
}

pub(super) fn worse(one: TestOutcome, other: TestOutcome) -> TestOutcome {
    let badness = |outcome| match outcome {
        TestOutcome::Passed => 0,
        TestOutcome::Ignored => 1,
        TestOutcome::Failed => 2,
    };
    if badness(one) >= badness(other) { one } else { other }
}

/// A name may be made of anything, and is printed on terminals.
fn printable(name: &str) -> String {
    name.replace(char::is_control, "\u{fffd}")
}

/// A file as every machine calls it: relative to the folder where the command ran.
pub(super) fn relative<'a>(file: &'a str, folder: &str) -> &'a str {
    let inside = file.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).unwrap_or(file);
    inside.strip_prefix("./").unwrap_or(inside)
}
