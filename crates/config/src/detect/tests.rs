//! Trees, and what is said about them.

use super::*;
use crate::TestFormat::{GoJson, JestJson, Junit, Plain, Unittest};

/// A tree of files with their texts.
type Tree<'a> = &'a [(&'a str, &'a str)];

fn detect_tree(tree: Tree<'_>) -> Option<Detected> {
    let paths: Vec<&str> = tree.iter().map(|(path, _)| *path).collect();
    let wanted = read_by_detection(&paths);
    let read = |path: &str| {
        assert!(wanted.contains(&path), "{path} is read and was not asked for");
        tree.iter().find(|(known, _)| *known == path).map(|(_, text)| (*text).to_owned())
    };
    detect(&paths, &read)
}

fn setup_of(tree: Tree<'_>) -> Vec<String> {
    detect_tree(tree).unwrap().setup.into_iter().map(|command| command.command).collect()
}

fn check_of(tree: Tree<'_>) -> (String, TestFormat) {
    let check = detect_tree(tree).unwrap().checks.remove(0);
    (check.command, check.format)
}

const CRATE: (&str, &str) = ("Cargo.toml", "[package]\nname = \"a\"");
const FUNCTION: (&str, &str) = ("tests/test_a.py", "def test_a():\n    pass\n");
const CLASS: (&str, &str) = ("test_a.py", "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): pass\n");

#[test]
fn a_rust_project_is_fetched_as_locked_and_tested_offline() {
    let found = detect_tree(&[CRATE, ("Cargo.lock", ""), ("src/lib.rs", "")]).unwrap();
    assert_eq!(found.setup[0].command, "cargo fetch --locked");
    assert_eq!(found.setup_files, Vec::<String>::new());
    assert_eq!(found.checks[0].command, "cargo test --offline --no-fail-fast");
    assert_eq!(found.checks[0].format, TestFormat::CargoTest);
    assert!(found.test_paths.is_empty() && found.manifests.is_empty() && found.notes.is_empty(), "{found:?}");
}

#[test]
fn a_library_without_a_lock_file_gets_one_from_setup() {
    let found = detect_tree(&[("Cargo.toml", "[workspace]\nmembers = []")]).unwrap();
    assert_eq!(found.setup[0].command, "cargo fetch");
    assert_eq!(found.setup_files, ["Cargo.lock"]);
}

#[test]
fn what_is_no_project_is_not_taken_for_one() {
    for tree in [
        &[("README.md", "")][..],
        &[("Cargo.toml", "not toml [")],
        &[("package.json", "not json")],
        &[("Makefile", "all:\n\tcc a.c\ntest := 1\n")],
        &[("a.py", "")],
    ] {
        assert_eq!(detect_tree(tree), None, "{tree:?}");
    }
    assert_eq!(detect(&["Cargo.toml"], &|_| None), None);
}

