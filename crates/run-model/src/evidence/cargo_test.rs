//! Reading `cargo test`: libtest's lines from standard output, cargo's targets from standard error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::TestOutcome;
use super::parsed::ParsedTests;

/// Reads what `cargo test` wrote, without escape sequences.
///
/// Tests print what they like, so a line alone proves nothing: the lines of a target must agree with the number that
/// was announced, with its summary and its list of failures, and the failing targets with those that cargo names.
/// Where they do not, `doubt` says so. A test that occurs twice counts as it did worst.
pub fn parse_cargo_test(stdout: &str, stderr: &str) -> ParsedTests {
    let mut reader = Reader::default();
    stdout.lines().for_each(|line| reader.read(line.trim_end_matches('\r')));
    reader.give_up_open_block();
    let Reader { blocks, mut doubts, .. } = reader;
    let targets = targets(stderr);
    let plain = blocks.iter().filter(|block| !block.lines.is_empty() && !block.is_doc()).count();
    if plain > targets.plain.len() {
        doubts.push(format!("{plain} groups of tests were reported by {} targets", targets.plain.len()));
    }
    let failing =
        blocks.iter().filter(|block| block.lines.iter().any(|line| line.outcome == TestOutcome::Failed)).count();
    if targets.failed > failing {
        doubts.push(format!("cargo names {} failing targets, but tests failed in {failing}", targets.failed));
    }
    let mut lines: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for (target, block) in assign(&targets, &blocks) {
        lines.entry(target).or_default().extend(&block.lines);
    }
    let named = lines.into_iter().flat_map(|(target, lines)| {
        canonical(&lines).into_iter().map(move |(name, outcome)| (format!("{target}::{name}"), outcome))
    });
    ParsedTests::of(named, &doubts)
}

/// One `test NAME ... RESULT`.
#[derive(Debug)]
struct Line {
    name: String,
    outcome: TestOutcome,
}

/// One `running N tests` up to its `test result:`.
#[derive(Debug, Default)]
struct Block {
    announced: usize,
    lines: Vec<Line>,
    /// Names under the last `failures:`.
    failures: BTreeSet<String>,
    /// Whether rustdoc said that this was a crate's last.
    closes_docs: bool,
}

/// Where in a block the reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Result lines.
    #[default]
    Results,
    /// What failed tests printed; nothing in it is a result.
    Captures,
    /// The names of the failed tests.
    Failures,
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    open: Option<Block>,
    part: Part,
    doubts: Vec<String>,
}

impl Reader {
    fn read(&mut self, line: &str) {
        if self.part == Part::Results
            && let Some(announced) = announcement(line)
        {
            // The target before it died: its summary never came.
            self.give_up_open_block();
            self.open = Some(Block { announced, ..Block::default() });
            return;
        }
        let Some(block) = &mut self.open else { return self.read_outside(line) };
        if let Some(summary) = line.strip_prefix("test result: ") {
            let doubt = block.disagreement(summary);
            self.doubts.extend(doubt);
            self.blocks.extend(self.open.take());
            self.part = Part::Results;
        } else if line == "failures:" {
            // Printed before the captures and again before the names: the last one counts.
            block.failures.clear();
            self.part = Part::Failures;
        } else if line == "successes:" || (self.part == Part::Failures && line.starts_with("---- ")) {
            self.part = Part::Captures;
        } else if self.part == Part::Failures {
            block.failures.extend(line.strip_prefix("    ").map(str::to_owned));
        } else if self.part == Part::Results {
            block.lines.extend(result_line(line));
        }
    }

    fn read_outside(&mut self, line: &str) {
        if line.starts_with("all doctests ran in ") {
            self.blocks.iter_mut().rev().take(1).for_each(|block| block.closes_docs = true);
        } else if let Some(stray) = result_line(line) {
            self.doubts.push(format!("a result of {} stands outside of any target", stray.name));
        }
    }

    fn give_up_open_block(&mut self) {
        if let Some(block) = self.open.take() {
            self.doubts.push(format!("{} tests were announced and no summary followed", block.announced));
            self.blocks.push(block);
        }
    }
}

/// How many tests `running N tests` announces.
fn announcement(line: &str) -> Option<usize> {
    let number = line.strip_prefix("running ")?;
    number.strip_suffix(" tests").or(number.strip_suffix(" test"))?.parse().ok()
}

