//! What evidence proves: green or red, and why.

mod acceptance;
mod base;
mod describe;

use std::collections::{BTreeMap, BTreeSet};

pub use acceptance::{
    AcceptanceResult, HeldOutOnBase, RegressionProof, acceptance, held_out_on_base, regression_proof,
};
pub use base::cannot_run;
pub use describe::{describe_evidence, describe_red_base, ended};
use serde::{Deserialize, Serialize};

use crate::Sha256;
use crate::evidence::{CommandEvidence, Evidence, Exit, TestOutcome};

/// What a tree's evidence says against that of its base.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// No new failure against the base, and every check exited with 0 or named its failing tests.
    pub green: bool,
    /// Tests that fail and did not fail on the base, sorted.
    pub new_failures: Vec<String>,
    /// Tests that fail as they did on the base, sorted.
    pub known_failures: Vec<String>,
    /// Failures that no failing test explains, one sentence each.
    pub unexplained: Vec<String>,
    /// Tests that ran on the base and are gone, sorted.
    pub lost_tests: Vec<String>,
    /// Tests that ran on the base and are ignored now, sorted.
    pub ignored_tests: Vec<String>,
    /// Tests that the base does not have, sorted.
    pub added_tests: Vec<String>,
    /// Tests that fail on the base and pass now, sorted.
    pub fixed_tests: Vec<String>,
}

/// Judges a tree's evidence against its base's.
///
/// A check that exits with another code than 0 is explained only by failing tests that it names and that failed on the
/// base too; a signal, a passed limit, doubtful output, or a check that did not run or runs no test any more is never explained, nor are tests that
/// are all others than the base's. A check that the base does not have is judged as if nothing had failed there.
pub fn judge(base: &Evidence, now: &Evidence) -> Judgement {
    let (before, after) = (outcomes(base), outcomes(now));
    let failed = |tests: &Outcomes, key: &Key| tests.get(key) == Some(&TestOutcome::Failed);
    let ran = |tests: &Outcomes, key: &Key| tests.get(key).is_some_and(|outcome| *outcome != TestOutcome::Ignored);
    let (known, new): (Vec<Key>, Vec<Key>) =
        after.keys().filter(|key| failed(&after, key)).partition(|key| failed(&before, key));
    let mut unexplained: Vec<String> = now.commands.iter().filter_map(|check| unexplained(base, check)).collect();
    let missing = base.commands.iter().filter(|check| find(now, &check.name).is_none());
    unexplained.extend(missing.map(|check| format!("check `{}` did not run", check.name)));
    if now.commands.is_empty() {
        unexplained.push("no check ran".to_owned());
    }
    unexplained.extend(base.commands.iter().filter_map(|check| silenced(check, now)));
    let [tested, tests] =
        [&before, &after].map(|tests| tests.keys().filter(|key| ran(tests, key)).collect::<BTreeSet<_>>());
    if !tested.is_empty() && !tests.is_empty() && tested.is_disjoint(&tests) {
        unexplained.push("no test that ran on the base runs now".to_owned());
    }
    unexplained.extend(moved(base, now));
    let pick = |tests: &Outcomes, choose: &dyn Fn(&Key) -> bool| names(tests.keys().filter(|key| choose(key)).copied());
    Judgement {
        green: new.is_empty() && unexplained.is_empty(),
        new_failures: names(new),
        known_failures: names(known),
        unexplained,
        lost_tests: pick(&before, &|key| ran(&before, key) && !after.contains_key(key)),
        ignored_tests: pick(&after, &|key| ran(&before, key) && !ran(&after, key)),
        added_tests: pick(&after, &|key| !before.contains_key(key)),
        fixed_tests: pick(&after, &|key| failed(&before, key) && after.get(key) == Some(&TestOutcome::Passed)),
    }
}

/// The failures of a tree as one hash: equal hashes in two rounds mean that nothing moved. Names of failing tests count,
/// and where failures are unexplained, what their checks said (numbers, such as those of lines, left out).
pub fn fingerprint(now: &Evidence, judgement: &Judgement) -> Sha256 {
    let said = |check: &&CommandEvidence| !check.exit.is_success() && !names_failures(check);
    let without_numbers = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    let tails: Vec<_> = now.commands.iter().filter(said).map(|check| without_numbers(&check.output_tail)).collect();
    Sha256::of_json(&(&judgement.new_failures, &judgement.unexplained, tails))
}

/// A test of a check: two checks may run the same test.
type Key<'a> = (&'a str, &'a str);
type Outcomes<'a> = BTreeMap<Key<'a>, TestOutcome>;

fn outcomes(evidence: &Evidence) -> Outcomes<'_> {
    evidence
        .commands
        .iter()
        .flat_map(|check| check.tests.iter().map(|test| ((check.name.as_str(), test.name.as_str()), test.outcome)))
        .collect()
}

fn names<'a>(keys: impl IntoIterator<Item = Key<'a>>) -> Vec<String> {
    keys.into_iter().map(|(_, test)| test).collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
}

