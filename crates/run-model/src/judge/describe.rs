//! What judgements say to people. Every such sentence stands here.

use std::fmt;

use super::base::missing;
use super::{AcceptanceResult, Judgement, RegressionProof};
use crate::evidence::{CommandEvidence, Evidence, Exit, TestOutcome};

/// How many names a list shows before it says how many more there are.
const SHOWN: usize = 20;

impl fmt::Display for Judgement {
    /// Several lines; the first one says green or red.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.green {
            "green: no new failure against the base"
        } else {
            "red: the checks fail in a way the base does not explain"
        })?;
        list(f, "fails now and did not on the base", &self.new_failures)?;
        list(f, "unexplained", &self.unexplained)?;
        list(f, "fails as it did on the base", &self.known_failures)?;
        list(f, "failed on the base and passes now", &self.fixed_tests)?;
        if !self.added_tests.is_empty() {
            write!(f, "\n  new tests: {}", self.added_tests.len())?;
        }
        list(f, "gone since the base", &self.lost_tests)?;
        list(f, "ran on the base and is ignored now", &self.ignored_tests)
    }
}

impl fmt::Display for RegressionProof {
    /// Several lines; the first one says whether there is a proof.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.holds(), self.builds_on_base) {
            (true, true) => "regression proof: new tests fail on the base and pass on the change",
            (true, false) => {
                "regression proof, a weak one: the new tests do not build on the base, and pass on the change"
            }
            (false, _) => "no regression proof: no test fails on the base and passes on the change",
        })?;
        list(f, "proves it", &self.proven)?;
        list(f, "passes on the base too", &self.passing_on_base)
    }
}

impl fmt::Display for AcceptanceResult {
    /// Several lines; the first one says whether the held-out tests are met.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.ok, self.failures_on_final.is_empty()) {
            (true, _) => "acceptance: the held-out tests pass",
            (false, false) => "acceptance: the held-out tests are not met",
            (false, true) => "acceptance: the held-out files measured nothing",
        })?;
        if self.ok && !self.base_fails {
            f.write_str("\n  note: they pass on the base already, so they prove nothing about the change")?;
        }
        list(f, "fails on the base", &self.failing_on_base)?;
        list(f, "passes on the change", &self.passing_on_final)?;
        list(f, "speaks against the change", &self.failures_on_final)
    }
}

/// One line on what a tree's checks showed: counts, and the failing tests by name.
pub fn describe_evidence(evidence: &Evidence) -> String {
    let one = |check: &CommandEvidence| {
        let named = |outcome| check.tests.iter().filter(move |test| test.outcome == outcome);
        let passed = named(TestOutcome::Passed).count();
        let failed: Vec<&str> = named(TestOutcome::Failed).map(|test| test.name.as_str()).collect();
        let ended = ended(&check.exit);
        if check.tests.is_empty() {
            return format!("{}: {ended}", check.name);
        }
        let ended = if check.exit.is_success() { String::new() } else { format!(", {ended}") };
        let more = failed.len().saturating_sub(SHOWN);
        let names = match failed.len() {
            0 => String::new(),
            _ if more > 0 => format!(" ({} and {more} more)", failed[..SHOWN].join(", ")),
            _ => format!(" ({})", failed.join(", ")),
        };
        format!("{}: {passed} passed, {} failed{names}{ended}", check.name, failed.len())
    };
    evidence.commands.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// How a command ended, in a few words.
pub fn ended(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("ended by signal {signal}"),
        Exit::Limit(limit) => format!("ended at its {limit} limit"),
        Exit::NotStarted(why) => format!("not started: {why}"),
    }
}

/// The end of what a check wrote, each line on one of its own and a little to the right; nothing if it wrote nothing.
pub(super) fn last_lines(check: &CommandEvidence) -> String {
    const LINES: usize = 15;
    let lines: Vec<&str> = check.output_tail.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LINES));
    last.map(|line| format!("\n  {}", &line[..line.floor_char_boundary(300)])).collect()
}

/// What a person should know of a base whose checks fail; `None` if they pass. A check that names no failing test is repeated
/// with what it said last: what fails there may be that it cannot run.
pub fn describe_red_base(evidence: &Evidence) -> Option<String> {
    let red = evidence.commands.iter().any(|check| !check.exit.is_success());
    let mute = |check: &&CommandEvidence| {
        !check.exit.is_success() && check.tests.iter().all(|test| test.outcome != TestOutcome::Failed)
    };
    let said = |check: &CommandEvidence| match last_lines(check) {
        lines if lines.is_empty() => String::new(),
        lines => format!(
            "\ncheck `{}`{}:{lines}",
            check.name,
            missing(check).map(|names| format!(", missing there: {names}")).unwrap_or_default()
        ),
    };
    red.then(|| {
        format!(
            "the checks fail on the base already ({}); what fails there counts as known{}",
            describe_evidence(evidence),
            evidence.commands.iter().filter(mute).map(said).collect::<String>()
        )
    })
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, items: &[String]) -> fmt::Result {
    items.iter().take(SHOWN).try_for_each(|item| write!(f, "\n  {what}: {item}"))?;
    if items.len() > SHOWN { write!(f, "\n  {what}: {} more, not named here", items.len() - SHOWN) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{CommandEvidence, describe_evidence, describe_red_base};
    use crate::judge::tests::{check, evidence};
    use crate::judge::{acceptance, judge, regression_proof};

    #[test]
    fn a_judgement_reads_well() {
        let many: Vec<String> = (0..22).map(|n| format!("+many{n:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let base = evidence(&[check("test", 101, &["+a", "+b", "-c", "-d", "+e"]), check("lint", 0, &[])]);
        let tests = [&["-a", "+c", "-d", "~e"], many.as_slice()].concat();
        let now = evidence(&[check("test", 101, &tests), check("lint", 1, &[])]);
        insta::assert_snapshot!(judge(&base, &now));
        insta::assert_snapshot!(judge(&base, &base));
    }

    #[test]
    fn evidence_is_told_in_a_line() {
        let red = evidence(&[check("test", 101, &["+a", "-b"]), check("lint", 0, &[])]);
        assert_eq!(describe_evidence(&red), "test: 1 passed, 1 failed (b), exit code 101; lint: exit code 0");
        assert!(describe_red_base(&red).unwrap().ends_with("counts as known"));
        let mute = CommandEvidence { output_tail: "\nNo module named yaml\n".into(), ..check("plain", 1, &[]) };
        let told = describe_red_base(&evidence(&[mute])).unwrap();
        assert!(told.ends_with("known\ncheck `plain`, missing there: yaml:\n  No module named yaml"), "{told}");
        assert_eq!(describe_red_base(&evidence(&[check("test", 0, &["+a"])])), None);
    }

    #[test]
    fn proofs_and_acceptance_read_well() {
        let [plain, red, green] = [(0, vec!["+a"]), (101, vec!["+a", "-t"]), (0, vec!["+a", "+t"])]
            .map(|(code, tests)| evidence(&[check("test", code, &tests)]));
        let unbuilt = evidence(&[check("test", 101, &[])]);
        let texts = [
            regression_proof(&plain, &red, &green).to_string(),
            regression_proof(&plain, &unbuilt, &green).to_string(),
            regression_proof(&plain, &green, &green).to_string(),
            acceptance(&plain, &red, &plain, &green).to_string(),
            acceptance(&plain, &green, &plain, &green).to_string(),
            acceptance(&plain, &red, &plain, &red).to_string(),
            acceptance(&plain, &plain, &plain, &plain).to_string(),
        ];
        insta::assert_snapshot!(texts.join("\n"));
    }
}