impl Block {
    /// What in this block does not fit together.
    fn disagreement(&self, summary: &str) -> Option<String> {
        let count = |outcome| self.lines.iter().filter(|line| line.outcome == outcome).count();
        let said = |word: &str| {
            let part = summary.split([';', '.']).map(str::trim).find_map(|part| part.strip_suffix(word));
            part.and_then(|number| number.trim().parse::<usize>().ok()).unwrap_or(usize::MAX)
        };
        let benchmarks = said("measured");
        let lines = [count(TestOutcome::Passed), count(TestOutcome::Failed), count(TestOutcome::Ignored)];
        let summed = [said("passed").saturating_add(benchmarks), said("failed"), said("ignored")];
        if lines != summed {
            return Some(format!("lines show {lines:?} tests passed, failed and ignored, their summary {summary:?}"));
        }
        if self.lines.len() != self.announced {
            return Some(format!("{} tests were announced and {} reported", self.announced, self.lines.len()));
        }
        let failed: BTreeSet<&str> = self
            .lines
            .iter()
            .filter(|line| line.outcome == TestOutcome::Failed)
            .map(|line| line.name.as_str())
            .collect();
        let listed: BTreeSet<&str> = self.failures.iter().map(String::as_str).collect();
        (failed != listed).then(|| format!("tests {failed:?} failed, listed as failed are {listed:?}"))
    }

    fn is_doc(&self) -> bool {
        self.lines.iter().any(|line| DOC_TEST.is_match(&line.name))
    }
}

/// A target's tests under names that do not move with the line they stand in: `src/lib.rs - add`, `src/lib.rs - add #2`.
fn canonical(lines: &[&Line]) -> Vec<(String, TestOutcome)> {
    let split = |line: &&Line| match DOC_TEST.captures(&line.name) {
        Some(parts) => (parts[1].to_owned(), parts[2].parse().unwrap_or(0_u32), line.outcome),
        None => (line.name.clone(), 0, line.outcome),
    };
    let mut lines: Vec<_> = lines.iter().map(split).collect();
    lines.sort();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let name = |(name, line, outcome)| {
        let place = places.entry(String::clone(&name)).or_default();
        *place += usize::from(line > 0);
        (if *place > 1 { format!("{name} #{place}") } else { name }, outcome)
    };
    lines.into_iter().map(name).collect()
}

/// `src/lib.rs - add (line 7)`.
static DOC_TEST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(.* - .*) \(line (\d+)\)$").expect("a literal pattern"));

fn result_line(line: &str) -> Option<Line> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let outcome = match result.split([',', ':', ' ']).next()? {
        "ok" | "bench" => TestOutcome::Passed,
        "FAILED" => TestOutcome::Failed,
        "ignored" => TestOutcome::Ignored,
        _ => return None,
    };
    let suffixes = [" - should panic", " - compile fail", " - compile"];
    let name = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    Some(Line { name: name.to_owned(), outcome })
}

/// What cargo ran, in order.
#[derive(Default)]
struct Targets {
    /// Paths of the targets that are programs.
    plain: Vec<String>,
    /// Documentation tests as `doc CRATE`; cargo runs them after all others.
    docs: Vec<String>,
    /// How many targets cargo calls failed.
    failed: usize,
}

fn targets(stderr: &str) -> Targets {
    let mut programs: Vec<(String, String)> = Vec::new();
    let mut targets = Targets::default();
    for line in stderr.lines().map(str::trim_end) {
        if let Some(running) = line.strip_prefix("     Running ") {
            let (path, binary) = running.rsplit_once(" (").unwrap_or((running, ""));
            let binary = binary.rsplit(['/', '\\']).next().unwrap_or_default();
            let binary = binary.rsplit_once('-').map_or(binary, |(name, _)| name);
            programs.push((path.strip_prefix("unittests ").unwrap_or(path).to_owned(), binary.to_owned()));
        } else if let Some(name) = line.strip_prefix("   Doc-tests ") {
            targets.docs.push(format!("doc {name}"));
        } else if line.starts_with("error: test failed") || line.starts_with("error: doctest failed") {
            targets.failed += 1;
        }
    }
    targets.plain = distinct(&programs);
    targets
}

/// Paths, with the binary's name in front where packages of a workspace share a path, and a number where they share both.
fn distinct(programs: &[(String, String)]) -> Vec<String> {
    let shared = |path: &str| programs.iter().filter(|(other, _)| other == path).count() > 1;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let name = |(path, binary): &(String, String)| {
        let name = if shared(path) { format!("{binary} {path}") } else { path.clone() };
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        if *times > 1 { format!("{name} #{times}") } else { name }
    };
    programs.iter().map(name).collect()
}

