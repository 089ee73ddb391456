//! Turns what a command did into evidence.

use config::{CheckSpec, TestFormat};
use run_model::evidence::{CommandEvidence, Exit, ParsedTests, canonical_tail, parse_cargo_test};
use sandbox::Outcome;

/// What a check showed. `replacements` are the machine's paths and what stands in their place.
pub(crate) fn evidence(check: &CheckSpec, outcome: Outcome, replacements: &[(String, String)]) -> CommandEvidence {
    let (stdout, stderr) = (text(&outcome.stdout), text(&outcome.stderr));
    let ParsedTests { tests, doubt } = match check.format {
        TestFormat::CargoTest => parse_cargo_test(&stdout, &stderr),
        TestFormat::Plain => ParsedTests::default(),
    };
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

/// Standard error first: what a compiler says stands before what tests say, and a tail keeps the latter.
fn joined(stderr: &str, stdout: &str) -> String {
    let parts = [stderr.trim_end(), stdout.trim_end()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
