//! Real defects in published packages with dependencies from a registry, fixed by recorded answers of a model; all else is measured
//! here and now.
#![cfg(feature = "world")]
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{Ended, World};

/// A package, what is wanted of it, tests that nobody of the crew sees, and what a model answered.
struct Recording(&'static str);

impl Recording {
    fn place(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(self.0)
    }

    /// A world whose repository is the package as it was published.
    fn world(&self) -> World {
        World::with_tree(&self.place().join("repository"), &[])
    }

    fn replay(&self, world: &World) -> Ended {
        let place = |name: &str| self.place().join(name).display().to_string();
        let requirement = format!("@{}", place("requirement.md"));
        let provider = format!("replay:{}", place("cassette.jsonl"));
        let acceptance = place("acceptance");
        let arguments = [
            "run",
            "--requirements",
            &requirement,
            "--acceptance",
            &acceptance,
            "--provider",
            &provider,
            "--yes",
            "--json",
        ];
        world.gatewright(&arguments)
    }
}

/// What is measured of a recording's change, by the names of tests.
struct Measured {
    /// Tests that fail on the base, and pass on the change.
    held_out: &'static [&'static str],
    source: &'static str,
    /// Rounds that the crew needed.
    rounds: usize,
}

impl Recording {
    fn replays(&self, measured: &Measured) {
        let world = self.world();
        let run = self.replay(&world).expect(0).json();
        let branch = run["branch"].as_str().unwrap();
        assert_ne!(world.on_branch(branch, measured.source), world.on_branch("main", measured.source));
        let none: [&str; 0] = [];
        assert_eq!(failed(&run, "baseline"), none);
        assert_eq!(failed(&run, "acceptance_base"), measured.held_out);
        assert_eq!(failed(&run, "acceptance_final"), none);
        let story = world.gatewright(&["runs", "show", run["run_id"].as_str().unwrap()]).expect(0).stdout;
        let rounds = story.lines().filter(|line| line.starts_with("Round ")).count();
        assert_eq!(rounds, measured.rounds, "{story}");
    }
}

/// The outcome of the checks for a purpose, by the tests that they name.
fn failed(run: &Value, purpose: &str) -> Vec<String> {
    let evidence = run["evidence"].as_array().unwrap().iter().find(|evidence| evidence["purpose"] == purpose);
    let tests = evidence.unwrap_or_else(|| panic!("no {purpose} in {run:#}"))["commands"][0]["tests"]
        .as_array()
        .unwrap()
        .iter();
    let failed = tests.filter(|test| test["outcome"] == "failed");
    failed.map(|test| test["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn separators_that_were_asked_for_survive_a_cut() {
    Recording("slugify").replays(&Measured {
        held_out: &[
            "tests/test_held_out_word_boundary.py::ModernWordBoundaryTests::test_replacement_delimiters_are_budgeted_and_preserved",
        ],
        source: "slugify/slugify.py",
        rounds: 1,
    });
}

/// Its first change lost results near a change of clocks; the tester found that, the checks said so, and the second one was right.
#[test]
fn a_schedule_names_the_same_times_on_the_days_when_clocks_change() {
    Recording("croniter-clock-changes").replays(&Measured {
        held_out: &[
            "src/croniter/tests/test_held_out_clock_changes.py::RulesTest::test_a_day_that_was_left_out",
            "src/croniter/tests/test_held_out_clock_changes.py::RulesTest::test_a_fixed_time_is_not_done_again",
            "src/croniter/tests/test_held_out_clock_changes.py::RulesTest::test_forth_and_back_over_an_hour_that_is_shown_twice",
            "src/croniter/tests/test_held_out_clock_changes.py::RulesTest::test_range_and_match",
            "src/croniter/tests/test_held_out_clock_changes.py::RulesTest::test_seconds",
            "src/croniter/tests/test_held_out_clock_changes.py::WalkTest::test_dateutil",
            "src/croniter/tests/test_held_out_clock_changes.py::WalkTest::test_pytz",
            "src/croniter/tests/test_held_out_clock_changes.py::WalkTest::test_zoneinfo",
        ],
        source: "src/croniter/croniter.py",
        rounds: 2,
    });
}