#[test]
fn python_packages_come_from_where_they_are_named() {
    let project =
        "[project]\nname = \"a\"\n[project.optional-dependencies]\ntest = [\"pytest\"]\ndocs = [\"sphinx\"]\n";
    let grouped = "[project]\nname = \"a\"\n[dependency-groups]\ndev = [\"pytest\"]\n";
    let tools_only = "[tool.pytest.ini_options]\nx = 1\n";
    let scm = "[build-system]\nrequires = [\"setuptools-scm\"]\n[project]\nname = \"my-a\"\n";
    let pip = ".venv/bin/python -m pip install";
    for (tree, install) in [
        (&[("requirements.txt", "x"), FUNCTION][..], format!("{pip} --requirement requirements.txt pytest")),
        (
            &[("requirements.txt", "x"), ("requirements-dev.txt", "pytest"), ("docs/requirements.txt", ""), FUNCTION],
            format!("{pip} --requirement requirements-dev.txt --requirement requirements.txt"),
        ),
        (&[("pyproject.toml", project), FUNCTION], format!("{pip} --editable '.[test]'")),
        (&[("pyproject.toml", grouped), FUNCTION], format!("{pip} --group dev --editable '.'")),
        (&[("pyproject.toml", tools_only), FUNCTION], format!("{pip} pytest")),
        (
            &[("setup.py", "setup(extras_require={'testing': ['pytest']})"), FUNCTION],
            format!("{pip} --editable '.[testing]'"),
        ),
        (
            &[("setup.cfg", "[metadata]\n[options.extras_require]\ntests =\n    pytest\n[flake8]\n"), FUNCTION],
            format!("{pip} --editable '.[tests]'"),
        ),
        (
            &[
                ("pytest.ini", "[pytest]\naddopts = --cov=a -n4 --dist load\n# --timeout\n[other]\nx = --timeout\n"),
                FUNCTION,
            ],
            format!("{pip} pytest pytest-cov pytest-xdist"),
        ),
        (
            &[("pyproject.toml", scm), FUNCTION],
            format!("SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_A=99.0.0 {pip} --editable '.' pytest"),
        ),
    ] {
        let setup = setup_of(tree);
        assert_eq!(setup[0], "python3 -m venv .venv");
        assert_eq!(setup.last(), Some(&install), "{tree:?}");
    }
    assert_eq!(setup_of(&[("pyproject.toml", grouped), FUNCTION])[1], format!("{pip} 'pip>=25.1'"));
    assert_eq!(setup_of(&[CLASS]), ["python3 -m venv .venv"]);
}

#[test]
fn what_is_locked_by_hashes_is_installed_by_itself() {
    let pip = ".venv/bin/python -m pip install";
    let locked = ("requirements-test.txt", "pytest==8.4.2 \\\n    --hash=sha256:00\n");
    let manifest = ("pyproject.toml", "[project]\nname = \"a\"\n");
    // In one command with them pip refuses what has none: the project itself, and other requirements.
    for (base, rest) in
        [(None, ""), (Some(("requirements/base.txt", "pytz\n")), " --requirement requirements/base.txt")]
    {
        let tree: Vec<_> = [locked, manifest, FUNCTION].into_iter().chain(base).collect();
        let commands = [" --requirement requirements-test.txt".to_owned(), format!("{rest} --editable '.'")];
        let commands = commands.map(|what| format!("{pip}{what}"));
        assert_eq!(setup_of(&tree), [&["python3 -m venv .venv".to_owned()][..], &commands].concat());
    }
}

#[test]
fn a_lock_file_of_python_says_who_installs() {
    let grouped = "[project]\nname = \"a\"\n[dependency-groups]\ntest = [\"pytest\"]\ndev = [\"ruff\"]\n";
    let locked = [("pyproject.toml", grouped), ("uv.lock", "name = \"pytest\""), FUNCTION];
    assert_eq!(setup_of(&locked), ["uv sync --frozen --group test"]);
    let poetry = "[tool.poetry]\nname = \"a\"\n[tool.poetry.group.test.dependencies]\npytest = \"*\"\n";
    let setup = setup_of(&[("pyproject.toml", poetry), ("poetry.lock", ""), FUNCTION]);
    assert_eq!(setup, ["python3 -m venv .venv", "poetry install --with test"]);
}

#[test]
fn a_version_that_a_build_writes_is_given_to_every_tree() {
    let manifest = "[project]\nname = \"a\"\n[build-system]\nrequires = [\"hatch-vcs\"]\n\
                    [tool.hatch.build.hooks.vcs]\nversion-file = \"src/a/_version.py\"\n";
    let found = detect_tree(&[("pyproject.toml", manifest), FUNCTION]).unwrap();
    assert_eq!(found.setup_files, [".venv", "src/a/_version.py"]);
    assert!(found.notes.iter().any(|note| note.contains("git's history")), "{:?}", found.notes);
}

