//! A Makefile that says how it is tested, where no language is recognised.

use super::{Detected, Files, Found, check, project};
use crate::TestFormat;

/// What a Makefile is called, in the order in which make looks for it.
pub(super) const NAMES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

pub(super) fn detect(files: &Files<'_>) -> Option<Found> {
    let makefile = NAMES.iter().find_map(|name| files.text(name))?;
    let target = ["test", "check"].into_iter().find(|target| has_target(&makefile, target))?;
    let detected = Detected {
        project: project("make"),
        checks: vec![check(format!("make {target}"), TestFormat::Plain)],
        // Projects of this kind have their tests beside what they test.
        test_paths: ["**/test.*", "**/test_*", "**/*_test.*", "**/*-test.*"].map(str::to_owned).into(),
        notes: vec!["what make needs besides the system's own programs is not set up: write it under [[setup]]".into()],
        ..Detected::default()
    };
    Some(Found { detected, tested: true })
}

/// `test: build` and `test check:`, not `test = x` nor `test := x`.
fn has_target(makefile: &str, target: &str) -> bool {
    let targets = makefile.lines().filter(|line| !line.starts_with(['\t', ' ', '#'])).filter_map(|line| {
        let (targets, rest) = line.split_once(':')?;
        (!rest.starts_with('=') && !rest.starts_with(":=") && !targets.contains('=')).then_some(targets)
    });
    targets.flat_map(str::split_whitespace).any(|name| name == target)
}
