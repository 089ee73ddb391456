//! Projects of several languages, each with a dependency from its registry: found, set up, checked and changed; and in each a
//! canary that has to turn its checks red.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a scenario fails loudly")]

use std::fs;
use std::process::Command;

use serde_json::Value;
use tests::parts::{self, tests_of};
use tests::{Script, World};

/// A project whose `double` adds two, and what is done to it.
struct Fixture {
    files: &'static [(&'static str, &'static str)],
    /// What `init` says it is.
    language: &'static str,
    source: &'static str,
    /// The source as it should be.
    right: &'static str,
    /// As wrong for two, where the base was right.
    canary: &'static str,
    test: &'static str,
    /// The base's only test, of two, by its name in evidence.
    old: &'static str,
    new_test: (&'static str, &'static str),
    /// A new test, of three, by its name in evidence.
    new: &'static str,
}

/// Whether a program is on this machine; if not, that is said.
fn is_installed(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("NOT TESTED: {program} is not on this machine");
    }
    found
}

impl Fixture {
    fn world(&self) -> World {
        World::with(self.files)
    }

    /// Has the project found, and its settings committed.
    fn init(&self, world: &World) {
        let output = parts::ended(world.command(&["init"])).expect(0);
        assert!(output.said(&format!("found a {} project", self.language)), "{}", output.stdout);
        let file = world.repository().join("gatewright.toml");
        let text = fs::read_to_string(&file).unwrap().replace("#iterations = 20", "iterations = 1");
        fs::write(&file, text).unwrap();
        world.commit(&[]);
    }

    fn script(&self, source: &str, test: (&str, &str)) -> Script {
        Script::default().planned().develops(1, self.source, source).tests(1, test.0, test.1).approves(1)
    }

    fn run(&self, world: &World, source: &str, test: (&str, &str), code: i32) -> Value {
        parts::ended(world.run_command(&self.script(source, test), &["--yes", "--json"])).expect(code).json()
    }

    /// The change is measured by named tests and lands; the canary is caught; that the only old test is gone is red.
    fn holds(&self, world: &World) {
        self.init(world);
        let run = self.run(world, self.right, self.new_test, 0);
        let (old, new) = (self.old, self.new);
        assert_eq!(tests_of(&run, "baseline"), [format!("+{old}")], "{run:#}");
        let mut both = vec![format!("+{old}"), format!("+{new}")];
        both.sort();
        assert_eq!(tests_of(&run, "final"), both, "{run:#}");
        assert!(run["evidence"].to_string().contains("network_namespace"), "what was measured was confined");
        let red = self.run(world, self.canary, self.new_test, 3);
        let reason = red["outcome"]["reason"].as_str().unwrap();
        assert!(reason.contains(&format!("fails now and did not on the base: {old}")), "{red:#}");
        let gone = self.run(world, self.right, (self.test, self.new_test.1), 3);
        let reason = gone["outcome"]["reason"].as_str().unwrap();
        for said in ["no test that ran on the base runs now", &format!("gone since the base: {old}")] {
            assert!(reason.contains(said), "{gone:#}");
        }
    }
}

/// A project without a lock file: setup makes it from the manifest that was let in.
#[test]
fn a_package_that_a_crew_asks_for_comes_from_the_registry() {
    let world = World::rust();
    let manifest =
        "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"1\"\n";
    let source =
        "pub fn double(number: i64) -> i64 {\n    itoa::Buffer::new().format(number * 2).parse().unwrap()\n}\n";
    let script = Script::default()
        .planned()
        .develops_all(1, &[("Cargo.toml", manifest), ("src/lib.rs", source)])
        .tests(1, "tests/three.rs", "#[test]\nfn of_three() {\n    assert_eq!(sample::double(3), 6);\n}\n")
        .approves(1);
    let ended = world.run(&script, &["--yes", "--json"]).expect(0);
    assert!(ended.said("Cargo.toml: adds itoa 1"), "{}", ended.stderr);
    let run = ended.json();
    assert_eq!(tests_of(&run, "final"), ["+tests/double.rs::of_two", "+tests/three.rs::of_three"]);
    let branch = run["branch"].as_str().unwrap();
    assert_eq!(world.on_branch(branch, "Cargo.toml").as_deref(), Some(manifest));
    assert_eq!(world.on_branch(branch, "Cargo.lock"), None);
}

