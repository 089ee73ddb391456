//! A plan of several tasks: what can be done at once is, what waits for others builds on them, and one that fails keeps the rest.
#![allow(clippy::unwrap_used, reason = "a scenario fails loudly")]

use std::collections::BTreeMap;

use run_model::run::TaskStatus;
use serde_json::json;
use tests::state::Kept;
use tests::{Script, World};

const LEFT: (&str, &str) = ("left.sh", "echo 1\n");
const RIGHT: (&str, &str) = ("right.sh", "echo 2\n");
const BOTH: (&str, &str) = ("both.sh", "echo $(($(sh left.sh) + $(sh right.sh)))\n");

/// `left` and `right`, which know nothing of each other, and `both`, which needs them.
fn planned() -> Script {
    let task = |id: &str, needs: &[&str]| {
        let path = format!("{id}.sh");
        json!({
            "id": id, "title": id, "description": format!("{path} is there"), "role": "developer",
            "paths": [path, format!("tests/{path}")], "depends_on": needs,
        })
    };
    let tasks = [task("left", &[]), task("right", &[]), task("both", &["left", "right"])];
    Script::default().plans(json!({"summary": "three parts", "tasks": tasks}))
}

/// A task's one round: the file, and a test of what it says.
fn does(script: Script, task: &str, (path, content): (&str, &str), says: u32) -> Script {
    let test = format!("test \"$(sh {path})\" = {says}\n");
    script.on(task).develops(1, path, content).tests(1, &format!("tests/{path}"), &test).approves(1)
}

/// The status of each task, by name.
fn tasks(kept: &Kept) -> BTreeMap<&str, TaskStatus> {
    kept.tasks.iter().map(|task| (task.task_id.as_str(), task.status)).collect()
}

#[test]
fn two_tasks_are_done_at_once_and_the_third_builds_on_both() {
    let world = World::quick();
    let script = does(does(does(planned(), "left", LEFT, 1), "right", RIGHT, 2), "both", BOTH, 3);
    let run = world.run(&script, &["--yes", "--json"]).expect(0).json();
    let branch = run["branch"].as_str().unwrap();
    for (path, content) in [LEFT, RIGHT, BOTH] {
        assert_eq!(world.on_branch(branch, path).as_deref(), Some(content));
    }
    let kept = Kept::of(&world.state(), run["run_id"].as_str().unwrap());
    let of_tasks = kept.steps["task-graph"].iter().filter(|step| step.ends_with(" Do a task"));
    let (into, out) = ("into Do a task", "out of Do a task");
    assert_eq!(of_tasks.collect::<Vec<_>>(), [into, into, out, out, into, out], "the first wave is done at once");
}

#[test]
fn a_task_that_fails_keeps_its_sibling_and_nothing_is_built_on_it() {
    let world = World::quick();
    let script = does(planned(), "right", RIGHT, 2);
    let failed = world.run(&script, &["--yes", "--json"]).expect(1).json();
    let reason = failed["outcome"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("Task left failed: "), "{reason}");
    let run = failed["run_id"].as_str().unwrap();
    let ended = [("left", TaskStatus::Failed), ("right", TaskStatus::Done), ("both", TaskStatus::Waiting)];
    assert_eq!(tasks(&Kept::of(&world.state(), run)), ended.into());
    assert_eq!(world.branches(), Vec::<String>::new());

    let whole = does(does(script, "left", LEFT, 1), "both", BOTH, 3);
    whole.write(&world.path("script.jsonl"));
    world.gatewright(&["runs", "resume", run, "--yes"]).expect(0);
    assert_eq!(world.on_branch(&format!("gatewright/{run}"), BOTH.0).as_deref(), Some(BOTH.1));
    let paid = Kept::of(&world.state(), run).usage;
    assert_eq!(paid.iter().filter(|entry| entry.call_id.starts_with("developer/right/")).count(), 2, "it is done once");
}
