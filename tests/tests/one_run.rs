//! A requirement goes in; a tested and approved change comes out, or a reason why not.

use serde_json::json;
use tests::{Ended, Script, World};

const RIGHT: &str = "echo $(($1 + $2))\n";
const WRONG: &str = "echo $(($1 * $2))\n";
const NEW_TEST: (&str, &str) = ("tests/two.sh", "test \"$(sh sum.sh 1 2)\" = 3\n");

fn good() -> Script {
    Script::default().planned().develops(1, "sum.sh", RIGHT).tests(1, NEW_TEST.0, NEW_TEST.1).approves(1)
}

#[test]
fn an_approved_change_lands_on_a_branch_and_nothing_of_the_users_moves() {
    let world = World::quick();
    let (head, index) =
        (world.git(&["rev-parse", "HEAD"]), std::fs::read(world.repository().join(".git/index")).unwrap());
    let ended = world.run(&good(), &["--yes", "--json"]).expect(0);
    let run = ended.json();
    assert_eq!(run["status"], "succeeded");
    let branch = run["branch"].as_str().unwrap();
    assert_eq!(world.branches(), [branch]);
    assert_eq!(world.on_branch(branch, "sum.sh").as_deref(), Some(RIGHT));
    assert_eq!(world.on_branch(branch, NEW_TEST.0).as_deref(), Some(NEW_TEST.1));
    assert_eq!(world.git(&["rev-parse", "HEAD"]), head);
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    assert_eq!(std::fs::read(world.repository().join(".git/index")).unwrap(), index);
    assert_eq!(world.git(&["rev-parse", &format!("{branch}^")]), head);
}

/// In a stage these lines are what `gatewright aws logs --run` finds.
#[test]
fn every_function_says_in_its_log_what_it_did_for_which_run() {
    let world = World::quick();
    let ended =
        Ended::of(&world.run_command(&good(), &["--yes", "--json"]).env("GATEWRIGHT_LOG", "info").output().unwrap());
    let run = ended.expect(0);
    let id = run.json()["run_id"].as_str().unwrap().to_owned();
    let has = |function: &str, fields: &[&str]| {
        let of_run = [format!("run={id}"), format!("run=\"{id}\"")];
        let lines = run.stderr.lines().filter(|line| line.contains(function));
        let mut lines = lines.filter(|line| of_run.iter().any(|field| line.contains(field)));
        assert!(lines.any(|line| fields.iter().all(|field| line.contains(field))), "{function} {fields:?}: {run:#?}");
    };
    has("run_control", &["action=\"accept-plan\""]);
    has("run_control", &["action=\"begin-task\"", "task="]);
    for action in ["snapshot", "publish", "land"] {
        has("code_host", &[&format!("action=\"{action}\"")]);
    }
    has("gate_open", &["gate=", "risk="]);
    has("test_runner", &["job=", "purpose=Final"]);
    has("test_runner", &["task=", "purpose=Task"]);
    has("role_host", &["role=\"developer\"", "task=", "call=", "cost_microusd=", "output_tokens=", "estimated="]);
    has("role_host", &["role=\"orchestrator\"", "kind="]);
}

#[test]
fn a_denied_change_leaves_no_branch() {
    let world = World::quick();
    world.run(&good(), &["--no-wait"]).expect(4);
    let gates = world.pending_gates();
    assert_eq!(gates.len(), 1);
    let gate = gates[0]["gate_id"].as_str().unwrap();
    world.gatewright(&["gates", "deny", gate, "--comment", "not like this"]).expect(0);
    assert_eq!(world.branches(), Vec::<String>::new());
    let run = gates[0]["run_id"].as_str().unwrap();
    let shown = world.gatewright(&["runs", "show", run, "--json"]).expect(0).json();
    assert_eq!((&shown["status"], &shown["exit_code"]), (&json!("denied"), &json!(2)));
}

#[test]
fn a_red_round_goes_back_to_the_developer() {
    let world = World::quick();
    let script = Script::default()
        .planned()
        .develops(1, "sum.sh", WRONG)
        .tests(1, NEW_TEST.0, NEW_TEST.1)
        .develops(2, "sum.sh", RIGHT)
        .tests(2, NEW_TEST.0, NEW_TEST.1)
        .approves(2);
    let ended = world.run(&script, &["--yes", "--json"]).expect(0);
    let branch = ended.json()["branch"].as_str().unwrap().to_owned();
    assert_eq!(world.on_branch(&branch, "sum.sh").as_deref(), Some(RIGHT));
}

#[test]
fn what_a_developer_claims_is_not_what_counts() {
    let world = World::quick_with("[limits]\niterations = 1\n");
    let script = Script::default().planned().develops(1, "sum.sh", WRONG).tests(1, NEW_TEST.0, NEW_TEST.1).approves(1);
    let ended = world.run(&script, &["--yes", "--json"]).expect(3);
    assert_eq!(ended.json()["status"], "limit_reached");
    assert_eq!(world.branches(), Vec::<String>::new());
}

#[test]
fn a_reviewer_who_is_never_satisfied_stops_at_the_bound() {
    let world = World::quick_with("[limits]\niterations = 2\n");
    let round = |script: Script, number| {
        script.develops(number, "sum.sh", RIGHT).tests(number, NEW_TEST.0, NEW_TEST.1).objects(number, "sum.sh")
    };
    let script = round(round(Script::default().planned(), 1), 2);
    let ended = world.run(&script, &["--yes", "--json"]).expect(3);
    assert_eq!(ended.json()["status"], "limit_reached");
}
