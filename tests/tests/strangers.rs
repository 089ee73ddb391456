//! The first try of a new user, on repositories of five shapes: `git init`, `gatewright init`, `gatewright doctor`, `gatewright run`
//! with the settings that `init` wrote and nobody edited. Each lands, or ends with the words that say what to do.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::process::Command;

use serde_json::Value;
use tests::parts::{self, tests_of};
use tests::{Ended, Script, World};

/// Somebody's files, and the change that they ask for.
struct Stranger {
    files: &'static [(&'static str, &'static str)],
    /// Has the lock file made, where there is one.
    lock: &'static [&'static str],
    /// Lines of `init`.
    found: &'static [&'static str],
    source: (&'static str, &'static str),
    test: (&'static str, &'static str),
    /// The tests that the change is measured by, sorted; none where the check does not name them.
    tests: &'static [&'static str],
}

impl Stranger {
    fn world(&self) -> World {
        let world = World::begun(self.files);
        if let [program, arguments @ ..] = self.lock {
            parts::lock(&world, program, arguments);
        }
        world
    }

    fn script(&self) -> Script {
        let ((source, right), (test, asserts)) = (self.source, self.test);
        Script::default().planned().develops(1, source, right).tests(1, test, asserts).approves(1)
    }

    /// Follows what the program says from the first command to the branch.
    fn lands(&self, world: &World, init: &[&str]) -> Value {
        let found = parts::ended(world.command(&[&["init"], init].concat())).expect(0);
        for line in self.found {
            assert!(found.said(line), "{line:?} is not in\n{}", found.stdout);
        }
        assert!(found.said("commit everything, then `gatewright run`") || world.try_git(&["log"]).status.success());
        world.commit(&[]);
        let doctor = || world.command(&["doctor"]);
        let without = parts::ended(doctor()).expect(69);
        let missing: Vec<&str> = without.stdout.lines().filter(|line| line.starts_with("missing")).collect();
        assert!(missing.len() == 1 && missing[0].contains("ANTHROPIC_API_KEY"), "{}", without.stdout);
        assert!(without.said("cure: export ANTHROPIC_API_KEY"), "{}", without.stdout);
        let mut with = doctor();
        with.env("ANTHROPIC_API_KEY", "a-key-that-opens-nothing");
        parts::ended(with).expect(0);

        let run = parts::ended(world.run_command(&self.script(), &["--yes", "--json"])).expect(0).json();
        let passed: Vec<String> = self.tests.iter().map(|test| format!("+{test}")).collect();
        assert_eq!(tests_of(&run, "final"), passed, "{run:#}");
        let branch = run["branch"].as_str().unwrap();
        assert_eq!(world.on_branch(branch, self.source.0).as_deref(), Some(self.source.1));
        assert_eq!(world.on_branch(branch, self.test.0).as_deref(), Some(self.test.1));
        assert_eq!(world.git(&["status", "--porcelain"]), "", "the user's own tree is as it was");
        run
    }
}

const PIP: Stranger = Stranger {
    files: &[
        ("README.md", "# labels\n"),
        (".gitignore", ".venv/\n__pycache__/\n"),
        ("requirements.txt", "text-unidecode==1.3\n"),
        ("requirements-dev.txt", "-r requirements.txt\npytest==9.2.0\n"),
        ("pytest.ini", "[pytest]\npythonpath = src\ntestpaths = tests\n"),
        ("src/labels/__init__.py", "from labels.label import label\n\n__all__ = [\"label\"]\n"),
        (
            "src/labels/label.py",
            "from text_unidecode import unidecode\n\n\ndef label(text):\n    return unidecode(text).lower()\n",
        ),
        (
            "tests/test_label.py",
            "from labels import label\n\n\ndef test_accents():\n    assert label(\"Café\") == \"cafe\"\n",
        ),
    ],
    lock: &[],
    found: &["found a python project", "requirements-dev.txt", "-m pytest"],
    source: (
        "src/labels/label.py",
        "from text_unidecode import unidecode\n\n\ndef label(text):\n    return \"-\".join(unidecode(text).lower().split())\n",
    ),
    test: (
        "tests/test_spaces.py",
        "import pytest\nfrom labels import label\n\n\n@pytest.mark.parametrize(\"text\", [\"a b\", \" a  b \"])\n\
         def test_spaces(text):\n    assert label(text) == \"a-b\"\n",
    ),
    tests: &[
        "tests/test_label.py::test_accents",
        "tests/test_spaces.py::test_spaces[ a  b ]",
        "tests/test_spaces.py::test_spaces[a b]",
    ],
};