const RUST: Fixture = Fixture {
    files: &[
        (
            "Cargo.toml",
            "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"1\"\n",
        ),
        (
            "src/lib.rs",
            "pub fn double(number: i64) -> String {\n    itoa::Buffer::new().format(number + 2).to_owned()\n}\n",
        ),
        ("tests/two.rs", "#[test]\nfn of_two() {\n    assert_eq!(sample::double(2), \"4\");\n}\n"),
    ],
    language: "rust",
    source: "src/lib.rs",
    right: "pub fn double(number: i64) -> String {\n    itoa::Buffer::new().format(number * 2).to_owned()\n}\n",
    canary: "pub fn double(number: i64) -> String {\n    itoa::Buffer::new().format(number * 3).to_owned()\n}\n",
    test: "tests/two.rs",
    old: "tests/two.rs::of_two",
    new_test: ("tests/three.rs", "#[test]\nfn of_three() {\n    assert_eq!(sample::double(3), \"6\");\n}\n"),
    new: "tests/three.rs::of_three",
};

const PYTHON: Fixture = Fixture {
    files: &[
        (
            "pyproject.toml",
            "[build-system]\nrequires = [\"setuptools>=61\"]\nbuild-backend = \"setuptools.build_meta\"\n[project]\n\
             name = \"sample\"\nversion = \"0.1.0\"\nrequires-python = \">=3.10\"\ndependencies = [\"six==1.17.0\"]\n[project.optional-dependencies]\n\
             test = [\"pytest==9.2.0\"]\n",
        ),
        ("src/sample/__init__.py", "import six\n\n\ndef double(number):\n    return six.text_type(number + 2)\n"),
        ("tests/test_two.py", "from sample import double\n\n\ndef test_two():\n    assert double(2) == \"4\"\n"),
    ],
    language: "python",
    source: "src/sample/__init__.py",
    right: "import six\n\n\ndef double(number):\n    return six.text_type(number * 2)\n",
    canary: "import six\n\n\ndef double(number):\n    return six.text_type(number * 3)\n",
    test: "tests/test_two.py",
    old: "tests/test_two.py::test_two",
    new_test: (
        "tests/test_three.py",
        "from sample import double\n\n\nclass TestThree:\n    def test_of_three(self):\n        assert double(3) == \"6\"\n",
    ),
    new: "tests/test_three.py::TestThree::test_of_three",
};

/// Of the standard library alone, in a folder of a larger repository.
const UNITTEST: Fixture = Fixture {
    files: &[
        ("README.md", "two projects\n"),
        ("service/requirements.txt", "six==1.17.0\n"),
        ("service/sample.py", "import six\n\n\ndef double(number):\n    return six.text_type(number + 2)\n"),
        (
            "service/test_two.py",
            "import unittest\n\nfrom sample import double\n\n\nclass Two(unittest.TestCase):\n    def test_two(self):\n        \
             self.assertEqual(double(2), \"4\")\n",
        ),
    ],
    language: "python",
    source: "service/sample.py",
    right: "import six\n\n\ndef double(number):\n    return six.text_type(number * 2)\n",
    canary: "import six\n\n\ndef double(number):\n    return six.text_type(number * 3)\n",
    test: "service/test_two.py",
    old: "test_two.Two.test_two",
    new_test: (
        "service/test_three.py",
        "import unittest\n\nfrom sample import double\n\n\nclass Three(unittest.TestCase):\n    def test_three(self):\n        \
         self.assertEqual(double(3), \"6\")\n",
    ),
    new: "test_three.Three.test_three",
};

const NODE: Fixture = Fixture {
    files: &[
        (
            "package.json",
            "{\"name\": \"sample\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"node --test test/\"}, \
             \"dependencies\": {\"ms\": \"2.1.3\"}}\n",
        ),
        ("sample.js", "const ms = require('ms');\nexports.double = number => ms(`${number + 2}ms`);\n"),
        (
            "test/two.test.js",
            "const test = require('node:test');\nconst assert = require('node:assert');\nconst { double } = \
             require('../sample');\ntest('of two', () => assert.equal(double(2), 4));\n",
        ),
    ],
    language: "node",
    source: "sample.js",
    right: "const ms = require('ms');\nexports.double = number => ms(`${number * 2}ms`);\n",
    canary: "const ms = require('ms');\nexports.double = number => ms(`${number * 3}ms`);\n",
    test: "test/two.test.js",
    old: "of two",
    new_test: (
        "test/three.test.js",
        "const test = require('node:test');\nconst assert = require('node:assert');\nconst { double } = \
         require('../sample');\ntest('of three', () => assert.equal(double(3), 6));\n",
    ),
    new: "of three",
};

/// What jest and vitest share: tests that need no import.
const GLOBALS_TWO: &str =
    "const { double } = require('../sample');\ntest('of two', () => expect(double(2)).toBe(4));\n";
