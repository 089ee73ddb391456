//! `cargo xtask test`: every test, with a summary at the end.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// What the tests may take altogether, some three times what they do. Only a test that hangs gets there.
const BOUND: &str = "40m";
/// What `timeout` ends with when it had to end its program.
const TIMED_OUT: i32 = 124;

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    suites: u64,
    failures: Vec<String>,
    /// Tests said to be slow that have not ended.
    slow: BTreeSet<String>,
}

/// Builds every program first (whole-system tests drive them), then runs every test.
pub(crate) fn run(root: &Path) -> Result<()> {
    crate::run(root, "cargo", &["build", "--workspace", "--bins", "--locked"])?;
    cargo_test(root, |command| command.arg("--workspace"))
}

/// Runs the chosen tests within the bound, with a summary at the end.
pub(crate) fn cargo_test(root: &Path, choose: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
    let begun = Instant::now();
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", BOUND, "cargo", "test", "--locked", "--no-fail-fast"]);
    let command = choose(&mut command).current_dir(root).stdout(Stdio::piped());
    println!("$ {command:?}");
    let mut child = command.spawn().context("timeout cannot be started")?;
    let mut tally = Tally::default();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
        let line = line?;
        println!("{line}");
        tally.note(&line);
    }
    let status = child.wait()?;
    let Tally { passed, failed, suites, .. } = tally;
    println!("\n{passed} tests passed, {failed} failed, in {suites} suites, in {} s", begun.elapsed().as_secs());
    tally.verdict(status)
}

impl Tally {
    fn note(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.suites += 1;
            self.passed += count(counts, " passed");
            self.failed += count(counts, " failed");
        } else if let Some(said) = line.strip_prefix("test ") {
            if let Some(name) = said.strip_suffix(" has been running for over 60 seconds") {
                self.slow.insert(name.to_owned());
            } else if let Some((name, end)) = said.split_once(" ... ") {
                self.slow.remove(name);
                self.failures.extend((end == "FAILED").then(|| name.to_owned()));
            }
        }
    }

    fn verdict(self, status: ExitStatus) -> Result<()> {
        let named = |names: Vec<String>| if names.is_empty() { "see above".to_owned() } else { names.join(", ") };
        if status.code() == Some(TIMED_OUT) {
            bail!("the tests did not end within {BOUND}; still running: {}", named(self.slow.into_iter().collect()));
        }
        if !status.success() || self.failed > 0 {
            bail!("failed: {}", named(self.failures));
        }
        Ok(())
    }
}

fn count(counts: &str, word: &str) -> u64 {
    let before = counts.split(word).next().unwrap_or_default();
    before.rsplit([' ', ';', '.']).next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn results_are_added_up_over_suites() {
        let mut tally = Tally::default();
        tally.note("test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        tally.note("test a::b ... FAILED");
        tally.note("test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured");
        assert_eq!((tally.passed, tally.failed, tally.suites), (13, 1, 2));
        assert_eq!(tally.failures, ["a::b"]);
    }

    #[test]
    fn a_test_that_hangs_is_named() {
        let mut tally = Tally::default();
        for line in
            ["test slow has been running for over 60 seconds", "test hangs has been running for over 60 seconds"]
        {
            tally.note(line);
        }
        tally.note("test slow ... ok");
        let told = tally.verdict(ExitStatusExt::from_raw(TIMED_OUT << 8)).unwrap_err().to_string();
        assert!(told.ends_with("still running: hangs"), "{told}");
    }
}
