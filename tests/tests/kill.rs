//! The program dies at any moment and a run goes on from there.
//!
//! Whatever the program has promised stands in durable commits: of the engine's log, of the table, of objects, secrets and
//! stream positions. What a death leaves behind depends only on the last of them, so that these tests cover every one:
//! the program dies after each commit of a run, and before every [`STRIDE`]th (before a commit lies on the disk what lay
//! there after the one before, but for what was done in between outside of the folder: a ref in the repository, a check).
//! [`RANDOM_DEATHS`] more come from outside, by `kill -9`, between any two instructions.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use run_model::Randomness;
use run_model::budget::{UsageEntry, UsageState};
use run_model::time::SeededRandomness;
use serde_json::json;
use tests::state::Kept;
use tests::world::Ended;
use tests::{Script, World};

/// Deaths before a commit: one in so many.
const STRIDE: u64 = 8;
const RANDOM_DEATHS: usize = 20;
const SEED: u64 = 20_261_125;
/// Programs at once: they wait for the disk half of the time.
const WORKERS: usize = 2;
/// More commits than any run makes: the sweep did not notice the end.
const TOO_MANY: u64 = 2_000;

const RIGHT: &str = "echo $(($1 + $2))\n";
const WRONG: &str = "echo $(($1 * $2))\n";
const NEW_TEST: (&str, &str) = ("tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n");

/// One round, in which the developer has its checks run.
fn one_round() -> Script {
    Script::default()
        .planned()
        .calls(
            "developer",
            1,
            &[("write_file", json!({"path": "sum.sh", "content": RIGHT})), ("run_checks", json!({}))],
        )
        .submits("developer", 1, json!({"summary": "changed", "serves": ["operator"]}))
        .tests(1, NEW_TEST.0, NEW_TEST.1)
        .approves(1)
}

/// A red round and a good one.
fn two_rounds() -> Script {
    Script::default()
        .planned()
        .develops(1, "sum.sh", WRONG)
        .tests(1, NEW_TEST.0, NEW_TEST.1)
        .develops(2, "sum.sh", RIGHT)
        .tests(2, NEW_TEST.0, NEW_TEST.1)
        .approves(2)
}

/// What a run comes to when nobody disturbs it.
struct Undisturbed {
    tree: String,
    kept: Kept,
    lines: usize,
}

impl Undisturbed {
    fn of(script: &Script) -> Self {
        let world = World::quick();
        let ended = world.run(script, &["--yes", "--json"]).expect(0);
        let (run, branch) = landed(&ended);
        let lines = ended.stderr.lines().count();
        Self { tree: tree(&world, &branch), kept: Kept::of(&world.state(), &run), lines }
    }
}

fn landed(ended: &Ended) -> (String, String) {
    let run = ended.json();
    assert_eq!(run["status"], "succeeded", "{ended:?}");
    (run["run_id"].as_str().unwrap().to_owned(), run["branch"].as_str().unwrap().to_owned())
}

fn tree(world: &World, branch: &str) -> String {
    world.git(&["rev-parse", &format!("{branch}^{{tree}}")])
}

/// The turns whose calls were settled, in order.
fn paid(kept: &Kept) -> Vec<&str> {
    kept.usage.iter().filter(|entry| entry.state == UsageState::Settled).map(turn).collect()
}

/// The turn of a call, which is named `<session>#<turn>#<attempt>`.
fn turn(entry: &UsageEntry) -> &str {
    entry.call_id.rsplit_once('#').unwrap().0
}

/// Takes the run of a program that died up again and holds it against an undisturbed one. Returns how many calls were in
/// flight when it died.
fn resume(world: &World, script: &Script, died: &Ended, undisturbed: &Undisturbed) -> usize {
    let known = died.stderr.lines().find_map(|line| line.strip_prefix("run "));
    let resumed = known.map(|run| world.gatewright(&["runs", "resume", run, "--yes", "--json"]));
    let ended = match (known, resumed) {
        // It had landed, down to the last commit.
        (Some(run), Some(resumed)) if resumed.said("has landed already") => {
            world.gatewright(&["runs", "show", run, "--json"])
        }
        (Some(_), Some(resumed)) if !resumed.said("there is no run") => resumed,
        // It died before the run was started: it is started again.
        _ => world.run(script, &["--yes", "--json"]),
    };
    let (run, branch) = landed(&ended.expect(0));
    assert_eq!(world.branches(), [branch.as_str()]);
    assert_eq!(tree(world, &branch), undisturbed.tree);
    assert_eq!(world.git(&["for-each-ref", "refs/gatewright"]), "", "what was published has landed");
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    let in_flight = compare(&Kept::of(&world.state(), &run), &undisturbed.kept);
    if in_flight > 0 {
        assert!(world.gatewright(&["runs", "cost", &run]).expect(0).said("in flight when their process died"));
    }
    in_flight
}

