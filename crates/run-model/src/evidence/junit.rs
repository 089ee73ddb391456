//! Reading a report in JUnit's form, as pytest, node's runner, vitest and mocha write it.

use roxmltree::{Document, Node};

use super::TestOutcome;
use super::parsed::{Numbered, ParsedTests, relative};

/// Reads a report that a command wrote to a file while it ran in `folder`.
///
/// Tests cannot print into it. Its cases must agree with the totals that it gives of them; where they do not, `doubt` says so.
/// Names: `FILE::CLASS::NAME` where the report says the file, `CLASS::NAME` or `SUITE > NAME` elsewhere; of tests that share a
/// name and have no file, the second is called `NAME #2`.
pub fn parse_junit(report: &str, folder: &str) -> ParsedTests {
    let document = match Document::parse(report) {
        Ok(document) => document,
        Err(error) => return ParsedTests::doubtful(format!("its report is no XML: {error}")),
    };
    let is_suite = |node: &Node<'_, '_>| node.has_tag_name("testsuite") || node.has_tag_name("testsuites");
    if !is_suite(&document.root_element()) {
        return ParsedTests::doubtful("its report is not in JUnit's form");
    }
    let doubts: Vec<String> = document.descendants().filter(is_suite).filter_map(disagreement).collect();
    let mut numbered = Numbered::default();
    let cases = document.descendants().filter(is_case).map(|case| {
        let name = name_of(case, folder);
        // pytest reports a test twice that fails and then fails to be torn down.
        let name = if case.attribute("file").is_some() { name } else { numbered.name(name) };
        (name, outcome(case))
    });
    ParsedTests::of(cases.collect::<Vec<_>>(), &doubts)
}

fn is_case(node: &Node<'_, '_>) -> bool {
    node.has_tag_name("testcase")
}

fn has(case: Node<'_, '_>, tag: &str) -> bool {
    case.children().any(|child| child.has_tag_name(tag))
}

/// What is marked as to do may fail, and is reported as skipped too.
fn outcome(case: Node<'_, '_>) -> TestOutcome {
    if has(case, "skipped") {
        TestOutcome::Ignored
    } else if has(case, "failure") || has(case, "error") {
        TestOutcome::Failed
    } else {
        TestOutcome::Passed
    }
}

/// What a suite's totals and its cases disagree about. Tools count differently what lies deeper or failed twice, but not
/// whether there was anything, and never fewer tests than there are.
fn disagreement(suite: Node<'_, '_>) -> Option<String> {
    let total = |name: &str| suite.attribute(name).and_then(|number| number.parse::<usize>().ok());
    let cases: Vec<_> = suite.descendants().filter(is_case).collect();
    let failing = cases.iter().filter(|case| has(**case, "failure") || has(**case, "error")).count();
    let name = suite.attribute("name").unwrap_or("the whole");
    let failed = total("failures").map(|failures| failures + total("errors").unwrap_or(0));
    if let Some(failed) = failed.filter(|failed| (*failed == 0) != (failing == 0)) {
        return Some(format!("its report counts {failed} failures in {name} and shows {failing}"));
    }
    let tests = total("tests").filter(|tests| (*tests == 0) != cases.is_empty())?;
    Some(format!("its report counts {tests} tests in {name} and shows {}", cases.len()))
}

fn name_of(case: Node<'_, '_>, folder: &str) -> String {
    let name = case.attribute("name").unwrap_or_default();
    let file = case.attribute("file").map(|file| relative(file, folder));
    // Node's runner calls every class "test" and nests suites instead.
    let class = case.attribute("classname").filter(|class| *class != "test");
    let Some(class) = class else {
        let mut titles: Vec<&str> = case
            .ancestors()
            .filter(|node| node.has_tag_name("testsuite"))
            .filter_map(|node| node.attribute("name"))
            .collect();
        titles.reverse();
        titles.push(relative(name, folder));
        return join(file, &titles.join(" > "));
    };
    let Some(file) = file else {
        let class = relative(class, folder);
        // vitest: a file that cannot be imported is reported as a test of its own name.
        return if class == name { name.to_owned() } else { join(Some(class), name) };
    };
    // pytest: the class begins with the module, and a module that cannot be imported is reported as a test.
    let module = file.rsplit_once('.').map_or(file, |(stem, _)| stem).replace('/', ".");
    match class.strip_prefix(&module) {
        Some("") => join(Some(file), name),
        Some(class) => join(Some(file), &join(Some(&class.trim_start_matches('.').replace('.', "::")), name)),
        None if class.is_empty() && name == module => file.to_owned(),
        None => join(Some(file), &join(Some(class), name)),
    }
}

fn join(first: Option<&str>, rest: &str) -> String {
    first.filter(|first| !first.is_empty()).map_or_else(|| rest.to_owned(), |first| format!("{first}::{rest}"))
}
