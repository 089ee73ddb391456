//! Projects that are set up with other people's programs, and what was measured of them.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::{Ended, World};

/// A `PATH` on which the programs in `target/world` that set projects up come last: the environment of some has a Python too.
#[allow(clippy::disallowed_methods, reason = "a harness is a host: it reads the environment itself")]
pub fn path() -> String {
    let world = PathBuf::from(std::env::var("GATEWRIGHT_WORLD").expect("cargo xtask test --world"));
    let folders = ["python-tools/bin", "pnpm/node_modules/.bin"].map(|folder| world.join(folder).display().to_string());
    format!("{}:{}", std::env::var("PATH").unwrap(), folders.join(":"))
}

/// Runs a command that finds the programs to its end.
pub fn ended(mut command: Command) -> Ended {
    Ended::of(&command.env("PATH", path()).output().unwrap())
}

/// Has a tool make its lock file in the repository.
pub fn lock(world: &World, program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    let status = command.args(arguments).current_dir(world.repository()).env("PATH", path()).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// The tests that a measurement's first check names, as `+passed` and `-failed`, sorted.
pub fn tests_of(run: &Value, purpose: &str) -> Vec<String> {
    let evidence = run["evidence"].as_array().unwrap().iter().find(|evidence| evidence["purpose"] == purpose).unwrap();
    let tests = evidence["commands"][0]["tests"].as_array().unwrap();
    let sign = |test: &Value| if test["outcome"] == "passed" { '+' } else { '-' };
    let mut names: Vec<String> =
        tests.iter().map(|test| format!("{}{}", sign(test), test["name"].as_str().unwrap())).collect();
    names.sort();
    names
}
