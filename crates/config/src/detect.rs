//! Finds out how a project is set up and tested.

mod go;
mod make;
mod node;
mod python;
mod rust;

use std::collections::BTreeSet;

use crate::{CheckSpec, CommandSpec, Project, TestFormat};

/// What detection found; the part of the settings that differs from project to project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detected {
    /// Language and root.
    pub project: Project,
    /// Commands that fetch dependencies.
    pub setup: Vec<CommandSpec>,
    /// Files and folders that setup makes and checks need.
    pub setup_files: Vec<String>,
    /// Commands that build the base's tests.
    pub warm_up: Vec<CommandSpec>,
    /// Commands that measure a tree.
    pub checks: Vec<CheckSpec>,
    /// Globs of test paths besides the usual ones.
    pub test_paths: Vec<String>,
    /// Globs of manifest and lock files besides the usual ones.
    pub manifests: Vec<String>,
    /// What a person should know: what was chosen among several, what was passed over. No setting.
    pub notes: Vec<String>,
}

/// The manifests that say that a folder is a project.
const MANIFESTS: [&str; 7] =
    ["Cargo.toml", "go.mod", "pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "package.json"];
/// What else detection reads in a project's root.
const ALSO_READ: [&str; 8] =
    ["tox.ini", "pytest.ini", "conftest.py", "uv.lock", "Makefile", "GNUmakefile", "makefile", "pnpm-workspace.yaml"];
/// The most files that detection asks for.
const MOST_FILES: usize = 60;
/// Folders whose projects are not this one's.
const FOREIGN: [&str; 8] =
    ["vendor", "third_party", "node_modules", "fixtures", "testdata", "examples", "docs", "templates"];

/// A project's files as detection sees them.
pub(crate) struct Files<'a> {
    /// The folder, `.` for the repository's root.
    root: &'a str,
    /// Relative to it.
    paths: BTreeSet<&'a str>,
    read: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Files<'a> {
    fn of(root: &'a str, paths: &[&'a str], read: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let inside = |path: &&'a str| match root {
            "." => Some(*path),
            root => path.strip_prefix(root)?.strip_prefix('/'),
        };
        Self { root, paths: paths.iter().filter_map(inside).collect(), read }
    }

    fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// A file's text; nothing for a path that is not there.
    fn text(&self, path: &str) -> Option<String> {
        let whole = if self.root == "." { path.to_owned() } else { format!("{}/{path}", self.root) };
        self.has(path).then(|| (self.read)(&whole)).flatten()
    }

    fn all(&self) -> impl Iterator<Item = &'a str> {
        self.paths.iter().copied()
    }
}

/// One language's answer.
struct Found {
    detected: Detected,
    /// Whether the project says how it is tested, or has tests.
    tested: bool,
}