/// As `uv init --lib` lays it out.
const UV: Stranger = Stranger {
    files: &[
        ("README.md", ""),
        (".gitignore", "__pycache__/\n.venv\n"),
        (
            "pyproject.toml",
            "[project]\nname = \"adder\"\nversion = \"0.1.0\"\nreadme = \"README.md\"\nrequires-python = \">=3.9\"\n\
             dependencies = [\"text-unidecode>=1.3\"]\n\n[build-system]\nrequires = [\"uv_build>=0.9\"]\n\
             build-backend = \"uv_build\"\n\n[dependency-groups]\ndev = [\"pytest>=8\"]\n",
        ),
        ("src/adder/py.typed", ""),
        (
            "src/adder/__init__.py",
            "from text_unidecode import unidecode\n\n\ndef add(a: str, b: str) -> int:\n    return int(unidecode(a)) - int(unidecode(b))\n",
        ),
        ("tests/test_add.py", "import adder\n\n\ndef test_zero():\n    assert adder.add(\"0\", \"0\") == 0\n"),
    ],
    lock: &["uv", "lock", "--quiet"],
    found: &["found a python project", "uv sync --frozen", "-m pytest"],
    source: (
        "src/adder/__init__.py",
        "from text_unidecode import unidecode\n\n\ndef add(a: str, b: str) -> int:\n    return int(unidecode(a)) + int(unidecode(b))\n",
    ),
    test: ("tests/test_sum.py", "import adder\n\n\ndef test_sum():\n    assert adder.add(\"1\", \"２\") == 3\n"),
    tests: &["tests/test_add.py::test_zero", "tests/test_sum.py::test_sum"],
};

/// Modules of the newer kind, tested by mocha.
const NPM: Stranger = Stranger {
    files: &[
        (".gitignore", "node_modules\n"),
        (
            "package.json",
            "{\"name\": \"spans\", \"version\": \"1.0.0\", \"type\": \"module\", \"scripts\": {\"test\": \"mocha\", \"lint\": \"eslint .\"},\n\
             \"dependencies\": {\"ms\": \"2.1.3\"}, \"devDependencies\": {\"mocha\": \"11.7.5\"}}\n",
        ),
        ("index.js", "import ms from 'ms';\nexport const span = (from, to) => ms(to + from);\n"),
        (
            "test/span.spec.js",
            "import assert from 'node:assert';\nimport { span } from '../index.js';\n\
             describe('span', () => it('is nothing at first', () => assert.equal(span(0, 0), '0ms')));\n",
        ),
    ],
    lock: &["npm", "install", "--package-lock-only", "--silent"],
    found: &["found a node project", "setup  npm ci", "--reporter xunit"],
    source: ("index.js", "import ms from 'ms';\nexport const span = (from, to) => ms(to - from);\n"),
    test: (
        "test/later.spec.js",
        "import assert from 'node:assert';\nimport { span } from '../index.js';\n\
         describe('span', () => it('is what lies between', () => assert.equal(span(1000, 3000), '2s')));\n",
    ),
    tests: &["test/later.spec.js::span::is what lies between", "test/span.spec.js::span::is nothing at first"],
};

