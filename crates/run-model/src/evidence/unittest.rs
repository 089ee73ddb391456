//! Reading `python -m unittest --verbose`: lines on standard error.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::TestOutcome;
use super::parsed::ParsedTests;

/// `test_add (test_sum.TestSum.test_add)`; before Python 3.11 `test_add (test_sum.TestSum)`. Its result follows, perhaps after
/// what the test printed and a line of its own words.
static TEST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(\w+) \(([\w.<>]+)\)(?:$| \.\.\. ?(.*)$)").expect("a literal pattern"));
static COUNT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^Ran (\d+) tests? in ").expect("a literal pattern"));
static SUMMARY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(OK|FAILED|NO TESTS RAN)(?: \((.*)\))?$").expect("a literal pattern"));
const RULE: &str = "======================================================================";
/// What stands above the number of tests that ran.
const LAST_RULE: &str = "----------------------------------------------------------------------";

/// Reads what unittest wrote to its standard error.
///
/// Names: `MODULE.CLASS.TEST`. Tests print what they like, so the lines must agree with the number of tests, with the failures
/// that are explained after them and with the summary; where they do not, `doubt` says so.
pub fn parse_unittest(stderr: &str) -> ParsedTests {
    let lines: Vec<&str> = stderr.lines().map(str::trim_end).collect();
    let Some(ran_at) = lines.iter().rposition(|line| COUNT.is_match(line)) else {
        return ParsedTests::doubtful("no summary was printed");
    };
    let explained = lines[..ran_at].iter().position(|line| *line == RULE).unwrap_or(ran_at);
    let failed: Vec<String> = explanations(&lines[explained..ran_at]);
    let failed_names: BTreeSet<&String> = failed.iter().collect();
    let mut tests = results(&lines[..explained]);
    for (name, outcome) in &mut tests {
        if failed_names.contains(name) {
            *outcome = TestOutcome::Failed;
        }
    }
    let known: BTreeSet<&String> = tests.iter().map(|(name, _)| name).collect();
    let unlisted: Vec<(String, TestOutcome)> =
        failed.iter().filter(|name| !known.contains(name)).map(|name| (name.clone(), TestOutcome::Failed)).collect();
    let doubt = disagreement(&lines[ran_at..], &tests, failed.len());
    tests.extend(unlisted);
    ParsedTests::of(tests, &Vec::from_iter(doubt))
}

/// The names of what failed, as often as it is explained: a test with parts is explained once for each.
fn explanations(lines: &[&str]) -> Vec<String> {
    let headings = lines.windows(2).filter(|pair| pair[0] == RULE).map(|pair| pair[1]);
    let named = |heading: &str| {
        let rest = heading.strip_prefix("FAIL: ").or_else(|| heading.strip_prefix("ERROR: "))?;
        // `test_add (test_sum.TestSum.test_add) (i=1)` names the part after the test.
        let end = rest.find(')').map_or(rest.len(), |end| end + 1);
        TEST.captures(&rest[..end]).map(|parts| full_name(&parts[1], &parts[2]))
    };
    headings.filter_map(named).collect()
}

fn full_name(test: &str, place: &str) -> String {
    if place.rsplit('.').next() == Some(test) { place.to_owned() } else { format!("{place}.{test}") }
}

/// Every test with what stands last before the next one.
fn results(lines: &[&str]) -> Vec<(String, TestOutcome)> {
    let mut tests: Vec<(String, String)> = Vec::new();
    for line in lines {
        if let Some(parts) = TEST.captures(line) {
            let said = parts.get(3).map_or("", |said| said.as_str());
            tests.push((full_name(&parts[1], &parts[2]), said.to_owned()));
        } else if let Some((_, said)) = tests.last_mut()
            && !line.trim().is_empty()
            && *line != LAST_RULE
        {
            *said = (*line).to_owned();
        }
    }
    tests.into_iter().map(|(name, said)| (name, outcome(&said))).collect()
}

fn outcome(said: &str) -> TestOutcome {
    let result = said.rsplit(" ... ").next().unwrap_or(said).trim();
    if result.ends_with("ok") || result.ends_with("expected failure") {
        TestOutcome::Passed
    } else if result.contains("skipped ") {
        TestOutcome::Ignored
    } else {
        TestOutcome::Failed
    }
}

/// What of the last lines does not fit the tests that were listed and explained.
fn disagreement(end: &[&str], tests: &[(String, TestOutcome)], explained: usize) -> Option<String> {
    let ran = end.first().and_then(|line| COUNT.captures(line)?[1].parse::<usize>().ok()).unwrap_or(usize::MAX);
    // What is done for a whole class or module is listed when it fails, and is no test.
    let listed = tests.iter().filter(|(name, _)| !is_fixture(name)).count();
    if listed != ran {
        return Some(format!("{listed} tests were listed and {ran} ran"));
    }
    let last = end.iter().skip(1).find(|line| !line.is_empty()).copied().unwrap_or_default();
    let Some(summary) = SUMMARY.captures(last) else {
        return Some("their number is followed by no summary".to_owned());
    };
    let counts = summary.get(2).map_or("", |counts| counts.as_str());
    let count = |what: &str| {
        let part = counts.split(", ").find_map(|part| part.strip_prefix(what)?.strip_prefix('='));
        part.and_then(|number| number.parse::<usize>().ok()).unwrap_or(0)
    };
    let summed = count("failures") + count("errors");
    let unexpected = count("unexpected successes");
    if summed != explained {
        return Some(format!("{summed} failures are summed up and {explained} explained"));
    }
    let failed = tests.iter().filter(|(_, outcome)| *outcome == TestOutcome::Failed).count();
    if (failed > 0) != (summed + unexpected > 0) || (&summary[1] == "FAILED") != (summed + unexpected > 0) {
        return Some(format!("{failed} tests failed, their summary is {last:?}"));
    }
    None
}

fn is_fixture(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    ["setUpClass", "tearDownClass", "setUpModule", "tearDownModule"].contains(&last)
}
