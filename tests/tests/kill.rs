//! The program dies at any moment and a run goes on from there.
//!
//! Whatever the program has promised stands in durable commits: of the engine's log, of the table, of objects, secrets and
//! stream positions. What a death leaves behind depends only on the last of them and on what was done outside of the folder (the ref
//! of a published change, its branch). The program dies after the first commit of each kind, after every [`STRIDE`]th, and on both
//! sides of every commit around which something changed outside; before every [`BEFORE`]th of the others (decisions 27 and 40 say
//! why). With `GATEWRIGHT_EVERY_COMMIT` in the environment it dies after every one.
//! [`RANDOM_DEATHS`] more come from outside, by `kill -9`, some milliseconds after a line of the program's.
#![allow(clippy::unwrap_used, reason = "a test reports a broken expectation by its panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use run_model::Randomness;
use run_model::budget::{UsageEntry, UsageState};
use run_model::time::SeededRandomness;
use serde_json::json;
use tests::state::Kept;
use tests::world::Ended;
use tests::{Script, World};

/// Deaths after a commit of a kind that was met before: one in so many.
const STRIDE: usize = 7;
/// Deaths before a commit while nothing changes outside of the folder: one in so many of those after one.
const BEFORE: usize = 6;
const RANDOM_DEATHS: usize = 12;
/// How long after its line a death may come at most, in microseconds.
const LATEST_US: u64 = 8_000;
const SEED: u64 = 20_261_125;
/// Programs at once: they wait for the disk half of the time.
const WORKERS: usize = 4;
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

/// A death at a commit: its number, and on which side of it.
type Death = (u64, &'static str);

/// What a death left.
#[derive(Clone, Copy)]
struct Left {
    in_flight: usize,
    /// The refs that the run had made outside of the folder.
    refs: usize,
}

/// Lets a run die and go on; `None` if it ended before that commit.
fn die((number, side): Death) -> Option<Left> {
    let (script, world) = (one_round(), World::quick());
    let mut command = world.run_command(&script, &["--yes", "--json"]);
    let output = command.env("GATEWRIGHT_ABORT_AT_COMMIT", format!("{number}:{side}")).output().unwrap();
    let ended = Ended::of(&output);
    if !died(&output) {
        landed(&ended.expect(0));
        return None;
    }
    let published = world.git(&["for-each-ref", "refs/gatewright"]);
    let refs = world.branches().len() * 2 + published.lines().count();
    let outcome = std::panic::AssertUnwindSafe(|| resume(&world, &script, &ended, reference()));
    let in_flight = std::panic::catch_unwind(outcome).unwrap_or_else(|_| panic!("it died {side} commit {number}"));
    Some(Left { in_flight, refs })
}

/// Lets a run die in each of these ways, on all workers.
fn die_all(deaths: impl IntoIterator<Item = Death>) -> BTreeMap<Death, Left> {
    let (deaths, next) = (deaths.into_iter().collect::<Vec<Death>>(), AtomicUsize::new(0));
    let left: Mutex<BTreeMap<Death, Left>> = Mutex::default();
    on_all_workers(|| {
        while let Some(death) = deaths.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = die(*death);
            left.lock().unwrap().extend(found.map(|found| (*death, found)));
        }
    });
    left.into_inner().unwrap()
}

/// Of what kind each commit of an undisturbed run is.
fn kinds() -> BTreeMap<u64, String> {
    let world = World::quick();
    let file = world.path("commits");
    let mut command = world.run_command(&one_round(), &["--yes", "--json"]);
    Ended::of(&command.env("GATEWRIGHT_NOTE_COMMITS", &file).output().unwrap()).expect(0);
    let noted = std::fs::read_to_string(file).unwrap();
    let line = |line: &str| line.split_once(' ').map(|(number, kind)| (number.parse().unwrap(), kind.to_owned()));
    noted.lines().filter_map(line).collect()
}

/// The commits to die after: the first of each kind, every so many, and the last.
fn chosen(kinds: &BTreeMap<u64, String>) -> BTreeSet<u64> {
    let stride = if std::env::var_os("GATEWRIGHT_EVERY_COMMIT").is_some() { 1 } else { STRIDE };
    let mut met = BTreeSet::new();
    let firsts = kinds.iter().filter(|(_, kind)| met.insert(kind.as_str())).map(|(number, _)| *number);
    firsts.chain(kinds.keys().copied().step_by(stride)).chain(kinds.keys().last().copied()).collect()
}

/// Both sides of every commit between two deaths that left different refs.
fn around_changes(after: &BTreeMap<Death, Left>) -> BTreeSet<Death> {
    let left: Vec<(u64, usize)> = after.iter().map(|((number, _), left)| (*number, left.refs)).collect();
    let changes = left.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    changes
        .flat_map(|pair| pair[0].0 + 1..=pair[1].0)
        .flat_map(|number| [(number, "before"), (number, "after")])
        .collect()
}

fn on_all_workers(work: impl Fn() + Sync) {
    std::thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(&work))));
}

fn reference() -> &'static Undisturbed {
    static REFERENCE: OnceLock<Undisturbed> = OnceLock::new();
    REFERENCE.get_or_init(|| Undisturbed::of(&one_round()))
}

#[test]
fn a_run_goes_on_around_commits_of_every_kind() {
    let kinds = kinds();
    assert!(kinds.len() > 100, "only {} commits: are the programs a debug build?", kinds.len());
    let after = die_all(chosen(&kinds).into_iter().map(|number| (number, "after")));
    let changes: BTreeSet<Death> =
        around_changes(&after).into_iter().filter(|death| !after.contains_key(death)).collect();
    let sampled = after.keys().step_by(BEFORE).map(|(number, _)| (*number, "before"));
    let more = die_all(changes.iter().copied().chain(sampled));
    let in_flight: usize = after.values().chain(more.values()).map(|left| left.in_flight).sum();
    println!(
        "{} commits; {} deaths after one, {} more on both sides of a change outside and before others; {in_flight} with a call in flight",
        kinds.len(),
        after.len(),
        more.len()
    );
    let different: BTreeSet<&str> = kinds.values().map(String::as_str).collect();
    assert!(different.len() >= 10 && after.len() > different.len(), "{different:?}");
    let states: BTreeSet<usize> = after.values().chain(more.values()).map(|left| left.refs).collect();
    assert!(states.len() >= 3, "before, between and after the publication and the branch: {states:?}");
    assert!(in_flight > 0, "no call was in flight at any of these deaths");
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
