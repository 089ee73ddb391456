//! Evidence as a model reads it: what varies between machines and days is left out.

use std::fmt::Write;

use run_model::evidence::{CommandEvidence, Evidence, Exit, TestOutcome};
use run_model::judge::judge;

/// The most of a failing check's output that is shown, from its end.
const SHOWN_BYTES: usize = 8 * 1024;

/// What was measured on a tree: the judgement against the base first, then each check.
pub(crate) fn measured(now: &Evidence, base: Option<&Evidence>) -> String {
    let judgement = base.map(|base| format!("{}\n\n", judge(base, now))).unwrap_or_default();
    format!("{judgement}{}", checks(now))
}

/// Each check of a tree.
pub(crate) fn checks(evidence: &Evidence) -> String {
    let mut text = String::new();
    for check in &evidence.commands {
        let _ = writeln!(text, "check `{}` ({}): {}", check.name, check.command, ended(&check.exit));
        if !check.tests.is_empty() {
            let _ = writeln!(text, "{}", counts(check));
        }
        for test in check.tests.iter().filter(|test| test.outcome == TestOutcome::Failed) {
            let _ = writeln!(text, "failed: {}", test.name);
        }
        if !check.exit.is_success() {
            let _ = writeln!(text, "the end of its output:\n{}", tail(&check.output_tail));
        }
    }
    text.trim_end().to_owned()
}

fn ended(exit: &Exit) -> String {
    match exit {
        Exit::Code(0) => "passed".into(),
        Exit::Code(code) => format!("exited with {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::Limit(limit) => format!("passed its limit ({limit}) and was ended"),
        Exit::NotStarted(why) => format!("could not be started: {why}"),
    }
}

fn counts(check: &CommandEvidence) -> String {
    let count = |outcome| check.tests.iter().filter(|test| test.outcome == outcome).count();
    let [passed, failed, ignored] = [TestOutcome::Passed, TestOutcome::Failed, TestOutcome::Ignored].map(count);
    format!("tests: {passed} passed, {failed} failed, {ignored} ignored")
}

fn tail(output: &str) -> &str {
    let start = output.ceil_char_boundary(output.len().saturating_sub(SHOWN_BYTES));
    output[start..].trim_end()
}

#[cfg(test)]
pub(crate) mod tests {
    use run_model::Sha256;
    use run_model::evidence::{EVIDENCE_SCHEMA, Purpose, TestResult};

    use super::*;

    pub(crate) fn evidence(purpose: Purpose, code: i32, tests: &[(&str, TestOutcome)], tail: &str) -> Evidence {
        let tests =
            tests.iter().map(|(name, outcome)| TestResult { name: (*name).into(), outcome: *outcome }).collect();
        Evidence {
            schema: EVIDENCE_SCHEMA,
            purpose,
            tree_sha256: Sha256::of(b"tree"),
            overlay_sha256: None,
            commands: vec![CommandEvidence {
                name: "test".into(),
                command: "cargo test --offline".into(),
                exit: Exit::Code(code),
                tests,
                doubt: None,
                output_tail: tail.into(),
                truncated: false,
                duration_ms: 4_711,
            }],
            layers: vec!["landlock".into()],
            toolchain: String::new(),
        }
    }

    #[test]
    fn a_red_tree_shows_what_is_new_and_the_end_of_the_output() {
        use TestOutcome::{Failed, Passed};
        let base = evidence(Purpose::Baseline, 101, &[("lib::a", Passed), ("lib::old", Failed)], "");
        let output = format!("{}assertion failed: 1 == 2\n", "x\n".repeat(8_000));
        let now = evidence(Purpose::Session, 101, &[("lib::a", Failed), ("lib::old", Failed)], &output);
        let text = measured(&now, Some(&base));
        assert!(text.starts_with("red: "), "{text}");
        assert!(text.contains("fails now and did not on the base: lib::a"), "{text}");
        assert!(
            text.contains("check `test` (cargo test --offline): exited with 101\ntests: 0 passed, 2 failed, 0 ignored")
        );
        assert!(text.ends_with("assertion failed: 1 == 2") && text.len() < SHOWN_BYTES + 600);
    }

    #[test]
    fn a_green_tree_is_told_in_few_words_and_nothing_that_varies_is_told() {
        let now = evidence(Purpose::Session, 0, &[("lib::a", TestOutcome::Passed)], "noise");
        let text = checks(&now);
        assert_eq!(text, "check `test` (cargo test --offline): passed\ntests: 1 passed, 0 failed, 0 ignored");
        for varying in ["4711", "landlock", now.tree_sha256.as_str()] {
            assert!(!measured(&now, Some(&now)).contains(varying), "{varying}");
        }
    }
}
