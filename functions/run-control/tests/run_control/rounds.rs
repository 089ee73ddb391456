//! The rounds of one task.

use run_model::change_set::Overlay;
use run_model::run::TaskStatus;
use serde_json::{Value, json};

use crate::world::{World, approval, config, evidence, overlay};

async fn begun() -> World {
    let world = World::planned(&config(), &[("t1", &[])]).await;
    world.act("next-wave", json!({})).await.unwrap();
    let begun = world.act("begin-task", json!({ "task_id": "t1" })).await.unwrap();
    assert_eq!(begun, json!({ "iteration": 1, "overlay": null }));
    world
}

fn change() -> Overlay {
    overlay(&[("src/lib.rs", Some("pub fn two() {}\n"))])
}

#[tokio::test]
async fn green_and_approved_is_done() {
    let world = begun().await;
    assert_eq!(world.task("t1").await.status, TaskStatus::Running);
    assert_eq!(world.judge("t1", 1, &change(), &evidence(0, &["+a"])).await, "review");
    assert_eq!(world.conclude("t1", 1, approval()).await, "end");
    let task = world.task("t1").await;
    assert_eq!((task.status, task.iteration), (TaskStatus::Done, 1));
    let kept: Overlay = world.store.get_json(&task.overlay.unwrap()).await.unwrap();
    assert_eq!(kept, change());
    let refused = world.act("begin-task", json!({ "task_id": "t1" })).await.unwrap_err();
    assert_eq!(refused.message, "task_id: t1 has ended: only a resumed run begins it again");
    // The machine notes the refusal, and what the task came to stands.
    let error = json!({ "Error": "InvalidInput", "Cause": refused.message });
    world.act("task-failed", json!({ "task_id": "t1", "error": error })).await.unwrap();
    assert_eq!(world.task("t1").await.status, TaskStatus::Done);
    for kind in ["evidence.judged", "review.concluded"] {
        let [told] = &world.events(kind).await[..] else { panic!("{kind} was not told once") };
        assert_eq!(told.task.as_ref().unwrap().as_str(), "t1");
    }
}

#[tokio::test]
async fn red_goes_back_with_what_failed_and_with_the_tree() {
    let world = begun().await;
    assert_eq!(world.judge("t1", 1, &change(), &evidence(101, &["-a"])).await, "develop");
    let task = world.task("t1").await;
    assert_eq!((task.status, task.iteration, task.failure_fingerprints.len()), (TaskStatus::Running, 2, 1));
    assert!(task.feedback[0].starts_with("red: ") && task.feedback[0].contains('a'), "{:?}", task.feedback);
    let begun = world.act("begin-task", json!({ "task_id": "t1" })).await.unwrap();
    assert_eq!(begun, json!({ "iteration": 2, "overlay": world.keep(&change()).await }));
}

#[tokio::test]
async fn findings_go_back_with_their_place() {
    let world = begun().await;
    world.judge("t1", 1, &change(), &evidence(0, &["+a"])).await;
    let finding = json!({
        "path": "src/lib.rs", "line": 7, "kind": "correctness", "severity": "high", "message": "two is not one",
    });
    let verdict = json!({ "decision": "request_changes", "summary": "not yet", "findings": [finding] });
    assert_eq!(world.conclude("t1", 1, verdict).await, "develop");
    let task = world.task("t1").await;
    assert_eq!((task.status, task.iteration), (TaskStatus::Running, 2));
    let said = ["the reviewer asks for changes: not yet", "the reviewer, src/lib.rs:7 (high): two is not one"];
    assert_eq!(task.feedback, said);
}

#[tokio::test]
async fn the_same_failure_four_rounds_running_is_the_end() {
    let world = begun().await;
    for (iteration, next) in [(1, "develop"), (2, "develop"), (3, "develop"), (4, "end")] {
        assert_eq!(world.judge("t1", iteration, &change(), &evidence(101, &["-a"])).await, next, "round {iteration}");
    }
    let task = world.task("t1").await;
    assert_eq!((task.status, task.iteration), (TaskStatus::LimitReached, 4));
    assert_eq!(world.merge().await, "finish");
    let (reason, next_step) = world.ending().await;
    assert!(reason.starts_with("Task t1 met its bound in round 4: red: "), "{reason}");
    assert_eq!(next_step, "`gatewright runs resume r-1` tries again.");
}

#[tokio::test]
async fn a_failure_that_moves_may_go_on_to_the_bound() {
    let mut narrow = config();
    narrow.limits.iterations = 5;
    let world = World::planned(&narrow, &[("t1", &[])]).await;
    world.act("begin-task", json!({ "task_id": "t1" })).await.unwrap();
    let failures = ["-a", "-b", "-a", "-a", "-b"];
    for (iteration, (failure, next)) in (1..).zip(failures.into_iter().zip(["develop"; 4].into_iter().chain(["end"]))) {
        assert_eq!(
            world.judge("t1", iteration, &change(), &evidence(101, &[failure])).await,
            next,
            "round {iteration}"
        );
    }
    assert_eq!(world.task("t1").await.status, TaskStatus::LimitReached);
}

#[tokio::test]
async fn the_reviewers_no_in_the_last_round_is_the_bound_too() {
    let mut narrow = config();
    narrow.limits.iterations = 1;
    let world = World::planned(&narrow, &[("t1", &[])]).await;
    world.act("begin-task", json!({ "task_id": "t1" })).await.unwrap();
    world.judge("t1", 1, &change(), &evidence(0, &["+a"])).await;
    assert_eq!(world.conclude("t1", 1, json!({ "decision": "request_changes", "summary": "no" })).await, "end");
    assert_eq!(world.task("t1").await.status, TaskStatus::LimitReached);
}

