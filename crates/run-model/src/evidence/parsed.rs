//! What any reader of tests finds, whatever the tool.

use std::collections::BTreeMap;

use super::{TestOutcome, TestResult};
use crate::scan::mask;

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

    /// The same without what looks like a secret: names of tests are made of anything, and models read them.
    #[must_use]
    pub fn masked(self) -> Self {
        let doubt = self.doubt.map(|doubt| mask(&doubt));
        // One look at all of them, since hardly ever there is one.
        let names = self.tests.iter().map(|test| test.name.as_str()).collect::<Vec<_>>().join("\n");
        if mask(&names) == names {
            return Self { doubt, ..self };
        }
        let doubts: Vec<String> = doubt.into_iter().collect();
        Self::of(self.tests.into_iter().map(|test| (mask(&test.name), test.outcome)), &doubts)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_holds_a_key_is_masked_and_counts_as_the_worst_that_bears_it() {
        let key = |last: char| format!("test_sign[AK{}{}{last}]", "IA", "QWERTYUIOP12345");
        let outcomes =
            [(key('6'), TestOutcome::Failed), (key('7'), TestOutcome::Passed), ("b".into(), TestOutcome::Passed)];
        let masked = ParsedTests::of(outcomes, &[]).masked();
        let shown: Vec<_> = masked.tests.iter().map(|test| (test.name.as_str(), test.outcome)).collect();
        assert_eq!(shown, [("b", TestOutcome::Passed), ("test_sign[***]", TestOutcome::Failed)]);
        let plain = ParsedTests::of([("a".into(), TestOutcome::Passed)], &["counts differ".into()]);
        assert_eq!(plain.clone().masked(), plain);
    }
}
