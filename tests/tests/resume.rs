//! A run that was stopped, denied or met its bound goes on where it was: nothing that was finished is done or paid again.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::env::{join_paths, split_paths, var_os};
use std::ffi::OsString;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Ended, Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";
const WRONG: &str = "echo $(($1 * $2))\n";
const NEW_TEST: (&str, &str) = ("tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n");

fn good() -> Script {
    Script::default().planned().develops(1, "sum.sh", RIGHT).tests(1, NEW_TEST.0, NEW_TEST.1).approves(1)
}

/// Every call that was ever reserved, by its id.
fn calls(run: &Value) -> Vec<String> {
    let entries = run["usage"].as_array().unwrap();
    entries.iter().map(|entry| entry["call_id"].as_str().unwrap().to_owned()).collect()
}

/// How many events of this kind the run has.
fn told(world: &World, run: &str, kind: &str) -> usize {
    world.events(run).lines().filter(|line| line.split_whitespace().any(|word| word == kind)).count()
}

fn id(run: &Value) -> &str {
    run["run_id"].as_str().unwrap()
}

#[test]
fn a_stopped_run_goes_on_at_its_gate_without_another_call() {
    let world = World::quick();
    let parked = world.run(&good(), &["--no-wait", "--json"]).expect(4).json();
    let run = id(&parked);
    world.gatewright(&["runs", "stop", run]).expect(0);
    let stopped = world.shown(run);
    assert_eq!((&stopped["status"], &stopped["exit_code"]), (&json!("stopped"), &json!(1)));
    assert!(world.pending_gates().is_empty(), "a stopped run asks nobody");
    assert!(world.gatewright(&["runs", "stop", run]).expect(0).said("has ended already"));
    let late = world.gatewright(&["gates", "approve", parked["gate"].as_str().unwrap()]).expect(65);
    assert!(late.said("no longer waits: void"), "{}", late.stderr);

    let ended = world.gatewright(&["runs", "resume", run, "--yes", "--json"]).expect(0).json();
    assert_eq!(ended["status"], "succeeded");
    assert_eq!(calls(&ended), calls(&parked));
    for once in [
        "snapshot.taken",
        "baseline.recorded",
        "plan.accepted",
        "design.accepted",
        "change.assessed",
        "change.published",
    ] {
        assert_eq!(told(&world, run, once), 1, "{once}:\n{}", world.events(run));
    }
    assert_eq!(world.on_branch(&format!("gatewright/{run}"), "sum.sh").as_deref(), Some(RIGHT));
}

#[test]
fn a_published_commit_whose_ref_was_deleted_is_published_again() {
    let world = World::quick();
    let parked = world.run(&good(), &["--no-wait", "--json"]).expect(4).json();
    let run = id(&parked);
    world.git(&["update-ref", "-d", &format!("refs/gatewright/{run}")]);
    let failed = world.gatewright(&["gates", "approve", parked["gate"].as_str().unwrap()]).expect(1);
    assert!(failed.said(&format!("`gatewright runs resume {run}` publishes it again")), "{}", failed.stdout);
    let ended = world.gatewright(&["runs", "resume", run, "--yes", "--json"]).expect(0).json();
    assert_eq!((&ended["status"], calls(&ended)), (&json!("succeeded"), calls(&parked)));
    assert_eq!(world.on_branch(&format!("gatewright/{run}"), "sum.sh").as_deref(), Some(RIGHT));
}

#[test]
fn nothing_is_decided_while_the_repository_is_away() {
    let world = World::quick();
    let parked = world.run(&good(), &["--no-wait", "--json"]).expect(4).json();
    let (run, gate) = (id(&parked), parked["gate"].as_str().unwrap());
    std::fs::rename(world.repository(), world.path("away")).unwrap();
    let mut approve = world.command(&["gates", "approve", gate]);
    let refused = Ended::of(&approve.current_dir(world.state()).output().unwrap()).expect(65);
    assert!(refused.said("nothing was decided") && refused.said("is not a git repository"), "{}", refused.stderr);
    std::fs::rename(world.path("away"), world.repository()).unwrap();
    assert_eq!(world.pending_gates().len(), 1, "its approval is not used up");
    world.gatewright(&["gates", "approve", gate]).expect(0);
    assert_eq!(world.on_branch(&format!("gatewright/{run}"), "sum.sh").as_deref(), Some(RIGHT));
}

