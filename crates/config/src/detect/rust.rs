//! Rust, by cargo.

use super::{Detected, Files, Found, check, command, project};
use crate::TestFormat;

/// A Rust project. Without a lock file of its own, fetching makes one in setup's copy of the base; checks, which have no
/// network, are given that one, so that base and change are built with the same versions.
pub(super) fn detect(files: &Files<'_>) -> Option<Found> {
    // A folder may bear any name; a manifest can be read and says what it is of.
    let manifest: toml::Table = files.text("Cargo.toml")?.parse().ok()?;
    if !manifest.contains_key("package") && !manifest.contains_key("workspace") {
        return None;
    }
    let locked = files.has("Cargo.lock");
    let detected = Detected {
        project: project("rust"),
        setup: vec![command("fetch", if locked { "cargo fetch --locked" } else { "cargo fetch" })],
        setup_files: if locked { Vec::new() } else { vec!["Cargo.lock".into()] },
        warm_up: vec![command("build-tests", "cargo test --offline --no-run")],
        checks: vec![check("cargo test --offline --no-fail-fast", TestFormat::CargoTest)],
        ..Detected::default()
    };
    Some(Found { detected, tested: true })
}