/// Gives each block its target: both stand in the order in which cargo ran them. One crate's documentation tests may print
/// several blocks, with a closing line after the last. A target without libtest prints none, which cannot be seen from
/// outside: the targets after it bear their predecessor's name, on the base as on the change.
fn assign<'a>(targets: &'a Targets, blocks: &'a [Block]) -> Vec<(&'a str, &'a Block)> {
    let closed = blocks.iter().any(|block| block.closes_docs);
    let mut plain = targets.plain.iter();
    let mut docs = targets.docs.iter().peekable();
    let mut assign = |block: &'a Block| {
        if !block.is_doc()
            && let Some(target) = plain.next()
        {
            return (target.as_str(), block);
        }
        let target = docs.peek().map_or("doc", |target| target.as_str());
        if docs.len() > 1 && (block.closes_docs || !closed) {
            docs.next();
        }
        (target, block)
    };
    blocks.iter().map(&mut assign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::TestResult;

    const RUNNING: &str = "     Running unittests src/lib.rs (target/debug/deps/demo-8348ca7a80742723)\n";

    fn parse(stdout: &str) -> ParsedTests {
        parse_cargo_test(stdout, RUNNING)
    }

    fn summary(passed: usize, failed: usize) -> String {
        let word = if failed == 0 { "ok" } else { "FAILED" };
        format!(
            "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n"
        )
    }

    #[test]
    fn lines_that_agree_with_their_summary_are_believed() {
        let parsed = parse(&format!("\nrunning 1 test\ntest a ... ok\n{}", summary(1, 0)));
        assert_eq!(parsed.doubt, None);
        assert_eq!(parsed.tests, [TestResult { name: "src/lib.rs::a".into(), outcome: TestOutcome::Passed }]);
    }

    #[test]
    fn a_printed_result_is_not_believed() {
        let fakes = [
            format!("running 1 test\ntest fake ... ok\ntest a ... ok\n{}", summary(1, 0)),
            format!("running 2 tests\ntest a ... ok\n{}", summary(1, 0)),
            format!("running 1 test\ntest a ... ok\n{}", summary(0, 1)),
            format!("running 1 test\ntest a ... FAILED\n\nfailures:\n    b\n{}", summary(0, 1)),
            format!("running 1 test\ntest a ... ok\n{}test b ... ok\n", summary(1, 0)),
            format!("running 1 test\ntest a ... ok\n{0}running 1 test\ntest b ... ok\n{0}", summary(1, 0)),
            "running 1 test\ntest a ... ok\n".to_owned(),
        ];
        for fake in fakes {
            assert!(parse(&fake).doubt.is_some(), "{fake}");
        }
    }

    #[test]
    fn what_a_failed_test_printed_is_not_read() {
        let printed = "failures:\n\n---- a stdout ----\ntest b ... ok\nrunning 3 tests\n\nfailures:\n    a\n";
        let parsed = parse(&format!("running 1 test\ntest a ... FAILED\n\n{printed}{}", summary(0, 1)));
        assert_eq!(parsed.doubt, None);
        assert_eq!(parsed.tests, [TestResult { name: "src/lib.rs::a".into(), outcome: TestOutcome::Failed }]);
    }

    #[test]
    fn a_test_that_occurs_twice_counts_as_it_did_worst() {
        let twice = "running 2 tests\ntest a ... FAILED\ntest a ... ok\n\nfailures:\n    a\n";
        let parsed = parse(&format!("{twice}{}", summary(1, 1)));
        assert_eq!(parsed.tests, [TestResult { name: "src/lib.rs::a".into(), outcome: TestOutcome::Failed }]);
    }

    #[test]
    fn a_failing_target_that_named_no_failing_test_is_doubted() {
        let stderr = format!("{RUNNING}error: test failed, to rerun pass `--lib`\n");
        let parsed = parse_cargo_test(&format!("running 1 test\ntest a ... ok\n{}", summary(1, 0)), &stderr);
        assert_eq!(parsed.doubt.as_deref(), Some("cargo names 1 failing targets, but tests failed in 0"));
    }

    #[test]
    fn packages_that_share_a_path_are_told_apart() {
        let named = |list: &[(&str, &str)]| {
            distinct(&list.iter().map(|(path, binary)| ((*path).into(), (*binary).into())).collect::<Vec<_>>())
        };
        assert_eq!(
            named(&[("src/lib.rs", "a"), ("src/lib.rs", "b"), ("tests/x.rs", "x")]),
            ["a src/lib.rs", "b src/lib.rs", "tests/x.rs"]
        );
        assert_eq!(named(&[("tests/x.rs", "x"), ("tests/x.rs", "x")]), ["x tests/x.rs", "x tests/x.rs #2"]);
    }
}
