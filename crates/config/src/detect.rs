//! Finds out how a project is set up and tested.

use crate::{CheckSpec, CommandSpec, Project, TestFormat};

/// What detection found; the part of the settings that differs from project to project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// Language and root.
    pub project: Project,
    /// Commands that fetch dependencies.
    pub setup: Vec<CommandSpec>,
    /// Files that setup makes and checks need.
    pub setup_files: Vec<String>,
    /// Commands that build the base's tests.
    pub warm_up: Vec<CommandSpec>,
    /// Commands that measure a tree.
    pub checks: Vec<CheckSpec>,
}

/// The files of the root that [`detect`] may want to read.
pub const READ_BY_DETECTION: [&str; 1] = ["Cargo.toml"];

/// Looks at the names in the repository's root, and into files where a name is not enough; `None` if it knows no such
/// project. `read` gives the text of a root file, one of [`READ_BY_DETECTION`].
pub fn detect(root_files: &[&str], read: &dyn Fn(&str) -> Option<String>) -> Option<Detected> {
    // A folder may bear any name; a manifest can be read and says what it is of.
    let manifest = root_files.contains(&"Cargo.toml").then(|| read("Cargo.toml")).flatten()?;
    let manifest: toml::Table = manifest.parse().ok()?;
    (manifest.contains_key("package") || manifest.contains_key("workspace"))
        .then(|| rust(root_files.contains(&"Cargo.lock")))
}

/// A Rust project. Without a lock file of its own, fetching makes one in setup's copy of the base; checks, which have no
/// network, are given that one, so that base and change are built with the same versions.
fn rust(locked: bool) -> Detected {
    let command = |name: &str, line: &str| CommandSpec { name: name.into(), command: line.into() };
    Detected {
        project: Project { language: "rust".into(), root: ".".into() },
        setup: vec![command("fetch", if locked { "cargo fetch --locked" } else { "cargo fetch" })],
        setup_files: if locked { Vec::new() } else { vec!["Cargo.lock".into()] },
        warm_up: vec![command("build-tests", "cargo test --offline --no-run")],
        checks: vec![CheckSpec {
            name: "test".into(),
            command: "cargo test --offline --no-fail-fast".into(),
            format: TestFormat::CargoTest,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect_with(files: &[&str], manifest: &str) -> Option<Detected> {
        detect(files, &|name| (name == "Cargo.toml").then(|| manifest.to_owned()))
    }

    #[test]
    fn a_rust_project_is_fetched_as_locked_and_tested_offline() {
        let found = detect_with(&["Cargo.toml", "Cargo.lock", "src"], "[package]\nname = \"a\"").unwrap();
        assert_eq!(found.setup[0].command, "cargo fetch --locked");
        assert_eq!(found.setup_files, Vec::<String>::new());
        assert_eq!(found.checks[0].command, "cargo test --offline --no-fail-fast");
        assert_eq!(found.checks[0].format, TestFormat::CargoTest);
    }

    #[test]
    fn a_library_without_a_lock_file_gets_one_from_setup() {
        let found = detect_with(&["Cargo.toml"], "[workspace]\nmembers = []").unwrap();
        assert_eq!(found.setup[0].command, "cargo fetch");
        assert_eq!(found.setup_files, ["Cargo.lock"]);
    }

    #[test]
    fn what_is_no_rust_project_is_not_taken_for_one() {
        assert_eq!(detect_with(&["package.json"], ""), None);
        assert_eq!(detect_with(&["Cargo.toml"], "not toml ["), None);
        assert_eq!(detect(&["Cargo.toml"], &|_| None), None);
    }
}
