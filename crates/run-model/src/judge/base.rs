//! What a base must show before anything is paid: that changes can be measured by its checks.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::describe::{ended, last_lines};
use crate::evidence::{CommandEvidence, Evidence, Exit, TestOutcome};

/// How many of the things that are missing are named.
const NAMED: usize = 5;

/// Why no change can be measured by these checks, with the cure and the end of what the check said; `None` if it can.
///
/// A check that could not be started, whose shell found no such command (126, 127) or that a limit ended cannot run. One that
/// `names_tests` fails without any test that ran cannot either, nor can one of whose tests none passed and that says what is not
/// there (some tools report a file that cannot be loaded as a test that failed), unless the project says that its base may fail.
pub fn cannot_run(base: &Evidence, names_tests: &dyn Fn(&str) -> bool, may_fail: bool) -> Option<String> {
    base.commands.iter().find_map(|check| {
        let ran = check.tests.iter().any(|test| test.outcome != TestOutcome::Ignored);
        let passed = check.tests.iter().any(|test| test.outcome == TestOutcome::Passed);
        let missing = missing(check);
        let cure = match &check.exit {
            Exit::NotStarted(_) | Exit::Code(126 | 127) => {
                "install what it calls, or have [[setup]] make it (`gatewright doctor` says what this machine lacks)".into()
            }
            Exit::Limit(limit) => format!("raise the limit under [limits] in gatewright.toml ({limit}), or mend the check"),
            exit if !exit.is_success() && !ran && names_tests(&check.name) && !may_fail => {
                "no test ran: mend [[setup]] or the check; if mending it is what you ask for, say base_may_fail = true under \
                 [project] in gatewright.toml"
                    .into()
            }
            exit if !exit.is_success() && !passed && missing.is_some() && names_tests(&check.name) && !may_fail => {
                "no test passed: have [[setup]] make what is missing; if adding it is what you ask for, say base_may_fail = true under \
                 [project] in gatewright.toml"
                    .into()
            }
            _ => return None,
        };
        let missing = missing.map(|names| format!("; missing there: {names}")).unwrap_or_default();
        let said = last_lines(check);
        Some(format!("check `{}` cannot run on the base ({}{missing}): {cure}{said}", check.name, ended(&check.exit)))
    })
}

/// What the output says is not there: programs, modules and packages.
pub(super) fn missing(check: &CommandEvidence) -> Option<String> {
    let found = MISSING.captures_iter(&check.output_tail);
    let names: BTreeSet<&str> =
        found.filter_map(|found| found.iter().skip(1).flatten().next()).map(|name| name.as_str()).collect();
    (!names.is_empty()).then(|| names.into_iter().take(NAMED).collect::<Vec<_>>().join(", "))
}

/// How shells, Python, Node, Go and cargo say that something is not there.
static MISSING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?m)No module named '?([\w.]+)|Cannot find (?:package|module) ['"]([^'"\n]+)|no required module provides package ([^;\s]+)|no such command: `([^`\n]+)`|^(?:[\w/.-]*sh|[\w/.-]*env): (?:(?:line )?\d+: )?([^:\n]{1,100}): (?:command )?(?:not found|No such file or directory)"#,
    )
    .expect("a literal pattern")
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::tests::{check, evidence};

    fn said(code: i32, tests: &[&str], tail: &str) -> Evidence {
        evidence(&[CommandEvidence { output_tail: tail.into(), ..check("test", code, tests) }])
    }

    fn by_name(base: &Evidence) -> Option<String> {
        cannot_run(base, &|_| true, false)
    }

    #[test]
    fn a_check_that_does_not_begin_or_does_not_end_measures_nothing() {
        for exit in [Exit::Code(127), Exit::Code(126), Exit::NotStarted("no shell".into()), Exit::Limit("wall".into())]
        {
            let base = evidence(&[check("lint", 0, &[]), CommandEvidence { exit, ..check("test", 0, &["+a"]) }]);
            let why = cannot_run(&base, &|_| false, true).unwrap();
            assert!(why.starts_with("check `test` cannot run on the base ("), "{why}");
        }
    }

    #[test]
    fn a_check_that_names_tests_and_ran_none_measures_nothing_unless_the_base_may_fail() {
        let broken = said(1, &["~b"], "error: could not compile");
        assert!(by_name(&broken).unwrap().contains("base_may_fail = true"));
        assert_eq!(cannot_run(&broken, &|_| true, true), None);
        // The exit code of one that names none may mean anything.
        assert_eq!(cannot_run(&broken, &|_| false, false), None);
        for base in [said(101, &["+a", "-b"], ""), said(0, &[], ""), said(5, &["-b"], "")] {
            assert_eq!(by_name(&base), None);
        }
    }

    #[test]
    fn a_check_none_of_whose_files_can_be_loaded_measures_nothing_unless_the_base_may_fail() {
        let lost = "Error: Cannot find module 'ms'";
        let why = by_name(&said(1, &["-a.test.js"], lost)).unwrap();
        assert!(why.contains("missing there: ms") && why.contains("base_may_fail = true"), "{why}");
        assert_eq!(cannot_run(&said(1, &["-a.test.js"], lost), &|_| true, true), None);
        assert_eq!(by_name(&said(1, &["-a.test.js", "+b.test.js"], lost)), None);
        assert_eq!(by_name(&said(1, &["-a.test.js"], "assertion failed")), None);
    }

    #[test]
    fn it_says_what_is_missing_and_repeats_the_end_of_the_output() {
        let lines: Vec<String> = (1..=40).map(|n| format!("line {n}")).collect();
        let why = by_name(&said(127, &[], &format!("{}\nsh: 1: go: not found", lines.join("\n")))).unwrap();
        assert!(
            why.starts_with("check `test` cannot run on the base (exit code 127; missing there: go): install"),
            "{why}"
        );
        assert!(why.ends_with("\n  line 40\n  sh: 1: go: not found") && !why.contains("line 20\n"), "{why}");
    }

    #[test]
    fn what_is_missing_is_read_in_many_tongues() {
        for (said, name) in [
            ("/usr/bin/python3: No module named pytest", "pytest"),
            ("ModuleNotFoundError: No module named 'yaml.loader'", "yaml.loader"),
            ("Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'semver' imported from /x.mjs", "semver"),
            ("Error: Cannot find module './build/x'", "./build/x"),
            ("a.go:3:8: no required module provides package example.org/x; to add it:", "example.org/x"),
            ("error: no such command: `nextest`", "nextest"),
            ("bash: line 1: jest: command not found", "jest"),
            ("/usr/bin/env: node: No such file or directory", "node"),
        ] {
            assert_eq!(missing(&said_by(said)).as_deref(), Some(name), "{said}");
        }
        assert_eq!(missing(&said_by("all is there")), None);
    }

    fn said_by(tail: &str) -> CommandEvidence {
        CommandEvidence { output_tail: tail.into(), ..check("test", 1, &[]) }
    }
}