fn find<'a>(evidence: &'a Evidence, check: &str) -> Option<&'a CommandEvidence> {
    evidence.commands.iter().find(|command| command.name == check)
}

fn names_failures(check: &CommandEvidence) -> bool {
    check.tests.iter().any(|test| test.outcome == TestOutcome::Failed)
}

/// Two toolchains, whose results say nothing of each other: by the first line in which they differ.
fn moved(base: &Evidence, now: &Evidence) -> Option<String> {
    if base.toolchain.is_empty() || now.toolchain.is_empty() {
        return None;
    }
    let line = |text: &str, number| text.lines().nth(number).unwrap_or("nothing").to_owned();
    let lines = base.toolchain.lines().count().max(now.toolchain.lines().count());
    let pairs = (0..lines).map(|number| (line(&base.toolchain, number), line(&now.toolchain, number)));
    pairs.into_iter().find(|(before, after)| before != after).map(|(before, after)| {
        format!(
            "the toolchain is not the one that the base was measured with ({after}, then {before}): start the run again"
        )
    })
}

/// A check that named tests which ran, and now names none: they were taken away, or something ended it before them.
fn silenced(base: &CommandEvidence, now: &Evidence) -> Option<String> {
    let ran = |check: &CommandEvidence| check.tests.iter().any(|test| test.outcome != TestOutcome::Ignored);
    let check = find(now, &base.name)?;
    // Where it failed without naming a test, that is the reason already.
    (check.exit.is_success() && ran(base) && !ran(check))
        .then(|| format!("check `{}` ran tests on the base and runs none now", base.name))
}