#[test]
fn python_tests_say_by_what_they_are_run() {
    let pytest = |tree: Tree<'_>| {
        check_of(tree) == (".venv/bin/python -m pytest --quiet --tb=short -p no:cacheprovider --override-ini=junit_family=xunit1 --junitxml=\"$GATEWRIGHT_REPORT\"".to_owned(), Junit)
    };
    assert!(pytest(&[FUNCTION]));
    assert!(pytest(&[CLASS, ("pytest.ini", "")]));
    assert!(pytest(&[CLASS, ("pyproject.toml", "[tool.pytest.ini_options]\n")]));
    assert!(pytest(&[CLASS, ("requirements-dev.txt", "pytest==8\n")]));
    let classes = CLASS.1;
    for (tree, line) in [
        (&[CLASS][..], ""),
        (&[("tests/test_a.py", classes), ("tests/__init__.py", "")], ""),
        (&[("tests/test_a.py", classes)], " --start-directory tests"),
        (&[("my tests/test_a.py", classes)], " --start-directory 'my tests'"),
        (&[("tests/a_test.py", classes), ("tests/__init__.py", "")], " --pattern '*_test.py'"),
    ] {
        assert_eq!(
            check_of(tree),
            (format!(".venv/bin/python -m unittest discover --verbose{line}"), Unittest),
            "{tree:?}"
        );
    }
    assert!(detect_tree(&[FUNCTION]).unwrap().notes.iter().any(|note| note.contains("setup installs it")));
}

fn node(script: &str) -> (String, TestFormat) {
    let manifest = format!("{{\"scripts\": {{\"test\": {script:?}, \"pretest\": \"tsc\"}}}}");
    check_of(&[("package.json", &manifest), ("package-lock.json", "")])
}

#[test]
fn a_script_of_node_says_by_what_tests_are_run() {
    for (script, line, format) in [
        ("jest", "npm test -- --ci --json --outputFile=\"$GATEWRIGHT_REPORT\"", JestJson),
        ("eslint . && jest --coverage", "npm test -- --ci --json --outputFile=\"$GATEWRIGHT_REPORT\"", JestJson),
        ("jest && eslint .", "npm test", Plain),
        ("jest | tee log", "npm test", Plain),
        ("tap", "npm test", Plain),
        ("nyc mocha test", "npm test -- --reporter xunit --reporter-option output=\"$GATEWRIGHT_REPORT\"", Junit),
        (
            "vitest",
            "npm test -- --run --reporter=default --reporter=junit --outputFile.junit=\"$GATEWRIGHT_REPORT\"",
            Junit,
        ),
        (
            "node --test test/",
            "npm run pretest && node --test --test-reporter=junit --test-reporter-destination=\"$GATEWRIGHT_REPORT\" \
             --test-reporter=spec --test-reporter-destination=stdout test/",
            Junit,
        ),
        (
            "node --test-concurrency=1 --test",
            "npm run pretest && node --test-concurrency=1 --test --test-reporter=junit \
             --test-reporter-destination=\"$GATEWRIGHT_REPORT\" --test-reporter=spec --test-reporter-destination=stdout",
            Junit,
        ),
        ("node --test unit/ && node --test e2e/", "npm test", Plain),
    ] {
        assert_eq!(node(script), (line.to_owned(), format), "{script}");
    }
    let unset = "{\"scripts\": {\"test\": \"echo \\\"Error: no test specified\\\" && exit 1\"}}";
    assert!(check_of(&[("package.json", unset), ("a.test.js", "")]).0.starts_with("node --test --test-reporter=junit"));
}

#[test]
fn a_lock_file_of_node_says_who_installs() {
    const MANIFEST: (&str, &str) = ("package.json", "{\"scripts\": {\"test\": \"jest\"}}");
    for (lock, line) in [
        ("package-lock.json", "npm ci"),
        ("npm-shrinkwrap.json", "npm ci"),
        ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
        ("yarn.lock", "npm install"),
    ] {
        assert_eq!(setup_of(&[MANIFEST, (lock, "")]), [line]);
    }
    let found = detect_tree(&[MANIFEST]).unwrap();
    assert_eq!(found.setup_files, ["node_modules", "package-lock.json"]);
    assert!(found.test_paths.contains(&"**/__tests__/**".to_owned()));
    let workspace = [("package.json", "{\"workspaces\": [\"packages/*\"]}"), ("packages/a/package.json", "{}")];
    assert!(detect_tree(&workspace).unwrap().setup_files.contains(&"packages/a/node_modules".to_owned()));
}