/// Holds what was kept of a run that was interrupted once against an undisturbed one. Returns how many calls were in flight.
fn compare(kept: &Kept, undisturbed: &Kept) -> usize {
    assert_eq!(completed(kept), completed(undisturbed), "no step that was recorded complete is repeated or left out");
    let expected = told(undisturbed);
    let again = |(kind, times): (String, usize)| {
        let again = times.saturating_sub(expected.get(&kind).copied().unwrap_or_default());
        assert!(again == 0 || !kind.contains(' '), "{kind} was told {times} times: {:?}", kept.events);
        again
    };
    // What was under way, and so not recorded complete, is done and told again: it was one thing.
    let again: usize = told(kept).into_iter().map(again).sum();
    assert!(again <= 1, "{again} things were told again: {:?}", kept.events);
    let (settled, expected) = (paid(kept), paid(undisturbed));
    let turns: BTreeSet<&str> = settled.iter().copied().collect();
    assert_eq!(turns.len(), settled.len(), "no turn is paid twice: {:?}", kept.usage);
    let in_flight = kept.usage.iter().filter(|entry| entry.state != UsageState::Settled);
    let unknown: BTreeSet<&str> = in_flight.clone().map(turn).collect();
    for entry in in_flight {
        assert_eq!((entry.state, entry.cost_microusd), (UsageState::Unknown, entry.reserved_microusd), "{entry:?}");
    }
    assert!(unknown.len() <= 1, "one process died, with one call in flight at most: {unknown:?}");
    assert_eq!(&turns | &unknown, expected.into_iter().collect(), "every turn was asked for, and none besides");
    let spent: u64 = kept.usage.iter().map(|entry| entry.cost_microusd).sum();
    assert_eq!(kept.budget.committed_microusd, spent, "the budget and the calls say the same");
    unknown.len()
}

/// The steps of every machine up to the run's end: the program does not wait until the execution has noted that too.
fn completed(kept: &Kept) -> Vec<(&str, Vec<&str>)> {
    let until_the_end =
        |steps: &'_ [String]| steps.iter().position(|step| step == "into Tell how it ended").unwrap_or(steps.len());
    kept.steps
        .iter()
        .map(|(machine, steps)| (*machine, steps[..until_the_end(steps)].iter().map(String::as_str).collect()))
        .collect()
}

/// How often each kind of event was told; of turns and stages, which are told once, how often each.
fn told(kept: &Kept) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for event in &kept.events {
        let kind = match event.kind.as_str() {
            "turn.ended" => format!("turn of {:?}: {}", event.role, event.message),
            "stage.entered" => format!("stage {}", event.message),
            kind => kind.to_owned(),
        };
        *times.entry(kind).or_default() += 1;
    }
    times
}

fn died(output: &Output) -> bool {
    output.status.signal().is_some()
}

/// Lets the program die at each point that `points` gives, until a run ends alive. Returns how often it died, and how often
/// with a call in flight.
fn sweep(side: &str, points: impl Fn(u64) -> u64 + Sync) -> (u64, usize) {
    let (script, undisturbed) = (one_round(), reference());
    let (next, deaths, in_flight, end) = (AtomicU64::new(0), AtomicU64::new(0), AtomicUsize::new(0), OnceLock::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while end.get().is_none() {
                    let number = points(next.fetch_add(1, Ordering::Relaxed));
                    assert!(number < TOO_MANY, "the run never ended by itself");
                    let world = World::quick();
                    let mut command = world.run_command(&script, &["--yes", "--json"]);
                    let output =
                        command.env("GATEWRIGHT_ABORT_AT_COMMIT", format!("{number}:{side}")).output().unwrap();
                    let ended = Ended::of(&output);
                    if !died(&output) {
                        landed(&ended.expect(0));
                        end.set(number).ok();
                        break;
                    }
                    let outcome = std::panic::AssertUnwindSafe(|| resume(&world, &script, &ended, undisturbed));
                    let found = std::panic::catch_unwind(outcome);
                    let found = found.unwrap_or_else(|_| panic!("it died {side} commit {number}"));
                    in_flight.fetch_add(found, Ordering::Relaxed);
                    deaths.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    (deaths.into_inner(), in_flight.into_inner())
}

fn reference() -> &'static Undisturbed {
    static REFERENCE: OnceLock<Undisturbed> = OnceLock::new();
    REFERENCE.get_or_init(|| Undisturbed::of(&one_round()))
}

#[test]
fn a_run_goes_on_after_each_of_its_commits() {
    let (deaths, in_flight) = sweep("after", |n| n + 1);
    println!("{deaths} deaths after a commit, {in_flight} of them with a call in flight");
    assert!(deaths > 100, "only {deaths} deaths: are the programs a debug build?");
    assert!(in_flight >= reference().kept.usage.len(), "each call was in flight once: {in_flight}");
}

#[test]
fn a_run_goes_on_before_its_commits() {
    let (deaths, in_flight) = sweep("before", |n| 1 + n * STRIDE);
    println!("{deaths} deaths before a commit, {in_flight} of them with a call in flight");
    assert!(deaths > 100 / STRIDE, "only {deaths} deaths: are the programs a debug build?");
}

#[test]
fn a_run_goes_on_after_kill_9_at_random_moments() {
    println!("seed {SEED}");
    let (script, chance) = (two_rounds(), SeededRandomness::new(SEED));
    let undisturbed = Undisturbed::of(&script);
    let moments: Vec<usize> = (0..RANDOM_DEATHS)
        .map(|_| {
            let mut bytes = [0; 2];
            chance.fill(&mut bytes);
            1 + usize::from(u16::from_le_bytes(bytes)) % undisturbed.lines
        })
        .collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(line) = moments.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let world = World::quick();
                    let ended = kill_at_line(&world, &script, *line);
                    let outcome = std::panic::AssertUnwindSafe(|| resume(&world, &script, &ended, &undisturbed));
                    let found = std::panic::catch_unwind(outcome);
                    found.unwrap_or_else(|_| panic!("it was killed at line {line}: {ended:?}"));
                }
            });
        }
    });
}

/// Runs the program and kills it when it has written so many lines.
fn kill_at_line(world: &World, script: &Script, line: usize) -> Ended {
    let mut running = world.spawn(script, &["--yes"]);
    running.lines(line);
    running.kill()
}
