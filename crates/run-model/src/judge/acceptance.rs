//! Tests that must fail before and pass after: the tester's, and those that no agent saw.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Key, find, judge, names, names_failures, outcomes};
use crate::evidence::{Evidence, TestOutcome};

/// Whether the new tests fail on the base and pass on the change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegressionProof {
    /// Tests that pass on the change and fail on the base with only the new tests laid over it, sorted.
    pub proven: Vec<String>,
    /// New tests that pass on the base as well, sorted: they hold on to what was there before.
    pub passing_on_base: Vec<String>,
    /// Whether the new tests build on the base; if not, they count as failing there.
    pub builds_on_base: bool,
}

impl RegressionProof {
    /// Whether at least one test proves the change.
    pub fn holds(&self) -> bool {
        !self.proven.is_empty()
    }
}

/// Measures the regression proof: `base` is the base, `tests_on_base` the base with only the tester's edits, `on_change`
/// the whole change. A test that is missing on the base counts as failing there only if its check failed without naming
/// any failing test, that is, if it did not build.
pub fn regression_proof(base: &Evidence, tests_on_base: &Evidence, on_change: &Evidence) -> RegressionProof {
    let (before, with_tests, after) = (outcomes(base), outcomes(tests_on_base), outcomes(on_change));
    let proves = |key: &Key<'_>| {
        before.get(key) != Some(&TestOutcome::Passed)
            && after.get(key) == Some(&TestOutcome::Passed)
            && fails(tests_on_base, with_tests.get(key).copied(), key.0)
    };
    let passes_on_both = |(key, outcome): &(&Key<'_>, &TestOutcome)| {
        let is_new = !before.contains_key(*key);
        is_new && **outcome == TestOutcome::Passed && with_tests.get(*key) == Some(&TestOutcome::Passed)
    };
    RegressionProof {
        proven: names(after.keys().copied().filter(proves)),
        passing_on_base: names(after.iter().filter(passes_on_both).map(|(key, _)| *key)),
        builds_on_base: tests_on_base.commands.iter().all(|check| builds(tests_on_base, &check.name)),
    }
}

/// What the held-out tests showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptanceResult {
    /// Acceptance tests that fail on the base, sorted; those that do not build there count.
    pub failing_on_base: Vec<String>,
    /// Acceptance tests that pass on the final tree, sorted.
    pub passing_on_final: Vec<String>,
    /// What speaks against the final tree: acceptance tests that do not pass, other new failures, unexplained ends.
    pub failures_on_final: Vec<String>,
    /// Whether the held-out files make the base fail, as they should.
    pub base_fails: bool,
    /// Whether the final tree meets them: nothing speaks against it, and something was measured.
    pub ok: bool,
}

/// Judges the held-out tests by four measurements: base and final tree, each plain and with the held-out files.
///
/// Acceptance tests are those that the held-out files add, and those whose outcome they change. On the final tree all of
/// them must pass, and nothing else may fail that did not fail on the plain base.
pub fn acceptance(
    base_plain: &Evidence,
    base_with: &Evidence,
    final_plain: &Evidence,
    final_with: &Evidence,
) -> AcceptanceResult {
    let (on_base, on_final) = (outcomes(base_with), outcomes(final_with));
    let mut tests: BTreeSet<Key<'_>> = BTreeSet::new();
    for (plain, with) in [(outcomes(base_plain), &on_base), (outcomes(final_plain), &on_final)] {
        tests.extend(with.iter().filter(|(key, outcome)| plain.get(*key) != Some(*outcome)).map(|(key, _)| *key));
    }
    let (passing, failing): (Vec<Key<'_>>, Vec<Key<'_>>) =
        tests.iter().partition(|key| on_final.get(*key) == Some(&TestOutcome::Passed));
    let rest = judge(base_plain, final_with);
    let mut failures: BTreeSet<String> = names(failing).into_iter().collect();
    failures.extend(rest.new_failures);
    failures.extend(rest.unexplained);
    let base_fails = !judge(base_plain, base_with).green;
    AcceptanceResult {
        failing_on_base: names(tests.iter().copied().filter(|key| fails(base_with, on_base.get(key).copied(), key.0))),
        ok: failures.is_empty() && (!passing.is_empty() || base_fails),
        passing_on_final: names(passing),
        failures_on_final: failures.into_iter().collect(),
        base_fails,
    }
}

/// What the held-out tests show on the base, before anything is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldOutOnBase {
    /// Something fails with them, as it should.
    Fails,
    /// Tests of theirs ran, and all of them pass: they cannot tell the change from the base.
    Passes,
    /// The checks measured with them what they measured without.
    Unmeasured,
}

/// Judges the held-out tests on the base: `base_plain` without and `base_with` with their files.
pub fn held_out_on_base(base_plain: &Evidence, base_with: &Evidence) -> HeldOutOnBase {
    let (plain, with) = (outcomes(base_plain), outcomes(base_with));
    if !judge(base_plain, base_with).green {
        HeldOutOnBase::Fails
    } else if plain == with {
        HeldOutOnBase::Unmeasured
    } else {
        HeldOutOnBase::Passes
    }
}