/// Two packages, of which one needs the other; each is tested by itself.
const PNPM: Stranger = Stranger {
    files: &[
        (".gitignore", "node_modules\n"),
        ("pnpm-workspace.yaml", "packages:\n  - packages/*\n"),
        (
            "package.json",
            "{\"name\": \"shop\", \"private\": true, \"packageManager\": \"pnpm@10.0.0\", \"scripts\": {\"test\": \"pnpm -r test\"}}\n",
        ),
        (
            "packages/price/package.json",
            "{\"name\": \"@shop/price\", \"version\": \"1.0.0\", \"main\": \"index.js\", \"scripts\": {\"test\": \"node --test\"},\n\
             \"dependencies\": {\"ms\": \"2.1.3\"}}\n",
        ),
        ("packages/price/index.js", "const ms = require('ms');\nexports.total = (a, b) => ms(`${a - b}ms`);\n"),
        (
            "packages/cart/package.json",
            "{\"name\": \"@shop/cart\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"node --test\"},\n\
             \"dependencies\": {\"@shop/price\": \"workspace:*\"}}\n",
        ),
        (
            "packages/cart/index.js",
            "const { total } = require('@shop/price');\nexports.cart = prices => prices.reduce(total, 0);\n",
        ),
        (
            "packages/cart/cart.test.js",
            "const test = require('node:test');\nconst assert = require('node:assert');\nconst { cart } = require('./index.js');\n\
             test('an empty cart', () => assert.equal(cart([]), 0));\n",
        ),
    ],
    // Its own version is not the one that the manifest pins.
    lock: &[
        "env",
        "npm_config_manage_package_manager_versions=false",
        "pnpm",
        "install",
        "--lockfile-only",
        "--silent",
    ],
    found: &["found a node project", "setup  pnpm install --frozen-lockfile", "check  npm test"],
    source: ("packages/price/index.js", "const ms = require('ms');\nexports.total = (a, b) => ms(`${a + b}ms`);\n"),
    test: (
        "packages/cart/full.test.js",
        "const test = require('node:test');\nconst assert = require('node:assert');\nconst { cart } = require('./index.js');\n\
         test('a full cart', () => assert.equal(cart([1, 2]), 3));\n",
    ),
    tests: &[],
};

/// A service beside its firmware.
const MONOREPO: &[(&str, &str)] = &[
    ("README.md", "# a service and its firmware\n"),
    (".gitignore", "target/\n"),
    ("backend/Cargo.toml", "[package]\nname = \"backend\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
    ("backend/src/lib.rs", "pub fn add(a: i64, b: i64) -> i64 {\n    a - b\n}\n"),
    ("backend/tests/zero.rs", "#[test]\nfn zero() {\n    assert_eq!(backend::add(0, 0), 0);\n}\n"),
    (
        "firmware/Makefile",
        "CFLAGS ?= -Wall\n\ntest: sum\n\t./sum\n\nsum: add.c test.c\n\t$(CC) $(CFLAGS) -o $@ $^\n\n.PHONY: test\n",
    ),
    ("firmware/add.c", "int add(int a, int b) { return a - b; }\n"),
    ("firmware/test.c", "int add(int, int);\nint main(void) { return add(0, 0); }\n"),
];

const BACKEND: Stranger = Stranger {
    files: MONOREPO,
    lock: &[],
    found: &["found a rust project in backend", "gatewright init --root firmware"],
    source: ("backend/src/lib.rs", "pub fn add(a: i64, b: i64) -> i64 {\n    a + b\n}\n"),
    test: ("backend/tests/sum.rs", "#[test]\nfn sum() {\n    assert_eq!(backend::add(1, 2), 3);\n}\n"),
    tests: &["tests/sum.rs::sum", "tests/zero.rs::zero"],
};

const FIRMWARE: Stranger = Stranger {
    files: MONOREPO,
    lock: &[],
    found: &["found a make project in firmware", "check  make test", "names no tests"],
    source: ("firmware/add.c", "int add(int a, int b) { return a + b; }\n"),
    test: ("firmware/test.c", "int add(int, int);\nint main(void) { return add(0, 0) || add(1, 2) != 3; }\n"),
    tests: &[],
};

#[test]
fn python_with_pip() {
    PIP.lands(&PIP.world(), &[]);
}

#[test]
fn python_with_uv() {
    UV.lands(&UV.world(), &[]);
}

#[test]
fn node_with_npm() {
    NPM.lands(&NPM.world(), &[]);
}

#[test]
fn node_with_pnpm_and_a_workspace() {
    PNPM.lands(&PNPM.world(), &[]);
}

/// First the one that `init` chooses, then the other by the words in which `init` named it.
#[test]
fn two_projects_side_by_side() {
    let world = BACKEND.world();
    BACKEND.lands(&world, &[]);
    FIRMWARE.lands(&world, &["--root", "firmware", "--force"]);
}

/// Where a first try ends without a change, and the words that say what to do.
struct End {
    files: &'static [(&'static str, &'static str)],
    /// Whether everything was committed after `init`.
    committed: bool,
    /// Whether the tools that are not the machine's own can be found.
    tools: bool,
    code: i32,
    words: &'static [&'static str],
}