#[tokio::test]
async fn a_touched_manifest_leaves_the_loop_even_if_green() {
    let world = begun().await;
    let touched = overlay(&[("Cargo.toml", Some("[package]\n"))]);
    assert_eq!(world.judge("t1", 1, &touched, &evidence(0, &["+a"])).await, "end");
    assert_eq!(world.task("t1").await.status, TaskStatus::NeedsSetup);
}

#[tokio::test]
async fn a_late_word_about_an_earlier_round_changes_nothing() {
    let world = begun().await;
    let red = evidence(101, &["-a"]);
    world.judge("t1", 1, &change(), &red).await;
    let second = overlay(&[("src/lib.rs", Some("pub fn three() {}\n"))]);
    assert_eq!(world.judge("t1", 2, &second, &evidence(0, &["+a"])).await, "review");
    let before = world.task("t1").await;
    assert_eq!(world.judge("t1", 1, &change(), &red).await, "develop");
    world.conclude("t1", 1, approval()).await;
    assert_eq!(world.task("t1").await, before);
}

#[tokio::test]
async fn tests_are_picked_from_all_rounds_over_what_the_wave_was_given() {
    let world = World::planned(&config(), &[("t1", &[]), ("t2", &["t1"])]).await;
    let base = overlay(&[("src/t1.rs", Some("1")), ("tests/t1.rs", Some("1"))]);
    world.act("next-wave", json!({})).await.unwrap();
    world.do_task("t1", &base).await;
    world.act("next-wave", json!({})).await.unwrap();
    let mut made = base.clone();
    made.extend(overlay(&[("src/t2.rs", Some("2"))]));
    let pick = async |overlay: Option<&Overlay>| {
        let overlay = match overlay {
            Some(overlay) => Some(world.keep(overlay).await),
            None => None,
        };
        world.act("pick-tests", json!({ "task_id": "t2", "overlay": overlay })).await.unwrap()["tests"].clone()
    };
    assert_eq!(pick(None).await, Value::Null);
    assert_eq!(pick(Some(&made)).await, Value::Null, "the tests of an earlier wave are not this task's");
    made.extend(overlay(&[("tests/t2.rs", Some("2"))]));
    let picked: Overlay =
        world.store.get_json(&serde_json::from_value(pick(Some(&made)).await).unwrap()).await.unwrap();
    let mut expected = base;
    expected.extend(overlay(&[("tests/t2.rs", Some("2"))]));
    assert_eq!(picked, expected);
}

#[tokio::test]
async fn new_tests_that_fail_on_the_base_prove_the_change() {
    for (on_base, holds) in [(evidence(101, &["+a", "-new"]), true), (evidence(0, &["+a", "+new"]), false)] {
        let world = begun().await;
        let tests = overlay(&[("tests/new.rs", Some("#[test] fn new() {}"))]);
        let (overlay, tests) = (world.keep(&change()).await, world.keep(&tests).await);
        let (now, proof) = (world.keep(&evidence(0, &["+a", "+new"])).await, world.keep(&on_base).await);
        let measured = json!({
            "task_id": "t1", "iteration": 1, "overlay": overlay, "tests": tests, "evidence": now, "proof": proof,
        });
        assert_eq!(world.act("judge-task", measured).await.unwrap()["next"], "review");
        let task = world.task("t1").await;
        assert_eq!((task.regression_proof, task.test_overlay), (Some(holds), Some(tests)));
    }
}

#[tokio::test]
async fn what_was_said_of_a_round_is_kept_and_reported_defects_go_back_to_the_developer() {
    let world = begun().await;
    let developed = world.keep(&json!({ "summary": "made it faster" })).await;
    let tested =
        world.keep(&json!({ "summary": "one test fails", "defects": ["empty input: expected 0, was 1"] })).await;
    let (overlay, now) = (world.keep(&change()).await, world.keep(&evidence(101, &["+a", "-new"])).await);
    let measured = json!({
        "task_id": "t1", "iteration": 1, "overlay": overlay, "tests": null, "evidence": now, "proof": null,
        "developed": developed, "tested": tested,
    });
    assert_eq!(world.act("judge-task", measured).await.unwrap()["next"], "develop");
    let task = world.task("t1").await;
    assert_eq!((task.developed, task.tested), (Some(developed), Some(tested)));
    let [judgement, defect] = &task.feedback[..] else { panic!("{:?}", task.feedback) };
    assert!(judgement.starts_with("red: "), "{judgement}");
    assert_eq!(defect, "the tester reports a defect: empty input: expected 0, was 1");
}

#[tokio::test]
async fn why_a_task_failed_is_kept_and_what_is_done_stays_done() {
    let world = begun().await;
    let fail = async |error: Value| world.act("task-failed", json!({ "task_id": "t1", "error": error })).await.unwrap();
    world.judge("t1", 1, &change(), &evidence(101, &["-a"])).await;
    let stuck = json!({ "Error": "AgentStuck", "Cause": "in circles" }).to_string();
    fail(json!({ "Error": "States.TaskFailed", "Cause": stuck })).await;
    let task = world.task("t1").await;
    assert_eq!((task.status, task.iteration), (TaskStatus::Failed, 3), "a fresh round for whoever resumes");
    assert_eq!(task.feedback, ["in circles"]);
    assert_eq!(world.events("task.failed").await[0].message, "in circles");
    assert_eq!(world.merge().await, "finish");
    assert_eq!(world.ending().await.0, "Task t1 failed: in circles");

    let world = World::with_change(&[("src/lib.rs", Some("x"))]).await;
    let error = json!({ "Error": "States.Timeout" });
    world.act("task-failed", json!({ "task_id": "t1", "error": error })).await.unwrap();
    assert_eq!(world.task("t1").await.status, TaskStatus::Done);
}