const GLOBALS_THREE: &str =
    "const { double } = require('../sample');\ntest('of three', () => expect(double(3)).toBe(6));\n";

const JEST: Fixture = Fixture {
    files: &[
        (
            "package.json",
            "{\"name\": \"sample\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"jest\"}, \"dependencies\": {\"ms\": \
             \"2.1.3\"}, \"devDependencies\": {\"jest\": \"30.5.2\"}}\n",
        ),
        ("sample.js", "const ms = require('ms');\nexports.double = number => ms(`${number + 2}ms`);\n"),
        ("__tests__/two.test.js", GLOBALS_TWO),
    ],
    test: "__tests__/two.test.js",
    old: "__tests__/two.test.js::of two",
    new_test: ("__tests__/three.test.js", GLOBALS_THREE),
    new: "__tests__/three.test.js::of three",
    ..NODE
};

const VITEST: Fixture = Fixture {
    files: &[
        (
            "package.json",
            "{\"name\": \"sample\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"vitest --globals\"}, \"dependencies\": \
             {\"ms\": \"2.1.3\"}, \"devDependencies\": {\"vitest\": \"4.1.12\"}}\n",
        ),
        ("sample.js", "const ms = require('ms');\nexports.double = number => ms(`${number + 2}ms`);\n"),
        ("test/two.test.js", GLOBALS_TWO),
    ],
    old: "test/two.test.js::of two",
    new_test: ("test/three.test.js", GLOBALS_THREE),
    new: "test/three.test.js::of three",
    ..NODE
};

const GO: Fixture = Fixture {
    files: &[
        ("go.mod", "module example.com/sample\n\ngo 1.19\n"),
        ("sample.go", "package sample\n\nfunc Double(number int) int {\n\treturn number + 2\n}\n"),
        (
            "two_test.go",
            "package sample\n\nimport \"testing\"\n\nfunc TestTwo(t *testing.T) {\n\tif Double(2) != 4 {\n\t\tt.Fatal(\"no\")\n\t}\n}\n",
        ),
    ],
    language: "go",
    source: "sample.go",
    right: "package sample\n\nfunc Double(number int) int {\n\treturn number * 2\n}\n",
    canary: "package sample\n\nfunc Double(number int) int {\n\treturn number * 3\n}\n",
    test: "two_test.go",
    old: "example.com/sample::TestTwo",
    new_test: (
        "three_test.go",
        "package sample\n\nimport \"testing\"\n\nfunc TestThree(t *testing.T) {\n\tif Double(3) != 6 {\n\t\tt.Fatal(\"no\")\n\t}\n}\n",
    ),
    new: "example.com/sample::TestThree",
};

#[test]
fn rust() {
    RUST.holds(&RUST.world());
}

#[test]
fn python_with_pip_and_pytest() {
    PYTHON.holds(&PYTHON.world());
}

#[test]
fn python_with_unittest_in_a_folder_of_the_repository() {
    UNITTEST.holds(&UNITTEST.world());
}

#[test]
fn node_with_npm_and_its_own_runner() {
    NODE.holds(&NODE.world());
}

#[test]
fn node_with_jest() {
    JEST.holds(&JEST.world());
}

#[test]
fn node_with_vitest() {
    VITEST.holds(&VITEST.world());
}

#[test]
fn go() {
    if is_installed("go", "version") {
        GO.holds(&GO.world());
    }
}

/// A world whose lock file a tool has made, which is committed.
fn locked(fixture: &Fixture, program: &str, arguments: &[&str]) -> World {
    let world = fixture.world();
    parts::lock(&world, program, arguments);
    world.commit(&[(".gitignore", ".venv/\nnode_modules/\n")]);
    world
}

#[test]
fn python_with_uv() {
    let world = locked(&PYTHON, "uv", &["lock", "--quiet"]);
    PYTHON.holds(&world);
    assert!(fs::read_to_string(world.repository().join("gatewright.toml")).unwrap().contains("uv sync --frozen"));
}

#[test]
fn node_with_pnpm() {
    let world = locked(&JEST, "pnpm", &["install", "--lockfile-only", "--silent"]);
    JEST.holds(&world);
    assert!(fs::read_to_string(world.repository().join("gatewright.toml")).unwrap().contains("pnpm install"));
}

#[test]
fn node_with_a_lock_file_of_npm() {
    let world = locked(&NODE, "npm", &["install", "--package-lock-only", "--silent"]);
    NODE.holds(&world);
    assert!(fs::read_to_string(world.repository().join("gatewright.toml")).unwrap().contains("npm ci"));
}
