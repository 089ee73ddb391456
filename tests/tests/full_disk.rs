//! The disk is full from any commit of a run on: the run ends with a message that names the folder and the cure, and goes on once
//! there is room.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tests::{Ended, Script, World};

/// Every so many commits one is the first that the disk refuses; as many as all stores take turns within.
const STRIDE: u64 = 17;
const WORKERS: usize = 4;

const RIGHT: &str = "echo $(($1 + $2))\n";

fn good() -> Script {
    Script::default()
        .planned()
        .develops(1, "sum.sh", RIGHT)
        .tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n")
        .approves(1)
}

/// The tree that a run has landed, and the run's branch is the only one.
fn landed(world: &World, ended: &Ended) -> String {
    let run = ended.json();
    assert_eq!(run["status"], "succeeded", "{ended:?}");
    let branch = run["branch"].as_str().unwrap();
    assert_eq!(world.branches(), [branch]);
    world.git(&["rev-parse", &format!("{branch}^{{tree}}")])
}

/// What a run lands whose disk has room.
fn expected() -> &'static str {
    static TREE: OnceLock<String> = OnceLock::new();
    TREE.get_or_init(|| {
        let world = World::quick();
        landed(&world, &world.run(&good(), &["--yes", "--json"]).expect(0))
    })
}

/// A run whose disk takes nothing from this commit on; false if it had ended before.
fn fills_up_at(number: u64) -> bool {
    let world = World::quick();
    let mut command = world.run_command(&good(), &["--yes", "--json"]);
    let ended = Ended::of(&command.env("GATEWRIGHT_ABORT_AT_COMMIT", format!("{number}:full")).output().unwrap());
    if ended.code == 0 {
        assert_eq!(landed(&world, &ended), expected());
        return false;
    }
    let folder = format!("the state folder {} takes no more writes", world.state().display());
    let ended = ended.expect(69);
    assert!(ended.said(&folder) && ended.said("make room or mend the disk"), "{}", ended.stderr);
    assert!(!ended.said("panicked"), "{}", ended.stderr);
    let known = ended.stderr.lines().find_map(|line| line.strip_prefix("run "));
    let resumed = known.map(|run| (run, world.gatewright(&["runs", "resume", run, "--yes", "--json"])));
    let ended = match resumed {
        Some((run, resumed)) if resumed.said("has landed already") => {
            world.gatewright(&["runs", "show", run, "--json"])
        }
        Some((_, resumed)) if !resumed.said("there is no run") => resumed,
        // It had not begun: it is started again.
        _ => world.run(&good(), &["--yes", "--json"]),
    };
    assert_eq!(landed(&world, &ended.expect(0)), expected());
    true
}

#[test]
fn a_run_goes_on_after_a_full_disk_whenever_it_fills_up() {
    let (next, filled, end) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    let number = 1 + STRIDE * next.fetch_add(1, Ordering::Relaxed);
                    assert!(number < 2_000, "the run never ended by itself");
                    let outcome = std::panic::catch_unwind(|| fills_up_at(number));
                    match outcome.unwrap_or_else(|_| panic!("the disk was full from commit {number} on")) {
                        true => drop(filled.fetch_add(1, Ordering::Relaxed)),
                        false => end.store(true, Ordering::Relaxed),
                    }
                }
            });
        }
    });
    let filled = filled.into_inner();
    assert!(filled >= 6, "only {filled} runs: are the programs a debug build?");
}