#[test]
fn a_branch_that_has_the_name_is_told_with_the_command_that_goes_on() {
    let world = World::quick();
    let parked = world.run(&good(), &["--no-wait", "--json"]).expect(4).json();
    let run = id(&parked);
    world.git(&["branch", &format!("gatewright/{run}")]);
    let failed = world.gatewright(&["gates", "approve", parked["gate"].as_str().unwrap()]).expect(1);
    assert!(failed.said(&format!("then run `gatewright runs resume {run}`")), "{}", failed.stdout);
    world.git(&["branch", "-D", &format!("gatewright/{run}")]);
    world.gatewright(&["runs", "resume", run, "--yes"]).expect(0);
    assert_eq!(world.on_branch(&format!("gatewright/{run}"), "sum.sh").as_deref(), Some(RIGHT));
}

#[test]
fn a_run_stopped_at_work_goes_on_from_where_it_was() {
    let world = World::quick();
    let mut first = world.spawn(&good(), &[]);
    let run = first.until_run();
    first.until("turn 1");
    world.gatewright(&["runs", "stop", &run]).expect(0);
    first.end().expect(1);
    let stopped = world.shown(&run);
    assert_eq!(stopped["status"], "stopped");
    let ended = world.gatewright(&["runs", "resume", &run, "--yes", "--json"]).expect(0).json();
    let settled = |role: &str| {
        let entries = ended["usage"].as_array().unwrap();
        entries.iter().filter(|entry| entry["role"] == role && entry["state"] == "settled").count()
    };
    assert_eq!((settled("orchestrator"), told(&world, &run, "baseline.recorded")), (1, 1));
    assert_eq!(world.branches(), [format!("gatewright/{run}")]);
}

#[test]
fn a_task_at_its_bound_gets_as_many_rounds_again() {
    let world = World::quick_with("[limits]\niterations = 1\n");
    let script = Script::default()
        .planned()
        .develops(1, "sum.sh", WRONG)
        .tests(1, NEW_TEST.0, NEW_TEST.1)
        .develops(2, "sum.sh", RIGHT)
        .tests(2, NEW_TEST.0, NEW_TEST.1)
        .approves(2);
    let bound = world.run(&script, &["--yes", "--json"]).expect(3).json();
    assert_eq!(bound["status"], "limit_reached");
    let run = id(&bound);
    assert!(bound["outcome"]["next_step"].as_str().unwrap().contains(&format!("gatewright runs resume {run}")));
    let ended = world.gatewright(&["runs", "resume", run, "--yes", "--json"]).expect(0).json();
    let (before, after) = (calls(&bound), calls(&ended));
    assert_eq!(after[..before.len()], before, "what was paid stays paid");
    let new: Vec<&str> = after[before.len()..].iter().map(|call| call.split('#').next().unwrap()).collect();
    assert_eq!(
        new,
        ["developer/fix/2", "developer/fix/2", "tester/fix/2", "tester/fix/2", "reviewer/fix/2"],
        "and only the new round is paid for"
    );
    assert_eq!(world.on_branch(&format!("gatewright/{run}"), "sum.sh").as_deref(), Some(RIGHT));
}

#[test]
fn a_denied_change_can_be_shown_again() {
    let world = World::quick();
    let parked = world.run(&good(), &["--no-wait", "--json"]).expect(4).json();
    let run = id(&parked);
    world.gatewright(&["gates", "deny", parked["gate"].as_str().unwrap()]).expect(0);
    let again = world.gatewright(&["runs", "resume", run, "--no-wait", "--json"]).expect(4).json();
    assert_ne!(again["gate"], parked["gate"]);
    assert_eq!((&again["commit"], calls(&again)), (&parked["commit"], calls(&parked)));
    world.gatewright(&["gates", "approve", again["gate"].as_str().unwrap()]).expect(0);
    assert_eq!(world.branches(), [format!("gatewright/{run}")]);
}

#[test]
fn from_build_measures_again_and_repeats_no_finished_task() {
    let world = World::quick();
    let parked = world.run(&good(), &["--no-wait", "--json"]).expect(4).json();
    let run = id(&parked);
    let alive = world.gatewright(&["runs", "resume", run, "--from", "build", "--no-wait"]).expect(65);
    assert!(alive.said("still at work"), "{}", alive.stderr);
    world.gatewright(&["runs", "stop", run]).expect(0);
    let again = world.gatewright(&["runs", "resume", run, "--from", "build", "--no-wait", "--json"]).expect(4).json();
    assert_eq!(calls(&again), calls(&parked));
    let measured = world.events(run).matches("the checks run on the whole change").count();
    assert_eq!((told(&world, run, "baseline.recorded"), measured), (1, 2));
    assert_eq!(again["commit"], parked["commit"], "the same change makes the same commit");
}