/// Why a check's end is not explained by the tests it names, if so.
fn unexplained(base: &Evidence, check: &CommandEvidence) -> Option<String> {
    let doubted_before = find(base, &check.name).is_some_and(|before| before.doubt.is_some());
    let name = &check.name;
    match (&check.exit, &check.doubt) {
        // A project whose own tests print such lines does so on the base as well; a success stays one.
        (Exit::Code(0), Some(_)) if doubted_before => None,
        (_, Some(doubt)) => Some(format!("the output of check `{name}` cannot be trusted: {doubt}")),
        (Exit::Code(0), None) => None,
        (Exit::Code(_), None) if names_failures(check) => None,
        (Exit::Code(code), None) => Some(format!("check `{name}` exited with {code} and named no failing test")),
        (Exit::Signal(signal), None) => Some(format!("check `{name}` was ended by signal {signal}")),
        (Exit::Limit(limit), None) => Some(format!("check `{name}` passed its limit ({limit}) and was ended")),
        (Exit::NotStarted(why), None) => Some(format!("check `{name}` could not be started: {why}")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::evidence::{EVIDENCE_SCHEMA, Purpose, TestResult};

    /// A check: its name, its exit code and its tests as `+passed`, `-failed`, `~ignored`.
    pub(crate) fn check(name: &str, code: i32, tests: &[&str]) -> CommandEvidence {
        let outcome = |test: &str| match &test[..1] {
            "+" => TestOutcome::Passed,
            "-" => TestOutcome::Failed,
            _ => TestOutcome::Ignored,
        };
        let result = |test: &&str| TestResult { name: test[1..].to_owned(), outcome: outcome(test) };
        CommandEvidence {
            name: name.into(),
            command: format!("run {name}"),
            exit: Exit::Code(code),
            tests: tests.iter().map(result).collect(),
            doubt: None,
            output_tail: String::new(),
            truncated: false,
            duration_ms: 1,
        }
    }

    pub(crate) fn evidence(commands: &[CommandEvidence]) -> Evidence {
        Evidence {
            schema: EVIDENCE_SCHEMA,
            purpose: Purpose::Task,
            tree_sha256: Sha256::of(b"tree"),
            overlay_sha256: None,
            commands: commands.to_vec(),
            layers: vec![],
            toolchain: String::new(),
        }
    }

    fn of(base: (i32, &[&str]), now: (i32, &[&str])) -> Judgement {
        judge(&evidence(&[check("test", base.0, base.1)]), &evidence(&[check("test", now.0, now.1)]))
    }

    #[test]
    fn a_check_that_passes_is_green() {
        assert!(of((0, &["+a"]), (0, &["+a", "+b"])).green);
    }

    #[test]
    fn a_check_that_runs_no_test_any_more_is_red() {
        let gone = of((0, &["+a", "+b"]), (0, &["~b"]));
        assert!(!gone.green);
        assert_eq!(gone.unexplained, ["check `test` ran tests on the base and runs none now"]);
        assert!(of((0, &["~a"]), (0, &[])).green, "none ran before");
        assert_eq!(of((0, &["+a"]), (101, &[])).unexplained.len(), 1, "a build that fails is told once");
        assert!(of((0, &["+a", "+b"]), (0, &["+a", "+c"])).green, "a renamed one is a matter of risk");
        let replaced = of((0, &["+a", "+b"]), (0, &["~a", "+c"]));
        assert_eq!(
            (replaced.green, replaced.unexplained),
            (false, vec!["no test that ran on the base runs now".into()])
        );
    }

    #[test]
    fn a_known_failure_is_green_and_a_new_one_is_red() {
        let known = of((101, &["+a", "-b"]), (101, &["+a", "-b"]));
        assert!(known.green);
        assert_eq!(known.known_failures, ["b"]);
        let new = of((101, &["+a", "-b"]), (101, &["-a", "-b"]));
        assert!(!new.green);
        assert_eq!((new.new_failures, new.known_failures), (vec!["a".to_owned()], vec!["b".to_owned()]));
    }

    #[test]
    fn a_failure_that_names_no_test_is_red_even_if_the_base_fails_alike() {
        let red = of((1, &[]), (1, &[]));
        assert!(!red.green);
        assert_eq!(red.unexplained, ["check `test` exited with 1 and named no failing test"]);
        assert!(!of((101, &["-a"]), (101, &["+a"])).green, "101 with passing tests only");
    }

    #[test]
    fn signals_limits_and_missing_checks_are_red_whatever_they_named() {
        let base = evidence(&[check("test", 101, &["-a"]), check("lint", 0, &[])]);
        for exit in [Exit::Signal(9), Exit::Limit("wall".into()), Exit::NotStarted("no such file".into())] {
            let ended = CommandEvidence { exit, ..check("test", 101, &["-a"]) };
            assert!(!judge(&base, &evidence(&[ended, check("lint", 0, &[])])).green);
        }
        let missing = judge(&base, &evidence(&[check("test", 101, &["-a"])]));
        assert_eq!(missing.unexplained, ["check `lint` did not run"]);
        assert!(!judge(&evidence(&[]), &evidence(&[])).green);
    }

    #[test]
    fn doubtful_output_is_red_unless_the_base_is_as_doubtful_and_it_succeeds() {
        let doubtful = |code| CommandEvidence { doubt: Some("counts differ".into()), ..check("test", code, &["-a"]) };
        let certain = evidence(&[check("test", 101, &["-a"])]);
        assert!(!judge(&certain, &evidence(&[doubtful(101)])).green);
        assert!(!judge(&certain, &evidence(&[doubtful(0)])).green);
        assert!(!judge(&evidence(&[doubtful(101)]), &evidence(&[doubtful(101)])).green);
        assert!(judge(&evidence(&[doubtful(0)]), &evidence(&[doubtful(0)])).green);
    }

    #[test]
    fn tests_that_go_come_or_stop_running_are_named() {
        let judgement = of((101, &["+a", "+b", "-c", "~d"]), (0, &["~b", "+c", "+e"]));
        assert_eq!(judgement.lost_tests, ["a"]);
        assert_eq!(judgement.ignored_tests, ["b"]);
        assert_eq!(judgement.added_tests, ["e"]);
        assert_eq!(judgement.fixed_tests, ["c"]);
    }

    #[test]
    fn what_two_toolchains_measured_is_not_compared() {
        let by = |toolchain: &str| Evidence { toolchain: toolchain.into(), ..evidence(&[check("test", 0, &["+a"])]) };
        let moved = judge(&by("rustc 1.95.0\nhost: a"), &by("rustc 1.96.0\nhost: a"));
        assert!(!moved.green);
        let why = "the toolchain is not the one that the base was measured with (rustc 1.96.0, then rustc 1.95.0): start the run again";
        assert_eq!(moved.unexplained, [why]);
        for (before, now, shown) in [
            ("rustc 1.95.0\nhost: a\nLLVM 1", "rustc 1.95.0\nhost: b\nLLVM 1", "(host: b, then host: a)"),
            ("node 24\npnpm 10", "node 24", "(nothing, then pnpm 10)"),
        ] {
            let said = judge(&by(before), &by(now)).unexplained;
            assert!(said[0].contains(shown), "{said:?}");
        }
        for (before, now) in [("rustc 1.95.0", "rustc 1.95.0"), ("", "rustc 1.95.0"), ("rustc 1.95.0", "")] {
            assert!(judge(&by(before), &by(now)).green, "{before:?}, {now:?}");
        }
    }

    #[test]
    fn the_same_test_in_two_checks_is_two_tests() {
        let base = evidence(&[check("debug", 0, &["+a"]), check("release", 101, &["-a"])]);
        let now = evidence(&[check("debug", 101, &["-a"]), check("release", 101, &["-a"])]);
        assert!(!judge(&base, &now).green);
    }

    #[test]
    fn a_fingerprint_moves_with_the_failures_and_not_with_line_numbers() {
        let base = evidence(&[check("test", 0, &["+a", "+b"])]);
        let print = |tail: &str, tests: &[&str]| {
            let now = evidence(&[CommandEvidence { output_tail: tail.into(), ..check("test", 101, tests) }]);
            fingerprint(&now, &judge(&base, &now))
        };
        assert_eq!(print("error at 12:3", &[]), print("error at 14:3", &[]));
        assert_ne!(print("error at 12:3", &[]), print("another error at 12:3", &[]));
        assert_eq!(print("left: 1", &["-a"]), print("right", &["-a"]));
        assert_ne!(print("", &["-a"]), print("", &["-b"]));
    }
}