#[test]
fn go_and_make_are_known() {
    let tree = [("go.mod", "module a\n"), ("a_test.go", ""), ("Makefile", "test:\n\tgo test\n")];
    assert_eq!(setup_of(&tree), ["go mod download"]);
    assert_eq!(check_of(&tree), ("go test -count=1 -json ./...".to_owned(), GoJson));
    assert_eq!(check_of(&[("Makefile", ".PHONY: check\nall check: a\n\tsh a\n")]), ("make check".to_owned(), Plain));
    assert_eq!(check_of(&[("makefile", "test:\n")]), ("make test".to_owned(), Plain));
}

#[test]
fn of_two_languages_the_tested_one_is_chosen_and_the_other_named() {
    let found = detect_tree(&[("package.json", "{}"), ("pyproject.toml", ""), FUNCTION]).unwrap();
    assert_eq!(found.project.language, "python");
    assert!(found.notes.iter().any(|note| note.contains("a node project too")), "{:?}", found.notes);
    let found =
        detect_tree(&[("package.json", "{\"scripts\": {\"test\": \"jest\"}}"), ("pyproject.toml", "")]).unwrap();
    assert_eq!(found.project.language, "node");
}

#[test]
fn the_only_project_below_the_root_is_found_and_several_are_listed() {
    let one = [("README.md", ""), ("app/go.mod", "module a\n"), ("app/a_test.go", ""), ("examples/x/go.mod", "")];
    let found = detect_tree(&one).unwrap();
    assert_eq!((found.project.language.as_str(), found.project.root.as_str()), ("go", "app"));
    let tests = [("README.md", ""), ("app/requirements.txt", ""), ("app/test_a.py", CLASS.1)];
    let found = detect_tree(&tests).unwrap();
    assert_eq!((found.project.root.as_str(), found.checks[0].command.contains("--start-directory")), ("app", false));
    let beside = [
        ("app/go.mod", "module a\n"),
        ("app/Makefile", "test:\n"),
        ("fw/Makefile", "check:\n"),
        ("doc/Makefile", "pdf:\n"),
    ];
    let notes = detect_tree(&beside).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("`gatewright init --root fw --force`")), "{notes:?}");
    assert!(!notes.iter().any(|note| note.contains("--root app") || note.contains("--root doc")), "{notes:?}");
    let made = detect_tree(&[("README.md", ""), ("fw/makefile", "test:\n"), ("vendor/x/Makefile", "test:\n")]).unwrap();
    assert_eq!((made.project.language.as_str(), made.project.root.as_str()), ("make", "fw"));
    assert_eq!(detect_tree(&[("a/Makefile", "test:\n"), ("b/Makefile", "test:\n")]), None);
    let many = [("Makefile", "test:\n"), ("a/go.mod", "module a"), ("b/package.json", "{}"), ("b/test_a.py", CLASS.1)];
    assert_eq!(check_of(&many).0, "make test");
    let two = ["a/Cargo.toml", "a/b/Cargo.toml", "web/package.json", ".cache/c/go.mod"];
    assert_eq!(project_roots(&two), ["a", "web"]);
    assert_eq!(detect(&two, &|_| Some("{}".into())), None);
    let chosen = detect_in("web", &two, &|_| Some("{}".into())).unwrap();
    assert_eq!((chosen.project.language.as_str(), chosen.project.root.as_str()), ("node", "web"));
}

#[test]
fn what_is_read_is_bounded_and_the_root_comes_first() {
    let many: Vec<String> = (0..100).map(|number| format!("p{number}/package.json")).collect();
    let paths: Vec<&str> = many.iter().map(String::as_str).chain(["pyproject.toml", "tests/test_a.py"]).collect();
    let wanted = read_by_detection(&paths);
    assert_eq!((wanted.len(), wanted[0]), (MOST_FILES, "pyproject.toml"));
}
