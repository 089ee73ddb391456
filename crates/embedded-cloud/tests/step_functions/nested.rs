//! Executions that wait for executions.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use embedded_cloud::step_functions::{CommitHook, CommitSide};
use serde_json::{Value, json};

use crate::world::{World, answer, ask, begin, child, describe, ended, machine, output};

fn family(more: Value) -> World {
    let more = match more {
        Value::Null => json!({ "Output": "{% $states.result.Output %}", "End": true }),
        more => more,
    };
    World::new(&[
        ("parent", machine("Child", json!({ "Child": child("child", "c", more) }))),
        ("child", machine("Ask", json!({ "Ask": ask("q", json!({ "End": true })) }))),
    ])
}

#[tokio::test]
async fn a_child_that_ends_in_another_life_is_told_to_its_parent() {
    let world = family(Value::Null);
    let engine = world.start().await;
    let arn = begin(&engine, "parent", "p", json!({})).await.unwrap();
    let token = world.until(|| world.asked.token("q")).await;
    engine.close().await;
    let engine = world.start().await;
    answer(&engine, &token, json!("grown")).await.unwrap();
    assert_eq!(output(&ended(&engine, &arn).await), json!("grown"));
}

#[tokio::test]
async fn a_stopped_parent_stops_its_child() {
    let world = family(Value::Null);
    let engine = world.start().await;
    let arn = begin(&engine, "parent", "p", json!({})).await.unwrap();
    world.until(|| world.asked.token("q")).await;
    let stop = json!({ "executionArn": arn, "error": "Enough", "cause": "by hand" });
    let stopped = engine.handle("StopExecution", stop.clone()).await.unwrap();
    let parent = ended(&engine, &arn).await;
    assert_eq!((&parent["status"], &parent["error"]), (&json!("ABORTED"), &json!("Enough")));
    assert_eq!(stopped["stopDate"], parent["stopDate"]);
    let child = ended(&engine, &engine.place().execution_arn("child", "p-c")).await;
    assert_eq!(child["status"], "ABORTED");
    assert_eq!(engine.handle("StopExecution", stop).await.unwrap(), stopped, "a second stop changes nothing");
}

#[tokio::test]
async fn a_child_whose_parent_ended_in_an_earlier_life_is_stopped() {
    let world = family(Value::Null);
    // The log stops just after the commit that follows `armed`: the parent's end is on disk, its actions are not done.
    let armed = Arc::new(AtomicU64::new(u64::MAX));
    let trigger = armed.clone();
    let hook: CommitHook = Arc::new(move |point| match point.side {
        CommitSide::After if point.number > trigger.load(Ordering::SeqCst) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let engine = world.open(Some(hook)).await.unwrap();
    world.drive(&engine);
    let arn = begin(&engine, "parent", "p", json!({})).await.unwrap();
    world.until(|| world.asked.token("q")).await;
    let parent_and_child_rest = || {
        let stats = engine.log_stats();
        // Two machines, two starts, the child's report and the question's hand-over.
        (stats.writes == 6).then_some(stats.commits)
    };
    armed.store(world.until(parent_and_child_rest).await, Ordering::SeqCst);
    assert!(engine.handle("StopExecution", json!({ "executionArn": arn })).await.is_err());
    engine.close().await;

    let engine = world.open(None).await.unwrap();
    let child = engine.place().execution_arn("child", "p-c");
    assert_eq!(describe(&engine, &arn).await.unwrap()["status"], "ABORTED");
    assert_eq!(describe(&engine, &child).await.unwrap()["status"], "RUNNING");
    world.drive(&engine);
    assert_eq!(ended(&engine, &child).await["status"], "ABORTED");
}

#[tokio::test]
async fn a_child_outlives_no_timeout_of_its_task() {
    let caught = json!([{ "ErrorEquals": ["States.Timeout"], "Output": "late", "Next": "End" }]);
    let task = child("child", "c", json!({ "TimeoutSeconds": 60, "Catch": caught, "Next": "End" }));
    let world = World::new(&[
        ("parent", machine("Child", json!({ "Child": task, "End": { "Type": "Succeed" } }))),
        ("child", machine("Ask", json!({ "Ask": ask("q", json!({ "End": true })) }))),
    ]);
    let engine = world.start().await;
    let arn = begin(&engine, "parent", "p", json!({})).await.unwrap();
    world.until(|| world.asked.token("q")).await;
    world.pass(60_000).await;
    assert_eq!(output(&ended(&engine, &arn).await), json!("late"));
    let child = ended(&engine, &engine.place().execution_arn("child", "p-c")).await;
    assert_eq!(child["status"], "ABORTED");
}

#[tokio::test]
async fn a_name_that_is_taken_fails_the_task_by_name() {
    let caught = json!([{ "ErrorEquals": ["States.ALL"], "Output": "{% $states.errorOutput.Error %}", "Next": "End" }]);
    let world = World::new(&[
        (
            "parent",
            machine(
                "Child",
                json!({
                    "Child": child("quick", "c", json!({ "Catch": caught, "Next": "End" })),
                    "End": { "Type": "Succeed" },
                }),
            ),
        ),
        ("quick", machine("Pass", json!({ "Pass": { "Type": "Pass", "End": true } }))),
    ]);
    let engine = world.start().await;
    let taken = begin(&engine, "quick", "p-c", json!({})).await.unwrap();
    ended(&engine, &taken).await;
    let arn = begin(&engine, "parent", "p", json!({})).await.unwrap();
    assert_eq!(output(&ended(&engine, &arn).await), json!("StepFunctions.ExecutionAlreadyExistsException"));
}