fn fails(evidence: &Evidence, outcome: Option<TestOutcome>, check: &str) -> bool {
    match outcome {
        Some(outcome) => outcome == TestOutcome::Failed,
        None => !builds(evidence, check),
    }
}

/// Whether a check got as far as its tests: it succeeded, or named a test that failed.
fn builds(evidence: &Evidence, check: &str) -> bool {
    find(evidence, check).is_some_and(|check| check.exit.is_success() || names_failures(check))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::{check, evidence};

    fn tree(code: i32, tests: &[&str]) -> Evidence {
        evidence(&[check("test", code, tests)])
    }

    #[test]
    fn a_new_test_that_fails_on_the_base_proves_the_change() {
        let proof = regression_proof(&tree(0, &["+a"]), &tree(101, &["+a", "-new"]), &tree(0, &["+a", "+new"]));
        assert_eq!(
            proof,
            RegressionProof { proven: vec!["new".into()], passing_on_base: vec![], builds_on_base: true }
        );
        assert!(proof.holds());
    }

    #[test]
    fn a_new_test_that_passes_on_the_base_is_named_beside_those_that_prove_something() {
        let change = tree(0, &["+a", "+kept", "+new"]);
        let proof = regression_proof(&tree(0, &["+a"]), &tree(101, &["+a", "+kept", "-new"]), &change);
        assert_eq!((proof.proven, proof.passing_on_base), (vec!["new".to_owned()], vec!["kept".to_owned()]));
    }

    #[test]
    fn a_test_that_does_not_build_on_the_base_proves_it_too() {
        let proof = regression_proof(&tree(0, &["+a"]), &tree(101, &[]), &tree(0, &["+a", "+new"]));
        assert_eq!(
            proof,
            RegressionProof { proven: vec!["new".into()], passing_on_base: vec![], builds_on_base: false }
        );
    }

    #[test]
    fn a_test_that_passes_on_the_base_or_never_ran_there_proves_nothing() {
        let base = tree(0, &["+a"]);
        let change = tree(0, &["+a", "+new"]);
        assert!(!regression_proof(&base, &tree(0, &["+a", "+new"]), &change).holds());
        assert!(!regression_proof(&base, &tree(101, &["-other"]), &change).holds(), "stopped at another failure");
        assert!(!regression_proof(&base, &tree(101, &["+a", "-new"]), &tree(101, &["+a", "-new"])).holds());
    }

    #[test]
    fn held_out_tests_must_pass_on_the_final_tree() {
        let plain = tree(0, &["+a"]);
        let result =
            acceptance(&plain, &tree(101, &["+a", "-held", "+easy"]), &plain, &tree(0, &["+a", "+held", "+easy"]));
        assert!(result.ok && result.base_fails);
        assert_eq!(result.failing_on_base, ["held"]);
        assert_eq!(result.passing_on_final, ["easy", "held"]);
        let unmet = acceptance(&plain, &tree(101, &["+a", "-held"]), &plain, &tree(101, &["+a", "-held"]));
        assert!(!unmet.ok);
        assert_eq!(unmet.failures_on_final, ["held"]);
    }

    #[test]
    fn held_out_tests_that_do_not_build_on_the_base_fail_there() {
        let plain = tree(0, &["+a"]);
        let result = acceptance(&plain, &tree(101, &[]), &plain, &tree(0, &["+a", "+held"]));
        assert!(result.ok);
        assert_eq!(result.failing_on_base, ["held"]);
        assert!(!acceptance(&plain, &tree(101, &[]), &plain, &tree(101, &[])).ok);
    }

    #[test]
    fn a_held_out_test_that_vanishes_or_is_ignored_on_the_final_tree_is_not_met() {
        let plain = tree(0, &["+a"]);
        for last in [tree(0, &["+a"]), tree(0, &["+a", "~held"])] {
            let result = acceptance(&plain, &tree(101, &["+a", "-held"]), &plain, &last);
            assert!(!result.ok);
            assert_eq!(result.failures_on_final, ["held"]);
        }
    }

    #[test]
    fn known_failures_of_the_base_do_not_count_and_new_ones_do() {
        let base = tree(101, &["-old", "+a"]);
        let with = tree(101, &["-old", "+a", "-held"]);
        assert!(acceptance(&base, &with, &base, &tree(101, &["-old", "+a", "+held"])).ok);
        assert!(!acceptance(&base, &with, &base, &tree(101, &["-old", "-a", "+held"])).ok);
    }

    #[test]
    fn files_that_add_no_test_and_fail_nowhere_measure_nothing() {
        let plain = tree(0, &["+a"]);
        assert!(!acceptance(&plain, &plain, &plain, &plain).ok);
        let red = tree(101, &["-old"]);
        assert!(!acceptance(&red, &red, &red, &red).ok, "known failures are no measurement");
        let script = |code| evidence(&[check("script", code, &[])]);
        assert!(acceptance(&script(0), &script(1), &script(0), &script(0)).ok, "a check that names no tests");
    }
}
