//! The program dies at any moment and a run goes on from there.
//!
//! Whatever the program has promised stands in durable commits: of the engine's log, of the table, of objects, secrets and
//! stream positions. What a death leaves behind depends only on the last of them, so that these tests cover every one:
//! the program dies after each commit of a run. Before a commit lies on the disk what lay there after the one before, but for
//! what was done in between outside of the folder: it dies before each commit as long as something stands there (the ref of a
//! published change, its branch), and before every [`STRIDE`]th of the others (decision 27 says why).
//! [`RANDOM_DEATHS`] more come from outside, by `kill -9`, some milliseconds after a line of the program's.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use run_model::Randomness;
use run_model::budget::{UsageEntry, UsageState};
use run_model::time::SeededRandomness;
use serde_json::json;
use tests::state::Kept;
use tests::world::Ended;
use tests::{Script, World};

/// Deaths before a commit while nothing stands outside of the folder: one in so many.
const STRIDE: u64 = 16;
const RANDOM_DEATHS: usize = 20;
/// How long after its line a death may come at most, in microseconds.
const LATEST_US: u64 = 8_000;
const SEED: u64 = 20_261_125;
/// Programs at once: they wait for the disk half of the time.
const WORKERS: usize = 4;
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
    let (expected, found) = (told(undisturbed), told(kept));
    for (kind, times) in expected.iter().filter(|(kind, _)| !kind.starts_with(TURN)) {
        let found = found.get(kind).copied().unwrap_or_default();
        assert!(found >= *times, "{kind} was told {found} times, not {times}: {:?}", kept.events);
    }
    let again = |(kind, times): (String, usize)| {
        let again = times.saturating_sub(expected.get(&kind).copied().unwrap_or_default());
        assert!(again == 0 || !kind.contains(' '), "{kind} was told {times} times: {:?}", kept.events);
        again
    };
    // What was under way, and so not recorded complete, is done and told again: it was one thing.
    let again: usize = found.into_iter().map(again).sum();
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

/// What the name of a turn's event begins with. It is told after the turn was kept: who dies between the two does not tell it.
const TURN: &str = "turn of ";

/// How often each kind of event was told; of turns and stages, which are told once, how often each.
fn told(kept: &Kept) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for event in &kept.events {
        let kind = match event.kind.as_str() {
            "turn.ended" => format!("{TURN}{:?}: {}", event.role, event.message),
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

/// How a sweep went.
#[derive(Default)]
struct Deaths {
    after: AtomicU64,
    before: AtomicU64,
    in_flight: AtomicUsize,
}

/// Lets a run die on one side of a commit and go on; `None` if it ended before that commit. Returns how many calls were in
/// flight, and whether something stood outside of the folder when it died.
fn die(number: u64, side: &str) -> Option<(usize, bool)> {
    let (script, world) = (one_round(), World::quick());
    let mut command = world.run_command(&script, &["--yes", "--json"]);
    let output = command.env("GATEWRIGHT_ABORT_AT_COMMIT", format!("{number}:{side}")).output().unwrap();
    let ended = Ended::of(&output);
    if !died(&output) {
        landed(&ended.expect(0));
        return None;
    }
    let outside = !world.branches().is_empty() || !world.git(&["for-each-ref", "refs/gatewright"]).is_empty();
    let outcome = std::panic::AssertUnwindSafe(|| resume(&world, &script, &ended, reference()));
    let in_flight = std::panic::catch_unwind(outcome).unwrap_or_else(|_| panic!("it died {side} commit {number}"));
    Some((in_flight, outside))
}

/// Lets a run die after each of its commits, and before those that the first page of this file names.
fn sweep() -> Deaths {
    let (next, deaths, end) = (AtomicU64::new(0), Deaths::default(), AtomicBool::new(false));
    on_all_workers(|| {
        while !end.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(number < TOO_MANY, "the run never ended by itself");
            let Some((in_flight, outside)) = die(number, "after") else {
                end.store(true, Ordering::Relaxed);
                break;
            };
            deaths.in_flight.fetch_add(in_flight, Ordering::Relaxed);
            deaths.after.fetch_add(1, Ordering::Relaxed);
            // What stands there after this commit may have been put there before it.
            if (outside || number % STRIDE == 1) && die(number, "before").is_some() {
                deaths.before.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    deaths
}

fn on_all_workers(work: impl Fn() + Sync) {
    std::thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(&work))));
}

fn reference() -> &'static Undisturbed {
    static REFERENCE: OnceLock<Undisturbed> = OnceLock::new();
    REFERENCE.get_or_init(|| Undisturbed::of(&one_round()))
}

#[test]
fn a_run_goes_on_around_each_of_its_commits() {
    let deaths = sweep();
    let [after, before] = [deaths.after, deaths.before].map(AtomicU64::into_inner);
    let in_flight = deaths.in_flight.into_inner();
    println!("{after} deaths after a commit, {in_flight} of them with a call in flight; {before} before one");
    assert!(after > 100, "only {after} deaths: are the programs a debug build?");
    assert!(before > after / STRIDE + 10, "only {before} deaths before a commit: was nothing published?");
    assert!(in_flight >= reference().kept.usage.len(), "each call was in flight once: {in_flight}");
}

#[test]
fn a_run_goes_on_after_kill_9_at_random_moments() {
    println!("seed {SEED}");
    let (script, chance) = (two_rounds(), SeededRandomness::new(SEED));
    let undisturbed = Undisturbed::of(&script);
    let moments = moments(&chance, undisturbed.lines);
    let next = AtomicUsize::new(0);
    on_all_workers(|| {
        while let Some(moment) = moments.get(next.fetch_add(1, Ordering::Relaxed)) {
            let world = World::quick();
            let ended = kill_at(&world, &script, moment);
            let outcome = std::panic::AssertUnwindSafe(|| resume(&world, &script, &ended, &undisturbed));
            let found = std::panic::catch_unwind(outcome);
            found.unwrap_or_else(|_| panic!("it was killed at {moment:?}: {ended:?}"));
        }
    });
}

/// When a death comes: so long after so many lines.
#[derive(Debug)]
struct Moment {
    line: usize,
    later: Duration,
}

/// Moments after lines that all differ.
fn moments(chance: &SeededRandomness, lines: usize) -> Vec<Moment> {
    let below = |bound: u64| {
        let mut bytes = [0; 8];
        chance.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound
    };
    let mut left: Vec<usize> = (1..=lines).collect();
    assert!(left.len() >= RANDOM_DEATHS, "a run has only {lines} lines");
    let mut draw = || left.swap_remove(usize::try_from(below(left.len() as u64)).unwrap());
    (0..RANDOM_DEATHS).map(|_| Moment { line: draw(), later: Duration::from_micros(below(LATEST_US)) }).collect()
}

/// Runs the program and kills it at this moment.
fn kill_at(world: &World, script: &Script, moment: &Moment) -> Ended {
    let mut running = world.spawn(script, &["--yes"]);
    running.lines(moment.line);
    let heard = Instant::now();
    // A few milliseconds of the world's own time, in which the program does whatever comes next.
    while heard.elapsed() < moment.later {
        std::thread::yield_now();
    }
    running.kill()
}
