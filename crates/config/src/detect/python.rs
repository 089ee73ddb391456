//! Python, by pip, uv or Poetry; pytest where anything says so, unittest elsewhere.

mod packages;

use toml::{Table, Value};

use self::packages::Packages;
use super::{Detected, Files, Found, check, command, project};
use crate::{CommandSpec, TestFormat};

const PYTEST: &str = ".venv/bin/python -m pytest --quiet --tb=short -p no:cacheprovider --override-ini=junit_family=xunit1 \
                      --junitxml=\"$GATEWRIGHT_REPORT\"";

/// A project that says that it is one of Python.
pub(super) fn detect(files: &Files<'_>) -> Option<Found> {
    let is_manifest = |path: &str| ["pyproject.toml", "setup.py", "setup.cfg"].contains(&path) || is_requirements(path);
    files.all().any(|path| is_manifest(path) && !path.contains('/')).then(|| of_python(files))
}

/// Files that bear the names of tests, and nothing that says more.
pub(super) fn detect_by_tests(files: &Files<'_>) -> Option<Found> {
    files.all().any(is_test).then(|| of_python(files))
}

/// `requirements.txt`, `dev-requirements.txt`, `requirements/test.txt`.
pub(super) fn is_requirements(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    name.ends_with(".txt") && (name.contains("requirements") || folder.rsplit('/').next() == Some("requirements"))
}

/// What pytest and unittest take for tests by their names.
pub(super) fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".py") && (name.starts_with("test_") || name.ends_with("_test.py") || name == "tests.py")
}

fn of_python(files: &Files<'_>) -> Found {
    let tests: Vec<&str> = files.all().filter(|path| is_test(path)).collect();
    let pyproject: Table = files.text("pyproject.toml").and_then(|text| text.parse().ok()).unwrap_or_default();
    let packages = Packages::of(files, &pyproject);
    let uses_pytest =
        is_pytest_named(files, &pyproject) || packages.mention("pytest") || is_pytest_written(files, &tests);
    let unnamed: Vec<&str> = match uses_pytest {
        true => pytest_and_its_plugins(files, &pyproject).into_iter().filter(|name| !packages.mention(name)).collect(),
        false => Vec::new(),
    };
    let mut notes = packages.notes();
    notes.extend(unnamed.iter().map(|name| format!("{name} is not among its requirements: setup installs it")));
    let check = if uses_pytest {
        check(PYTEST, TestFormat::Junit)
    } else {
        check(unittest(files, &tests), TestFormat::Unittest)
    };
    let mut setup_files = vec![".venv".to_owned()];
    setup_files.extend(version_files(&pyproject));
    let detected = Detected {
        project: project("python"),
        setup: packages.setup(&unnamed),
        setup_files,
        checks: vec![check],
        manifests: ["**/*requirements*.txt", "**/requirements/*.txt", "**/tox.ini"].map(str::to_owned).into(),
        notes,
        ..Detected::default()
    };
    Found { detected, tested: !tests.is_empty() }
}

/// Whether a file of settings speaks of pytest.
fn is_pytest_named(files: &Files<'_>, pyproject: &Table) -> bool {
    let sections = [("setup.cfg", "[tool:pytest]"), ("tox.ini", "pytest")];
    let said = sections.iter().any(|(name, word)| files.text(name).is_some_and(|text| text.contains(word)));
    let conftest = files.all().any(|path| path == "conftest.py" || path.ends_with("/conftest.py"));
    said || conftest || files.has("pytest.ini") || at(pyproject, &["tool", "pytest"]).is_some()
}

/// What the settings of pytest ask for, which fails with "unrecognized arguments" where a plugin is missing.
fn pytest_and_its_plugins(files: &Files<'_>, pyproject: &Table) -> Vec<&'static str> {
    const PLUGINS: [(&str, &str); 6] = [
        ("--cov", "pytest-cov"),
        ("asyncio_mode", "pytest-asyncio"),
        ("--timeout", "pytest-timeout"),
        ("--numprocesses", "pytest-xdist"),
        ("--dist", "pytest-xdist"),
        ("-n", "pytest-xdist"),
    ];
    let mut settings = at(pyproject, &["tool", "pytest"]).map(ToString::to_string).unwrap_or_default();
    for (name, section) in [("pytest.ini", "[pytest]"), ("setup.cfg", "[tool:pytest]"), ("tox.ini", "[pytest]")] {
        let text = files.text(name).unwrap_or_default();
        let section = text.split_once(section).map(|(_, rest)| rest.split("\n[").next().unwrap_or(rest));
        let is_said = |line: &&str| !line.trim_start().starts_with(['#', ';']);
        section.unwrap_or_default().lines().filter(is_said).for_each(|line| settings += &format!("\n{line}"));
    }
    let words: Vec<&str> = settings.split(|c: char| c.is_whitespace() || "\"'=,[]".contains(c)).collect();
    let mut plugins = vec!["pytest"];
    for (option, plugin) in PLUGINS {
        if !plugins.contains(&plugin) && words.iter().any(|word| word.starts_with(option)) {
            plugins.push(plugin);
        }
    }
    plugins
}

/// Whether a test is a function of its own, or imports pytest: unittest knows only classes.
fn is_pytest_written(files: &Files<'_>, tests: &[&str]) -> bool {
    let written = |text: String| {
        text.lines().any(|line| {
            ["def test", "async def test", "import pytest", "from pytest"].iter().any(|begin| line.starts_with(begin))
        })
    };
    tests.iter().any(|path| files.text(path).is_some_and(written))
}

/// The line that finds the tests: those in a folder that is no package are not found from outside.
fn unittest(files: &Files<'_>, tests: &[&str]) -> String {
    let folder = tests.iter().filter_map(|path| path.split_once('/')).map(|(folder, _)| folder).find(|folder| {
        let in_root = tests.iter().any(|path| !path.contains('/'));
        !in_root && !files.has(&format!("{folder}/__init__.py"))
    });
    let start = folder.map(|folder| format!(" --start-directory {}", quoted(folder))).unwrap_or_default();
    let pattern = if tests.iter().any(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with("test"))) {
        ""
    } else {
        " --pattern '*_test.py'"
    };
    format!(".venv/bin/python -m unittest discover --verbose{start}{pattern}")
}

/// A folder's name as the shell reads it.
fn quoted(folder: &str) -> String {
    let is_simple = folder.chars().all(|c| c.is_alphanumeric() || "._-".contains(c));
    if is_simple { folder.to_owned() } else { format!("'{}'", folder.replace('\'', r"'\''")) }
}

/// Files that the build writes the version to and that no commit holds.
fn version_files(pyproject: &Table) -> Vec<String> {
    let places: [&[&str]; 4] = [
        &["tool", "setuptools_scm", "version_file"],
        &["tool", "setuptools_scm", "write_to"],
        &["tool", "hatch", "build", "hooks", "vcs", "version-file"],
        &["tool", "pdm", "version", "write_to"],
    ];
    places.iter().filter_map(|place| at(pyproject, place)?.as_str().map(str::to_owned)).collect()
}

/// A value by its path in a table.
fn at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(*key))
}

fn install(line: String) -> CommandSpec {
    command("install", line)
}