const PYTEST: (&str, &str) = ("test_a.py", "def test_a():\n    pass\n");
const NODE_TEST: (&str, &str) = ("a.test.js", "require('ms');\n");
const NEEDS_MS: &str = "{\"name\": \"a\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"node --test\"}, \"dependencies\": {\"ms\": \"2.1.3\"}}\n";
const UV_PROJECT: (&str, &str) = (
    "pyproject.toml",
    "[project]\nname = \"a\"\nversion = \"1\"\nrequires-python = \">=3.9\"\n[dependency-groups]\ndev = []\n",
);
const UV_LOCK: (&str, &str) = (
    "uv.lock",
    "version = 1\nrevision = 3\nrequires-python = \">=3.9\"\n\n[[package]]\nname = \"a\"\nversion = \"1\"\nsource = { virtual = \".\" }\n\n\
     [package.metadata]\n\n[package.metadata.requires-dev]\ndev = []\n",
);

const ENDS: &[End] = &[
    End {
        files: &[PYTEST],
        committed: false,
        tools: true,
        code: 65,
        words: &["has no commits; commit something first"],
    },
    End {
        files: &[("README.md", "")],
        committed: true,
        tools: true,
        code: 65,
        words: &["checks[0].command", "write the command that tests the project"],
    },
    End {
        files: &[UV_PROJECT, UV_LOCK, PYTEST],
        committed: true,
        tools: false,
        code: 1,
        words: &["could not run `uv`, which this project needs", "install uv"],
    },
    End {
        files: &[("package.json", NEEDS_MS), ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n"), NODE_TEST],
        committed: true,
        tools: false,
        code: 1,
        words: &["could not run `pnpm`, which this project needs", "install pnpm"],
    },
    // A Python that is not here.
    End {
        files: &[UV_PROJECT, UV_LOCK, (".python-version", "3.8\n"), PYTEST],
        committed: true,
        tools: true,
        code: 1,
        words: &["setup command `uv sync", "No interpreter found for Python 3.8", "Next: Mend [[setup]]"],
    },
    End {
        files: &[("requirements.txt", "no-such-package-of-anybody==9.9.9\n"), PYTEST],
        committed: true,
        tools: true,
        code: 1,
        words: &["No matching distribution found for no-such-package-of-anybody==9.9.9", "Next: Mend [[setup]]"],
    },
    // What npm says first is cut off by eighty lines on how it is used.
    End {
        files: &[
            ("package.json", NEEDS_MS),
            (
                "package-lock.json",
                "{\"name\": \"a\", \"version\": \"1.0.0\", \"lockfileVersion\": 3, \"packages\": {\"\": {}}}\n",
            ),
            NODE_TEST,
        ],
        committed: true,
        tools: true,
        code: 1,
        words: &["Please update your lock file with `npm install`", "Missing: ms@2.1.3 from lock file"],
    },
    // A module that the manifest forgot.
    End {
        files: &[("package.json", "{\"scripts\": {\"test\": \"node --test\"}}\n"), NODE_TEST],
        committed: true,
        tools: true,
        code: 1,
        words: &["no test passed: have [[setup]] make what is missing", "missing there: ms"],
    },
];

/// None of them has cost anything.
#[test]
fn what_cannot_be_begun_ends_with_what_to_do() {
    for End { files, committed, tools, code, words } in ENDS {
        let world = World::begun(files);
        let command = |mut command: Command| {
            if *tools {
                return parts::ended(command);
            }
            Ended::of(&command.output().unwrap())
        };
        command(world.command(&["init"])).expect(0);
        if *committed {
            world.commit(&[]);
        }
        let ended = command(world.run_command(&PIP.script(), &["--yes"])).expect(*code);
        for word in *words {
            assert!(ended.said(word), "{word:?} is not in\n{}\n{}", ended.stdout, ended.stderr);
        }
        assert!(!ended.said("orchestrator turn"), "{}", ended.stdout);
        if !tools {
            let doctor = command(world.command(&["doctor"])).expect(69);
            assert!(doctor.said(words[0]) && doctor.said(words[1]), "{}", doctor.stdout);
        }
    }
}

#[test]
fn of_several_projects_each_is_offered() {
    let world = World::begun(&[MONOREPO, &[("web/package.json", NEEDS_MS)]].concat());
    let ended = parts::ended(world.command(&["init"])).expect(65);
    for folder in ["backend", "web"] {
        assert!(ended.said(&format!("gatewright init --root {folder}")), "{}", ended.stderr);
    }
}
