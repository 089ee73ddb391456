//! Turns what a command did into evidence.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use config::{CheckSpec, TestFormat};
use run_model::evidence::{
    CommandEvidence, Exit, ParsedTests, TestOutcome, canonical_tail, parse_cargo_test, parse_go_test, parse_jest,
    parse_junit, parse_unittest,
};
use sandbox::Outcome;

/// The largest report that is read, in bytes.
const REPORT_BYTES: u64 = 16 << 20;

/// What a check left.
pub(crate) struct Written {
    pub(crate) outcome: Outcome,
    /// Where its report would be.
    pub(crate) report: PathBuf,
    /// Where it ran, as it saw it: reports may name files by whole paths.
    pub(crate) folder: String,
}

/// What a check showed. `replacements` are the machine's paths and what stands in their place.
pub(crate) fn evidence(check: &CheckSpec, written: Written, replacements: &[(String, String)]) -> CommandEvidence {
    let Written { outcome, report, folder } = written;
    let (mut stdout, stderr) = (text(&outcome.stdout), text(&outcome.stderr));
    let by_report = |parse: fn(&str, &str) -> ParsedTests| match read_report(&report) {
        Ok(report) => parse(&report, &folder),
        Err(problem) => ParsedTests::doubtful(problem),
    };
    let parsed = match check.format {
        TestFormat::CargoTest => parse_cargo_test(&stdout, &stderr),
        TestFormat::Junit => by_report(parse_junit),
        TestFormat::JestJson => by_report(parse_jest),
        TestFormat::GoJson => {
            let (parsed, said) = parse_go_test(&stdout);
            stdout = said;
            whole(parsed, &outcome)
        }
        TestFormat::Unittest => whole(parse_unittest(&stderr), &outcome),
        TestFormat::Plain => ParsedTests::default(),
    };
    let ParsedTests { tests, doubt } = agreeing(parsed, &outcome.exit).masked();
    CommandEvidence {
        name: check.name.clone(),
        command: check.command.clone(),
        exit: exit(outcome.exit),
        tests,
        doubt,
        output_tail: canonical_tail(&joined(&stderr, &stdout), replacements),
        truncated: outcome.truncated,
        duration_ms: outcome.duration_ms,
    }
}

/// The end of what a command wrote, for a person.
pub(crate) fn tail(outcome: &Outcome, replacements: &[(String, String)]) -> String {
    canonical_tail(&joined(&text(&outcome.stderr), &text(&outcome.stdout)), replacements)
}

/// How a command ended, as evidence says it.
pub(crate) fn exit(exit: sandbox::Exit) -> Exit {
    match exit {
        sandbox::Exit::Code(code) => Exit::Code(code),
        sandbox::Exit::Signal(signal) => Exit::Signal(signal),
        sandbox::Exit::Limit(limit) => Exit::Limit(limit.to_string()),
        sandbox::Exit::NotStarted(why) => Exit::NotStarted(why),
    }
}

/// Output that was cut has lost results.
fn whole(parsed: ParsedTests, outcome: &Outcome) -> ParsedTests {
    if outcome.truncated { parsed.doubting("its output was cut") } else { parsed }
}

/// A success in which tests failed is none. (A failure that names no test, whoever judges it finds by itself.)
fn agreeing(parsed: ParsedTests, exit: &sandbox::Exit) -> ParsedTests {
    let failed = parsed.tests.iter().filter(|test| test.outcome == TestOutcome::Failed).count();
    if *exit == sandbox::Exit::Code(0) && failed > 0 {
        return parsed.doubting(format!("it exited with 0, and {failed} tests failed"));
    }
    parsed
}

/// The report of a command that has ended, with all its processes. Whatever it left in that place, nothing but a plain file
/// of a bearable size is read.
fn read_report(place: &Path) -> Result<String, String> {
    let Ok(found) = fs::symlink_metadata(place) else {
        return Err("no report was written to $GATEWRIGHT_REPORT".to_owned());
    };
    if !found.is_file() {
        return Err("its report is no plain file".to_owned());
    }
    if found.len() > REPORT_BYTES {
        return Err(format!("its report is larger than {} MiB", REPORT_BYTES >> 20));
    }
    let mut bytes = Vec::new();
    let read = File::open(place).and_then(|file| file.take(REPORT_BYTES).read_to_end(&mut bytes));
    read.map_err(|problem| format!("its report cannot be read: {problem}"))?;
    String::from_utf8(bytes).map_err(|_| "its report is no text".to_owned())
}

/// Standard error first: what a compiler says stands before what tests say, and a tail keeps the latter.
fn joined(stderr: &str, stdout: &str) -> String {
    let parts = [stderr.trim_end(), stdout.trim_end()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