type Detector = fn(&Files<'_>) -> Option<Found>;

type Detectors = [(&'static str, Detector)];

/// By manifests, in the order of preference among those that have tests.
const BY_MANIFEST: &Detectors =
    &[("rust", rust::detect), ("go", go::detect), ("python", python::detect), ("node", node::detect)];
/// By other signs, which count only where no manifest does.
const BY_SIGNS: &Detectors = &[("python", python::detect_by_tests), ("make", make::detect)];

/// The files whose text [`detect`] may ask for, by their paths in the repository; at most 60.
pub fn read_by_detection<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let is_wanted = |path: &&&str| {
        let name = name(path);
        let known = MANIFESTS.contains(&name.as_str()) || ALSO_READ.contains(&name.as_str());
        known || python::is_requirements(path) || python::is_test(path)
    };
    let mut wanted: Vec<&str> = paths.iter().filter(is_wanted).copied().collect();
    // Manifests before tests, the root before what lies deeper.
    wanted.sort_by_key(|path| (python::is_test(path), path.matches('/').count(), *path));
    wanted.truncate(MOST_FILES);
    wanted
}

/// The outermost folders that hold a manifest, other people's projects left out; `.` is the repository's root.
pub fn project_roots(paths: &[&str]) -> Vec<String> {
    let places = paths.iter().map(|path| path.rsplit_once('/').unwrap_or((".", *path)));
    let own = places.filter(|(folder, name)| MANIFESTS.contains(name) && !is_foreign(folder));
    outermost(&own.map(|(folder, _)| folder).collect())
}

fn is_foreign(folder: &str) -> bool {
    folder.split('/').any(|part| FOREIGN.contains(&part) || part.starts_with('.') && part.len() > 1)
}

fn is_inside(inner: &str, outer: &str) -> bool {
    inner != outer && (outer == "." || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/')))
}

fn outermost(folders: &BTreeSet<&str>) -> Vec<String> {
    let is_outermost = |folder: &&&str| !folders.iter().any(|outer| is_inside(folder, outer));
    folders.iter().filter(is_outermost).map(|folder| (*folder).to_owned()).collect()
}

/// Looks at every path of a repository, and into files where a name is not enough: the project in its root, or the only one
/// below, beside which Makefiles are named; `None` if it knows no such project. `read` gives the text of one of [`read_by_detection`].
pub fn detect(paths: &[&str], read: &dyn Fn(&str) -> Option<String>) -> Option<Detected> {
    let files = Files::of(".", paths, read);
    let below = project_roots(paths);
    look(&files, BY_MANIFEST).or_else(|| match &below[..] {
        [only] if only != "." => {
            let mut found = detect_in(only, paths, read)?;
            let beside = makes_below(paths, read).into_iter().filter(|make| make != only && !is_inside(make, only));
            found.notes.extend(beside.map(|make| {
                format!("{make} has a Makefile with tests, which is not checked: `gatewright init --root {make} --force` takes that one")
            }));
            Some(found)
        }
        // A Makefile may speak for several projects; tests of one of them may not.
        [_, _, ..] => look(&files, &BY_SIGNS[1..]),
        _ => look(&files, BY_SIGNS).or_else(|| match &makes_below(paths, read)[..] {
            [only] => detect_in(only, paths, read),
            _ => None,
        }),
    })
}

/// The outermost folders below the root that have a Makefile with tests, other people's left out.
fn makes_below(paths: &[&str], read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let folders: BTreeSet<&str> = paths
        .iter()
        .filter_map(|path| path.rsplit_once('/'))
        .filter(|(folder, name)| make::NAMES.contains(name) && !is_foreign(folder))
        .map(|(folder, _)| folder)
        .filter(|folder| make::detect(&Files::of(folder, paths, read)).is_some())
        .collect();
    outermost(&folders)
}

/// The same for the project in this folder.
pub fn detect_in(root: &str, paths: &[&str], read: &dyn Fn(&str) -> Option<String>) -> Option<Detected> {
    let files = Files::of(root, paths, read);
    look(&files, BY_MANIFEST).or_else(|| look(&files, BY_SIGNS))
}

/// The first that has tests, else the first; the others are named.
fn look(files: &Files<'_>, detectors: &Detectors) -> Option<Detected> {
    let answers = detectors.iter().filter_map(|(language, detector)| Some((*language, detector(files)?)));
    let mut found: Vec<(&str, Found)> = answers.collect();
    let chosen = found.iter().position(|(_, found)| found.tested).unwrap_or(0);
    let (language, Found { mut detected, tested }) = (!found.is_empty()).then(|| found.remove(chosen))?;
    files.root.clone_into(&mut detected.project.root);
    if !tested {
        detected.notes.push(format!("no tests of this {language} project were found: see that the check measures it"));
    }
    for check in detected.checks.iter().filter(|check| check.format == TestFormat::Plain) {
        detected.notes.push(note_on_plain(&check.name));
    }
    let others: Vec<&str> = found.iter().map(|(language, _)| *language).filter(|other| *other != "make").collect();
    if !others.is_empty() {
        detected
            .notes
            .push(format!("it is a {} project too, which is not checked: add what that needs", others.join(" and ")));
    }
    Some(detected)
}

/// What a project's owner has to know of a check whose tests have no names.
pub fn note_on_plain(check: &str) -> String {
    format!(
        "check `{check}` names no tests, so an early exit looks like success: every gate will say so; a command that writes a JUnit \
         report to \"$GATEWRIGHT_REPORT\" has its tests named by format = \"junit\""
    )
}

fn project(language: &str) -> Project {
    Project { language: language.into(), ..Project::default() }
}

fn command(name: &str, line: impl Into<String>) -> CommandSpec {
    CommandSpec { name: name.into(), command: line.into() }
}

fn check(line: impl Into<String>, format: TestFormat) -> CheckSpec {
    CheckSpec { name: "test".into(), command: line.into(), format }
}

#[cfg(test)]
mod tests;
