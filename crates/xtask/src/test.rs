//! `cargo xtask test`: every test, with a summary at the end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    suites: u64,
    failures: Vec<String>,
}

/// Builds every program first (whole-system tests drive them), then runs every test.
pub(crate) fn run(root: &Path) -> Result<()> {
    let begun = Instant::now();
    crate::run(root, "cargo", &["build", "--workspace", "--bins", "--locked"])?;
    let mut child = Command::new("cargo")
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be started")?;
    let mut tally = Tally::default();
    let lines = BufReader::new(child.stdout.take().context("cargo has no output")?).lines();
    for line in lines {
        let line = line?;
        println!("{line}");
        tally.note(&line);
    }
    let status = child.wait()?;
    println!(
        "\n{} tests passed, {} failed, in {} suites, in {} s",
        tally.passed,
        tally.failed,
        tally.suites,
        begun.elapsed().as_secs()
    );
    if !status.success() || tally.failed > 0 {
        bail!("failed: {}", if tally.failures.is_empty() { "see above".to_owned() } else { tally.failures.join(", ") });
    }
    Ok(())
}

impl Tally {
    fn note(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.suites += 1;
            self.passed += count(counts, " passed");
            self.failed += count(counts, " failed");
        } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
    }
}

fn count(counts: &str, word: &str) -> u64 {
    let before = counts.split(word).next().unwrap_or_default();
    before.rsplit([' ', ';', '.']).next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
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
}