#[test]
fn a_stage_that_is_none_or_that_cannot_begin_is_refused_and_changes_nothing() {
    let world = World::quick_with("[limits]\nrepairs = 0\n");
    let script = Script::default().says("orchestrator", 1, "no");
    let failed = world.run(&script, &["--json"]).expect(1).json();
    let run = id(&failed);
    let refused = world.gatewright(&["runs", "resume", run, "--from", "teatime"]).expect(65);
    assert!(refused.said("is not a stage: use one of"), "{}", refused.stderr);
    let refused = world.gatewright(&["runs", "resume", run, "--from", "gate"]).expect(65);
    assert!(refused.said("resume from an earlier stage"), "{}", refused.stderr);
    assert_eq!(world.shown(run)["outcome"], failed["outcome"]);
}

#[test]
fn what_has_landed_is_not_taken_up_again() {
    let world = World::quick();
    let ended = world.run(&good(), &["--yes", "--json"]).expect(0).json();
    let refused = world.gatewright(&["runs", "resume", id(&ended)]).expect(65);
    assert!(refused.said("has landed already"), "{}", refused.stderr);
}

/// Settings whose setup and check tell the compiler.
const WITH_RUSTC: &str = "[project]\nlanguage = \"rust\"\nsetup_files = [\"made.txt\"]\n\
                        [[setup]]\nname = \"make\"\ncommand = \"rustc -vV > made.txt\"\n\
                        [[checks]]\nname = \"test\"\ncommand = \"cat made.txt && sh check.sh\"\nformat = \"plain\"\n";

/// A `PATH` on which the first `rustc` is one that calls itself so.
fn with_rustc(world: &World, host: &str) -> OsString {
    let place = world.path(host);
    let front = format!("#!/bin/sh\necho {}\n", place.join("sysroot").display());
    let real = format!("#!/bin/sh\nprintf 'rustc 1.95.0\\nhost: {host}\\n'\n");
    let texts = world.outside(&format!("{host}-texts"), &[("bin/rustc", &front), ("sysroot/bin/rustc", &real)]);
    for program in ["bin/rustc", "sysroot/bin/rustc"] {
        // By a process of its own: what a child of another test holds open for writing cannot be run.
        let mut install = Command::new("install");
        install.args(["-D", "-m", "755"]).arg(texts.join(program)).arg(place.join(program));
        assert!(install.status().unwrap().success());
    }
    let others = var_os("PATH").unwrap();
    join_paths(std::iter::once(place.join("bin")).chain(split_paths(&others))).unwrap()
}

#[test]
fn a_toolchain_that_moved_sets_up_anew_and_is_red_with_what_differs() {
    let world = World::quick();
    world.commit(&[("gatewright.toml", WITH_RUSTC)]);
    let (old, new) = (with_rustc(&world, "old"), with_rustc(&world, "new"));
    let mut command = world.run_command(&good(), &["--no-wait", "--json"]);
    let parked = Ended::of(&command.env("PATH", &old).output().unwrap()).expect(4).json();
    let run = parked["run_id"].as_str().unwrap();
    world.gatewright(&["runs", "stop", run]).expect(0);
    let mut command = world.command(&["runs", "resume", run, "--from", "verify", "--json"]);
    let ended = Ended::of(&command.env("PATH", &new).output().unwrap()).expect(1).json();
    let reason = ended["outcome"]["reason"].as_str().unwrap();
    assert!(reason.contains("the toolchain is not the one that the base was measured with"), "{reason}");
    assert!(reason.contains("(host: new, then host: old): start the run again"), "{reason}");
    let printed = |purpose: &str| {
        let evidence = ended["evidence"].as_array().unwrap().iter().find(|evidence| evidence["purpose"] == purpose);
        evidence.unwrap()["commands"][0]["output_tail"].as_str().unwrap().to_owned()
    };
    assert!(printed("baseline").contains("host: old") && printed("final").contains("host: new"), "{ended:#}");
    assert_eq!(world.branches(), Vec::<String>::new());
}
