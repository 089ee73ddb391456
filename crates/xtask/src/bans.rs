//! Licences and bans, by cargo-deny. (Advisories need a database from the network: a workflow of the project runs them.)

use std::path::Path;

use anyhow::Result;

const VERSION: &str = "0.20.2";

/// Installs cargo-deny under `target/tools` if it is not there, and runs it.
pub(crate) fn check(root: &Path) -> Result<()> {
    let tools = root.join("target/tools");
    let program = tools.join("bin/cargo-deny");
    let program = program.to_string_lossy();
    let installed = crate::output(root, &program, &["--version"]).is_ok_and(|found| found.contains(VERSION));
    if !installed {
        let tools = tools.to_string_lossy();
        crate::run(
            root,
            "cargo",
            &["install", "cargo-deny", "--version", VERSION, "--locked", "--debug", "--root", &tools],
        )?;
    }
    crate::run(root, &program, &["--offline", "check", "licenses", "bans", "sources"])
}
