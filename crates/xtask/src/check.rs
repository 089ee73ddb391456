//! `cargo xtask check`: what a machine can see of the house rules.

use std::path::Path;

use anyhow::{Result, bail};

use crate::{bans, documents, house, layers};

/// Runs every check; the first group that fails ends it, after naming everything it found.
pub(crate) fn run(root: &Path) -> Result<()> {
    crate::run(root, "cargo", &["fmt", "--all", "--check"])?;
    let problems = [layers::problems(root)?, house::problems(root)?, documents::problems(root)?].concat();
    if !problems.is_empty() {
        bail!("the house is not in order:\n  {}", problems.join("\n  "));
    }
    println!("layers, names and documents: in order");
    let everything = ["clippy", "--workspace", "--all-targets", "--features", "tests/world", "--locked"];
    crate::run(root, "cargo", &[&everything[..], &["--", "-D", "warnings"]].concat())?;
    bans::check(root)
}
