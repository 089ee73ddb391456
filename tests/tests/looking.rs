//! What a person sees of a run afterwards: its story, its diff, what its checks printed.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use tests::{Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";
const WRONG: &str = "echo $(($1 * $2))\n";

/// Red in the first round, objected to in the second, good in the third.
fn winding() -> Script {
    Script::default()
        .planned()
        .develops(1, "sum.sh", WRONG)
        .tests(1, "tests/two.sh", "echo one and two make $(sh sum.sh 1 2)\ntest \"$(sh sum.sh 1 2)\" = 3\n")
        .develops(2, "sum.sh", RIGHT)
        .tests(2, "tests/five.sh", "test \"$(sh sum.sh 2 3)\" = 5\n")
        .objects(2, "sum.sh")
        .develops(3, "sum.sh", "echo \"$(($1 + $2))\"\n")
        .tests(3, "tests/six.sh", "test \"$(sh sum.sh 3 3)\" = 6\n")
        .approves(3)
}

/// A run that is over, after three rounds.
fn done(world: &World) -> String {
    let ended = world.run(&winding(), &["--yes", "--json"]).expect(0).json();
    ended["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_that_has_ended_is_told_as_a_story() {
    let world = World::quick();
    let run = done(&world);
    let told = world.gatewright(&["runs", "show", &run]).expect(0).stdout;
    let (story, report) = told.split_once(&format!("\nRun {run}: ")).unwrap();
    assert!(story.lines().all(|line| line.chars().count() <= 100), "{story}");
    let mut rest = story;
    for words in [
        "for ",
        "Asked",
        "make it right",
        "Base",
        "main",
        "Plan",
        "fix: make it right",
        "Design",
        "Round 1",
        "fix: red",
        "unexplained: check `test` exited with 1",
        "Round 2",
        "fix: green",
        "Review",
        "asks for changes: not yet",
        "sum.sh (medium): not yet",
        "Round 3",
        "fix: green",
        "Review",
        "approved: good",
        "medium risk",
        "Gate",
        "approved by ",
        "flag, nobody looked",
        "Landed",
        "Took",
        "16 calls",
    ] {
        let Some((_, after)) = rest.split_once(words) else {
            panic!("{words:?} is missing, or not in its place:\n{told}")
        };
        rest = after;
    }
    assert!(report.contains(&format!("git merge gatewright/{run}")) && !story.contains("nobody is at work"), "{told}");
}

#[test]
fn a_run_whose_process_was_killed_says_that_nobody_is_at_work_on_it() {
    let world = World::quick();
    let mut first = world.spawn(&winding(), &[]);
    let run = first.until_run();
    first.until("turn 1");
    first.kill();
    let cure = format!("nobody is at work on it: `gatewright runs resume {run}`");
    let looks: [&[&str]; 2] = [&["runs", "show", &run], &["runs", "list"]];
    for look in looks {
        assert!(world.gatewright(look).expect(0).said(&cure), "{look:?}");
    }
    // Another run has a driver; this one still has none.
    let mut other = world.spawn(&winding(), &[]);
    let another = other.until_run();
    other.until_gate();
    for look in looks {
        let seen = world.gatewright(look).expect(0);
        assert!(seen.said(&cure) && !seen.said(&format!("resume {another}")), "{look:?}: {}", seen.stdout);
    }
    drop(other);
    world.gatewright(&["runs", "resume", &run, "--yes"]).expect(0);
    for look in looks {
        assert!(!world.gatewright(look).expect(0).said(&cure), "{look:?}");
    }
}
