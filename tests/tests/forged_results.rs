//! Tests that tell results which are not theirs, for every form in which results are read: what was measured stays what it is. Where
//! a test runs in the process that writes the report, nothing in that process can be believed: then the gate says so.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a scenario fails loudly")]

use std::fs;
use std::process::Command;

use serde_json::Value;
use tests::parts::{self, tests_of};
use tests::{Script, World};

/// A project with one test that passes, and a change that breaks it beside a test that forges.
struct Suite {
    files: &'static [(&'static str, &'static str)],
    /// The source as it fails the old test.
    broken: (&'static str, &'static str),
    /// The old test's name in evidence.
    old: &'static str,
    /// A new test that prints and writes the results in `FORGED`, which stand in its text as `@FORGED@`, and passes.
    forging: (&'static str, &'static str),
}

/// Results as every runner prints or writes them, of the old tests and of the new.
const FORGED: &str = "\nrunning 2 tests\ntest of_two ... ok\ntest of_three ... ok\n\n\
    test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n\
    {\"Action\":\"pass\",\"Package\":\"example.com/sample\",\"Test\":\"TestTwo\"}\n\
    {\"Action\":\"pass\",\"Package\":\"example.com/sample\"}\n\
    test_two (test_two.Two.test_two) ... ok\n\n\
    ----------------------------------------------------------------------\nRan 2 tests in 0.000s\n\nOK\n\
    ok 1 - of two\n# pass 2\n# fail 0\n 2 passed in 0.01s\n\
    <testsuites tests='2' failures='0'><testcase classname='tests.test_two' name='test_two'/></testsuites>\n";

impl Suite {
    fn world(&self) -> World {
        let world = World::begun(self.files);
        parts::ended(world.command(&["init"])).expect(0);
        let file = world.repository().join("gatewright.toml");
        let text = fs::read_to_string(&file).unwrap().replace("#iterations = 20", "iterations = 1");
        fs::write(&file, text).unwrap();
        world.commit(&[]);
        world
    }

    fn script(&self, forging: (&str, &str)) -> Script {
        let ((source, broken), (path, text)) = (self.broken, forging);
        // A string of JSON is one of all these languages.
        let text = text.replace("@FORGED@", &serde_json::to_string(FORGED).unwrap());
        Script::default().planned().develops(1, source, broken).tests(1, path, &text).approves(1)
    }

    /// The broken test is red, or the whole output is not believed.
    fn holds(&self) {
        let world = self.world();
        let run = parts::ended(world.run_command(&self.script(self.forging), &["--yes", "--json"])).expect(3).json();
        let reason = run["outcome"]["reason"].as_str().unwrap();
        let red = format!("fails now and did not on the base: {}", self.old);
        assert!(reason.contains(&red) || reason.contains("cannot be trusted"), "{reason}");
        assert_eq!(world.branches(), Vec::<String>::new());
    }
}

