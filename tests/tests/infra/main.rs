//! What the template in `infra/` promises: one name everywhere, the least right for each role, and no bill for being idle.
//!
//! No emulator enforces a state machine's role or sends a bill, so these are read from the template and compared with what
//! they follow from: the functions' manifests and sources, the machines' text, the store's own table, a list of prices.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

mod alarms;
mod bill;
mod bootstrap;
mod boundary;
mod bounds;
mod functions;
mod machines;
mod names;
mod needs;
mod table;
mod ways_in;

use tests::template::Template;

/// Whether a condition of the template holds in a plain deploy: nothing hardened, versions as on AWS.
fn plain(condition: &str) -> bool {
    condition == "IsOnAws"
}

/// As with `Hardened=true`.
fn hardened(condition: &str) -> bool {
    plain(condition) || condition == "IsHardened"
}

/// The template of a plain deploy.
fn template() -> Template {
    Template::load().under(&plain)
}

/// Fails with everything that was found.
#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Fails unless the change of the template is complained about with these words.
#[track_caller]
fn complains(check: impl Fn(&Template) -> Vec<String>, change: impl FnOnce(&mut Template), words: &str) {
    let mut template = template();
    change(&mut template);
    let problems = check(&template);
    assert!(problems.iter().any(|problem| problem.contains(words)), "{words:?} is not among {problems:#?}");
}
