//! A requirement goes in; a tested and approved change comes out, or a reason why not.

use serde_json::json;
use tests::{Script, World};

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