const RUST: Suite = Suite {
    files: &[
        ("Cargo.toml", "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
        ("src/lib.rs", "pub fn double(number: i64) -> i64 {\n    number + 2\n}\n"),
        ("tests/two.rs", "#[test]\nfn of_two() {\n    assert_eq!(sample::double(2), 4);\n}\n"),
    ],
    broken: ("src/lib.rs", "pub fn double(number: i64) -> i64 {\n    number * 3\n}\n"),
    old: "tests/two.rs::of_two",
    // Without its framework, so that nothing is captured.
    forging: (
        "tests/forged.rs",
        "#[test]\nfn of_three() {\n    use std::io::Write;\n    std::io::stdout().write_all(@FORGED@.as_bytes()).unwrap();\n    \
         std::io::stderr().write_all(@FORGED@.as_bytes()).unwrap();\n    std::process::exit(0);\n}\n",
    ),
};

const PYTEST: Suite = Suite {
    files: &[
        ("requirements.txt", "pytest==9.2.0\n"),
        ("sample.py", "def double(number):\n    return number + 2\n"),
        ("tests/__init__.py", ""),
        ("tests/test_two.py", "from sample import double\n\n\ndef test_two():\n    assert double(2) == 4\n"),
    ],
    broken: ("sample.py", "def double(number):\n    return number * 3\n"),
    old: "tests/test_two.py::test_two",
    forging: (
        "tests/test_forged.py",
        "import os\nimport sys\n\n\ndef test_three():\n    for place in [os.environ[\"GATEWRIGHT_REPORT\"], \"report.xml\", \"../report\"]:\n        \
         with open(place, \"w\") as file:\n            file.write(@FORGED@)\n    os.write(1, @FORGED@.encode())\n    \
         os.write(2, @FORGED@.encode())\n    sys.__stdout__.write(@FORGED@)\n",
    ),
};

const UNITTEST: Suite = Suite {
    files: &[
        ("requirements.txt", "six==1.17.0\n"),
        ("sample.py", "def double(number):\n    return number + 2\n"),
        (
            "test_two.py",
            "import unittest\n\nfrom sample import double\n\n\nclass Two(unittest.TestCase):\n    def test_two(self):\n        \
             self.assertEqual(double(2), 4)\n",
        ),
    ],
    broken: PYTEST.broken,
    old: "test_two.Two.test_two",
    forging: (
        "test_forged.py",
        "import os\nimport sys\nimport unittest\n\n\nclass Three(unittest.TestCase):\n    def test_three(self):\n        \
         os.write(1, @FORGED@.encode())\n        sys.stderr.write(@FORGED@)\n",
    ),
};

const NODE: Suite = Suite {
    files: &[
        (
            "package.json",
            "{\"name\": \"sample\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"node --test test/\"}}\n",
        ),
        ("sample.js", "exports.double = number => number + 2;\n"),
        (
            "test/two.test.js",
            "const test = require('node:test');\nconst assert = require('node:assert');\nconst { double } = \
             require('../sample');\ntest('of two', () => assert.equal(double(2), 4));\n",
        ),
    ],
    broken: ("sample.js", "exports.double = number => number * 3;\n"),
    old: "of two",
    forging: (
        "test/forged.test.js",
        "const test = require('node:test');\nconst fs = require('node:fs');\ntest('of three', () => {\n  \
         for (const place of [process.env.GATEWRIGHT_REPORT, 'report.xml']) fs.writeFileSync(place, @FORGED@);\n  \
         fs.writeSync(1, @FORGED@);\n  fs.writeSync(2, @FORGED@);\n});\n",
    ),
};

/// What jest, vitest and mocha share but for the manifest.
const GLOBALS: &str = "const fs = require('node:fs');\ntest('of three', () => {\n  \
    for (const place of [process.env.GATEWRIGHT_REPORT, 'report.json']) fs.writeFileSync(place, @FORGED@);\n  \
    fs.writeSync(1, @FORGED@);\n  fs.writeSync(2, @FORGED@);\n});\n";

const JEST: Suite = Suite {
    files: &[
        (
            "package.json",
            "{\"name\": \"sample\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"jest\"}, \"devDependencies\": {\"jest\": \"30.5.2\"}}\n",
        ),
        NODE.files[1],
        (
            "test/two.test.js",
            "const { double } = require('../sample');\ntest('of two', () => expect(double(2)).toBe(4));\n",
        ),
    ],
    broken: NODE.broken,
    old: "test/two.test.js::of two",
    forging: ("test/forged.test.js", GLOBALS),
};

const VITEST: Suite = Suite {
    files: &[
        (
            "package.json",
            "{\"name\": \"sample\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"vitest --globals\"}, \"devDependencies\": {\"vitest\": \
             \"4.1.12\"}}\n",
        ),
        JEST.files[1],
        JEST.files[2],
    ],
    ..JEST
};

const GO: Suite = Suite {
    files: &[
        ("go.mod", "module example.com/sample\n\ngo 1.19\n"),
        ("sample.go", "package sample\n\nfunc Double(number int) int {\n\treturn number + 2\n}\n"),
        (
            "two_test.go",
            "package sample\n\nimport \"testing\"\n\nfunc TestTwo(t *testing.T) {\n\tif Double(2) != 4 {\n\t\tt.Fatal(\"no\")\n\t}\n}\n",
        ),
    ],
    broken: ("sample.go", "package sample\n\nfunc Double(number int) int {\n\treturn number * 3\n}\n"),
    old: "example.com/sample::TestTwo",
    forging: (
        "three_test.go",
        "package sample\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestThree(t *testing.T) {\n\tos.Stdout.WriteString(@FORGED@)\n\t\
         os.Stderr.WriteString(@FORGED@)\n}\n",
    ),
};

/// Only the exit code counts, so nothing can be forged but that.
const PLAIN: Suite = Suite {
    files: &[
        ("Makefile", "test:\n\tset -e; for test in tests/*.sh; do sh $$test; done\n"),
        ("sum.sh", "echo $(($1 + $2))\n"),
        ("tests/two.sh", "test \"$(sh sum.sh 1 1)\" = 2\n"),
    ],
    broken: ("sum.sh", "echo $(($1 * 3))\n"),
    old: "",
    forging: ("tests/forged.sh", "printf '%s' @FORGED@ | tee /proc/self/fd/2\nexit 0\n"),
};

#[test]
fn what_tests_print_and_write_is_no_result() {
    for suite in [RUST, PYTEST, UNITTEST, NODE, JEST, VITEST] {
        suite.holds();
    }
    if Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
        GO.holds();
    } else {
        eprintln!("NOT TESTED: go is not on this machine");
    }
}

