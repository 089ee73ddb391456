//! Go, by its modules.

use super::{Detected, Files, Found, check, command, project};
use crate::TestFormat;

pub(super) fn detect(files: &Files<'_>) -> Option<Found> {
    files.text("go.mod")?;
    let detected = Detected {
        project: project("go"),
        setup: vec![command("fetch", "go mod download")],
        // Compiles every package with its tests and runs none of them.
        warm_up: vec![command("build-tests", "go test -run '^$' ./...")],
        // A result of an earlier run is no evidence: `-count=1` has every test run.
        checks: vec![check("go test -count=1 -json ./...", TestFormat::GoJson)],
        test_paths: vec!["**/testdata/**".into()],
        manifests: vec!["**/go.work".into(), "**/go.work.sum".into()],
        ..Detected::default()
    };
    Some(Found { detected, tested: files.all().any(|path| path.ends_with("_test.go")) })
}
