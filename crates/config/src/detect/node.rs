//! Node, by npm or pnpm; the runner is the one that the script `test` names.

use serde_json::Value;

use super::{Detected, Files, Found, check, command, project};
use crate::{CheckSpec, TestFormat};

/// What `npm init` writes where no test is.
const NO_TEST: &str = "no test specified";
/// What makes node's own runner write its report, and what a person reads.
const NODE_REPORT: &str = "--test-reporter=junit --test-reporter-destination=\"$GATEWRIGHT_REPORT\" \
                           --test-reporter=spec --test-reporter-destination=stdout";

pub(super) fn detect(files: &Files<'_>) -> Option<Found> {
    let manifest: Value = serde_json::from_str(&files.text("package.json")?).ok()?;
    let script = |name: &str| manifest["scripts"][name].as_str().map(str::trim).filter(|script| !script.is_empty());
    let test = script("test").filter(|script| !script.contains(NO_TEST));
    let (setup, setup_files, mut notes) = installing(files, &manifest);
    let has_tests = files.all().any(|path| [".test.", ".spec."].iter().any(|part| path.contains(part)));
    let check = match test {
        Some(test) => runner(test, script("pretest")),
        // Node finds the tests by their names.
        None => check(format!("node --test {NODE_REPORT}"), TestFormat::Junit),
    };
    if check.format == TestFormat::Plain {
        notes.push("no runner is known in the script \"test\": only its exit code counts".into());
    }
    let detected = Detected {
        project: project("node"),
        setup: vec![setup],
        setup_files,
        checks: vec![check],
        test_paths: ["**/__tests__/**", "**/__mocks__/**", "spec/**"].map(str::to_owned).into(),
        manifests: ["**/.npmrc", "**/pnpm-workspace.yaml"].map(str::to_owned).into(),
        notes,
        ..Detected::default()
    };
    Some(Found { detected, tested: test.is_some() || has_tests })
}

/// The command that installs, what it leaves in the tree, and what to say of it.
fn installing(files: &Files<'_>, manifest: &Value) -> (crate::CommandSpec, Vec<String>, Vec<String>) {
    let mut made = vec!["node_modules".to_owned()];
    let mut notes = Vec::new();
    if manifest.get("workspaces").is_some() || files.has("pnpm-workspace.yaml") {
        let packages = files.all().filter_map(|path| path.strip_suffix("/package.json"));
        made.extend(
            packages.filter(|folder| !folder.contains("node_modules")).map(|folder| format!("{folder}/node_modules")),
        );
    }
    let line = if files.has("pnpm-lock.yaml") {
        "pnpm install --frozen-lockfile"
    } else if files.has("package-lock.json") || files.has("npm-shrinkwrap.json") {
        "npm ci"
    } else {
        if files.has("yarn.lock") {
            notes.push(
                "yarn.lock is not read: npm chooses the versions; write a setup with yarn if you need them".into(),
            );
        }
        made.push("package-lock.json".into());
        "npm install"
    };
    (command("install", line), made, notes)
}

/// The check that has the script's runner write a report. What the script says stays as it is: arguments are added to its
/// last command, which has to be the runner.
fn runner(script: &str, before: Option<&str>) -> CheckSpec {
    let (earlier, last) = script.rsplit_once("&&").unwrap_or(("", script));
    let words: Vec<&str> = last.split_whitespace().collect();
    let is_plain = !last.contains(['|', ';', '>', '`']);
    // One report names the tests of one command: a script that runs the runner twice would have half of them lost.
    let names =
        |program: &str| is_plain && words.contains(&program) && !earlier.split_whitespace().any(|word| word == program);
    let with = |arguments: &str, format| check(format!("npm test -- {arguments}"), format);
    if names("vitest") {
        let once = if words.contains(&"run") || words.contains(&"--run") { "" } else { "--run " };
        let report = "--reporter=default --reporter=junit --outputFile.junit=\"$GATEWRIGHT_REPORT\"";
        with(&format!("{once}{report}"), TestFormat::Junit)
    } else if names("jest") {
        with("--ci --json --outputFile=\"$GATEWRIGHT_REPORT\"", TestFormat::JestJson)
    } else if names("mocha") {
        with("--reporter xunit --reporter-option output=\"$GATEWRIGHT_REPORT\"", TestFormat::Junit)
    } else if words.first() == Some(&"node") && names("--test") {
        // What follows the first file is for the tests and not for node, so its options go to the front.
        let before = before.map_or("", |_| "npm run pretest && ");
        let earlier = if earlier.is_empty() { String::new() } else { format!("{}&& ", earlier.trim_start()) };
        let with_report = words.iter().flat_map(|word| [Some(*word), (*word == "--test").then_some(NODE_REPORT)]);
        let last: Vec<&str> = with_report.flatten().collect();
        check(format!("{before}{earlier}{}", last.join(" ")), TestFormat::Junit)
    } else {
        check("npm test", TestFormat::Plain)
    }
}