#[test]
fn where_only_the_exit_code_counts_words_count_for_nothing() {
    let world = PLAIN.world();
    let run = parts::ended(world.run_command(&PLAIN.script(PLAIN.forging), &["--yes", "--json"])).expect(3).json();
    assert!(run["outcome"]["reason"].as_str().unwrap().contains("check `test` exited with 2"), "{run:#}");
}

/// Writes the report that its own process is to write, and ends that process before it does.
const OWN_REPORT: (&str, &str) = (
    "tests/test_a_forged.py",
    "import os\n\n\ndef test_three():\n    with open(os.environ[\"GATEWRIGHT_REPORT\"], \"w\") as file:\n        \
     file.write(\"<testsuite tests='2' failures='0'><testcase file='tests/test_two.py' classname='tests.test_two' name='test_two'/>\"\n        \
     \"<testcase file='tests/test_a_forged.py' classname='tests.test_a_forged' name='test_three'/></testsuite>\")\n    os._exit(0)\n",
);

/// The one way that is open, and what stands in it: nothing of this lands but by a person who was told, and whoever has tests that no
/// agent saw has them measured too.
#[test]
fn a_test_that_writes_its_own_report_is_held_at_a_high_gate() {
    let world = PYTEST.world();
    let run = parts::ended(world.run_command(&PYTEST.script(OWN_REPORT), &["--no-wait", "--json"])).expect(4).json();
    let both = ["+tests/test_a_forged.py::test_three", "+tests/test_two.py::test_two"];
    assert_eq!(tests_of(&run, "final"), both, "it is forged: {run:#}");
    assert_eq!(run["risk"]["level"], "high", "{run:#}");
    let reasons = run["risk"]["reasons"].as_array().unwrap();
    let has = |rule: &str| reasons.iter().any(|reason: &Value| reason["rule"] == rule);
    assert!(has("may tell its own results") && has("no regression proof"), "{reasons:#?}");
    assert_eq!(world.branches(), Vec::<String>::new());

    let held_out = world.outside("held-out", &[("tests/test_held_out.py", PYTEST.files[3].1)]);
    let arguments = ["--yes", "--json", "--acceptance", held_out.to_str().unwrap()];
    let run = parts::ended(world.run_command(&PYTEST.script(OWN_REPORT), &arguments)).expect(1).json();
    assert!(run["outcome"]["reason"].as_str().unwrap().contains("held-out"), "{run:#}");
}
