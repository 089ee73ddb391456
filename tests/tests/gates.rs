//! A gate waits for a person: in this terminal, in another one, or until somebody comes back.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use run_model::run::{RunStatus, TaskStatus};
use serde_json::{Value, json};
use tests::state::{Kept, expire};
use tests::{Running, Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";

fn good() -> Script {
    work(Script::default().planned())
}

/// A plan that the orchestrator itself finds risky.
fn risky() -> Script {
    let task = json!({"id": "fix", "title": "turn it round", "description": "it is right", "role": "developer"});
    Script::default().plans(json!({"summary": "the sum is turned round", "tasks": [task], "risk_hint": "high"}))
}

fn work(planned: Script) -> Script {
    planned.develops(1, "sum.sh", RIGHT).tests(1, "tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n").approves(1)
}

/// A run that is parked at its gate: the run and the gate.
fn parked(world: &World) -> (String, String) {
    let run = world.run(&good(), &["--no-wait", "--json"]).expect(4).json();
    assert_eq!((&run["status"], &run["branch"]), (&json!("approval_pending"), &Value::Null));
    let id = |field: &str| run[field].as_str().unwrap().to_owned();
    (id("run_id"), id("gate"))
}

/// The hash that the gate is bound to, as it is shown.
fn shown_hash(world: &World, gate: &str) -> String {
    let shown = world.gatewright(&["gates", "show", gate]).expect(0).stdout;
    let (_, rest) = shown.split_once("Bound to hash ").unwrap();
    rest.split(',').next().unwrap().to_owned()
}

fn landed(world: &World, run: &str) {
    let shown = world.shown(run);
    assert_eq!(shown["status"], "succeeded", "{shown:#}");
    assert_eq!(world.on_branch(&format!("gatewright/{run}"), "sum.sh").as_deref(), Some(RIGHT));
}

#[test]
fn another_terminal_approves_while_the_first_one_follows() {
    let world = World::quick();
    let mut first = world.spawn(&good(), &[]);
    let run = first.until_run();
    let gate = first.until_gate();
    assert_eq!(world.pending_gates().len(), 1);
    world.gatewright(&["gates", "approve", &gate, "--comment", "looks right"]).expect(0);
    assert!(first.end().expect(0).stdout.contains(&format!("git merge gatewright/{run}")));
    landed(&world, &run);
    assert!(world.pending_gates().is_empty());
}

#[test]
fn another_terminal_denies_while_the_first_one_follows() {
    let world = World::quick();
    let mut first = world.spawn(&good(), &[]);
    let gate = first.until_gate();
    world.gatewright(&["gates", "deny", &gate, "--comment", "not like this"]).expect(0);
    let ended = first.end().expect(2);
    assert!(ended.said("not like this"), "{}", ended.stdout);
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn nobody_develops_by_a_plan_that_was_denied() {
    let world = World::quick();
    let mut first = world.spawn(&risky(), &[]);
    let run = first.until_run();
    let gate = first.until_gate();
    let shown = world.gatewright(&["gates", "show", &gate]).expect(0).stdout;
    assert!(shown.contains("Risk: high") && shown.contains("turn it round"), "{shown}");
    world.gatewright(&["gates", "deny", &gate, "--comment", "not this way"]).expect(0);
    assert!(first.end().expect(2).said("not this way"));
    let kept = Kept::of(&world.state(), &run);
    assert_eq!((kept.run.status, kept.tasks[0].status), (RunStatus::Denied, TaskStatus::Waiting), "{:?}", kept.events);
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_plan_that_was_approved_is_worked_on_and_its_change_has_a_gate_of_its_own() {
    let world = World::quick();
    let mut first = world.spawn(&work(risky()), &[]);
    let run = first.until_run();
    let plan = first.until_gate();
    world.gatewright(&["gates", "approve", &plan]).expect(0);
    let change = first.until_gate();
    assert_ne!(change, plan);
    assert_eq!(world.branches(), Vec::<String>::new(), "the plan was approved, not the change");
    world.gatewright(&["gates", "approve", &change]).expect(0);
    first.end().expect(0);
    landed(&world, &run);
    let gates = world.shown(&run)["gates"].clone();
    assert_eq!((&gates[0]["binding"]["kind"], &gates[1]["binding"]["kind"]), (&json!("plan"), &json!("change")));
}

#[test]
fn what_is_shown_at_a_gate_is_what_a_person_needs() {
    let world = World::quick();
    let (run, gate) = parked(&world);
    let shown = world.gatewright(&["gates", "show", &gate]).expect(0).stdout;
    for words in [
        "Risk: medium",
        "-echo $(($1 - $2))",
        "+echo $(($1 + $2))",
        "checks on the base",
        "checks on the change",
        "waits",
    ] {
        assert!(shown.contains(words), "{words:?} is missing:\n{shown}");
    }
    let listed = world.pending_gates();
    assert_eq!((&listed[0]["gate_id"], &listed[0]["run_id"]), (&json!(gate), &json!(run)));
}

#[test]
fn a_decision_on_something_else_than_what_was_shown_is_refused() {
    let world = World::quick();
    let (run, gate) = parked(&world);
    let hash = shown_hash(&world, &gate);
    for wrong in ["0000000000", "", &hash[..4]] {
        let refused = world.gatewright(&["gates", "approve", &gate, "--hash", wrong]).expect(65);
        assert!(refused.said("look at it again"), "{}", refused.stderr);
    }
    assert_eq!(world.shown(&run)["status"], "approval_pending");
    world.gatewright(&["gates", "approve", &gate, "--hash", &hash]).expect(0);
    landed(&world, &run);
}

#[test]
fn a_gate_is_decided_once() {
    let world = World::quick();
    let (run, gate) = parked(&world);
    world.gatewright(&["gates", "deny", &gate]).expect(0);
    for again in ["approve", "deny"] {
        let refused = world.gatewright(&["gates", again, &gate]).expect(65);
        assert!(refused.said("no longer waits: denied by"), "{}", refused.stderr);
    }
    assert_eq!(world.shown(&run)["status"], "denied");
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_parked_run_survives_its_process_and_is_approved_from_another_terminal() {
    let world = World::quick();
    let mut first = world.spawn(&good(), &[]);
    let run = first.until_run();
    let gate = first.until_gate();
    first.kill();
    assert_eq!(world.branches(), Vec::<String>::new());
    let ended = world.gatewright(&["gates", "approve", &gate]).expect(0);
    assert!(ended.said(&format!("Branch: gatewright/{run}")), "{}", ended.stdout);
    landed(&world, &run);
}

#[test]
fn who_follows_goes_on_when_who_drove_is_gone() {
    let world = World::quick();
    let mut driver = world.spawn(&good(), &[]);
    let run = driver.until_run();
    let gate = driver.until_gate();
    let mut follower = tests::Running::of(world.command(&["runs", "resume", &run]).spawn().unwrap());
    assert_eq!(follower.until_gate(), gate);
    driver.kill();
    follower.until("going on with it here");
    world.gatewright(&["gates", "approve", &gate]).expect(0);
    assert!(follower.end().expect(0).said(&format!("Branch: gatewright/{run}")));
    landed(&world, &run);
}

#[test]
fn a_flag_is_recorded_as_nobody_looking() {
    let world = World::quick();
    let run = world.run(&good(), &["--yes", "--json"]).expect(0).json();
    let id = run["run_id"].as_str().unwrap();
    assert!(world.events(id).contains("approved (flag, nobody looked)"));
    assert_eq!(run["gates"][0]["state"]["approver"]["seen_as"], "flag, nobody looked");
    let gate = run["gate"].as_str().unwrap();
    assert!(world.gatewright(&["gates", "show", gate]).expect(0).said("approved by"));
    assert!(world.gatewright(&["gates", "show", gate]).expect(0).said("(flag, nobody looked)"));
}

#[test]
fn a_person_is_recorded_with_name_and_comment() {
    let world = World::quick();
    let (run, gate) = parked(&world);
    let mut command = world.command(&["gates", "approve", &gate, "--comment", "I read it all"]);
    let output = command.env("USER", "ada").output().unwrap();
    tests::Ended::of(&output).expect(0);
    let state = &world.shown(&run)["gates"][0]["state"];
    // Who the system says, and not who the environment does.
    let known = std::process::Command::new("id").arg("-un").output().unwrap();
    let name = String::from_utf8_lossy(&known.stdout).trim().to_owned();
    assert_eq!(
        (&state["approver"]["name"], &state["approver"]["seen_as"], &state["comment"]),
        (&json!(name), &json!("self, local"), &json!("I read it all"))
    );
}

#[test]
fn ctrl_c_at_a_gate_leaves_a_run_that_goes_on() {
    let world = World::quick();
    let mut first = world.spawn(&good(), &[]);
    let run = first.until_run();
    let gate = first.until_gate();
    first.interrupt();
    let ended = first.end().expect(130);
    assert!(ended.said(&format!("gatewright runs resume {run}")), "{}", ended.stderr);
    let shown = world.gatewright(&["runs", "resume", &run, "--no-wait", "--json"]).expect(4).json();
    assert_eq!(shown["gate"], json!(gate), "the same gate still stands");
    world.gatewright(&["gates", "approve", &gate]).expect(0);
    landed(&world, &run);
}

#[test]
fn ctrl_c_at_work_leaves_a_run_that_goes_on() {
    let world = World::quick();
    let mut first = world.spawn(&good(), &[]);
    let run = first.until_run();
    first.until("turn 1");
    first.interrupt();
    assert!(first.end().expect(130).said(&format!("gatewright runs resume {run}")));
    world.gatewright(&["runs", "resume", &run, "--yes"]).expect(0);
    landed(&world, &run);
}

#[test]
fn two_runs_share_one_state_folder() {
    let world = World::quick();
    let mut first = world.spawn(&good(), &[]);
    first.until_gate();
    let second = world.run(&good(), &["--yes", "--json"]).expect(0).json();
    landed(&world, second["run_id"].as_str().unwrap());
    let gates = world.pending_gates();
    assert_eq!(gates.len(), 1, "the first one still waits");
    world.gatewright(&["gates", "approve", gates[0]["gate_id"].as_str().unwrap()]).expect(0);
    first.end().expect(0);
    assert_eq!(world.branches().len(), 2);
}

/// That the run ends as timed out when nobody comes at all is shown in `silence.rs`, where the clock is a virtual one. Here:
/// what a person sees who comes too late, and how it goes on.
#[test]
fn a_decision_after_the_deadline_is_refused_and_a_fresh_gate_opens_over_the_same_change() {
    let world = World::quick();
    let (run, gate) = parked(&world);
    let hash = shown_hash(&world, &gate);
    let commit = world.shown(&run)["commit"].clone();
    expire(&world.state(), &gate);
    let refused = world.gatewright(&["gates", "approve", &gate]).expect(65);
    assert!(refused.said("the deadline of gate") && refused.said("resume the run"), "{}", refused.stderr);
    assert_eq!(world.branches(), Vec::<String>::new());
    world.gatewright(&["runs", "stop", &run]).expect(0);
    let again = world.gatewright(&["runs", "resume", &run, "--no-wait", "--json"]).expect(4).json();
    let fresh = again["gate"].as_str().unwrap();
    assert_ne!(fresh, gate);
    assert_eq!((shown_hash(&world, fresh), &again["commit"]), (hash, &commit));
}

#[test]
fn looking_never_stands_in_the_way_of_deciding() {
    let world = World::quick();
    let (run, gate) = parked(&world);
    // Each of these holds the state folder for a moment.
    let lookers: Vec<_> = (0..6).map(|_| world.command(&["runs", "list"]).spawn().unwrap()).collect();
    world.gatewright(&["gates", "approve", &gate]).expect(0);
    for looker in lookers {
        tests::Ended::of(&looker.wait_with_output().unwrap()).expect(0);
    }
    landed(&world, &run);
}

/// Twenty programs, one of which drives, and the next one when it goes: every run comes to its own end, also one whose gate was
/// being answered just then, and none takes another's branch.
#[test]
fn twenty_runs_share_one_state_folder() {
    let world = World::quick();
    let mut command = world.run_command(&good(), &["--yes", "--json"]);
    let all: Vec<_> = (0..20).map(|_| Running::of(command.spawn().unwrap())).collect();
    let runs: Vec<Value> = all.into_iter().map(|running| running.end().expect(0).json()).collect();
    let mut branches: Vec<&str> = runs.iter().map(|run| run["branch"].as_str().unwrap()).collect();
    for branch in &branches {
        assert_eq!(world.on_branch(branch, "sum.sh").as_deref(), Some(RIGHT));
    }
    branches.sort_unstable();
    branches.dedup();
    let mut made = world.branches();
    made.sort();
    assert_eq!(made, branches);
    assert_eq!(made.len(), 20);
}
